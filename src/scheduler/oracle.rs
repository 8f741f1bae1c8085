//! Idleness, checked the slow way: whether anything that waits could be sent at this instant.
//!
//! `poll` is fast because it remembers what it found out: parked routes, alarms, classes that are stuck. This looks at every
//! ticket near the head of every queue and at every route, and remembers nothing. Simulations ask it whenever `poll` has
//! nothing to say; the program itself never does.

use crate::domain::{Now, RouteId, Seq, SpillTo, WhenLimited};

use super::{
    Scheduler, Ticket,
    dispatch::{AGED, LOOKAHEAD},
    standing::Standing,
};

impl Scheduler {
    /// A ticket and a route that could take it now; `None` where waiting is all that is left.
    pub fn sendable(&self, now: Now) -> Option<(Seq, RouteId)> {
        if self.paused || self.flights.len() >= self.policy.in_flight as usize {
            return None;
        }
        self.classes.iter().enumerate().find_map(|(index, class)| {
            let retries = class.retries.iter().take(LOOKAHEAD);
            let found = retries.clone().find_map(|ticket| self.route_for(now, index, ticket));
            found.or_else(|| {
                for ticket in class.fresh.iter().take(LOOKAHEAD) {
                    if let Some(found) = self.route_for(now, index, ticket) {
                        return Some(found);
                    }
                    // A large ticket that has waited long keeps its place in the window.
                    if now.mono.since(ticket.since) >= AGED && self.lacks_tokens_only(now, index, ticket) {
                        return None;
                    }
                }
                None
            })
        })
    }

    fn route_for(&self, now: Now, class: usize, ticket: &Ticket) -> Option<(Seq, RouteId)> {
        let mut candidates = self.allowed(now, class, ticket).into_iter();
        let free = candidates.find(|&route| {
            self.has_place(now, class, route, ticket)
                && self.pools[self.routes[route.index()].pool].token_block(now, self.need(route, ticket)).is_none()
        });
        free.map(|route| (ticket.seq, route))
    }

    fn lacks_tokens_only(&self, now: Now, class: usize, ticket: &Ticket) -> bool {
        self.allowed(now, class, ticket).into_iter().any(|route| self.has_place(now, class, route, ticket))
    }

    fn has_place(&self, now: Now, class: usize, route: RouteId, ticket: &Ticket) -> bool {
        // A probe is kept for an item that has not been in trouble, where one waits.
        let kept = self.is_trial(now, route) && ticket.is_suspect() && !self.classes[class].fresh.is_empty();
        matches!(self.standing(now, route), Standing::Ready)
            && self.unfit(route, ticket).is_none()
            && !self.over_budget_on(route, ticket)
            && !kept
    }

    /// The candidates that `when_limited` and `spill` leave.
    fn allowed(&self, now: Now, class: usize, ticket: &Ticket) -> Vec<RouteId> {
        let candidates = &self.classes[class].candidates;
        if self.policy.when_limited == WhenLimited::Wait {
            let routes = self.ranking.len();
            let mut from_cursor = (0..routes).map(|step| self.ranking[(self.cursor + step) % routes]);
            let stands = from_cursor.find(|&route| {
                candidates.contains(&route) && self.unfit(route, ticket).is_none() && self.is_usable(now, route)
            });
            return stands.into_iter().collect();
        }
        let holds_out = now.mono.since(ticket.since) < self.policy.spill_after;
        if self.policy.spill == SpillTo::Any && !holds_out {
            return candidates.clone();
        }
        let preferred = candidates
            .iter()
            .copied()
            .find(|&route| self.unfit(route, ticket).is_none() && !self.standing(now, route).is_exhausted());
        match preferred {
            None => candidates.clone(),
            Some(route) if holds_out => vec![route],
            Some(route) => {
                let same = |other: &&RouteId| self.routes[other.index()].model == self.routes[route.index()].model;
                candidates.iter().filter(same).copied().collect()
            }
        }
    }
}
