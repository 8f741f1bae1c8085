//! Saves the scheduler's state for the next start, and the state of the keys and the highest budget for other
//! processes.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::messages::{MAX_TOKENS_FIELDS_STATE, SCHEDULER_STATE};
use crate::{
    domain::{Money, Now, snapshot::CurrentRoute},
    provider::LearnedMaxTokensField,
    scheduler::Scheduler,
    store::{
        BACKOFF_STATE, KeyRecord, Op, OpenedRun,
        audit::{HIGHEST_BUDGET_STATE, UNLIMITED_BUDGET},
    },
};

/// Shortest time between two saves of the scheduler's state while it changes.
const STATE_SAVE_INTERVAL: Duration = Duration::from_secs(1);
/// Shortest time between two checks whether the recorded state of the keys is current.
const KEY_STATUS_INTERVAL: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct StateSaver {
    /// Fingerprints of the keys' secrets, to detect a changed secret.
    fingerprints: Vec<Option<String>>,
    is_dirty: bool,
    saved_at: Instant,
    /// The state of the keys as last recorded.
    key_records: Vec<KeyRecord>,
    keys_checked_at: Instant,
    /// The current route while it backs off, as last recorded.
    backoff: Option<CurrentRoute>,
    /// The highest budget of the run that was ever in force; no budget counts as the highest.
    highest_budget: Option<Money>,
    /// The learned names of the output limit, as last recorded.
    max_tokens_fields: Vec<LearnedMaxTokensField>,
}

impl StateSaver {
    pub fn new(fingerprints: Vec<Option<String>>, opened: &OpenedRun) -> Self {
        let now = Instant::now();
        let highest_budget = opened.saved_states.get(HIGHEST_BUDGET_STATE);
        Self {
            fingerprints,
            is_dirty: false,
            saved_at: now,
            key_records: Vec::new(),
            keys_checked_at: now,
            backoff: None,
            max_tokens_fields: Vec::new(),
            highest_budget: highest_budget.and_then(|json| serde_json::from_str(json).ok()),
        }
    }

    /// The op that records the budget in force, if it is the highest so far.
    pub fn take_budget_op(&mut self, max_usd: Option<Money>) -> Option<Op> {
        let budget = max_usd.unwrap_or(UNLIMITED_BUDGET);
        if self.highest_budget.is_some_and(|highest| highest >= budget) {
            return None;
        }
        self.highest_budget = Some(budget);
        state_op(HIGHEST_BUDGET_STATE, &budget)
    }

    /// Records that the scheduler's state has changed.
    pub const fn mark_dirty(&mut self) {
        self.is_dirty = true;
    }

    /// The ops that save what has changed, if they are due or wanted `at_once`.
    pub fn take_ops(
        &mut self,
        now: Now,
        scheduler: &Scheduler,
        key_records: impl FnOnce() -> Vec<KeyRecord>,
        backoff: Option<CurrentRoute>,
        max_tokens_fields: impl FnOnce() -> Vec<LearnedMaxTokensField>,
        at_once: bool,
    ) -> Vec<Op> {
        let mut ops = Vec::new();
        if at_once || self.keys_checked_at.elapsed() >= KEY_STATUS_INTERVAL {
            self.keys_checked_at = Instant::now();
            let records = key_records();
            if records != self.key_records {
                self.key_records.clone_from(&records);
                ops.push(Op::SetKeys(records));
            }
            if backoff != self.backoff {
                ops.extend(state_op(BACKOFF_STATE, &backoff));
                self.backoff = backoff;
            }
            let learned = max_tokens_fields();
            if learned != self.max_tokens_fields {
                ops.extend(state_op(MAX_TOKENS_FIELDS_STATE, &learned));
                self.max_tokens_fields = learned;
            }
        }
        if self.is_dirty && (at_once || self.saved_at.elapsed() > STATE_SAVE_INTERVAL) {
            ops.extend(state_op(SCHEDULER_STATE, &scheduler.saved_state(now, &self.fingerprints)));
            self.is_dirty = false;
            self.saved_at = Instant::now();
        }
        ops
    }
}

/// The op that saves a state under a name.
fn state_op(name: &str, state: &impl Serialize) -> Option<Op> {
    serde_json::to_string(state)
        .inspect_err(|error| tracing::error!("can't save the state {name}: {error}"))
        .ok()
        .map(|json| Op::SetState { name: name.to_owned(), json })
}
