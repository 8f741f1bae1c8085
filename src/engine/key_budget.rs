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
        match self.reached_cap(now.wall, self.min_cost.unwrap_or(Money(1))) {
            Some(ReachedCap { until, .. }) => Condition::Limited { limit: BUDGET_REACHED.to_owned(), until },
            None => condition,
        }
    }

    /// The cap that leaves less than `cost`, if there is one.
    fn reached_cap(&self, now: WallTime, cost: Money) -> Option<ReachedCap> {
        let reached = |cap: Option<Money>, committed: Money, until| {
            let cap = cap.filter(|cap| cost > cap.saturating_sub(committed))?;
            Some(ReachedCap { cap, committed, until })
        };
        reached(self.limits.max_usd, self.committed, None)
            .or_else(|| reached(self.limits.max_usd_per_day, self.committed_today(now), QuotaDay::Utc.next_reset(now)))
    }

    /// Says which cap leaves less than `cost`, if one does: `key bob: cap $0.50 reached ($0.498 spent or
    /// possibly billed)`.
    pub fn reached_cap_text(&self, now: WallTime, key: &str, cost: Option<Money>) -> Option<String> {
        let ReachedCap { cap, committed, until } = self.reached_cap(now, cost.or(self.min_cost).unwrap_or(Money(1)))?;
        let day = if until.is_some() { " of the day" } else { "" };
        Some(format!("key {key}: cap{day} {cap} reached ({committed} spent or possibly billed)"))
    }

    fn committed_today(&self, now: WallTime) -> Money {
        if now < self.day_ends_at { self.committed_today } else { Money::ZERO }
    }
}

/// A cap of which too little is left.
struct ReachedCap {
    cap: Money,
    /// Spent or at risk.
    committed: Money,
    /// When the day's cap begins anew; `None` for the cap of the whole run.
    until: Option<WallTime>,
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
    fn a_reached_cap_is_described_with_its_amounts() {
        let caps = SpendLimits { max_usd: Some(usd(0.5)), max_usd_per_day: Some(usd(0.4)) };
        let mut budget = KeyBudget::new(caps, None);
        budget.add(EVENING, EVENING - Duration::from_hours(24), usd(0.1));
        budget.add(EVENING, EVENING, usd(0.398));
        let text = |cost: f64| budget.reached_cap_text(EVENING, "bob", Some(usd(cost)));
        assert_eq!(text(0.001), None);
        assert_eq!(text(0.003).unwrap(), "key bob: cap $0.50 reached ($0.498 spent or possibly billed)");
        let day = KeyBudget { limits: SpendLimits { max_usd: None, ..caps }, ..budget };
        let text = day.reached_cap_text(EVENING, "bob", Some(usd(0.003))).unwrap();
        assert_eq!(text, "key bob: cap of the day $0.40 reached ($0.398 spent or possibly billed)");
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
