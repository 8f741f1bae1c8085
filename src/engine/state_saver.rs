//! Saves the scheduler's state for the next start, and the state of the keys for other processes.

use std::time::{Duration, Instant};

use super::messages::SCHEDULER_STATE;
use crate::{
    domain::Now,
    scheduler::Scheduler,
    store::{KeyRecord, Op},
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
}

impl StateSaver {
    pub fn new(fingerprints: Vec<Option<String>>) -> Self {
        let now = Instant::now();
        Self { fingerprints, is_dirty: false, saved_at: now, key_records: Vec::new(), keys_checked_at: now }
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
        }
        if self.is_dirty && (at_once || self.saved_at.elapsed() > STATE_SAVE_INTERVAL) {
            let saved_state = scheduler.saved_state(now, &self.fingerprints);
            match serde_json::to_string(&saved_state) {
                Ok(json) => ops.push(Op::SetState { name: SCHEDULER_STATE.to_owned(), json }),
                Err(error) => tracing::error!("can't save the scheduler's state: {error}"),
            }
            self.is_dirty = false;
            self.saved_at = Instant::now();
        }
        ops
    }
}
