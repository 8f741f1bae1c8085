//! Fault attribution: decides from other results whether the item or the key caused a failure.
//!
//! A key is penalized only while another key at the same model succeeds, and once per item. If the same item fails with
//! the same outcome on a second project, the item is at fault and the penalties are refunded. If several different
//! items fail on one key without a success in between, the key is at fault: the breakers of all its routes open, and
//! each route comes back through a probe.

use smallvec::SmallVec;

use crate::domain::{EventKind, EventLevel, MonoTime, Now, Outcome, Seq, snapshot::Cause};

use super::breaker::Breaker;
use crate::scheduler::{EVIDENCE_WINDOW, Reserved, Scheduler};

/// Number of different items that must fail on a key before its breakers open.
const MIN_FAILING_ITEMS: usize = 5;

/// One health penalty of a key that a failure of this item caused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HealthPenalty {
    key: usize,
    project: usize,
    outcome: Outcome,
}

/// The health penalties that one item's failures caused.
#[derive(Clone, Debug, Default)]
pub struct HealthPenalties {
    applied: SmallVec<[HealthPenalty; 2]>,
    /// Whether the item failed with the same outcome on two projects. It then causes no more penalties.
    is_item_at_fault: bool,
}

/// The items that recently failed on a key.
#[derive(Clone, Debug, Default)]
pub struct RecentFailures(SmallVec<[(Seq, MonoTime); MIN_FAILING_ITEMS]>);

impl RecentFailures {
    /// Adds a failure. True if enough different items have failed.
    fn record(&mut self, now: MonoTime, seq: Seq) -> bool {
        self.0.retain(|(other, at)| *other != seq && now.since(*at) < EVIDENCE_WINDOW);
        self.0.push((seq, now));
        self.0.len() >= MIN_FAILING_ITEMS
    }

    /// Forgets all failures, after a success of the key.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

impl Scheduler {
    /// Attributes a provider error of `reserved` that happened while another key at the same model succeeds.
    pub(in crate::scheduler) fn attribute_fault(
        &mut self,
        now: Now,
        reserved: &mut Reserved,
        cause: &Cause,
        events: &mut Vec<EventKind>,
    ) {
        let key = self.routes[reserved.route.index()].key;
        let project = self.keys[key].project;
        let seq = reserved.item.seq;
        let penalties = &mut reserved.item.retry_state_mut().penalties;
        if penalties.is_item_at_fault {
            return;
        }
        let same_outcome_elsewhere =
            |penalty: &HealthPenalty| penalty.outcome == cause.outcome && penalty.project != project;
        if let Some(earlier) = penalties.applied.iter().copied().find(same_outcome_elsewhere) {
            penalties.is_item_at_fault = true;
            let applied = std::mem::take(&mut penalties.applied);
            for penalty in applied {
                self.keys[penalty.key].health.refund_penalty();
                self.keys[penalty.key].recent_failures.clear();
                self.update_key_stats(penalty.key);
            }
            let message = format!(
                "item {} fails on 2 keys ({}, {}; {}): item at fault, keys cleared",
                seq.0, self.keys[earlier.key].key.name, self.keys[key].key.name, cause.outcome
            );
            events.push(EventKind::Run { level: EventLevel::Info, message });
            return;
        }
        if penalties.applied.iter().all(|penalty| penalty.key != key) {
            penalties.applied.push(HealthPenalty { key, project, outcome: cause.outcome });
            self.keys[key].health.penalize();
        }
        if self.keys[key].recent_failures.record(now.mono, seq) {
            self.trip_key(now, key, cause, events);
        }
    }

    /// Opens the closed breakers of all routes of a key.
    fn trip_key(&mut self, now: Now, key: usize, cause: &Cause, events: &mut Vec<EventKind>) {
        self.keys[key].recent_failures.clear();
        let open_time = self.policy.breaker_open_time;
        let mut any_opened = false;
        for index in 0..self.keys[key].routes.len() {
            let route = self.keys[key].routes[index];
            let breaker = &mut self.routes[route.index()].breaker;
            if matches!(breaker, Breaker::Closed { .. }) {
                *breaker = Breaker::new_open(now, open_time, cause.clone());
                any_opened = true;
            }
        }
        if any_opened {
            let message =
                format!("{MIN_FAILING_ITEMS} different items failed here while other keys answered: {}", cause.message);
            let subject = format!("key {}", self.keys[key].key.name);
            events.push(EventKind::Cooldown { subject, outcome: cause.outcome, wait: Some(open_time), message });
        }
    }
}
