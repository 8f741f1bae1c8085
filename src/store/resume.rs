//! Reads of the database at the start of a run, from which the engine restores its state.

use std::collections::BTreeMap;

use rusqlite::OptionalExtension as _;

use super::{
    connect,
    counters::EndedItems,
    error::StoreError,
    op::UNPRICED_MODELS,
    open::Store,
    pinned_settings::PinnedSettings,
    row::{RouteName, WaitingItem, WaitingRange, load_routes, to_json},
    run_dir::RunDir,
    saved_state::{load_settings, load_states, save_state},
    schema::BLOCK_ITEMS,
};
use crate::domain::{FinalState, Outcome, RouteSums, RoutingTraits, Seq, snapshot::Totals};

impl Store {
    pub fn dir(&self) -> &RunDir {
        &self.dir
    }

    /// The settings that a run was created with. Commands that name only its directory resume it with these.
    ///
    /// # Errors
    /// If there is no run, or its database can't be read.
    pub fn settings_of(dir: &RunDir) -> Result<PinnedSettings, StoreError> {
        connect::read_run(dir.path(), |_, conn| load_settings(&conn))?
            .ok_or_else(|| StoreError::NotARun { dir: dir.path().to_owned() })
    }

    /// The current number of items by state.
    ///
    /// # Errors
    /// If the database can't be read.
    pub fn totals(&self) -> Result<Totals, StoreError> {
        self.counters.load_totals(&self.conn)
    }

    /// Calls `each` with every waiting item in input order.
    ///
    /// # Errors
    /// If the database can't be read.
    pub fn for_each_waiting(&self, mut each: impl FnMut(WaitingItem)) -> Result<(), StoreError> {
        self.for_each_waiting_range(|WaitingRange { first, count, traits_id }| {
            (first.0..first.0 + count).for_each(|seq| each(WaitingItem { seq: Seq(seq), traits_id }));
        })
    }

    /// Calls `each` with all waiting items in input order. Consecutive ones may be several ranges.
    ///
    /// # Errors
    /// If the database can't be read.
    pub fn for_each_waiting_range(&self, mut each: impl FnMut(WaitingRange)) -> Result<(), StoreError> {
        let mut traits_ids = self.routing_traits.values().copied();
        let only_traits_id = traits_ids.next().filter(|_| traits_ids.next().is_none());
        let mut counted =
            self.conn.prepare("SELECT block, waiting, done + failed FROM blocks WHERE waiting > 0 ORDER BY block")?;
        let mut blocks = counted.query([])?;
        let mut in_block = self
            .conn
            .prepare("SELECT seq, traits FROM progress WHERE seq BETWEEN ?1 AND ?2 AND state = 0 ORDER BY seq")?;
        while let Some(row) = blocks.next()? {
            let first = row.get::<_, u64>(0)? * BLOCK_ITEMS;
            let last = first + BLOCK_ITEMS - 1;
            let (waiting, ended): (u64, u64) = (row.get(1)?, row.get(2)?);
            if let Some(traits_id) = only_traits_id.filter(|_| ended == 0) {
                // The numbers of items begin with 1 and have no gaps.
                each(WaitingRange { first: Seq(first.max(1)), count: waiting, traits_id });
                continue;
            }
            let mut rows = in_block.query([first, last])?;
            while let Some(row) = rows.next()? {
                each(WaitingRange { first: Seq(row.get(0)?), count: 1, traits_id: row.get(1)? });
            }
        }
        Ok(())
    }

    /// The number of the item with this id; `None` if there is none.
    ///
    /// # Errors
    /// If the database can't be read.
    pub fn find_seq(&self, id: &str) -> Result<Option<Seq>, StoreError> {
        let mut find = self.conn.prepare_cached("SELECT seq FROM items WHERE id = ?1")?;
        Ok(find.query_row([id], |row| Ok(Seq(row.get(0)?))).optional()?)
    }

    /// All traits seen in the run so far, by id.
    pub fn traits(&self) -> Vec<(u32, RoutingTraits)> {
        let mut traits: Vec<_> = self.routing_traits.iter().map(|(traits, id)| (*id, traits.clone())).collect();
        traits.sort_unstable_by_key(|(id, _)| *id);
        traits
    }

    /// The sums over the attempts of each route, in the order in which the routes were first configured.
    ///
    /// # Errors
    /// If the database can't be read.
    pub fn route_sums(&self) -> Result<Vec<(RouteName, &RouteSums)>, StoreError> {
        let mut names = load_routes(&self.conn)?;
        let mut sums: Vec<_> = self.route_sums.iter().collect();
        sums.sort_unstable_by_key(|(route, _)| *route);
        Ok(sums.into_iter().filter_map(|(route, sums)| Some((names.remove(&route)?, sums))).collect())
    }

    /// The number of ended items by their state and their last attempt's outcome.
    pub fn ended_items(&self) -> impl Iterator<Item = (FinalState, Outcome, u64)> {
        self.counters.ended.iter().flat_map(EndedItems::iter)
    }

    /// Records which models have no price, for reports of other processes.
    ///
    /// # Errors
    /// If the database can't be written.
    pub fn record_unpriced_models(&self, names: &[&str]) -> Result<(), StoreError> {
        save_state(&self.conn, UNPRICED_MODELS, &to_json(&names, "the models without a price")?)
    }

    /// Values that the engine saves from one process to the next, by name.
    ///
    /// # Errors
    /// If the database can't be read.
    pub fn saved_states(&self) -> Result<BTreeMap<String, String>, StoreError> {
        load_states(&self.conn)
    }
}
