//! A cache of the last slow query of a screen.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::error::StoreError;

/// An outdated result is used again for this many times as long as the query took. So a screen's queries use at most a
/// tenth of one core.
const REUSE_FACTOR: u32 = 10;

/// The result `V` of the last query, and its filter `F`. An outdated result is used again for a while if the query was
/// slow.
#[derive(Debug)]
pub(super) struct QueryCache<F, V>(Option<CachedResult<F, V>>);

#[derive(Debug)]
struct CachedResult<F, V> {
    filter: F,
    value: V,
    /// SQLite's `data_version`, which changes when another connection commits.
    data_version: i64,
    loaded_at: Instant,
    load_time: Duration,
}

impl<F: Clone + PartialEq, V> QueryCache<F, V> {
    pub const fn new() -> Self {
        Self(None)
    }

    /// Returns the result for a filter, and true if the run has changed since it was loaded. Calls `load` unless the
    /// cached result can be used.
    pub fn get_or_load(
        &mut self,
        conn: &Connection,
        filter: &F,
        load: impl FnOnce() -> Result<V, StoreError>,
    ) -> Result<(&V, bool), StoreError> {
        let data_version = conn.query_row("PRAGMA data_version", [], |row| row.get(0))?;
        let is_usable = |cached: &CachedResult<F, V>| {
            cached.filter == *filter
                && (cached.data_version == data_version || cached.loaded_at.elapsed() < cached.load_time * REUSE_FACTOR)
        };
        let cached = if let Some(cached) = self.0.take().filter(is_usable) {
            cached
        } else {
            let started_at = Instant::now();
            let value = load()?;
            let (loaded_at, load_time) = (Instant::now(), started_at.elapsed());
            CachedResult { filter: filter.clone(), value, data_version, loaded_at, load_time }
        };
        let cached = self.0.insert(cached);
        Ok((&cached.value, cached.data_version != data_version))
    }
}
