//! Exports the result lines of failed items to a new file.

use std::{
    fs::File,
    io::{BufWriter, ErrorKind, Write as _},
    path::PathBuf,
};

use rusqlite::{Connection, OptionalExtension as _};

use super::{
    error::StoreError,
    failed_items::matching_items,
    run_dir::{RunDir, private_options},
};
use crate::domain::{Page, ReplayFilter};

/// Writes the result lines of the failed items that match a filter to a new file in the run's directory.
pub(super) fn export_failures(dir: &RunDir, conn: &Connection, filter: &ReplayFilter) -> Result<Page, StoreError> {
    let (path, file) = create_export_file(dir)?;
    let to_store_error = |error| StoreError::file("write", &path, error);
    let mut out = BufWriter::new(file);
    let mut rows = 0;
    for item in matching_items(conn, filter)? {
        let line: Option<String> = conn
            .prepare_cached(
                "SELECT results.line FROM progress JOIN results ON results.n = progress.result WHERE progress.seq = ?1",
            )?
            .query_row([item.seq.0], |row| row.get(0))
            .optional()?;
        if let Some(line) = line {
            writeln!(out, "{line}").map_err(to_store_error)?;
            rows += 1;
        }
    }
    out.flush().map_err(to_store_error)?;
    Ok(Page::Exported { path: path.display().to_string(), rows })
}

/// Creates `failed-1.jsonl`, or the same with the next free number. Never overwrites a file.
fn create_export_file(dir: &RunDir) -> Result<(PathBuf, File), StoreError> {
    let mut number = 1;
    loop {
        let path = dir.path().join(format!("failed-{number}.jsonl"));
        match private_options().create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists && number < 10_000 => number += 1,
            Err(error) => return Err(StoreError::file("create", path, error)),
        }
    }
}
