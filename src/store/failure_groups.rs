//! Groups of failed items with the same error.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use rusqlite::Connection;

use super::{error::StoreError, failed_items::for_each_failed};
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
