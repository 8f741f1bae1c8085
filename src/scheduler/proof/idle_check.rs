//! A slow and independent check whether any waiting item could be sent now.
//!
//! `poll` is fast because it caches: parked routes, wakeups, classes where nothing can be sent. This check caches
//! nothing and visits all routes, all items sent or blocked before, and the pending items near the head of each queue.
//! The tests call it whenever `poll` returns nothing.

use crate::{
    domain::{LimitDimension, Now, RouteId, Seq, SpillTo, WhenLimited},
    scheduler::{
        QueuedItem, Scheduler,
        admission::{Admission, Availability, LimitKind},
        dispatch::STARVATION_AGE,
        health::breaker::Breaker,
        queue::LOOKAHEAD,
    },
};

impl Scheduler {
    /// An item and a route that could take it now; `None` if all items have to wait.
    pub(super) fn find_sendable(&self, now: Now) -> Option<(Seq, RouteId)> {
        if self.is_paused || self.reservations.len() >= self.policy.max_in_flight as usize {
            return None;
        }
        let ready = |index: usize| -> Vec<RouteId> {
            let ready = |route: &RouteId| self.fleet.availability(now, *route).is_ready();
            self.routing.class(index).candidates().iter().copied().filter(ready).collect()
        };
        let items_to_check = |index: usize| {
            let class = self.queue.class(index);
            class.tried_items().chain(class.pending().take(LOOKAHEAD))
        };
        let pool = |route: RouteId| self.fleet.route(route).pool;
        let mut claims = Vec::new();
        for index in 0..self.queue.classes().len() {
            let ready = ready(index);
            for item in items_to_check(index).filter(|item| now.mono.since(item.waiting_since) >= STARVATION_AGE) {
                // A large item that has aged claims token room, even while there is no money for it.
                let lacks_token_room =
                    |route: &RouteId| !self.has_token_room(now, *route, item) && !self.fleet.is_probe(now, *route);
                let claimed_routes = self.eligible_routes(now, index, item, &ready).filter(lacks_token_room);
                claims.extend(claimed_routes.map(|route| (pool(route), item.seq)));
            }
        }
        (0..self.queue.classes().len()).find_map(|index| {
            let ready = ready(index);
            items_to_check(index).find_map(|item| {
                let mut takeable = self.takeable_routes(now, index, item, &ready);
                let is_claimed =
                    |route| claims.iter().any(|(other, claimant)| *other == pool(route) && *claimant != item.seq);
                let route = takeable.find(|&route| self.has_token_room(now, route, item) && !is_claimed(route))?;
                Some((item.seq, route))
            })
        })
    }

    fn has_token_room(&self, now: Now, route: RouteId, item: &QueuedItem) -> bool {
        self.view().has_token_room(now, route, item)
    }

    /// Ready routes that the item may take if there is enough token room.
    fn takeable_routes(
        &self,
        now: Now,
        class: usize,
        item: &QueuedItem,
        ready: &[RouteId],
    ) -> impl Iterator<Item = RouteId> {
        self.eligible_routes(now, class, item, ready).filter(move |&route| {
            self.view().budget_admission(now, route, item) == Admission::Now
                && !self.is_standby_backup(now, class, route, item)
                && !self.yields_turn(now, route, item)
        })
    }

    /// Ready routes that policy allows and that can serve the item.
    fn eligible_routes(
        &self,
        now: Now,
        class: usize,
        item: &QueuedItem,
        ready: &[RouteId],
    ) -> impl Iterator<Item = RouteId> {
        let allowed = self.routes_by_policy(now, class, item);
        let is_allowed = move |route| allowed.as_ref().is_none_or(|allowed| allowed.contains(&route));
        ready.iter().copied().filter(move |&route| {
            is_allowed(route)
                && self.view().is_eligible(route, item)
                && !self.waits_for_better(now, class, item, route, &is_allowed)
        })
    }

    /// Whether the item waits for a better route that is merely in slow start.
    fn waits_for_better(
        &self,
        now: Now,
        class: usize,
        item: &QueuedItem,
        route: RouteId,
        is_allowed: impl Fn(RouteId) -> bool,
    ) -> bool {
        let class = self.routing.class(class);
        let rank = class.rank(route).expect("it is a candidate");
        class.candidates().iter().enumerate().any(|(better, &candidate)| {
            self.is_merely_in_slow_start(now, candidate, item)
                && is_allowed(candidate)
                && class.prefers(&self.fleet, item, better, rank)
        })
    }

    /// Whether `when_limited` and `spill` allow the item this candidate.
    pub(super) fn is_allowed_by_policy(&self, now: Now, class: usize, route: RouteId, item: &QueuedItem) -> bool {
        self.routes_by_policy(now, class, item).is_none_or(|allowed| allowed.contains(&route))
    }

    /// The candidates allowed by `when_limited` and `spill`; `None` for all.
    fn routes_by_policy(&self, now: Now, class: usize, item: &QueuedItem) -> Option<Vec<RouteId>> {
        let candidates = self.routing.class(class).candidates();
        if self.policy.when_limited == WhenLimited::Wait {
            let (ranking, cursor) = (self.routing.ranking(), self.routing.cursor());
            let from = |start: usize| (0..ranking.len()).map(move |step| ranking[(start + step) % ranking.len()]);
            // The model that the row names comes first, on the cursor's key and then on later ones, unless its backoff
            // schedule has ended with a refusal.
            let key = |route: RouteId| self.fleet.route(route).key;
            let is_named = |&route: &RouteId| candidates.contains(&route) && self.is_named_model(class, route);
            let start = ranking.iter().position(|route| is_named(route) && key(*route) == key(ranking[cursor]));
            let mut named = from(start.unwrap_or(cursor)).filter(is_named);
            let named = named.find(|&route| self.can_item_wait_on(now, route, item) && !self.is_resting(now, route));
            let in_order =
                || from(cursor).find(|route| candidates.contains(route) && self.can_item_wait_on(now, *route, item));
            return Some(named.or_else(in_order).into_iter().collect());
        }
        let is_ordered = self.routing.class(class).is_ordered();
        let waits_for_preferred = is_ordered && now.mono.since(item.waiting_since) < self.policy.spill_after;
        if self.policy.spill_to == SpillTo::Any && !waits_for_preferred {
            let is_named = |route: &RouteId| self.is_named_model(class, *route);
            let named: Vec<RouteId> = candidates.iter().copied().filter(is_named).collect();
            let is_busy = named.iter().any(|&route| self.is_only_busy(now, route, item));
            return is_busy.then_some(named);
        }
        let preferred = candidates.iter().copied().find(|&route| self.can_item_wait_on(now, route, item))?;
        if waits_for_preferred {
            return Some(vec![preferred]);
        }
        let is_same_model = |other: &&RouteId| self.fleet.route(**other).model == self.fleet.route(preferred).model;
        Some(candidates.iter().filter(is_same_model).copied().collect())
    }

    /// Whether the rows of the class name this route's model.
    fn is_named_model(&self, class: usize, route: RouteId) -> bool {
        self.routing.class(class).key().preferred_model.as_ref() == Some(&self.fleet.model_of(route).name)
    }

    /// Whether the route cools down after a refusal that followed the last step of the backoff schedule.
    fn is_resting(&self, now: Now, route: RouteId) -> bool {
        self.fleet.pool_of(route).backoff_step > self.policy.backoff.len()
            && matches!(self.fleet.availability(now, route), Availability::CoolingDown(_))
    }

    /// Whether only the requests in flight keep the item from the route.
    fn is_only_busy(&self, now: Now, route: RouteId, item: &QueuedItem) -> bool {
        let Availability::Limited { kind, .. } = self.fleet.availability(now, route) else { return false };
        let is_of_requests_in_flight = match kind {
            LimitKind::Provider(dimension) => dimension == LimitDimension::Concurrency,
            LimitKind::SlowStart | LimitKind::Ramp => true,
            _ => false,
        };
        is_of_requests_in_flight && !self.fleet.is_probe(now, route) && self.can_item_wait_on(now, route, item)
    }

    fn can_item_wait_on(&self, now: Now, route: RouteId, item: &QueuedItem) -> bool {
        self.view().is_eligible(route, item)
            && self.fleet.can_wait_on(now, route)
            && self.view().quota_admission(now, route, item) == Admission::Now
    }

    /// Whether the route belongs to a backup key that must stay idle, since a primary key is in service for the item.
    fn is_standby_backup(&self, now: Now, class: usize, route: RouteId, item: &QueuedItem) -> bool {
        let routes = self.routing.class(class);
        if !routes.is_standby_backup(route) {
            return false;
        }
        routes.primaries().iter().any(|&primary| {
            matches!(self.fleet.availability(now, primary), Availability::Ready | Availability::Limited { .. })
                && matches!(self.fleet.route(primary).breaker, Breaker::Closed { .. })
                && self.view().is_eligible(primary, item)
                && self.view().quota_admission(now, primary, item) == Admission::Now
        })
    }
}
