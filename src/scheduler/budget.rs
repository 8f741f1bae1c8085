//! Money caps: of the run in total, per day, and per key.
//!
//! The worst case counts: the cost of the longest possible answer is reserved before a request is sent, so that a cap is
//! not exceeded. Days are UTC days, and only this run's spending counts.

use crate::{
    domain::{KeyId, Money, Now, QuotaDay, SpendLimits, WallTime},
    forecast::{BudgetCap, BudgetInput},
};

use super::admission::Admission;

/// The run's spent, reserved and at-risk amounts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RunSpend {
    pub spent: Money,
    pub reserved: Money,
    pub at_risk: Money,
}

impl RunSpend {
    /// Spent, or possibly spent, or reserved.
    pub fn committed(self) -> Money {
        self.spent + self.reserved + self.at_risk
    }
}

/// All money of a run.
#[derive(Debug)]
pub struct RunBudget {
    spend: RunSpend,
    /// The run's cap on spending per UTC day.
    day: Budget,
    /// By key; `None` for keys without caps.
    keys: Vec<Option<Box<Budget>>>,
}

impl RunBudget {
    pub fn new(max_usd_per_day: Option<Money>, keys: impl Iterator<Item = SpendLimits>) -> Self {
        Self {
            spend: RunSpend::default(),
            day: Budget::new(SpendLimits { max_usd: None, max_usd_per_day }),
            keys: keys.map(|caps| Some(Box::new(Budget::new(caps))).filter(|budget| budget.is_capped())).collect(),
        }
    }

    pub const fn spend(&self) -> RunSpend {
        self.spend
    }

    pub const fn day(&self) -> &Budget {
        &self.day
    }

    /// The budget of a key; `None` if it has no caps.
    pub fn key(&self, key: KeyId) -> Option<&Budget> {
        self.keys[key.index()].as_deref()
    }

    /// Whether a worst case fits all caps: `max_usd` of the run, the day's and the key's.
    pub fn admission(&self, now: Now, max_usd: Option<Money>, key: KeyId, worst_case: Money) -> Admission {
        if max_usd.is_some_and(|cap| self.spend.committed() + worst_case > cap) {
            return Admission::Never;
        }
        let day = self.day.admission(now.wall, worst_case);
        self.key(key).map_or(day, |budget| day.and(budget.admission(now.wall, worst_case), now))
    }

    /// The day's budget, and that of a key if it has caps.
    fn budgets_mut(&mut self, key: Option<KeyId>) -> impl Iterator<Item = &mut Budget> {
        let of_key = key.and_then(|key| self.keys[key.index()].as_deref_mut());
        [&mut self.day].into_iter().chain(of_key)
    }

    pub fn reserve(&mut self, key: KeyId, worst_case: Money) {
        self.spend.reserved += worst_case;
        self.budgets_mut(Some(key)).for_each(|budget| budget.reserved += worst_case);
    }

    /// Replaces a reservation by the cost of the attempt, and what else it may have cost.
    pub fn commit(&mut self, now: Now, key: KeyId, reserved: Money, cost: Money, at_risk: Money) {
        self.spend.reserved = self.spend.reserved.saturating_sub(reserved);
        self.spend.spent += cost;
        self.spend.at_risk += at_risk;
        self.budgets_mut(Some(key)).for_each(|budget| budget.commit(now.wall, reserved, cost + at_risk));
    }

    /// Sets what earlier processes spent.
    pub const fn resume_from(&mut self, spent: Money, at_risk: Money) {
        self.spend = RunSpend { spent, reserved: Money::ZERO, at_risk };
    }

    /// Adds money that an earlier process spent or may have spent: to the day's budget, and to the key's if it still
    /// exists. Calls must come in time order.
    pub fn restore_spend(&mut self, now: Now, key: Option<KeyId>, at: WallTime, committed: Money) {
        self.budgets_mut(key).for_each(|budget| budget.restore_spend(now.wall, at, committed));
    }
}

/// Caps of one key or of the day, and what is committed against them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Budget {
    caps: SpendLimits,
    /// Spent or at risk.
    committed: Money,
    reserved: Money,
    /// Spent or at risk in the day that ends at `day_ends_at`.
    committed_today: Money,
    day_ends_at: WallTime,
}

impl Budget {
    pub fn new(caps: SpendLimits) -> Self {
        Self { caps, ..Self::default() }
    }

    pub const fn is_capped(&self) -> bool {
        self.caps.max_usd.is_some() || self.caps.max_usd_per_day.is_some()
    }

    fn committed_today(&self, now: WallTime) -> Money {
        if now < self.day_ends_at { self.committed_today } else { Money::ZERO }
    }

    /// The caps and what may still be committed once the requests in flight have cost `in_flight`, for the forecast.
    pub fn forecast_input(&self, now: WallTime, in_flight: Money) -> BudgetInput {
        BudgetInput {
            total: BudgetCap::new(self.caps.max_usd, self.committed + in_flight),
            day: BudgetCap::new(self.caps.max_usd_per_day, self.committed_today(now) + in_flight),
        }
    }

    pub fn admission(&self, now: WallTime, worst_case: Money) -> Admission {
        if self.caps.max_usd.is_some_and(|cap| self.committed + self.reserved + worst_case > cap) {
            return Admission::Never;
        }
        let Some(cap) = self.caps.max_usd_per_day else { return Admission::Now };
        if self.committed_today(now) + self.reserved + worst_case <= cap {
            return Admission::Now;
        }
        match QuotaDay::Utc.next_reset(now) {
            Some(midnight) if worst_case <= cap => Admission::at_wall(midnight),
            _ => Admission::Never,
        }
    }

    /// Replaces a reservation by the committed amount: spent or at risk.
    fn commit(&mut self, now: WallTime, reserved: Money, committed: Money) {
        self.reserved = self.reserved.saturating_sub(reserved);
        self.restore_spend(now, now, committed);
    }

    /// Adds what was committed at `at`. Calls must come in time order.
    fn restore_spend(&mut self, now: WallTime, at: WallTime, committed: Money) {
        self.committed += committed;
        let day_end = QuotaDay::Utc.next_reset(now);
        if at == now || QuotaDay::Utc.next_reset(at) == day_end {
            self.committed_today = self.committed_today(now) + committed;
            self.day_ends_at = day_end.unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usd(amount: f64) -> Money {
        Money::from_usd(amount).unwrap()
    }

    #[test]
    fn a_daily_cap_resets_at_utc_midnight_and_a_total_cap_never() {
        let (evening, midnight) =
            (WallTime::from_unix_seconds(1_795_302_000), WallTime::from_unix_seconds(1_795_305_600));
        let caps = SpendLimits { max_usd: Some(usd(3.0)), max_usd_per_day: Some(usd(2.0)) };
        let mut budget = Budget::new(caps);
        budget.reserved = usd(1.5);
        assert_eq!(budget.admission(evening, usd(0.5)), Admission::Now);
        assert_eq!(budget.admission(evening, usd(0.6)), Admission::at_wall(midnight));
        budget.commit(evening, usd(1.5), usd(1.2));
        assert_eq!(budget.admission(evening, usd(0.8)), Admission::Now);
        assert_eq!(budget.admission(evening, usd(0.9)), Admission::at_wall(midnight));
        assert_eq!(budget.admission(midnight, usd(1.8)), Admission::Now);
        assert_eq!(budget.admission(midnight, usd(1.9)), Admission::Never, "over the total");
        assert_eq!(budget.admission(midnight, usd(2.1)), Admission::Never, "no day is large enough");
    }
}
