//! Probes: if the end of a route's cooldown was only a guess, the route is tried with one real item first, the smallest
//! near the head of the queue.

use crate::domain::{ModelId, Now, RouteId, SpillTo, WhenLimited};

use super::breaker::Breaker;
use crate::scheduler::{QueuedItem, Scheduler, admission::Admission, dispatch::LOOKAHEAD};

impl Scheduler {
    /// Whether the next request on this route is a probe.
    pub(in crate::scheduler) fn is_probe(&self, now: Now, id: RouteId) -> bool {
        let route = &self.routes[id.index()];
        let has_ended = |cooldown: &Option<crate::scheduler::Cooldown>| {
            cooldown.as_ref().is_some_and(|cooldown| cooldown.is_over(now))
        };
        matches!(route.breaker, Breaker::Open { .. } | Breaker::HalfOpen { .. })
            || self.pools[route.pool].ramp.is_some_and(|ramp| ramp.limit() == 1)
            || has_ended(&self.projects[self.keys[route.key].project].out_of_credit)
            || has_ended(&self.providers[route.provider].unreachable)
    }

    /// Whether the item yields a request on this route to another waiting item that the route can serve now and that
    /// has had fewer errors on the model. An item with errors yields probes: otherwise items that fail everywhere would
    /// probe the route forever, and it would stay unavailable for the others. An item that has used up its retries on
    /// the model yields every request, since the route may allow only a few requests a day.
    pub(in crate::scheduler) fn yields_probe(&self, now: Now, route: RouteId, item: &QueuedItem) -> bool {
        let model = ModelId(self.routes[route.index()].model as u32);
        let errors = item.provider_errors_on(model);
        if errors == 0 || (errors <= self.policy.retries_per_model && !self.is_probe(now, route)) {
            return false;
        }
        let classes = self.classes.iter().enumerate().filter(|(_, class)| class.rank(route).is_some());
        classes.into_iter().any(|(index, class)| {
            let has_fewer_errors = |other: &QueuedItem| {
                other.provider_errors_on(model) < errors
                    && self.can_take(now, route, other)
                    && self.may_spill_to(now, index, route, other)
            };
            class.pending.iter().take(LOOKAHEAD).any(has_fewer_errors)
                || class.tried_items().take(LOOKAHEAD).any(has_fewer_errors)
        })
    }

    /// Whether `spill` and the strict pipeline allow the item this route. Must agree with
    /// [`Scheduler::allowed_routes`].
    fn may_spill_to(&self, now: Now, class: usize, route: RouteId, item: &QueuedItem) -> bool {
        let class = &self.classes[class];
        let can_wait = |other: &RouteId| self.ineligibility(*other, item).is_none() && self.can_wait_on(now, *other);
        if self.policy.when_limited == WhenLimited::Wait {
            let (before, after) = self.ranking.split_at(self.cursor);
            let mut in_order = after.iter().chain(before).copied().filter(|other| class.rank(*other).is_some());
            return in_order.find(can_wait) == Some(route);
        }
        let waits_for_preferred =
            class.selector.is_ordered() && now.mono.since(item.waiting_since) < self.policy.spill_after;
        if self.policy.spill_to == SpillTo::Any && !waits_for_preferred {
            return true;
        }
        class.candidates.iter().copied().find(can_wait).is_none_or(|preferred| {
            let same_model = self.routes[preferred.index()].model == self.routes[route.index()].model;
            preferred == route || (same_model && !waits_for_preferred)
        })
    }

    /// If the request is a probe, replaces `item` by a smaller one: the smallest near the head of its class that has
    /// had no errors on the model. `item` then goes back to the queue.
    pub(in crate::scheduler) fn swap_for_smallest_if_probe(
        &mut self,
        now: Now,
        class: usize,
        route: RouteId,
        item: QueuedItem,
    ) -> QueuedItem {
        // The strict pipeline retries the item that got the 429, as a serial script does.
        if self.policy.when_limited == WhenLimited::Wait || !self.is_probe(now, route) {
            return item;
        }
        let item_count = self.classes[class].pending.len().min(LOOKAHEAD);
        let mut smallest: Option<(u64, usize)> = None;
        for position in 0..item_count {
            let size = self.classes[class].pending[position].input_tokens;
            if size < smallest.map_or(item.input_tokens, |(min_size, _)| min_size)
                && self.can_probe(now, class, position, route)
            {
                smallest = Some((size, position));
            }
        }
        let found = smallest.and_then(|(_, position)| self.classes[class].pending.remove(position).zip(Some(position)));
        let Some((smaller, _)) = found else { return item };
        // Put it back at its old position, since it was its turn.
        if item.retry_state.is_some() {
            self.classes[class].retries.push_front(item);
        } else {
            let seq = item.seq;
            let position = self.classes[class].pending.iter().take_while(|other| other.seq < seq).count();
            self.classes[class].pending.insert(position, item);
        }
        smaller
    }

    fn can_probe(&mut self, now: Now, class: usize, position: usize, route: RouteId) -> bool {
        let item = self.classes[class].pending[position].clone();
        let model = self.routes[route.index()].model;
        item.provider_errors_on(ModelId(model as u32)) == 0
            && self.allowed_routes(now, class, &item).allows(route, model)
            && self.can_take(now, route, &item)
    }

    /// Whether a ready route can serve the item and has enough tokens and money for it.
    fn can_take(&self, now: Now, route: RouteId, item: &QueuedItem) -> bool {
        self.ineligibility(route, item).is_none()
            && self.budget_admission(now, route, item) == Admission::Now
            && self.pools[self.routes[route.index()].pool]
                .token_availability(now, self.token_estimate(route, item))
                .is_ready()
    }
}
