//! What an answer proves: the provider can be reached, the key is good, the credit is there, the day has begun anew.

use crate::domain::{EventKind, Now};

use super::super::{Flight, Scheduler, ramp::Ramp};

impl Scheduler {
    /// The provider answered, whatever it said: it is reachable, and this route's breaker can rest.
    pub(super) fn answered(&mut self, flight: &Flight, events: &mut Vec<EventKind>) {
        let route = &mut self.routes[flight.route.index()];
        if route.breaker.answered() {
            route.ramp = Some(Ramp::PASSED);
            let subject = self.route_name(flight.route);
            events.push(EventKind::Recovered { subject, message: "its probe was answered".to_owned() });
        }
        let provider = self.routes[flight.route.index()].provider;
        let provider = &mut self.providers[provider];
        provider.hold_step = 0;
        if provider.hold.take().is_some() {
            events
                .push(EventKind::Recovered { subject: provider.name.clone(), message: "it can be reached".to_owned() });
        }
    }

    /// The provider accepted the request and worked on it: the key and the project's credit are good.
    pub(super) fn accepted(&mut self, now: Now, flight: &Flight, events: &mut Vec<EventKind>) {
        self.answered(flight, events);
        let route = &mut self.routes[flight.route.index()];
        route.ever_accepted = true;
        route.refused_alike = (0, 0);
        route.last_ok = Some(now.mono);
        route.ramp = route.ramp.and_then(Ramp::succeeded);
        let key = route.key;
        let project = &mut self.projects[self.keys[key].project];
        if project.billing.take().is_some() {
            let subject = project.name.clone();
            events.push(EventKind::Recovered { subject, message: "its credit is good again".to_owned() });
        }
    }

    pub(super) fn succeeded(&mut self, now: Now, flight: &Flight, events: &mut Vec<EventKind>) {
        let route = &self.routes[flight.route.index()];
        let (key, model, pool) = (route.key, route.model, route.pool);
        self.keys[key].health.success();
        self.keys[key].accusers.dismiss();
        self.acquit_kin(now, pool);
        let witnesses = &mut self.models[model].witnesses;
        if witnesses[0].is_none_or(|(seq, _)| seq != flight.ticket.seq) {
            witnesses[1] = witnesses[0];
        }
        witnesses[0] = Some((flight.ticket.seq, now.mono));
        let pool = &mut self.pools[pool];
        let since_cooldown = pool.cooldown.as_ref().is_none_or(|old| flight.reserved_at.mono >= old.until.mono);
        if since_cooldown {
            pool.succeeded();
            if pool.cooldown.take_if(|cooldown| cooldown.over(now)).is_some() {
                events.push(EventKind::Recovered { subject: pool.label.clone(), message: String::new() });
            }
        }
        if pool.spent.take_if(|spent| spent.over(now)).is_some() {
            events.push(EventKind::Recovered { subject: pool.label.clone(), message: "a new day".to_owned() });
        }
    }
}
