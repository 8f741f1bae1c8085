//! Whether a route can be used now, and why the run is stalled if none can.

use std::fmt;

use crate::domain::{Money, Now, RouteId, WallTime, plural};

use crate::scheduler::{
    Scheduler,
    admission::Admission,
    availability::{Availability, is_out_of_credit},
    health::breaker::Breaker,
    limit_kind::LimitKind,
};

/// Why nothing is being sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StallReason {
    /// Something can be sent or is in flight.
    Working,
    /// No item is waiting.
    NothingToDo,
    /// All routes are unavailable until `at`; `reason` names the first one to become available.
    WaitingUntil { at: WallTime, reason: String },
    /// Everything usable is switched off, so only the operator can help.
    SwitchedOff,
    /// The worst-case cost of every waiting item exceeds the money left. `min_cost` is the lowest of these costs.
    Budget { min_cost: Option<Money> },
    /// Every candidate of every waiting item is out of daily quota, out of credit or disabled. `resumes_at` is the
    /// first reset; `None` if all are disabled.
    Exhausted { resumes_at: Option<WallTime>, reason: String },
}

impl Scheduler {
    pub(in crate::scheduler) fn availability(&self, now: Now, id: RouteId) -> Availability<'_> {
        let route = &self.routes[id.index()];
        let (key, model) = (&self.keys[route.key], &self.models[route.model]);
        if let Some(since) = route.switched_off_at.or(key.switched_off_at).or(model.switched_off_at) {
            return Availability::SwitchedOff { since };
        }
        if let Some(cause) = key.disabled.as_ref().or(route.unavailable.as_ref()).or(route.needs_operator.as_ref()) {
            return Availability::Disabled(cause);
        }
        let project = &self.projects[key.project];
        if let Some(cooldown) = &project.out_of_credit {
            if !cooldown.is_over(now) {
                return Availability::Exhausted(cooldown);
            }
            if key.routes.iter().any(|route| self.routes[route.index()].in_flight > 0) {
                return Availability::limited_until_completion(LimitKind::CreditProbe);
            }
        }
        let provider = &self.providers[route.provider];
        if let Some(cooldown) = &provider.unreachable {
            if !cooldown.is_over(now) {
                return Availability::CoolingDown(cooldown);
            }
            if self.reservations.values().any(|reserved| self.routes[reserved.route.index()].provider == route.provider)
            {
                return Availability::limited_until_completion(LimitKind::ConnectionProbe);
            }
        }
        let pool = self.pools[route.pool].availability(now);
        if !pool.is_ready() {
            return pool;
        }
        match &route.breaker {
            Breaker::Open { until, cause, .. } if until.mono > now.mono => {
                return Availability::CircuitOpen { until: *until, cause };
            }
            Breaker::Open { .. } | Breaker::HalfOpen { .. } if route.in_flight > 0 => {
                return Availability::limited_until_completion(LimitKind::Probe);
            }
            _ => {}
        }
        if route.ramp.is_some_and(|ramp| route.in_flight >= ramp.limit()) {
            return Availability::limited_until_completion(LimitKind::Ramp);
        }
        Availability::Ready
    }

    /// Why waiting items are not sent. Checks all candidates, so call it only when nothing moves.
    pub fn stall_reason(&self, now: Now) -> StallReason {
        if !self.reservations.is_empty() {
            return StallReason::Working;
        }
        if self.unfinished_items() == 0 {
            return StallReason::NothingToDo;
        }
        let (mut soonest, mut resumes_at): (Option<(WallTime, String)>, Option<WallTime>) = (None, None);
        let (mut has_candidate, mut all_exhausted, mut any_switched_off) = (false, true, false);
        let (mut any_ready, mut any_over_budget) = (false, false);
        let mut disabled_reason = String::new();
        let mut exhausted = ExhaustedRoutes::default();
        for route in (0..self.routes.len() as u32).map(RouteId) {
            let Some(admission) = self.best_admission(now, route) else { continue };
            has_candidate = true;
            let availability = self.availability(now, route);
            exhausted.count(&availability);
            // The route is out of budget for good, whatever else it waits for.
            if admission == Admission::Never
                && !matches!(availability, Availability::SwitchedOff { .. } | Availability::Disabled(_))
            {
                any_over_budget = true;
                continue;
            }
            match &availability {
                Availability::SwitchedOff { .. } => any_switched_off = true,
                Availability::Ready => match admission {
                    Admission::Now => any_ready = true,
                    // Only money or daily tokens are missing, which counts as exhausted.
                    later => {
                        any_over_budget = true;
                        resumes_at = resumes_at.into_iter().chain(later.deadline().map(|at| at.to_wall(now))).min();
                        continue;
                    }
                },
                Availability::Disabled(cause) => disabled_reason = self.describe(route, cause.outcome.name()),
                _ => {}
            }
            let at = availability.admission().deadline().map(|deadline| deadline.to_wall(now));
            if availability.is_exhausted() {
                resumes_at = resumes_at.into_iter().chain(at).min();
            } else {
                all_exhausted = false;
                if let Some(at) = at
                    && soonest.as_ref().is_none_or(|(earlier, _)| at < *earlier)
                {
                    soonest = Some((at, self.describe(route, availability.label())));
                }
            }
        }
        if any_ready {
            let next = self.next_wakeup().map(|at| now.wall + at.since(now.mono));
            return match next {
                Some(at) if at > now.wall => {
                    StallReason::WaitingUntil { at, reason: "a retry delay or token limit".to_owned() }
                }
                _ => StallReason::Working,
            };
        }
        if !has_candidate {
            // No route can ever serve the waiting items; each is rejected when it is loaded.
            return StallReason::Working;
        }
        if all_exhausted {
            let reason = match resumes_at {
                None if any_over_budget => return StallReason::Budget { min_cost: self.min_worst_case(now) },
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
            None if any_switched_off => StallReason::SwitchedOff,
            None => StallReason::Working,
        }
    }

    /// Whether some route waits for the operator after identical rejections.
    pub fn needs_operator(&self) -> bool {
        self.routes.iter().any(|route| route.needs_operator.is_some())
    }

    fn describe(&self, route: RouteId, label: &str) -> String {
        format!("{}: {label}", self.route_name(route))
    }

    /// `model@key`.
    pub fn route_name(&self, route: RouteId) -> String {
        let route = &self.routes[route.index()];
        format!("{}@{}", self.models[route.model].model.name, self.keys[route.key].key.name)
    }
}

/// How many routes are exhausted, by reason. Shown as `day quota spent on 3 of 4 routes, 1 disabled`.
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
            Availability::Exhausted(cooldown) if is_out_of_credit(cooldown) => self.credit += 1,
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
