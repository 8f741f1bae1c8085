//! Failures of a provider one after another.

use crate::domain::{Outcome, WallTime};

/// Requests to a provider that failed one after another, without any other response in between.
#[derive(Clone, Copy, Debug)]
pub struct FailureStreak {
    /// When the first of them failed.
    pub since: WallTime,
    pub requests: u64,
    /// The outcome and HTTP status of the last of them.
    pub last: (Outcome, Option<u16>),
}

impl FailureStreak {
    /// Adds a failed request to the streak in `slot`.
    pub fn extend(slot: &mut Option<Self>, now: WallTime, outcome: Outcome, status: Option<u16>) {
        let last = (outcome, status);
        let streak = slot.get_or_insert(Self { since: now, requests: 0, last });
        streak.requests += 1;
        streak.last = last;
    }
}
