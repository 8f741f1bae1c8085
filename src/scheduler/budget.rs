//! Money caps apart from the run's total cap: per key, and per day.
//!
//! As for the run's cap, the worst case counts: the cost of the longest possible answer is reserved before a request is
//! sent, so that a cap is not exceeded. Days are UTC days, and only this run's spending counts.

use crate::{
    domain::{Money, Now, QuotaDay, RouteId, SpendLimits, WallTime},
    forecast::{BudgetCap, BudgetInput},
};

use super::{QueuedItem, Scheduler, admission::Admission, availability::Availability};

/// Money caps and what is committed against them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Budget {
    pub caps: SpendLimits,
    /// Spent or at risk.
    committed: Money,
    reserved: Money,
    /// Spent or at risk in the day that ends at `day_ends_at`.
    committed_today: Money,
    day_ends_at: WallTime,
}

impl Budget {
    pub const fn new(caps: SpendLimits) -> Self {
        Self {
            caps,
            committed: Money::ZERO,
            reserved: Money::ZERO,
            committed_today: Money::ZERO,
            day_ends_at: WallTime(0),
        }
    }

    pub const fn is_capped(&self) -> bool {
        self.caps.max_usd.is_some() || self.caps.max_usd_per_day.is_some()
    }

    fn committed_today(&self, now: WallTime) -> Money {
        if now < self.day_ends_at { self.committed_today } else { Money::ZERO }
    }

    /// The caps and what may still be committed, for the forecast.
    pub fn forecast_input(&self, now: WallTime) -> BudgetInput {
        BudgetInput {
            total: BudgetCap::new(self.caps.max_usd, self.committed + self.reserved),
            day: BudgetCap::new(self.caps.max_usd_per_day, self.committed_today(now) + self.reserved),
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

    pub fn reserve(&mut self, worst_case: Money) {
        self.reserved += worst_case;
    }

    /// Replaces a reservation by the committed amount: spent or at risk.
    pub fn commit(&mut self, now: WallTime, reserved: Money, committed: Money) {
        self.reserved = self.reserved.saturating_sub(reserved);
        self.restore_spend(now, now, committed);
    }

    /// Adds what was committed at `at`. Calls must come in time order.
    pub fn restore_spend(&mut self, now: WallTime, at: WallTime, committed: Money) {
        self.committed += committed;
        if QuotaDay::Utc.next_reset(at) == QuotaDay::Utc.next_reset(now) {
            self.committed_today = self.committed_today(now) + committed;
            self.day_ends_at = QuotaDay::Utc.next_reset(now).unwrap_or_default();
        }
    }
}

impl Scheduler {
    /// Whether the item's worst case on this route fits all money caps.
    pub(super) fn budget_admission(&self, now: Now, id: RouteId, item: &QueuedItem) -> Admission {
        let worst_case = self.worst_case_cost(id, item);
        let run_spend = self.run_spend;
        let committed = run_spend.spent + run_spend.reserved + run_spend.at_risk;
        if self.policy.max_usd.is_some_and(|cap| committed + worst_case > cap) {
            return Admission::Never;
        }
        let key = &self.keys[self.routes[id.index()].key];
        self.day_budget.admission(now.wall, worst_case).and(key.budget.admission(now.wall, worst_case), now)
    }

    /// Whether the route has enough money and daily tokens left for this item.
    pub(super) fn quota_admission(&self, now: Now, id: RouteId, item: &QueuedItem) -> Admission {
        let pool = &self.pools[self.routes[id.index()].pool];
        let day = match pool.daily_token_availability(now, self.token_estimate(id, item)) {
            Availability::DailyLimitReached { until, .. } => Admission::at_wall(until),
            _ => Admission::Now,
        };
        self.budget_admission(now, id, item).and(day, now)
    }

    /// Like [`Scheduler::quota_admission`], but `None` if the route can never serve the item.
    pub(super) fn eligibility(&self, now: Now, id: RouteId, item: &QueuedItem) -> Option<Admission> {
        self.ineligibility(id, item).is_none().then(|| self.quota_admission(now, id, item))
    }

    /// Whether the money and daily tokens left allow the use of this route, apart from its availability. `Now` if a
    /// waiting item that may use it fits, or else a later day on which one fits, or `Never`. `None` if no waiting item
    /// may use it.
    pub(super) fn best_admission(&self, now: Now, id: RouteId) -> Option<Admission> {
        let mut best = None;
        let classes = self.classes.iter().enumerate().filter(|(_, class)| class.rank(id).is_some());
        for (index, class) in classes {
            if class.backlog > 0 && class.pending.is_empty() && class.has_capacity() {
                // More items are being loaded.
                return Some(Admission::Now);
            }
            let delayed = self.backing_off.values().filter(|(class, _)| *class == index).map(|(_, item)| item);
            for admission in class.items().chain(delayed).filter_map(|item| self.eligibility(now, id, item)) {
                match (admission, best) {
                    (Admission::Now, _) => return Some(Admission::Now),
                    (Admission::Never, Some(_)) => {}
                    (later, _) => best = Some(later),
                }
            }
        }
        best
    }

    /// The lowest worst-case cost of any waiting item on the ready routes that can serve it. If no route is ready, the
    /// routes that will become ready again count.
    pub(super) fn min_worst_case(&self, now: Now) -> Option<Money> {
        let routes = (0..self.routes.len() as u32).map(RouteId);
        let (mut ready, mut unavailable): (Option<Money>, Option<Money>) = (None, None);
        for id in routes {
            let min_cost = match self.availability(now, id) {
                Availability::SwitchedOff { .. } | Availability::Disabled(_) => continue,
                Availability::Ready => &mut ready,
                _ => &mut unavailable,
            };
            *min_cost = (*min_cost).into_iter().chain(self.min_worst_case_on(id)).min();
        }
        ready.or(unavailable)
    }

    fn min_worst_case_on(&self, id: RouteId) -> Option<Money> {
        let classes = self.classes.iter().enumerate().filter(|(_, class)| class.rank(id).is_some());
        let items = classes.flat_map(|(index, class)| {
            let delayed = self.backing_off.values().filter(move |(class, _)| *class == index).map(|(_, item)| item);
            class.items().chain(delayed)
        });
        items.filter(|item| self.ineligibility(id, item).is_none()).map(|item| self.worst_case_cost(id, item)).min()
    }

    /// Adds money that an earlier process spent or may have spent: to the day's budget, and to that of the key of this
    /// name if it still exists. Calls must come in time order.
    pub fn restore_spend(&mut self, now: Now, key: &str, at: WallTime, committed: Money) {
        self.day_budget.restore_spend(now.wall, at, committed);
        if let Some(state) = self.keys.iter_mut().find(|state| state.key.name == key) {
            state.budget.restore_spend(now.wall, at, committed);
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
        budget.reserve(usd(1.5));
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
