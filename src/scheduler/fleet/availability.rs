//! Whether a route can be used now, and if not, why and until when.

use std::time::Duration;

use crate::{
    domain::{MonoTime, Now, RouteId},
    scheduler::{
        admission::{Availability, Cooldown, LimitKind},
        health::breaker::Breaker,
    },
};

use super::Fleet;

/// An item waits for a route in slow start only while something has come back from its pool within this time.
const MAX_SILENCE: Duration = Duration::from_secs(120);

impl Fleet {
    /// Why this route can or can't be used at `now`, whatever the item. The first cause that applies counts, from the
    /// operator's switches down to the route's own ramp.
    pub fn availability(&self, now: Now, id: RouteId) -> Availability<'_> {
        let route = self.route(id);
        let (key, model) = (self.key(route.key), self.model(route.model));
        if let Some(since) = route.switched_off_at.or(key.switched_off_at).or(model.switched_off_at) {
            return Availability::SwitchedOff { since };
        }
        if let Some(cause) = key.disabled.as_ref().or(route.unavailable.as_ref()).or(route.needs_operator.as_ref()) {
            return Availability::Disabled(cause);
        }
        if let Some(cooldown) = &self.project_of(id).out_of_credit {
            if !cooldown.is_over(now) {
                return Availability::Exhausted(cooldown);
            }
            if key.in_flight > 0 {
                return Availability::limited_until_completion(LimitKind::CreditProbe);
            }
        }
        let provider = self.provider_of(id);
        if let Some(cooldown) = provider.connection.unreachable() {
            if !cooldown.is_over(now) {
                return Availability::CoolingDown(cooldown);
            }
            if provider.in_flight > 0 {
                return Availability::limited_until_completion(LimitKind::ConnectionProbe);
            }
        }
        let pool = self.pool(route.pool).availability(now);
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

    /// Whether waiting on the route makes sense: it is neither exhausted, nor disabled, nor switched off.
    pub fn can_wait_on(&self, now: Now, id: RouteId) -> bool {
        let availability = self.availability(now, id);
        !availability.is_exhausted() && !matches!(availability, Availability::SwitchedOff { .. })
    }

    /// Until when items wait for this route because only its slow start keeps it full: its pool responds, so does its
    /// provider to health checks, no circuit is open, and no ramp limits it. `None` if it has room or is unavailable
    /// for another reason. A pool that has refused a request is not in slow start: it has learned a limit.
    pub fn slow_start_wait_until(&self, now: Now, id: RouteId) -> Option<MonoTime> {
        let (route, pool) = (self.route(id), self.pool_of(id));
        let is_sound = !self.is_probe(now, id) && route.ramp.is_none() && pool.ramp.is_none();
        let until = pool.silent_since() + MAX_SILENCE;
        let waits = is_sound && !self.provider_of(id).is_down && until > now.mono;
        (waits && self.availability(now, id).limit_kind() == Some(LimitKind::SlowStart)).then_some(until)
    }

    /// Whether the next request on this route is a probe: the end of its cooldown was only a guess, so one real item is
    /// tried first.
    pub fn is_probe(&self, now: Now, id: RouteId) -> bool {
        let has_ended = |cooldown: Option<&Cooldown>| cooldown.is_some_and(|cooldown| cooldown.is_over(now));
        matches!(self.route(id).breaker, Breaker::Open { .. } | Breaker::HalfOpen { .. })
            || self.pool_of(id).ramp.is_some_and(|ramp| ramp.limit() == 1)
            || has_ended(self.project_of(id).out_of_credit.as_ref())
            || has_ended(self.provider_of(id).connection.unreachable())
    }

    /// Whether the route's provider could not be reached, or its project had no credit, when last tried.
    pub fn lacks_credit_or_connection(&self, id: RouteId) -> bool {
        self.provider_of(id).connection.unreachable().is_some() || self.project_of(id).out_of_credit.is_some()
    }
}
