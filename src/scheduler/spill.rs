//! Which routes are left to a ticket by `when_limited` and `spill`: all, one model's, or the one that it insists on.

use crate::domain::{Now, RouteId, SpillTo, WhenLimited};

use super::{Scheduler, Ticket, cooldown::Wake, purse::Fit, standing::Standing};

pub(super) enum SpillLimits {
    Any,
    Model(usize),
    Only(Option<RouteId>),
}

impl SpillLimits {
    pub(super) fn allow(&self, route: RouteId, model: usize) -> bool {
        match self {
            Self::Any => true,
            Self::Model(only) => model == *only,
            Self::Only(only) => *only == Some(route),
        }
    }
}

impl Scheduler {
    /// Which routes the ticket may take by `when_limited` and `spill`.
    pub(super) fn spill_limits(&mut self, now: Now, class: usize, ticket: &Ticket) -> SpillLimits {
        if self.policy.when_limited == WhenLimited::Wait {
            return SpillLimits::Only(self.at_cursor(now, class, ticket));
        }
        let has_favourite = self.classes[class].picker.has_favourite();
        let holds_out = has_favourite && now.mono.since(ticket.since) < self.policy.spill_after;
        if self.policy.spill_to == SpillTo::Any && !holds_out {
            return SpillLimits::Any;
        }
        let count = self.classes[class].candidates.len();
        let preferred =
            self.first_usable(now, ticket, count, |scheduler, rank| Some(scheduler.classes[class].candidates[rank]));
        match preferred {
            None => SpillLimits::Any,
            Some(route) if holds_out => {
                let ends = ticket.since + self.policy.spill_after;
                self.set_alarm(now, route, Wake::Mono(ends));
                SpillLimits::Only(Some(route))
            }
            Some(route) => SpillLimits::Model(self.routes[route.index()].model),
        }
    }

    /// The strict pipeline's one route: the cursor's, or the next one after it that this ticket can use.
    fn at_cursor(&mut self, now: Now, class: usize, ticket: &Ticket) -> Option<RouteId> {
        self.advance_cursor(now);
        let routes = self.ranking.len();
        self.first_usable(now, ticket, routes, |scheduler, step| {
            let route = scheduler.ranking[(scheduler.cursor + step) % routes];
            scheduler.classes[class].rank(route).map(|_| route)
        })
    }

    /// The first of some routes that the ticket can wait on. Those before it that return by themselves are looked at
    /// again then: nobody parks what is passed over here.
    fn first_usable(
        &mut self,
        now: Now,
        ticket: &Ticket,
        count: usize,
        route_at: impl Fn(&Self, usize) -> Option<RouteId>,
    ) -> Option<RouteId> {
        for index in 0..count {
            let Some(route) = route_at(self, index) else { continue };
            let Some(fit) = self.prospect(now, route, ticket) else { continue };
            let wake = match (self.is_usable(now, route), fit) {
                (true, Fit::Now) => return Some(route),
                (true, fit) => fit.opens().map(Wake::Wall),
                (false, _) => self.standing(now, route).wake(),
            };
            if let Some(wake) = wake {
                self.set_alarm(now, route, wake);
            }
        }
        None
    }

    /// Moves the cursor off a route that is spent, dead or switched off; stays where all are.
    fn advance_cursor(&mut self, now: Now) {
        let routes = self.ranking.len();
        if let Some(steps) = (0..routes).find(|step| self.is_usable(now, self.ranking[(self.cursor + step) % routes])) {
            self.cursor = (self.cursor + steps) % routes;
            // Whoever was blocked may go where it stands now.
            self.version += u64::from(steps > 0);
        }
    }

    /// Worth waiting on: neither out for the day, nor dead, nor switched off.
    pub(super) fn is_usable(&self, now: Now, route: RouteId) -> bool {
        let standing = self.standing(now, route);
        !standing.is_exhausted() && !matches!(standing, Standing::Off { .. })
    }
}
