//! Answers a screen's queries on a thread and a connection of its own. Queries don't wait for the engine and don't
//! delay it.

use std::thread::{self, JoinHandle};

use tokio::sync::{mpsc, oneshot};

use super::{
    connect,
    detail::{load_detail, load_picture},
    error::StoreError,
    failure_export::export_failures,
    failure_groups::{FailureGroupCache, load_failures},
    items::ItemWindows,
    run_dir::RunDir,
    samples::load_samples,
};
use crate::domain::{Page, Query};

/// A query and the channel for its page.
#[derive(Debug)]
pub struct PageRequest {
    pub query: Query,
    pub reply: oneshot::Sender<Result<Page, String>>,
}

/// Starts the thread. It ends when every sender of `requests` is dropped.
///
/// # Errors
/// If the database can't be opened or the thread can't be started.
pub fn spawn_reader(dir: &RunDir, mut request_rx: mpsc::Receiver<PageRequest>) -> Result<JoinHandle<()>, StoreError> {
    let mut windows = ItemWindows::new(connect::open_reader(dir)?);
    let mut failures = FailureGroupCache::new();
    let run_dir = RunDir::new(dir.path());
    thread::Builder::new()
        .name("store-reader".to_owned())
        .spawn(move || {
            while let Some(PageRequest { query, reply }) = request_rx.blocking_recv() {
                // A page that the screen no longer waits for, since it has scrolled on, is not loaded.
                if !reply.is_closed() {
                    let _ = reply.send(
                        run_query(&run_dir, &mut windows, &mut failures, &query).map_err(|error| error.to_string()),
                    );
                }
            }
        })
        .map_err(|error| StoreError::file("start the thread that reads from", dir.path(), error))
}

fn run_query(
    dir: &RunDir,
    windows: &mut ItemWindows,
    failures: &mut FailureGroupCache,
    query: &Query,
) -> Result<Page, StoreError> {
    match query {
        Query::Items { filter, offset, limit } => windows.load_page(filter, *offset, *limit),
        Query::Item { seq } => {
            let found = load_detail(windows, *seq)?;
            Ok(found.map_or(Page::NotFound, |detail| Page::Item(Box::new(detail))))
        }
        Query::Picture { seq, index } => {
            Ok(load_picture(windows.conn(), *seq, *index)?.map_or(Page::NotFound, Page::Picture))
        }
        Query::Samples => Ok(Page::Samples { samples: load_samples(windows.conn())? }),
        Query::Failures { filter } => load_failures(failures, windows.conn(), filter),
        Query::ExportFailures { filter } => export_failures(dir, windows.conn(), filter),
    }
}
