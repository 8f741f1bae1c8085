//! The routes that `when_limited` and `spill` allow an item: all, those of one model, or a single one.

use crate::domain::{Now, RouteId, SpillTo, WhenLimited};

use crate::scheduler::{
    QueuedItem, Scheduler,
    admission::{Admission, Deadline},
    availability::Availability,
};

/// The routes that one item may use.
pub(in crate::scheduler) enum AllowedRoutes {
    Any,
    /// The routes of one model.
    Model(usize),
    /// A single route; `None`: no route.
    Only(Option<RouteId>),
}

impl AllowedRoutes {
    pub(in crate::scheduler) fn allows(&self, route: RouteId, model: usize) -> bool {
        match self {
            Self::Any => true,
            Self::Model(only) => model == *only,
            Self::Only(only) => *only == Some(route),
        }
    }
}

impl Scheduler {
    /// The routes that the item may take by `when_limited` and `spill`. May schedule wakeups and move the cursor.
    pub(in crate::scheduler) fn allowed_routes(&mut self, now: Now, class: usize, item: &QueuedItem) -> AllowedRoutes {
        if self.policy.when_limited == WhenLimited::Wait {
            return AllowedRoutes::Only(self.route_at_cursor(now, class, item));
        }
        let is_ordered = self.classes[class].selector.is_ordered();
        let waits_for_preferred = is_ordered && now.mono.since(item.waiting_since) < self.policy.spill_after;
        if self.policy.spill_to == SpillTo::Any && !waits_for_preferred {
            return AllowedRoutes::Any;
        }
        let count = self.classes[class].candidates.len();
        let preferred =
            self.first_waitable(now, item, count, |scheduler, rank| Some(scheduler.classes[class].candidates[rank]));
        match preferred {
            None => AllowedRoutes::Any,
            Some(route) if waits_for_preferred => {
                let spill_at = item.waiting_since + self.policy.spill_after;
                self.schedule_wakeup(now, route, Deadline::Mono(spill_at));
                AllowedRoutes::Only(Some(route))
            }
            Some(route) => AllowedRoutes::Model(self.routes[route.index()].model),
        }
    }

    /// The only route of the strict pipeline: the one at the cursor, or the next one after it that can serve this item.
    fn route_at_cursor(&mut self, now: Now, class: usize, item: &QueuedItem) -> Option<RouteId> {
        self.advance_cursor(now);
        let route_count = self.ranking.len();
        self.first_waitable(now, item, route_count, |scheduler, step| {
            let route = scheduler.ranking[(scheduler.cursor + step) % route_count];
            scheduler.classes[class].rank(route).map(|_| route)
        })
    }

    /// The first of `count` routes that the item can wait on. Routes before it that will become available get a wakeup
    /// here, since dispatch does not check routes that are not allowed.
    fn first_waitable(
        &mut self,
        now: Now,
        item: &QueuedItem,
        count: usize,
        route_at: impl Fn(&Self, usize) -> Option<RouteId>,
    ) -> Option<RouteId> {
        for index in 0..count {
            let Some(route) = route_at(self, index) else { continue };
            let Some(admission) = self.eligibility(now, route, item) else { continue };
            let wakeup = match (self.can_wait_on(now, route), admission) {
                (true, Admission::Now) => return Some(route),
                (true, later) => later.deadline(),
                (false, _) => self.availability(now, route).admission().deadline(),
            };
            if let Some(at) = wakeup {
                self.schedule_wakeup(now, route, at);
            }
        }
        None
    }

    /// Moves the cursor off a route that is exhausted, disabled or switched off. It stays if all routes are.
    fn advance_cursor(&mut self, now: Now) {
        let route_count = self.ranking.len();
        if let Some(steps) =
            (0..route_count).find(|step| self.can_wait_on(now, self.ranking[(self.cursor + step) % route_count]))
        {
            self.cursor = (self.cursor + steps) % route_count;
            // Items blocked before may use the new route.
            self.readiness_version += u64::from(steps > 0);
        }
    }

    /// Whether waiting on the route makes sense: it is neither exhausted, nor disabled, nor switched off.
    pub(in crate::scheduler) fn can_wait_on(&self, now: Now, route: RouteId) -> bool {
        let availability = self.availability(now, route);
        !availability.is_exhausted() && !matches!(availability, Availability::SwitchedOff { .. })
    }
}
