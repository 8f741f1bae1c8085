//! Effects of a response: the provider can be reached, the key and the credit are good, the daily quota has reset.

use crate::domain::{EventKind, Now};

use crate::scheduler::{Reserved, Scheduler, limits::ramp::Ramp};

impl Scheduler {
    /// Handles any response other than a provider error, even a refusal: the provider can be reached, so the route's
    /// breaker closes.
    pub(super) fn on_provider_reached(&mut self, reserved: &Reserved, events: &mut Vec<EventKind>) {
        let route = &mut self.routes[reserved.route.index()];
        if route.breaker.record_answer() {
            route.ramp = Some(Ramp::AFTER_PROBE);
            let subject = self.route_name(reserved.route);
            events.push(EventKind::Recovered { subject, message: "trial request succeeded".to_owned() });
        }
        let provider = self.routes[reserved.route.index()].provider;
        let provider = &mut self.providers[provider];
        provider.unreachable_step = 0;
        if provider.unreachable.take().is_some() {
            events.push(EventKind::Recovered { subject: provider.name.clone(), message: "reachable again".to_owned() });
        }
    }

    /// Handles a request that the provider accepted and processed: the key and the project's credit are good.
    pub(super) fn on_accepted(&mut self, now: Now, reserved: &Reserved, events: &mut Vec<EventKind>) {
        self.on_provider_reached(reserved, events);
        let route = &mut self.routes[reserved.route.index()];
        route.has_accepted_request = true;
        route.identical_rejections = (0, 0);
        route.picture_rejections = 0;
        route.last_accepted_at = Some(now.mono);
        route.ramp = route.ramp.and_then(Ramp::on_success);
        let key = route.key;
        let project = &mut self.projects[self.keys[key].project];
        if project.out_of_credit.take().is_some() {
            let subject = project.name.clone();
            events.push(EventKind::Recovered { subject, message: "credit available again".to_owned() });
        }
    }

    /// Handles an answer with text, complete or truncated: the key is rewarded, and cooldowns that are over end.
    pub(super) fn on_success(&mut self, now: Now, reserved: &Reserved, events: &mut Vec<EventKind>) {
        let route = &self.routes[reserved.route.index()];
        let (key, model, pool) = (route.key, route.model, route.pool);
        self.keys[key].health.reward();
        self.keys[key].recent_failures.clear();
        self.clear_contradicted_pairs(now, pool);
        let recent_successes = &mut self.models[model].recent_successes;
        if recent_successes[0].is_none_or(|(seq, _)| seq != reserved.item.seq) {
            recent_successes[1] = recent_successes[0];
        }
        recent_successes[0] = Some((reserved.item.seq, now.mono));
        let pool = &mut self.pools[pool];
        let is_after_cooldown =
            pool.cooldown.as_ref().is_none_or(|cooldown| reserved.created_at.mono >= cooldown.until.mono);
        if is_after_cooldown {
            pool.on_success();
            if pool.cooldown.take_if(|cooldown| cooldown.is_over(now)).is_some() {
                events.push(EventKind::Recovered { subject: pool.label.clone(), message: String::new() });
            }
        }
        if pool.day_exhausted.take_if(|cooldown| cooldown.is_over(now)).is_some() {
            events.push(EventKind::Recovered { subject: pool.label.clone(), message: "day quota reset".to_owned() });
        }
    }
}
