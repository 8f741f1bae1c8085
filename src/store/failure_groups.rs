//! Groups of failed items with the same error.

use std::collections::HashMap;

use rusqlite::Connection;

use super::{error::StoreError, failed_items::for_each_failed, query_cache::QueryCache};
use crate::domain::{FailureGroup, Outcome, Page, ReplayFilter, failure::error_pattern};

/// Maximum number of groups returned. The total count covers the items of all groups.
const MAX_GROUPS: usize = 200;
/// The groups of a filter, and the number of their items.
type FailureGroups = (Vec<FailureGroup>, u64);

/// A cache of the groups of one filter.
pub(super) type FailureGroupCache = QueryCache<ReplayFilter, FailureGroups>;

pub(super) fn load_failures(
    cache: &mut FailureGroupCache,
    conn: &Connection,
    filter: &ReplayFilter,
) -> Result<Page, StoreError> {
    let ((groups, matching), outdated) = cache.get_or_load(conn, filter, || group_failures(conn, filter))?;
    Ok(Page::Failures { groups: groups.clone(), matching: *matching, outdated })
}

type GroupKey = (Option<Outcome>, Option<String>, String);

fn group_failures(conn: &Connection, filter: &ReplayFilter) -> Result<FailureGroups, StoreError> {
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
