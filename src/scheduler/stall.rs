//! Explains why nothing is sent although items wait. It visits all routes and items, so it is asked only when nothing
//! moves.

use std::fmt;

use crate::domain::{Money, Now, RouteId, WallTime, plural};

use super::{
    admission::{Admission, Availability},
    queue::Queue,
    routing::Routing,
    view::View,
};

/// Why nothing is being sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StallReason {
    /// Something can be sent or is in flight.
    Working,
    /// No item is waiting.
    NothingToDo,
    /// All routes that the waiting items may use are unavailable until `at`; `reason` names the first one to become
    /// available.
    WaitingUntil { at: WallTime, reason: String },
    /// Everything usable is switched off, so only the operator can help.
    SwitchedOff,
    /// The worst-case cost of every waiting item exceeds the money left. `min_cost` is the lowest of these costs.
    Budget { min_cost: Option<Money> },
    /// Every candidate of every waiting item is out of daily quota, out of credit or disabled. `resumes_at` is the
    /// first reset; `None` if all are disabled.
    Exhausted { resumes_at: Option<WallTime>, reason: String },
}

/// The state that explains a stall.
pub struct StallCheck<'a> {
    pub now: Now,
    pub view: View<'a>,
    pub queue: &'a Queue,
    pub routing: &'a Routing,
    /// When the scheduler is to be polled again.
    pub next_wakeup: Option<WallTime>,
}

impl StallCheck<'_> {
    /// Why the waiting items are not sent, while no request is in flight.
    pub fn reason(&self) -> StallReason {
        let (now, fleet) = (self.now, self.view.fleet);
        let (mut soonest, mut resumes_at): (Option<(WallTime, String)>, Option<WallTime>) = (None, None);
        let (mut all_exhausted, mut any_switched_off, mut any_over_budget) = (true, false, false);
        let (mut any_forbidden_ready, mut disabled_reason) = (false, String::new());
        let mut exhausted = ExhaustedRoutes::default();
        for route in fleet.route_ids() {
            let Some(quota) = self.quota_admission(route) else { continue };
            let availability = fleet.availability(now, route);
            exhausted.count(&availability);
            // Money or daily tokens are missing, for good or until a later day. That counts as exhausted.
            let lacks_quota = quota == Admission::Never || (availability.is_ready() && quota != Admission::Now);
            if lacks_quota && !matches!(availability, Availability::Disabled(_)) {
                any_over_budget = true;
                resumes_at = resumes_at.into_iter().chain(quota.until(now)).min();
                continue;
            }
            let is_allowed = self.is_allowed(route);
            if availability.is_ready() {
                if is_allowed {
                    return self.reason_with_ready_route();
                }
                (any_forbidden_ready, all_exhausted) = (true, false);
                continue;
            }
            let until = availability.admission().until(now);
            if availability.is_exhausted() {
                resumes_at = resumes_at.into_iter().chain(until).min();
            } else {
                all_exhausted = false;
                let is_sooner = |at: &WallTime| soonest.as_ref().is_none_or(|(earlier, _)| at < earlier);
                if let Some(until) = until.filter(|at| is_allowed && is_sooner(at)) {
                    soonest = Some((until, format!("{}: {}", fleet.route_name(route), availability.label())));
                }
            }
            match availability {
                Availability::SwitchedOff { .. } => any_switched_off = true,
                Availability::Disabled(cause) => {
                    disabled_reason = format!("{}: {}", fleet.route_name(route), cause.outcome.name());
                }
                _ => {}
            }
        }
        if exhausted.total == 0 {
            // No route can ever serve the waiting items; each is rejected when it is loaded.
            return StallReason::Working;
        }
        if all_exhausted {
            let reason = match resumes_at {
                None if any_over_budget => return StallReason::Budget { min_cost: self.min_worst_case() },
                Some(_) if any_over_budget => {
                    "what is left of today, in money or tokens, is less than any waiting item needs".to_owned()
                }
                Some(_) => exhausted.to_string(),
                None => format!("no route is left: {disabled_reason}"),
            };
            return StallReason::Exhausted { resumes_at, reason };
        }
        match soonest {
            Some((at, reason)) => StallReason::WaitingUntil { at, reason },
            None if any_forbidden_ready => self.reason_with_ready_route(),
            None if any_switched_off => StallReason::SwitchedOff,
            None => StallReason::Working,
        }
    }

    /// Whether policy allows the route to some waiting item now, or some item is about to be loaded.
    fn is_allowed(&self, route: RouteId) -> bool {
        self.routing.classes_with(route).any(|class| {
            let may_use = |item| self.routing.may_spill_to(self.view, self.now, class, route, item);
            self.queue.is_loading(class) || self.queue.items(class).any(may_use)
        })
    }

    fn reason_with_ready_route(&self) -> StallReason {
        match self.next_wakeup.filter(|at| *at > self.now.wall) {
            Some(at) => StallReason::WaitingUntil { at, reason: "a retry delay or token limit".to_owned() },
            None => StallReason::Working,
        }
    }

    /// Whether the money and daily tokens left allow the use of this route, apart from its availability. `Now` if a
    /// waiting item that may use it fits, or else a later day on which one fits, or `Never`. `None` if no waiting item
    /// may use it.
    fn quota_admission(&self, id: RouteId) -> Option<Admission> {
        let mut best = None;
        for class in self.routing.classes_with(id) {
            if self.queue.is_loading(class) {
                return Some(Admission::Now);
            }
            for admission in self.queue.items(class).filter_map(|item| self.view.eligibility(self.now, id, item)) {
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
    fn min_worst_case(&self) -> Option<Money> {
        let fleet = self.view.fleet;
        let lowest_on = |is_wanted: fn(&Availability<'_>) -> bool| {
            let routes = fleet.route_ids().filter(|id| is_wanted(&fleet.availability(self.now, *id)));
            routes.filter_map(|id| self.min_worst_case_on(id)).min()
        };
        lowest_on(|availability| matches!(availability, Availability::Ready))
            .or_else(|| lowest_on(|availability| !availability.is_off()))
    }

    fn min_worst_case_on(&self, id: RouteId) -> Option<Money> {
        let items = self.routing.classes_with(id).flat_map(|class| self.queue.items(class));
        let eligible = items.filter(|item| self.view.is_eligible(id, item));
        eligible.map(|item| self.view.worst_case_cost(id, item)).min()
    }
}

/// How many routes are exhausted, by reason. Shown as `day quota spent on 3 of 4 routes, disabled on 1`.
#[derive(Clone, Copy, Default)]
struct ExhaustedRoutes {
    total: usize,
    day_quota: usize,
    credit: usize,
    disabled: usize,
}

impl ExhaustedRoutes {
    const fn count(&mut self, availability: &Availability<'_>) {
        self.total += 1;
        match availability {
            Availability::Exhausted(cooldown) if cooldown.is_out_of_credit() => self.credit += 1,
            Availability::Exhausted(_) | Availability::DailyLimitReached { .. } => self.day_quota += 1,
            Availability::Disabled(_) => self.disabled += 1,
            _ => {}
        }
    }
}

impl fmt::Display for ExhaustedRoutes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let routes = plural(self.total as u64, "route");
        let reasons = [(self.day_quota, "day quota spent"), (self.credit, "no credit"), (self.disabled, "disabled")];
        let mut reasons = reasons.into_iter().filter(|(count, _)| *count > 0);
        if let Some((count, reason)) = reasons.next() {
            write!(f, "{reason} on {count} of {} {routes}", self.total)?;
        }
        reasons.try_for_each(|(count, reason)| write!(f, ", {reason} on {count}"))
    }
}
