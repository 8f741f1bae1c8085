//! Failed items grouped by what they failed of, and their lines written to a file of their own.

use std::{
    collections::HashMap,
    io::{BufWriter, Write as _},
    time::{Duration, Instant},
};

use rusqlite::{Connection, OptionalExtension as _};

use super::{
    error::StoreError,
    requeue::{each_failed, matching},
    run_dir::{RunDir, private},
};
use crate::domain::{FailureGroup, Outcome, Page, ReplayFilter, failure::error_pattern};

/// Groups on a screen; the items of smaller ones still count.
const MOST: usize = 200;
/// As with filtered windows: groups that the run has outdated serve for this many times what they took to make.
const REST: u32 = 10;

/// The groups of one filter, kept for as long as they are true or dear.
#[derive(Debug, Default)]
pub(super) struct Failures(Option<Made>);

#[derive(Debug)]
struct Made {
    filter: ReplayFilter,
    groups: Vec<FailureGroup>,
    matching: u64,
    /// SQLite's mark that changes when another connection commits.
    version: i64,
    at: Instant,
    took: Duration,
}

impl Failures {
    pub fn page(&mut self, conn: &Connection, filter: &ReplayFilter) -> Result<Page, StoreError> {
        let version = conn.query_row("PRAGMA data_version", [], |row| row.get(0))?;
        let serves =
            |made: &Made| made.filter == *filter && (made.version == version || made.at.elapsed() < made.took * REST);
        let kept = self.0.take().filter(serves);
        let made = self.0.insert(kept.map_or_else(|| Made::of(conn, filter, version), Ok)?);
        let outdated = made.version != version;
        Ok(Page::Failures { groups: made.groups.clone(), matching: made.matching, outdated })
    }
}

impl Made {
    fn of(conn: &Connection, filter: &ReplayFilter, version: i64) -> Result<Self, StoreError> {
        let began = Instant::now();
        let (groups, matching) = group(conn, filter)?;
        Ok(Self { filter: filter.clone(), groups, matching, version, at: Instant::now(), took: began.elapsed() })
    }
}

type Reason = (Option<Outcome>, Option<String>, String);

fn group(conn: &Connection, filter: &ReplayFilter) -> Result<(Vec<FailureGroup>, u64), StoreError> {
    let mut groups: HashMap<Reason, FailureGroup> = HashMap::new();
    let mut matching = 0;
    each_failed(conn, filter, |item| {
        matching += 1;
        let reason = (item.outcome, item.model, error_pattern(&item.words));
        if let Some(group) = groups.get_mut(&reason) {
            group.count += 1;
        } else {
            let (outcome, model, pattern) = reason.clone();
            let (first_seq, first_id) = (item.queued.seq.0, item.id);
            groups.insert(reason, FailureGroup { outcome, model, pattern, count: 1, first_seq, first_id });
        }
        Ok(())
    })?;
    let mut groups: Vec<FailureGroup> = groups.into_values().collect();
    groups.sort_by_key(|group| (std::cmp::Reverse(group.count), group.first_seq));
    groups.truncate(MOST);
    Ok((groups, matching))
}

/// Writes the lines of the failed items that a filter means to a new file in the run's directory.
pub(super) fn export(dir: &RunDir, conn: &Connection, filter: &ReplayFilter) -> Result<Page, StoreError> {
    let (path, file) = new_file(dir)?;
    let failed = |error| StoreError::file("write", &path, error);
    let mut out = BufWriter::new(file);
    let mut rows = 0;
    for item in matching(conn, filter)? {
        let line: Option<String> = conn
            .prepare_cached(
                "SELECT results.line FROM progress JOIN results ON results.n = progress.result WHERE progress.seq = ?1",
            )?
            .query_row([item.seq.0 as i64], |row| row.get(0))
            .optional()?;
        if let Some(line) = line {
            writeln!(out, "{line}").map_err(failed)?;
            rows += 1;
        }
    }
    out.flush().map_err(failed)?;
    Ok(Page::Exported { path: path.display().to_string(), rows })
}

/// `failed-1.jsonl`, or the next number that is free: nothing is overwritten.
fn new_file(dir: &RunDir) -> Result<(std::path::PathBuf, std::fs::File), StoreError> {
    let mut number = 1;
    loop {
        let path = dir.path().join(format!("failed-{number}.jsonl"));
        match private().create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && number < 10_000 => number += 1,
            Err(error) => return Err(StoreError::file("create", path, error)),
        }
    }
}
