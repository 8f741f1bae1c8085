//! Idleness, checked the slow way: whether anything that waits could be sent at this instant.
//!
//! `poll` is fast because it remembers what it found out: parked routes, alarms, classes that are stuck. This looks at every
//! ticket near the head of every queue and at every route, and remembers nothing. Simulations ask it whenever `poll` has
//! nothing to say; the program itself never does.

use crate::domain::{Now, RouteId, Seq, SpillTo, WhenLimited};

use super::{
    Scheduler, Ticket,
    breaker::Breaker,
    dispatch::{AGED, LOOKAHEAD},
    purse::Fit,
    standing::Standing,
};

impl Scheduler {
    /// A ticket and a route that could take it now; `None` where waiting is all that is left.
    pub fn sendable(&self, now: Now) -> Option<(Seq, RouteId)> {
        if self.paused || self.flights.len() >= self.policy.max_in_flight as usize {
            return None;
        }
        let ready = |index: usize| -> Vec<RouteId> {
            let ready = |route: &RouteId| matches!(self.standing(now, *route), Standing::Ready);
            self.classes[index].candidates.iter().copied().filter(ready).collect()
        };
        let look = |index: usize| {
            let class = &self.classes[index];
            class.tried().chain(class.fresh.iter().take(LOOKAHEAD))
        };
        let pool = |route: RouteId| self.routes[route.index()].pool;
        let mut held = Vec::new();
        for index in 0..self.classes.len() {
            let ready = ready(index);
            for ticket in look(index).filter(|ticket| now.mono.since(ticket.since) >= AGED) {
                // A large ticket that has waited long keeps its place in the window, also while money lacks for it.
                let waits = |route: &RouteId| !self.has_tokens(now, *route, ticket) && !self.is_trial(now, *route);
                let places = self.uses(now, index, ticket, &ready).filter(waits);
                held.extend(places.map(|route| (pool(route), ticket.seq)));
            }
        }
        (0..self.classes.len()).find_map(|index| {
            let ready = ready(index);
            look(index).find_map(|ticket| {
                let mut free = self.places(now, index, ticket, &ready);
                let kept = |route| held.iter().any(|(other, by)| *other == pool(route) && *by != ticket.seq);
                let route = free.find(|&route| self.has_tokens(now, route, ticket) && !kept(route))?;
                Some((ticket.seq, route))
            })
        })
    }

    fn has_tokens(&self, now: Now, route: RouteId, ticket: &Ticket) -> bool {
        self.pools[self.routes[route.index()].pool].token_block(now, self.need(route, ticket)).is_none()
    }

    /// Ready routes that the ticket may take, as far as its tokens allow.
    fn places(&self, now: Now, class: usize, ticket: &Ticket, ready: &[RouteId]) -> impl Iterator<Item = RouteId> {
        self.uses(now, class, ticket, ready).filter(move |&route| {
            self.fits_budget(now, route, ticket) == Fit::Now
                && !self.is_kept_for_primaries(now, class, route, ticket)
                && !self.keeps_trial_from(now, route, ticket)
        })
    }

    /// Ready routes that would do for the ticket.
    fn uses(&self, now: Now, class: usize, ticket: &Ticket, ready: &[RouteId]) -> impl Iterator<Item = RouteId> {
        let allowed = self.allowed(now, class, ticket);
        ready.iter().copied().filter(move |&route| {
            allowed.as_ref().is_none_or(|allowed| allowed.contains(&route)) && self.unfit(route, ticket).is_none()
        })
    }

    /// The candidates that `when_limited` and `spill` leave; `None` for all.
    fn allowed(&self, now: Now, class: usize, ticket: &Ticket) -> Option<Vec<RouteId>> {
        let candidates = &self.classes[class].candidates;
        if self.policy.when_limited == WhenLimited::Wait {
            let routes = self.ranking.len();
            let mut from_cursor = (0..routes).map(|step| self.ranking[(self.cursor + step) % routes]);
            let stands =
                from_cursor.find(|&route| candidates.contains(&route) && self.is_worth_waiting_on(now, route, ticket));
            return Some(stands.into_iter().collect());
        }
        let has_favourite = self.classes[class].picker.has_favourite();
        let holds_out = has_favourite && now.mono.since(ticket.since) < self.policy.spill_after;
        if self.policy.spill_to == SpillTo::Any && !holds_out {
            return None;
        }
        let preferred = candidates.iter().copied().find(|&route| self.is_worth_waiting_on(now, route, ticket))?;
        if holds_out {
            return Some(vec![preferred]);
        }
        let same = |other: &&RouteId| self.routes[other.index()].model == self.routes[preferred.index()].model;
        Some(candidates.iter().filter(same).copied().collect())
    }

    fn is_worth_waiting_on(&self, now: Now, route: RouteId, ticket: &Ticket) -> bool {
        self.unfit(route, ticket).is_none()
            && self.is_usable(now, route)
            && self.has_left(now, route, ticket) == Fit::Now
    }

    /// A backup key waits while a primary is in service for the ticket.
    fn is_kept_for_primaries(&self, now: Now, class: usize, route: RouteId, ticket: &Ticket) -> bool {
        let state = &self.classes[class];
        let Some(first) = state.picker.backups_from.filter(|first| state.rank(route) >= Some(*first)) else {
            return false;
        };
        state.candidates[..first].iter().any(|&primary| {
            matches!(self.standing(now, primary), Standing::Ready | Standing::Full { .. })
                && matches!(self.routes[primary.index()].breaker, Breaker::Closed { .. })
                && self.unfit(primary, ticket).is_none()
                && self.has_left(now, primary, ticket) == Fit::Now
        })
    }
}
