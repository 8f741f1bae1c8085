//! Waiting for a better route that only its slow start keeps full: our own caution must not send an item to a worse or
//! dearer model, or to a backup key.

use crate::{
    domain::{AllowedRoutes, MonoTime, Now, RouteId},
    scheduler::{admission::Admission, queue::QueuedItem, view::View},
};

use super::ClassRoutes;

impl ClassRoutes {
    /// The better route that the item waits for instead of taking `route`, and until when at most. `allowed` are the
    /// routes that it may take. Looks only at routes whose slow start was full when they were parked: a search has
    /// checked every better candidate before this one.
    pub fn better_route_to_await(
        &self,
        view: View<'_>,
        now: Now,
        item: &QueuedItem,
        allowed: AllowedRoutes<RouteId>,
        route: RouteId,
    ) -> Option<(RouteId, MonoTime)> {
        self.first_route_to_await(self.ranks_in_slow_start(), view, now, item, allowed, route)
    }

    /// Whether the item waits for a better route instead of taking `route`. Looks at all candidates.
    pub fn awaits_better_route(
        &self,
        view: View<'_>,
        now: Now,
        item: &QueuedItem,
        allowed: AllowedRoutes<RouteId>,
        route: RouteId,
    ) -> bool {
        self.first_route_to_await(0..self.candidates().len(), view, now, item, allowed, route).is_some()
    }

    fn first_route_to_await(
        &self,
        mut ranks: impl Iterator<Item = usize>,
        view: View<'_>,
        now: Now,
        item: &QueuedItem,
        allowed: AllowedRoutes<RouteId>,
        route: RouteId,
    ) -> Option<(RouteId, MonoTime)> {
        let rank = self.rank(route)?;
        ranks.find_map(|better| {
            let candidate = self.candidates()[better];
            let until = view.fleet.slow_start_wait_until(now, candidate)?;
            let waits = self.prefers(view.fleet, item, better, rank)
                && self.is_allowed(view, allowed, candidate)
                && view.eligibility(now, candidate, item) == Some(Admission::Now);
            waits.then_some((candidate, until))
        })
    }
}
