//! A preview of a replay: the items that it would queue.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use crate::{
    domain::{ItemRow, Outcome, ReplayFilter},
    store::{connect, error::StoreError, failed_items::for_each_failed, items::ItemWindows},
};

/// The items that a replay would queue.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ReplayPreview {
    pub matching: u64,
    /// Number of items by outcome. `None` stands for no outcome, or for one that this version does not know.
    pub outcomes: BTreeMap<Option<Outcome>, u64>,
    /// The first of them in input order.
    pub first: Vec<ItemRow>,
}

/// Counts the failed items that match a filter, and loads the first `limit` of them.
///
/// # Errors
/// If the database can't be read.
pub fn preview_replay(dir: &Path, filter: &ReplayFilter, limit: usize) -> Result<ReplayPreview, StoreError> {
    connect::read_run(dir, |_, conn| {
        let mut windows = ItemWindows::new(conn);
        let mut found = ReplayPreview::default();
        let mut first = BTreeSet::new();
        for_each_failed(windows.conn(), filter, |item| {
            found.matching += 1;
            *found.outcomes.entry(item.outcome).or_default() += 1;
            first.insert(item.queue_entry.seq.0);
            if first.len() > limit {
                first.pop_last();
            }
            Ok(())
        })?;
        for seq in first {
            found.first.extend(windows.load_row(seq, None)?);
        }
        Ok(found)
    })
}
