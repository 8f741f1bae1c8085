//! Counters of the whole run, saved with every commit, so that no start, screen or report has to count a million rows.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};

use super::{
    error::StoreError,
    op::CompletedAttempt,
    results_file::MatchPoint,
    row::{parse_json, parse_outcome, to_json},
    schema::{DONE, FAILED, WAITING, block_index},
};
use crate::domain::{
    CostByKind, FinalState, Money, Outcome, Usage, WallTime, is_unchecked,
    snapshot::{Spend, Totals},
};

/// The run's counters, one row of `meta`. Every transaction writes them again.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct RunCounters {
    /// Number of items, which is also the last item's seq.
    pub items: u64,
    /// Number of rows of the input, once it was read to its end.
    pub input_rows: Option<u64>,
    /// Completed attempts.
    pub attempts: u64,
    /// Completed attempts for which no request was sent.
    #[serde(rename = "never_left")]
    pub unsent: u64,
    pub rate_limited: u64,
    pub invalid_outputs: u64,
    pub truncated: u64,
    pub usage: Usage,
    pub cost: Money,
    /// `cost` by kind. Attempts of versions that did not record the kinds are missing here.
    pub cost_by_kind: CostByKind,
    pub at_risk: Money,
    pub first_sent: Option<WallTime>,
    pub last_attempt: u64,
    /// The item of `last_attempt`; `None` before the first attempt, and if that one was taken back.
    pub last_item: Option<u64>,
    pub last_event: u64,
    /// The number of the last row in `results`.
    #[serde(rename = "last_result")]
    pub last_result_row: u64,
    /// The number of ended items by their last attempt's outcome. `None` in the record of an earlier version.
    pub ended: Option<EndedItems>,
    /// How long all processes have worked on the run, in microseconds. `None` in the record of an earlier version, which
    /// has it as a saved state.
    #[serde(rename = "worked", skip_serializing_if = "Option::is_none")]
    pub active_us: Option<u64>,
    /// How far results.jsonl was written when these counters were saved. The lines of their own transaction follow after
    /// the commit. `None` if the file must be compared as a whole.
    pub written_results: Option<MatchPoint>,
}

/// The number of ended items by outcome.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct EndedItems {
    done: BTreeMap<Outcome, u64>,
    failed: BTreeMap<Outcome, u64>,
}

impl EndedItems {
    /// Counts all items.
    pub fn count_all(conn: &Connection) -> Result<Self, StoreError> {
        let mut ended = Self::default();
        let mut statement = conn.prepare(
            "SELECT state, outcome, count(*) FROM progress WHERE state <> 0 AND outcome IS NOT NULL GROUP BY 1, 2",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let outcome = parse_outcome(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)?;
            *ended.by_outcome(row.get(0)?).entry(outcome).or_default() += row.get::<_, u64>(2)?;
        }
        Ok(ended)
    }

    fn by_outcome(&mut self, state: i64) -> &mut BTreeMap<Outcome, u64> {
        if state == DONE { &mut self.done } else { &mut self.failed }
    }

    pub fn add(&mut self, state: i64, outcome: Outcome) {
        *self.by_outcome(state).entry(outcome).or_default() += 1;
    }

    /// Takes back an item that waits again.
    pub fn remove(&mut self, state: i64, outcome: Outcome) {
        let by_outcome = self.by_outcome(state);
        if let Some(count) = by_outcome.get_mut(&outcome) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                by_outcome.remove(&outcome);
            }
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (FinalState, Outcome, u64)> {
        let done = self.done.iter().map(|(outcome, count)| (FinalState::Done, *outcome, *count));
        done.chain(self.failed.iter().map(|(outcome, count)| (FinalState::Failed, *outcome, *count)))
    }
}

impl RunCounters {
    pub fn load(conn: &Connection) -> Result<Self, StoreError> {
        let json: Option<String> =
            conn.query_row("SELECT value FROM meta WHERE key = 'tallies'", [], |row| row.get(0)).optional()?;
        json.map_or_else(|| Ok(Self::default()), |json| parse_json(&json, "the run's sums"))
    }

    pub fn save(&self, conn: &Connection) -> Result<(), StoreError> {
        let json = to_json(self, "the run's sums")?;
        conn.prepare_cached("INSERT OR REPLACE INTO meta(key, value) VALUES ('tallies', ?1)")?.execute([json])?;
        Ok(())
    }

    /// Adds one completed attempt.
    pub fn add_attempt(&mut self, completed: &CompletedAttempt) {
        let outcome = completed.outcome;
        self.attempts += 1;
        self.unsent += u64::from(outcome.is_local());
        self.rate_limited += u64::from(outcome.is_rate_limited());
        self.invalid_outputs +=
            u64::from(outcome == Outcome::InvalidOutput && !is_unchecked(outcome, &completed.message));
        self.usage += completed.usage;
        self.cost += completed.cost;
        self.cost_by_kind += completed.cost_by_kind;
        self.at_risk += completed.at_risk;
    }

    /// Computes the totals from these counters and from those of the blocks. Call it in the transaction that loaded
    /// these counters, so that both are from the same state.
    pub fn load_totals(&self, conn: &Connection) -> Result<Totals, StoreError> {
        let states = StateCounts::load(conn)?;
        let (open_intents, in_flight): (u64, u64) =
            conn.query_row("SELECT count(*), count(DISTINCT seq) FROM in_flight", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        Ok(Totals {
            total: self.items,
            waiting: states.waiting.saturating_sub(in_flight),
            in_flight,
            done: states.done,
            failed: states.failed,
            truncated: self.truncated,
            ingesting: self.input_rows.is_none(),
            not_in_input: self.input_rows.map_or(0, |rows| self.items.saturating_sub(rows)),
            attempts: (self.attempts + open_intents).saturating_sub(self.unsent),
            rate_limited: self.rate_limited,
            invalid_outputs: self.invalid_outputs,
        })
    }

    /// Loads the money spent, reserved and at risk. The budget is not known here and stays `None`.
    pub fn load_spend(&self, conn: &Connection) -> Result<Spend, StoreError> {
        let reserved: u64 = conn.query_row("SELECT coalesce(sum(reserved), 0) FROM in_flight", [], |row| row.get(0))?;
        Ok(Spend {
            usage: self.usage,
            cost: self.cost,
            cost_by_kind: self.cost_by_kind,
            reserved: Money(reserved),
            at_risk: self.at_risk,
            budget: None,
        })
    }
}

/// Items by state over the whole run. Items in flight count as waiting.
pub(super) struct StateCounts {
    pub waiting: u64,
    pub done: u64,
    pub failed: u64,
}

impl StateCounts {
    pub fn load(conn: &Connection) -> Result<Self, StoreError> {
        let sums = "SELECT coalesce(sum(waiting), 0), coalesce(sum(done), 0), coalesce(sum(failed), 0) FROM blocks";
        Ok(conn.prepare_cached(sums)?.query_row([], |row| {
            let count = |column| row.get::<_, u64>(column);
            Ok(Self { waiting: count(0)?, done: count(1)?, failed: count(2)? })
        })?)
    }
}

/// Changes of the blocks' counters by one transaction. Few blocks change, since items are sent in order.
#[derive(Default)]
pub(super) struct BlockChanges(BTreeMap<u64, [i64; 3]>);

impl BlockChanges {
    pub fn add_item(&mut self, seq: u64, state: i64) {
        self.0.entry(block_index(seq)).or_default()[state as usize] += 1;
    }

    pub fn move_item(&mut self, seq: u64, from: i64, to: i64) {
        let counts = self.0.entry(block_index(seq)).or_default();
        counts[from as usize] -= 1;
        counts[to as usize] += 1;
    }

    pub fn save(&self, conn: &Connection) -> Result<(), StoreError> {
        let mut add = conn.prepare_cached(
            "INSERT INTO blocks(block, waiting, done, failed) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT(block) DO UPDATE SET waiting = waiting + ?2, done = done + ?3, failed = failed + ?4",
        )?;
        for (block, counts) in &self.0 {
            let [waiting, done, failed] = [WAITING, DONE, FAILED].map(|state| counts[state as usize]);
            add.execute(params![block, waiting, done, failed])?;
        }
        Ok(())
    }
}
