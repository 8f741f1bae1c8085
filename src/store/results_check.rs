//! Compares the part of results.jsonl that the start trusted with the table, on a thread of its own, while the run goes
//! on.

use std::{
    fs::File,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use rusqlite::Connection;

use super::{
    connect,
    error::StoreError,
    results_file::{Comparison, MatchPoint, ResultsFile},
    run_dir::RunDir,
};

/// Lines that are compared in one read transaction. A long one would keep the write-ahead log from starting over.
const LINES_PER_TRANSACTION: u64 = 8_192;

/// The comparison of the lines up to a point. Neither these lines nor their rows change while the run goes on. Dropping
/// it ends the comparison.
#[derive(Debug)]
pub(super) struct ResultsCheck {
    is_cancelled: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Option<MatchPoint>, StoreError>>>,
}

impl ResultsCheck {
    /// Starts to compare the lines up to `end`.
    pub fn start(dir: &RunDir, results_file: &ResultsFile, end: MatchPoint) -> Result<Self, StoreError> {
        let conn = connect::open_reader(dir)?;
        let (file, path) = results_file.reading_handle()?;
        let is_cancelled = Arc::new(AtomicBool::new(false));
        let cancelled = Arc::clone(&is_cancelled);
        let thread = thread::Builder::new()
            .name("results-check".to_owned())
            .spawn(move || find_difference(&conn, &file, &path, end, &cancelled))
            .map_err(|error| StoreError::file("start the thread that reads", dir.results(), error))?;
        Ok(Self { is_cancelled, thread: Some(thread) })
    }

    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the end of the comparison. Returns how far the file and the table match, if they differ.
    pub fn finish(mut self) -> Result<Option<MatchPoint>, StoreError> {
        // The panic hook has logged a panic.
        self.thread.take().map_or(Ok(None), |thread| thread.join().unwrap_or(Err(StoreError::Closed)))
    }
}

impl Drop for ResultsCheck {
    fn drop(&mut self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The panic hook has logged a panic.
            let _ = thread.join();
        }
    }
}

fn find_difference(
    conn: &Connection,
    file: &File,
    path: &Path,
    end: MatchPoint,
    is_cancelled: &AtomicBool,
) -> Result<Option<MatchPoint>, StoreError> {
    let mut comparison = Comparison::new(file, path, MatchPoint::default());
    while comparison.advance(conn, end.last_row, LINES_PER_TRANSACTION)? == LINES_PER_TRANSACTION {
        if is_cancelled.load(Ordering::Relaxed) {
            return Ok(None);
        }
    }
    Ok((comparison.point != end).then_some(comparison.point))
}
