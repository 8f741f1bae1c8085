//! The money caps of a key, for the state that is shown: whether the money left is too little for another request.
//!
//! The scheduler enforces the caps. This part only describes them, from what is on disk.

use crate::{
    domain::{
        Key, Money, Now, QuotaDay, SpendLimits, WallTime,
        snapshot::{BUDGET_REACHED, Condition},
    },
    scheduler::{KeyStatus, Scheduler},
    store::KeyRecord,
};

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KeyBudget {
    limits: SpendLimits,
    /// Spent or at risk over the whole run.
    committed: Money,
    /// Spent or at risk in the UTC day that ends at `day_ends_at`.
    committed_today: Money,
    day_ends_at: WallTime,
    /// The lowest worst-case cost of a request that was sent with the key; `None` before the first one.
    min_cost: Option<Money>,
}

impl KeyBudget {
    /// `min_cost` is from an earlier process.
    pub fn new(limits: SpendLimits, min_cost: Option<Money>) -> Self {
        Self { limits, min_cost, ..Self::default() }
    }

    /// Adds what an attempt that ended at `at` has cost or may have cost. Calls must come in time order.
    pub fn add(&mut self, now: WallTime, at: WallTime, amount: Money) {
        self.committed += amount;
        let day_end = QuotaDay::Utc.next_reset(now);
        if QuotaDay::Utc.next_reset(at) == day_end {
            self.committed_today = self.committed_today(now) + amount;
            self.day_ends_at = day_end.unwrap_or_default();
        }
    }

    /// Records the worst-case cost of a request that is sent.
    pub fn record_request(&mut self, max_cost: Money) {
        self.min_cost = Some(self.min_cost.map_or(max_cost, |min_cost| min_cost.min(max_cost)));
    }

    pub const fn min_cost(&self) -> Option<Money> {
        self.min_cost
    }

    /// The condition to show instead of `condition`: a key at its cap can't be used, whatever its limits say.
    pub fn apply_to(&self, now: Now, condition: Condition) -> Condition {
        if matches!(condition, Condition::Disabled { .. } | Condition::SwitchedOff { .. }) {
            return condition;
        }
        let min_cost = self.min_cost.unwrap_or(Money(1));
        let is_reached =
            |cap: Option<Money>, committed: Money| cap.is_some_and(|cap| min_cost > cap.saturating_sub(committed));
        let until = if is_reached(self.limits.max_usd, self.committed) {
            None
        } else if is_reached(self.limits.max_usd_per_day, self.committed_today(now.wall)) {
            QuotaDay::Utc.next_reset(now.wall)
        } else {
            return condition;
        };
        Condition::Limited { limit: BUDGET_REACHED.to_owned(), until }
    }

    fn committed_today(&self, now: WallTime) -> Money {
        if now < self.day_ends_at { self.committed_today } else { Money::ZERO }
    }
}

/// The state of the keys, with the money caps that are reached.
pub(super) fn key_statuses(now: Now, scheduler: &Scheduler, budgets: &[KeyBudget]) -> Vec<KeyStatus> {
    let statuses = scheduler.key_statuses(now).into_iter().zip(budgets);
    statuses.map(|(status, budget)| KeyStatus { condition: budget.apply_to(now, status.condition), ..status }).collect()
}

/// The state of the keys for `status` in another process.
pub(super) fn key_records(now: Now, scheduler: &Scheduler, keys: &[Key], budgets: &[KeyBudget]) -> Vec<KeyRecord> {
    let statuses = key_statuses(now, scheduler, budgets);
    let records = keys.iter().zip(statuses).zip(budgets).map(|((key, status), budget)| KeyRecord {
        name: key.name.clone(),
        state: status.condition.name().to_owned(),
        // The end of a wait on the monotonic clock differs by microseconds from one reading to the next.
        until: status.condition.until().map(WallTime::rounded_up_to_seconds),
        health: status.health,
        min_cost: budget.min_cost(),
    });
    records.collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::MonoTime;

    /// 2026-11-21T20:00:00Z
    const EVENING: WallTime = WallTime::from_unix_seconds(1_795_291_200);
    const MIDNIGHT: WallTime = WallTime::from_unix_seconds(1_795_305_600);

    fn usd(amount: f64) -> Money {
        Money::from_usd(amount).unwrap()
    }

    fn shown(budget: &KeyBudget, wall: WallTime, condition: Condition) -> Condition {
        budget.apply_to(Now { mono: MonoTime::default(), wall }, condition)
    }

    fn reached(until: Option<WallTime>) -> Condition {
        Condition::Limited { limit: BUDGET_REACHED.to_owned(), until }
    }

    #[test]
    fn a_cap_is_reached_when_no_request_fits_any_more() {
        let mut budget = KeyBudget::new(SpendLimits { max_usd: Some(usd(1.0)), max_usd_per_day: None }, None);
        assert_eq!(shown(&budget, EVENING, Condition::Ready), Condition::Ready, "a key never used");
        budget.record_request(usd(0.3));
        budget.record_request(usd(0.4));
        budget.add(EVENING, EVENING, usd(0.7));
        assert_eq!(shown(&budget, EVENING, Condition::Ready), Condition::Ready, "one more fits");
        budget.add(EVENING, EVENING, usd(0.1));
        assert_eq!(shown(&budget, EVENING, Condition::Ready), reached(None));
        let off = Condition::SwitchedOff { since: EVENING };
        assert_eq!(shown(&budget, EVENING, off.clone()), off);
        let uncapped = KeyBudget { limits: SpendLimits::default(), ..budget };
        assert_eq!(shown(&uncapped, EVENING, Condition::Ready), Condition::Ready);
    }

    #[test]
    fn a_daily_cap_is_reached_until_midnight() {
        let caps = SpendLimits { max_usd: None, max_usd_per_day: Some(usd(1.0)) };
        let mut budget = KeyBudget::new(caps, Some(usd(0.3)));
        budget.add(EVENING, EVENING - Duration::from_hours(24), usd(0.9));
        assert_eq!(shown(&budget, EVENING, Condition::Ready), Condition::Ready, "that was yesterday");
        budget.add(EVENING, EVENING, usd(0.8));
        assert_eq!(shown(&budget, EVENING, Condition::Ready), reached(Some(MIDNIGHT)));
        assert_eq!(shown(&budget, MIDNIGHT, Condition::Ready), Condition::Ready);
    }
}
