//! Fault attribution: decides from other results whether the item or the key caused a failure.
//!
//! A key is penalized only while another key at the same model succeeds, and once per item. If the same item fails with
//! the same outcome on a second project, the item is at fault and the penalties are refunded. If several different
//! items fail on one key without a success in between, the key is at fault: the breakers of all its routes open, and
//! each route comes back through a probe.

use std::time::Duration;

use smallvec::SmallVec;

use crate::domain::{KeyId, MonoTime, Outcome, ProjectId, Seq};

/// How long a success or a failure counts as evidence.
pub const EVIDENCE_WINDOW: Duration = Duration::from_secs(60);

/// Number of different items that must fail on a key before its breakers open.
pub const MIN_FAILING_ITEMS: usize = 5;

/// One health penalty of a key that a failure of this item caused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HealthPenalty {
    key: KeyId,
    project: ProjectId,
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
    pub fn record(&mut self, now: MonoTime, seq: Seq) -> bool {
        self.0.retain(|(other, at)| *other != seq && now.since(*at) < EVIDENCE_WINDOW);
        self.0.push((seq, now));
        self.0.len() >= MIN_FAILING_ITEMS
    }

    /// Forgets all failures, after a success of the key.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// The party at fault for a failure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The item's, as is known from earlier failures.
    Item,
    /// The item's, as this failure shows: it failed alike on another key before. The penalties of these keys are
    /// refunded.
    ItemProven { failed_alike_on: KeyId, refunded: SmallVec<[KeyId; 2]> },
    /// Perhaps the key's.
    Key {
        /// Whether the key is to be penalized: it is the item's first failure there.
        is_first: bool,
    },
}

impl HealthPenalties {
    /// Attributes one more failure of this item, on a key of a project.
    pub fn attribute(&mut self, key: KeyId, project: ProjectId, outcome: Outcome) -> Fault {
        if self.is_item_at_fault {
            return Fault::Item;
        }
        let is_same_elsewhere = |penalty: &&HealthPenalty| penalty.outcome == outcome && penalty.project != project;
        if let Some(earlier) = self.applied.iter().find(is_same_elsewhere) {
            let failed_alike_on = earlier.key;
            self.is_item_at_fault = true;
            let refunded = std::mem::take(&mut self.applied).into_iter().map(|penalty| penalty.key).collect();
            return Fault::ItemProven { failed_alike_on, refunded };
        }
        let is_first = self.applied.iter().all(|penalty| penalty.key != key);
        if is_first {
            self.applied.push(HealthPenalty { key, project, outcome });
        }
        Fault::Key { is_first }
    }
}
