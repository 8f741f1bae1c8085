//! The items in memory that have not ended: their requests, and the attempt of each that is in flight.

use std::{collections::HashMap, sync::Arc};

use tokio::task::AbortHandle;

use crate::{
    domain::{AttemptId, ItemSpec, Now, Seq, WallTime},
    scheduler::PlannedAttempt,
};

/// Number of requests of one item that are given up because their provider is silent.
const MAX_GIVEN_UP_REQUESTS: u32 = 2;

/// An attempt in flight.
#[derive(Debug)]
pub(super) struct SentAttempt {
    pub planned: PlannedAttempt,
    pub sent_at: Now,
    pub abort_handle: AbortHandle,
}

/// Everything known of one item.
#[derive(Debug)]
struct ItemEntry {
    spec: Arc<ItemSpec>,
    /// Time of its first attempt.
    first_sent_at: Option<WallTime>,
    /// The paragraph for its next request about the last answer, which failed a check.
    explanation: Option<String>,
    sent: Option<SentAttempt>,
    /// Requests of it that were given up because its provider was silent.
    given_up_requests: u32,
    /// The operator has given up on it, so it is not sent again.
    is_given_up: bool,
}

/// Loaded items, waiting or in flight.
#[derive(Debug, Default)]
pub(super) struct ItemTable {
    entries: HashMap<Seq, ItemEntry>,
    in_flight: usize,
    /// The attempt that was sent last.
    last_planned: Option<PlannedAttempt>,
}

impl ItemTable {
    pub fn insert(&mut self, seq: Seq, spec: ItemSpec, first_sent_at: Option<WallTime>, explanation: Option<String>) {
        let entry = ItemEntry {
            spec: Arc::new(spec),
            first_sent_at,
            explanation,
            sent: None,
            given_up_requests: 0,
            is_given_up: false,
        };
        let previous = self.entries.insert(seq, entry);
        debug_assert!(previous.is_none_or(|entry| entry.sent.is_none()), "an item in flight was loaded again");
    }

    pub fn spec(&self, seq: Seq) -> Option<&Arc<ItemSpec>> {
        self.entries.get(&seq).map(|entry| &entry.spec)
    }

    /// Removes an item that has ended. Returns its request, and the time of its first attempt.
    pub fn remove(&mut self, seq: Seq) -> Option<(Arc<ItemSpec>, Option<WallTime>)> {
        self.entries.remove(&seq).map(|entry| (entry.spec, entry.first_sent_at))
    }

    /// Records that an attempt of the item was sent.
    pub fn set_sent(&mut self, sent: SentAttempt) {
        if let Some(entry) = self.entries.get_mut(&sent.planned.seq) {
            debug_assert!(entry.sent.is_none(), "an item was sent twice");
            self.last_planned = Some(sent.planned.clone());
            entry.sent = Some(sent);
            self.in_flight += 1;
        }
    }

    /// Takes the item's attempt in flight, if it is this one. It has ended.
    pub fn take_sent(&mut self, seq: Seq, attempt: AttemptId) -> Option<SentAttempt> {
        let sent = &mut self.entries.get_mut(&seq)?.sent;
        let taken = sent.take_if(|sent| sent.planned.attempt == attempt)?;
        self.in_flight -= 1;
        Some(taken)
    }

    /// Records that the item will be sent again, after its attempt at `sent_at`.
    pub fn set_first_sent(&mut self, seq: Seq, sent_at: WallTime) {
        if let Some(entry) = self.entries.get_mut(&seq) {
            entry.first_sent_at.get_or_insert(sent_at);
        }
    }

    /// Sets the paragraph for the item's next request about its last answer, which failed a check.
    pub fn set_explanation(&mut self, seq: Seq, explanation: Option<String>) {
        if let Some(entry) = self.entries.get_mut(&seq) {
            entry.explanation = explanation;
        }
    }

    /// Counts a request of the item that is given up because its provider is silent.
    pub fn count_given_up(&mut self, seq: Seq) {
        if let Some(entry) = self.entries.get_mut(&seq) {
            entry.given_up_requests += 1;
        }
    }

    /// Whether a request of the item may be given up because its provider is silent. An item that has lost several
    /// requests may be one that no provider answers, so the last one waits until it times out.
    pub fn may_give_up(&self, seq: Seq) -> bool {
        self.entries.get(&seq).is_some_and(|entry| entry.given_up_requests < MAX_GIVEN_UP_REQUESTS)
    }

    /// Records that the operator has given up on the items for which `is_meant` holds.
    pub fn give_up(&mut self, is_meant: impl Fn(Seq) -> bool) {
        let meant = self.entries.iter_mut().filter(|(seq, _)| is_meant(**seq));
        meant.for_each(|(_, entry)| entry.is_given_up = true);
    }

    pub fn is_given_up(&self, seq: Seq) -> bool {
        self.entries.get(&seq).is_some_and(|entry| entry.is_given_up)
    }

    pub fn explanation(&self, seq: Seq) -> Option<&str> {
        self.entries.get(&seq)?.explanation.as_deref()
    }

    pub const fn last_planned(&self) -> Option<&PlannedAttempt> {
        self.last_planned.as_ref()
    }

    pub const fn in_flight_count(&self) -> usize {
        self.in_flight
    }

    pub fn sent(&self) -> impl Iterator<Item = &SentAttempt> {
        self.entries.values().filter_map(|entry| entry.sent.as_ref())
    }

    /// The loaded item of this id, and its attempt in flight, if it has one.
    pub fn find(&self, id: &str) -> Option<(Seq, Option<AttemptId>)> {
        let (seq, entry) = self.entries.iter().find(|(_, entry)| entry.spec.id == id)?;
        Some((*seq, entry.sent.as_ref().map(|sent| sent.planned.attempt)))
    }

    /// The attempts in flight, in the order in which they were planned.
    pub fn in_flight(&self) -> Vec<(AttemptId, Seq)> {
        let mut attempts: Vec<_> = self.sent().map(|sent| (sent.planned.attempt, sent.planned.seq)).collect();
        attempts.sort_unstable();
        attempts
    }
}
