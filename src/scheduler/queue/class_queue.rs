//! The waiting items of one class, in input order. Items that were sent or blocked before come first.

use std::collections::VecDeque;

use smallvec::SmallVec;

use crate::domain::{PoolId, Seq};

use super::item::QueuedItem;

/// The items of one class. They may use the same routes.
#[derive(Debug, Default)]
pub struct ClassQueue {
    /// Neither sent nor blocked yet, in input order.
    pending: VecDeque<QueuedItem>,
    /// Checked before `pending`: items that were sent before, and items that were blocked until something changed.
    retries: VecDeque<QueuedItem>,
    /// Blocked when last checked, and not checked again until something changes. Holds retries, and also untried items
    /// that could not use a ready route because of their own requirements. Other items may overtake those.
    blocked: VecDeque<QueuedItem>,
    /// The readiness version when `blocked` was last moved to `retries`.
    blocked_at_version: u64,
    /// The untried item that was last found blocked because of its own requirements; `None` after a change. Items with
    /// the same requirements and at least as many input tokens are blocked too.
    last_blocked: Option<QueuedItem>,
    /// Pools whose token room is claimed by an item that has aged. No other item may take it.
    aged_claims: SmallVec<[(PoolId, Seq); 4]>,
    /// Whether an item has yielded a probe to others since the last full check.
    pub has_yielded_turn: bool,
    /// Number of waiting items that are not loaded yet.
    pub backlog: u64,
    /// The readiness version at which no item of this class could be sent.
    stuck_at_version: Option<u64>,
}

/// The number of items at the head of a queue that are checked to find one that can be sent.
pub const LOOKAHEAD: usize = 32;

/// While `blocked` of a class holds this many items, no further untried item is added to it.
const MAX_BLOCKED: usize = 1_024;

/// While a class has this many retries and blocked items, no more items are loaded, to bound memory.
const MAX_TRIED: usize = 16_384;

impl ClassQueue {
    /// Adds an item that was neither sent nor blocked before.
    pub fn push(&mut self, item: QueuedItem) {
        self.pending.push_back(item);
        self.stuck_at_version = None;
    }

    /// Adds an item that was sent before.
    pub fn push_retry(&mut self, item: QueuedItem) {
        self.retries.push_back(item);
        self.stuck_at_version = None;
    }

    /// Adds an item whose turn it was: it is checked next.
    pub fn push_front(&mut self, item: QueuedItem) {
        self.retries.push_front(item);
        self.stuck_at_version = None;
    }

    /// Puts an item that gave up its turn for another one back to its place.
    pub fn put_back(&mut self, item: QueuedItem) {
        if item.retry_state.is_some() {
            self.retries.push_front(item);
        } else {
            let position = self.pending.iter().take_while(|other| other.seq < item.seq).count();
            self.pending.insert(position, item);
        }
    }

    pub fn pop_retry(&mut self) -> Option<QueuedItem> {
        self.retries.pop_front()
    }

    pub fn retry_count(&self) -> usize {
        self.retries.len()
    }

    pub fn pending_count(&self) -> usize {
        self.pending.len()
    }

    /// The pending item at a position.
    pub fn pending_at(&self, position: usize) -> Option<&QueuedItem> {
        self.pending.get(position)
    }

    pub fn remove_pending(&mut self, position: usize) -> Option<QueuedItem> {
        self.pending.remove(position)
    }

    pub fn insert_pending(&mut self, position: usize, item: QueuedItem) {
        self.pending.insert(position, item);
    }

    pub fn pending(&self) -> impl Iterator<Item = &QueuedItem> {
        self.pending.iter()
    }

    /// The pending items near the head.
    pub fn next_pending(&self) -> impl Iterator<Item = &QueuedItem> {
        self.pending().take(LOOKAHEAD)
    }

    pub fn loaded_count(&self) -> usize {
        self.pending.len() + self.retries.len() + self.blocked.len()
    }

    /// The item whose position in the input decides when this class is polled.
    pub fn first_item(&self) -> Option<&QueuedItem> {
        self.retries.front().or(self.blocked.front()).or(self.pending.front())
    }

    pub fn items(&self) -> impl Iterator<Item = &QueuedItem> {
        self.pending.iter().chain(self.tried_items())
    }

    /// Items that were checked or sent before.
    pub fn tried_items(&self) -> impl Iterator<Item = &QueuedItem> {
        self.retries.iter().chain(&self.blocked)
    }

    /// Whether no item could be sent at this readiness version, so that a check is pointless.
    pub fn is_stuck(&self, version: u64) -> bool {
        self.stuck_at_version == Some(version)
    }

    /// Records that no item could be sent. If an item has yielded a probe, the class is checked again nevertheless.
    pub fn mark_nothing_sendable(&mut self, version: u64) {
        self.stuck_at_version = Some(version).filter(|_| !self.has_yielded_turn);
    }

    /// Records that the class's routes have changed, so that it must be checked again.
    pub fn mark_changed(&mut self) {
        self.stuck_at_version = None;
    }

    /// Makes blocked items retries again if `version` shows that something may have changed since.
    pub fn requeue_blocked_if_changed(&mut self, version: u64) {
        if self.blocked_at_version != version {
            self.blocked_at_version = version;
            self.requeue_blocked();
        }
    }

    /// Appends blocked items to the retries. They come after items that were not checked yet, so that each item is
    /// checked in turn however often something changes.
    pub fn requeue_blocked(&mut self) {
        self.aged_claims.clear();
        self.last_blocked = None;
        self.retries.append(&mut self.blocked);
    }

    /// Claims the token room of a pool for an item that has aged.
    pub fn claim(&mut self, pool: PoolId, seq: Seq) {
        self.aged_claims.push((pool, seq));
    }

    /// Whether another item that has aged claims the token room of this pool.
    pub fn is_claimed_by_other(&self, pool: PoolId, seq: Seq) -> bool {
        self.aged_claims.iter().any(|(claimed, claimant)| *claimed == pool && *claimant != seq)
    }

    /// Drops the claims of an item that is sent now. True if it had any: then items blocked by them must be checked
    /// again.
    pub fn drop_claims(&mut self, seq: Seq) -> bool {
        let claim_count = self.aged_claims.len();
        self.aged_claims.retain(|(_, claimant)| *claimant != seq);
        self.aged_claims.len() < claim_count
    }

    /// Removes the waiting items for which `keep` returns false.
    pub fn retain(&mut self, mut keep: impl FnMut(&QueuedItem) -> bool) {
        self.aged_claims.clear();
        for queue in [&mut self.pending, &mut self.retries, &mut self.blocked] {
            queue.retain(&mut keep);
        }
    }

    pub fn block(&mut self, item: QueuedItem) {
        self.blocked.push_back(item);
    }

    /// Remembers an untried item that only its own requirements keep from every ready route, unless the remembered one
    /// covers it.
    pub fn remember_blocked(&mut self, item: &QueuedItem) {
        if item.retry_state.is_none() && !self.is_known_blocked(item) {
            self.last_blocked = Some(item.clone());
        }
    }

    /// Whether a check of this item would fail as it did for the remembered one, since cost and tokens only grow with
    /// the input.
    pub fn is_known_blocked(&self, item: &QueuedItem) -> bool {
        let has_same_requirements = |blocked: &QueuedItem| {
            item.max_output_tokens == blocked.max_output_tokens
                && item.cost_factors == blocked.cost_factors
                && item.max_usd == blocked.max_usd
                && item.unsupported_apis == blocked.unsupported_apis
        };
        let is_covered_by = |blocked: &QueuedItem| {
            item.retry_state.is_none() && item.input_tokens >= blocked.input_tokens && has_same_requirements(blocked)
        };
        self.last_blocked.as_ref().is_some_and(is_covered_by)
    }

    /// Whether more items may be loaded: not while too many retries and blocked items are in memory.
    pub fn has_capacity(&self) -> bool {
        self.retries.len() + self.blocked.len() < MAX_TRIED
    }

    /// Whether one more untried item may be blocked and overtaken. Blocked items stay in memory, so their number is
    /// limited.
    pub fn can_block_more(&self) -> bool {
        self.blocked.len() < MAX_BLOCKED
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{CostFactors, MonoTime};

    fn item(input_tokens: u64) -> QueuedItem {
        QueuedItem {
            seq: Seq(1),
            input_tokens,
            max_output_tokens: None,
            cost_factors: CostFactors::default(),
            max_usd: None,
            is_caption: false,
            unsupported_apis: SmallVec::new(),
            waiting_since: MonoTime::default(),
            retry_state: None,
        }
    }

    #[test]
    fn the_smallest_blocked_item_is_remembered() {
        let mut queue = ClassQueue::default();
        for input_tokens in [200, 100, 300] {
            queue.remember_blocked(&item(input_tokens));
        }
        assert!(queue.is_known_blocked(&item(100)) && !queue.is_known_blocked(&item(99)));
    }
}
