//! Groups of failed items with the same error, and the export of their result lines to a new file.

use std::{
    collections::HashMap,
    io::{BufWriter, Write as _},
    time::{Duration, Instant},
};

use rusqlite::{Connection, OptionalExtension as _};

use super::{
    error::StoreError,
    requeue::{for_each_failed, matching_items},
    run_dir::{RunDir, private_options},
};
use crate::domain::{FailureGroup, Outcome, Page, ReplayFilter, failure::error_pattern};

/// Maximum number of groups returned. The total count covers the items of all groups.
const MAX_GROUPS: usize = 200;
/// Cached groups that are outdated are used again for this many times as long as loading them took.
const CACHE_REUSE_FACTOR: u32 = 10;

/// A cache of the groups of one filter. An outdated entry is used again for a while if it was slow to load.
#[derive(Debug, Default)]
pub(super) struct FailureGroupCache(Option<CachedGroups>);

#[derive(Debug)]
struct CachedGroups {
    filter: ReplayFilter,
    groups: Vec<FailureGroup>,
    matching: u64,
    /// SQLite's `data_version`, which changes when another connection commits.
    data_version: i64,
    loaded_at: Instant,
    load_time: Duration,
}

impl FailureGroupCache {
    pub fn load_page(&mut self, conn: &Connection, filter: &ReplayFilter) -> Result<Page, StoreError> {
        let version = conn.query_row("PRAGMA data_version", [], |row| row.get(0))?;
        let is_usable = |cached: &CachedGroups| {
            cached.filter == *filter
                && (cached.data_version == version
                    || cached.loaded_at.elapsed() < cached.load_time * CACHE_REUSE_FACTOR)
        };
        let usable = self.0.take().filter(is_usable);
        let cached = self.0.insert(usable.map_or_else(|| CachedGroups::load(conn, filter, version), Ok)?);
        let outdated = cached.data_version != version;
        Ok(Page::Failures { groups: cached.groups.clone(), matching: cached.matching, outdated })
    }
}

impl CachedGroups {
    fn load(conn: &Connection, filter: &ReplayFilter, data_version: i64) -> Result<Self, StoreError> {
        let started_at = Instant::now();
        let (groups, matching) = group_failures(conn, filter)?;
        Ok(Self {
            filter: filter.clone(),
            groups,
            matching,
            data_version,
            loaded_at: Instant::now(),
            load_time: started_at.elapsed(),
        })
    }
}

type GroupKey = (Option<Outcome>, Option<String>, String);

fn group_failures(conn: &Connection, filter: &ReplayFilter) -> Result<(Vec<FailureGroup>, u64), StoreError> {
    let mut groups: HashMap<GroupKey, FailureGroup> = HashMap::new();
    let mut matching = 0;
    for_each_failed(conn, filter, |item| {
        matching += 1;
        let key = (item.outcome, item.model, error_pattern(&item.message));
        if let Some(group) = groups.get_mut(&key) {
            group.count += 1;
        } else {
            let (outcome, model, pattern) = key.clone();
            let (first_seq, first_id) = (item.queue_entry.seq.0, item.id);
            groups.insert(key, FailureGroup { outcome, model, pattern, count: 1, first_seq, first_id });
        }
        Ok(())
    })?;
    let mut groups: Vec<FailureGroup> = groups.into_values().collect();
    groups.sort_by_key(|group| (std::cmp::Reverse(group.count), group.first_seq));
    groups.truncate(MAX_GROUPS);
    Ok((groups, matching))
}

/// Writes the result lines of the failed items that match a filter to a new file in the run's directory.
pub(super) fn export(dir: &RunDir, conn: &Connection, filter: &ReplayFilter) -> Result<Page, StoreError> {
    let (path, file) = create_export_file(dir)?;
    let to_store_error = |error| StoreError::file("write", &path, error);
    let mut out = BufWriter::new(file);
    let mut rows = 0;
    for item in matching_items(conn, filter)? {
        let line: Option<String> = conn
            .prepare_cached(
                "SELECT results.line FROM progress JOIN results ON results.n = progress.result WHERE progress.seq = ?1",
            )?
            .query_row([item.seq.0 as i64], |row| row.get(0))
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
fn create_export_file(dir: &RunDir) -> Result<(std::path::PathBuf, std::fs::File), StoreError> {
    let mut number = 1;
    loop {
        let path = dir.path().join(format!("failed-{number}.jsonl"));
        match private_options().create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && number < 10_000 => number += 1,
            Err(error) => return Err(StoreError::file("create", path, error)),
        }
    }
}
