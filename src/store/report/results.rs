//! The final result lines of a run in input order.

use std::path::Path;

use rusqlite::params;

use crate::{
    domain::{ResultLine, Seq},
    store::{connect, error::StoreError, row::parse_json, run_dir::RunDir},
};

/// Rows of one read. A long export must not keep the WAL of a running run from being truncated.
const RESULT_CHUNK_ROWS: i64 = 1_000;

/// An item's final result line, with its position in the input.
#[derive(Clone, Copy, Debug)]
pub struct FinalLine<'a> {
    pub seq: Seq,
    /// The line as in results.jsonl, without the newline.
    pub line: &'a str,
}

impl FinalLine<'_> {
    /// Parses the line.
    ///
    /// # Errors
    /// If the line is damaged.
    pub fn parse(&self) -> Result<ResultLine, StoreError> {
        let mut result: ResultLine = parse_json(self.line, "a result")?;
        result.parts.restore_numbers(self.line);
        Ok(result)
    }
}

/// Calls `each` with the final line of every item that has one, in input order.
///
/// # Errors
/// If the database can't be read, or the first error of `each`.
pub fn for_each_result<E: From<StoreError>>(
    dir: &Path,
    mut each: impl FnMut(FinalLine<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let dir = RunDir::new(dir);
    let conn = connect::open_reader(&dir)?;
    let to_store_error = |error: rusqlite::Error| StoreError::from(error).with_path(dir.database());
    let mut statement = conn
        .prepare(
            "SELECT progress.seq, results.line FROM progress JOIN results ON results.n = progress.result
             WHERE progress.seq > ?1 ORDER BY progress.seq LIMIT ?2",
        )
        .map_err(to_store_error)?;
    let mut last: u64 = 0;
    loop {
        let mut rows = statement.query(params![last, RESULT_CHUNK_ROWS]).map_err(to_store_error)?;
        let mut read = 0;
        while let Some(row) = rows.next().map_err(to_store_error)? {
            last = row.get(0).map_err(to_store_error)?;
            let line =
                row.get_ref(1).map_err(to_store_error)?.as_str().map_err(|error| to_store_error(error.into()))?;
            each(FinalLine { seq: Seq(last), line })?;
            read += 1;
        }
        if read < RESULT_CHUNK_ROWS {
            return Ok(());
        }
    }
}
