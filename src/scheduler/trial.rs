//! Trials: what was out on a guess comes back with one real item, the smallest that waits.

use crate::domain::{ModelId, Now, RouteId, SpillTo, WhenLimited};

use super::{Scheduler, Ticket, breaker::Breaker, dispatch::LOOKAHEAD, purse::Fit};

impl Scheduler {
    /// The next request on this route is a trial, whose failure would teach more than it gains.
    pub(super) fn is_trial(&self, now: Now, id: RouteId) -> bool {
        let route = &self.routes[id.index()];
        let over = |out: &Option<super::Cooldown>| out.as_ref().is_some_and(|out| out.over(now));
        matches!(route.breaker, Breaker::Open { .. } | Breaker::HalfOpen { .. })
            || self.pools[route.pool].ramp.is_some_and(|ramp| ramp.width() == 1)
            || over(&self.projects[self.keys[route.key].project].billing)
            || over(&self.providers[route.provider].hold)
    }

    /// A trial is kept for an item that has been in less trouble on the model, where one waits that the route can serve
    /// now: else items that fail everywhere would try it for ever, and keep it shut for the rest. One that has used up
    /// its tries there leaves every request to others: a few a day may be all there are.
    pub(super) fn keeps_trial_from(&self, now: Now, route: RouteId, ticket: &Ticket) -> bool {
        let model = ModelId(self.routes[route.index()].model as u32);
        let faults = ticket.faults_on(model);
        if faults == 0 || (faults <= self.policy.retries_per_model && !self.is_trial(now, route)) {
            return false;
        }
        let classes = self.classes.iter().enumerate().filter(|(_, class)| class.rank(route).is_some());
        classes.into_iter().any(|(index, class)| {
            let better = |other: &Ticket| {
                other.faults_on(model) < faults
                    && self.can_take(now, route, other)
                    && self.may_spill_to(now, index, route, other)
            };
            class.fresh.iter().take(LOOKAHEAD).any(better) || class.tried().take(LOOKAHEAD).any(better)
        })
    }

    /// What `spill` says, as dispatch will have it for the ticket.
    fn may_spill_to(&self, now: Now, class: usize, route: RouteId, ticket: &Ticket) -> bool {
        let class = &self.classes[class];
        let usable = |other: &RouteId| self.unfit(*other, ticket).is_none() && self.is_usable(now, *other);
        if self.policy.when_limited == WhenLimited::Wait {
            let (before, after) = self.ranking.split_at(self.cursor);
            let mut in_order = after.iter().chain(before).copied().filter(|other| class.rank(*other).is_some());
            return in_order.find(usable) == Some(route);
        }
        let holds_out = class.picker.has_favourite() && now.mono.since(ticket.since) < self.policy.spill_after;
        if self.policy.spill_to == SpillTo::Any && !holds_out {
            return true;
        }
        class.candidates.iter().copied().find(usable).is_none_or(|preferred| {
            let same_model = self.routes[preferred.index()].model == self.routes[route.index()].model;
            preferred == route || (same_model && !holds_out)
        })
    }

    /// The ticket to try `route` with instead of `ticket`: the smallest near the head of its class that has not been in
    /// trouble itself. `ticket` takes its place in the queue.
    pub(super) fn smallest_instead(&mut self, now: Now, class: usize, route: RouteId, ticket: Ticket) -> Ticket {
        // The strict pipeline tries again with the item that was refused, as a script does.
        if self.policy.when_limited == WhenLimited::Wait || !self.is_trial(now, route) {
            return ticket;
        }
        let near = self.classes[class].fresh.len().min(LOOKAHEAD);
        let mut smallest: Option<(u64, usize)> = None;
        for place in 0..near {
            let size = self.classes[class].fresh[place].input;
            if size < smallest.map_or(ticket.input, |(least, _)| least) && self.may_try(now, class, place, route) {
                smallest = Some((size, place));
            }
        }
        let found = smallest.and_then(|(_, place)| self.classes[class].fresh.remove(place).zip(Some(place)));
        let Some((small, _)) = found else { return ticket };
        // Ahead of the others: it was its turn.
        if ticket.course.is_some() {
            self.classes[class].retries.push_front(ticket);
        } else {
            let seq = ticket.seq;
            let place = self.classes[class].fresh.iter().take_while(|other| other.seq < seq).count();
            self.classes[class].fresh.insert(place, ticket);
        }
        small
    }

    fn may_try(&mut self, now: Now, class: usize, place: usize, route: RouteId) -> bool {
        let ticket = self.classes[class].fresh[place].clone();
        let model = self.routes[route.index()].model;
        ticket.faults_on(ModelId(model as u32)) == 0
            && self.spill_limits(now, class, &ticket).allow(route, model)
            && self.can_take(now, route, &ticket)
    }

    /// Whether nothing of the ticket's own keeps it from a ready route.
    fn can_take(&self, now: Now, route: RouteId, ticket: &Ticket) -> bool {
        self.unfit(route, ticket).is_none()
            && self.fits_budget(now, route, ticket) == Fit::Now
            && self.pools[self.routes[route.index()].pool].token_block(now, self.need(route, ticket)).is_none()
    }
}
