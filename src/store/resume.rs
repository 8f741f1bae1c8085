//! Reads of the database at the start of a run, from which the engine restores its state.

use std::collections::BTreeMap;

use rusqlite::OptionalExtension as _;

use super::{
    billing::{Billing, billing_columns, read_billing},
    connect,
    error::StoreError,
    open::Store,
    pinned_settings::PinnedSettings,
    row::{WaitingItem, WaitingRange, parse_outcome},
    run_dir::RunDir,
    saved_state::{load_settings, load_states},
    schema::{BLOCK_ITEMS, DONE},
};
use crate::domain::{
    CostByKind, FinalState, Money, Outcome, RoutingTraits, Seq, Usage, WallTime, is_unchecked, snapshot::Totals,
};

/// One recorded attempt: what quota windows, health and costs need when a run is resumed. Key, model and provider are
/// names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AttemptRecord {
    pub key: String,
    pub model: String,
    pub provider: String,
    pub sent_at: WallTime,
    /// `None` if the process died before the answer.
    pub completed_at: Option<WallTime>,
    pub outcome: Outcome,
    /// HTTP status; `None` if no response came.
    pub status: Option<u16>,
    /// The answer could not be checked.
    pub is_unchecked: bool,
    pub usage: Usage,
    /// Estimated input tokens. They count as used if the provider reported no usage.
    pub est_tokens: u64,
    pub latency_ms: u64,
    pub cost: Money,
    /// `cost` by kind; all zero if the kinds were not recorded.
    pub cost_by_kind: CostByKind,
    /// The highest possible cost of an attempt that may have been sent and got no answer.
    pub at_risk: Money,
}

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

    /// Calls `each` with the attempts sent at `since` or later, lost ones included, in order. Quota windows are rebuilt
    /// from them. All attempts are scanned, since the wall clock may have jumped, so that times are not in the order of
    /// the attempts.
    ///
    /// # Errors
    /// If the database can't be read.
    pub fn for_each_attempt_since(
        &self,
        since: WallTime,
        mut each: impl FnMut(AttemptRecord),
    ) -> Result<(), StoreError> {
        let columns = billing_columns(&self.conn)?;
        let mut statement = self.conn.prepare(&format!(
            "SELECT key, model, sent_at, settled_at, outcome, est_tokens, latency_ms, at_risk, provider, status, message,
                    {columns}
             FROM attempts JOIN routes ON routes.id = attempts.route
             WHERE sent_at >= ?1 ORDER BY attempt"
        ))?;
        let mut rows = statement.query([since.0])?;
        while let Some(row) = rows.next()? {
            let Billing { usage, cost, cost_by_kind } = read_billing(row, 11)?;
            let outcome = parse_outcome(row.get_ref(4)?.as_str().map_err(rusqlite::Error::from)?)?;
            let message = row.get_ref(10)?.as_str().map_err(rusqlite::Error::from)?;
            each(AttemptRecord {
                key: row.get(0)?,
                model: row.get(1)?,
                sent_at: WallTime(row.get(2)?),
                completed_at: row.get::<_, Option<i64>>(3)?.map(WallTime),
                outcome,
                is_unchecked: is_unchecked(outcome, message),
                usage,
                est_tokens: row.get(5)?,
                latency_ms: row.get(6)?,
                cost,
                cost_by_kind,
                at_risk: Money(row.get(7)?),
                provider: row.get(8)?,
                status: row.get(9)?,
            });
        }
        Ok(())
    }

    /// The number of ended items by their state and their last attempt's outcome.
    ///
    /// # Errors
    /// If the database can't be read.
    pub fn ended_items(&self) -> Result<Vec<(FinalState, Outcome, u64)>, StoreError> {
        let mut statement = self.conn.prepare(
            "SELECT state, outcome, count(*) FROM progress WHERE state <> 0 AND outcome IS NOT NULL GROUP BY 1, 2",
        )?;
        let mut rows = statement.query([])?;
        let mut ended = Vec::new();
        while let Some(row) = rows.next()? {
            let state = if row.get::<_, i64>(0)? == DONE { FinalState::Done } else { FinalState::Failed };
            ended.push((state, parse_outcome(&row.get::<_, String>(1)?)?, row.get(2)?));
        }
        Ok(ended)
    }

    /// Values that the engine saves from one process to the next, by name.
    ///
    /// # Errors
    /// If the database can't be read.
    pub fn saved_states(&self) -> Result<BTreeMap<String, String>, StoreError> {
        load_states(&self.conn)
    }
}
