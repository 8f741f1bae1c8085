//! A slow and independent check that no item goes to a worse route while a better one is merely in slow start.
//!
//! It looks at all candidates of an item just sent, and orders them by the words of the documentation: tiers under
//! every strategy, and models where the strategy orders them. For `balanced` it knows only the tiers.

use crate::{
    domain::{Now, RouteId, Strategy, WhenLimited},
    scheduler::{
        PlannedAttempt, QueuedItem, Scheduler,
        admission::{Admission, LimitKind},
        health::breaker::Breaker,
    },
};

impl Scheduler {
    /// A better route that the item of an attempt just planned should have waited for.
    pub(super) fn find_better_in_slow_start(&self, now: Now, planned: &PlannedAttempt) -> Option<RouteId> {
        let reservation = self.reservations.get(&planned.attempt)?;
        let (class, item) = (reservation.class, &reservation.item);
        let pool = |route: RouteId| self.fleet.route(route).pool;
        let candidates = self.routing.class(class).candidates();
        candidates.iter().copied().find(|&route| {
            pool(route) != pool(planned.route)
                && self.is_clearly_better(class, item, route, planned.route)
                && self.is_merely_in_slow_start(now, route, item)
                && self.is_allowed_by_policy(now, class, route, item)
        })
    }

    /// Whether only its slow start keeps the item from a route that answers.
    pub(super) fn is_merely_in_slow_start(&self, now: Now, route: RouteId, item: &QueuedItem) -> bool {
        let (state, pool) = (self.fleet.route(route), self.fleet.pool_of(route));
        self.fleet.availability(now, route).limit_kind() == Some(LimitKind::SlowStart)
            && matches!(state.breaker, Breaker::Closed { .. })
            && state.ramp.is_none()
            && pool.ramp.is_none()
            && !self.fleet.lacks_credit_or_connection(route)
            && now.mono.since(pool.silent_since()).as_secs() < 120
            && self.view().is_eligible(route, item)
            && self.view().quota_admission(now, route, item) == Admission::Now
    }

    fn is_clearly_better(&self, class: usize, item: &QueuedItem, one: RouteId, other: RouteId) -> bool {
        let class = self.routing.class(class);
        let rule = class.key().rule.map(|rule| &self.policy.rules[rule]);
        let strategy = rule.and_then(|rule| rule.strategy).unwrap_or(self.policy.strategy);
        let named = class.key().preferred_model.as_ref();
        let is_other_model = |route| named.is_some_and(|name| *name != self.fleet.model_of(route).name);
        let tier = |route| match strategy {
            _ if self.policy.when_limited == WhenLimited::Wait => (is_other_model(route), self.fleet.is_backup(route)),
            Strategy::PrimaryBackup => (self.fleet.is_backup(route), is_other_model(route)),
            _ => (is_other_model(route), self.fleet.is_backup(route)),
        };
        if tier(one) != tier(other) {
            return tier(one) < tier(other);
        }
        let place = |route: RouteId| match rule.and_then(|rule| rule.models.as_ref()) {
            Some(models) => models.iter().position(|name| *name == self.fleet.model_of(route).name),
            None => Some(self.fleet.route(route).model.index()),
        };
        let position = |route| class.candidates().iter().position(|candidate| *candidate == route);
        match strategy {
            Strategy::Cascade | Strategy::PrimaryBackup => place(one) < place(other) && position(one) < position(other),
            Strategy::Cheapest => match (self.expected_cost(item, one), self.expected_cost(item, other)) {
                (Some(one_cost), Some(other_cost)) if one_cost == other_cost => place(one) < place(other),
                (Some(one_cost), Some(other_cost)) => one_cost < other_cost,
                _ => false,
            },
            _ => false,
        }
    }

    /// The cost of the item by the model's price and what it has written so far; `None` before its first answer.
    fn expected_cost(&self, item: &QueuedItem, route: RouteId) -> Option<u64> {
        let mean = self.fleet.model(self.fleet.route(route).model).mean_output_tokens?;
        let output = item.max_output_tokens.map_or(mean, |max| mean.min(f64::from(max)));
        Some(self.fleet.model_of(route).price?.uncached_cost(item.input_tokens, output.ceil() as u64).0)
    }
}
