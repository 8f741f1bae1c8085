//! Faults: of a key, a route, a provider, or the item itself, and whose it is where that isn't said.

use std::time::Duration;

use smallvec::SmallVec;

use crate::domain::{
    AttemptResult, EventKind, ModelId, MonoTime, Now, Outcome, OutcomeAction, RouteId, Seq, pluralize, snapshot::Cause,
};

use super::{
    super::{Flight, Scheduler, TESTIMONY, breaker::Breaker, cooldown::Cooldown},
    Fate,
};

/// Longest step of a provider's hold while it can't be reached.
const LONGEST_HOLD: Duration = Duration::from_secs(30);

impl Scheduler {
    pub(super) fn key_dead(&mut self, route: RouteId, cause: Cause, events: &mut Vec<EventKind>) {
        let key = &mut self.keys[self.routes[route.index()].key];
        key.health.dead();
        if key.dead.is_none() {
            let subject = format!("key {}", key.key.name);
            events.push(EventKind::Disabled { subject, outcome: cause.outcome, message: cause.message.clone() });
            key.dead = Some(cause);
        }
    }

    /// The project can't use the model: every key of the project learns it at once.
    pub(super) fn route_gone(&mut self, route: RouteId, cause: &Cause, events: &mut Vec<EventKind>) {
        let (model, project) = {
            let route = &self.routes[route.index()];
            (route.model, self.keys[route.key].project)
        };
        let mut first = true;
        for index in 0..self.routes.len() {
            let same = self.routes[index].model == model && self.keys[self.routes[index].key].project == project;
            if same && self.routes[index].gone.is_none() {
                self.routes[index].gone = Some(cause.clone());
                if std::mem::take(&mut first) {
                    let subject = self.route_name(RouteId(index as u32));
                    events.push(EventKind::Disabled {
                        subject,
                        outcome: cause.outcome,
                        message: cause.message.clone(),
                    });
                }
            }
        }
    }

    pub(super) fn provider_fault(
        &mut self,
        now: Now,
        flight: &mut Flight,
        verdict: &AttemptResult,
        cause: Cause,
        events: &mut Vec<EventKind>,
    ) -> Fate {
        let (model, key) = {
            let route = &self.routes[flight.route.index()];
            (route.model, route.key)
        };
        let accusation = cause.clone();
        let policy = &self.policy;
        let opened = self.routes[flight.route.index()].breaker.fault(
            now,
            policy.breaker_threshold,
            policy.breaker_open_time,
            policy.breaker_max_open_time,
            cause,
        );
        if verdict.is_html_auth_error() {
            self.refused(flight, verdict, accusation.clone(), events);
        }
        if opened {
            let subject = self.route_name(flight.route);
            let wait = match &self.routes[flight.route.index()].breaker {
                Breaker::Open { span, .. } => Some(*span),
                _ => None,
            };
            events.push(EventKind::Cooldown {
                subject,
                outcome: verdict.outcome,
                wait,
                message: verdict.message.clone(),
            });
        }
        // The key's own fault only where another key at the same model succeeds.
        let another_key_succeeds = self.routes.iter().any(|route| {
            route.model == model && route.key != key && route.last_ok.is_some_and(|at| now.mono.since(at) < TESTIMONY)
        });
        if another_key_succeeds {
            self.examine(now, flight, &accusation, events);
        }
        let testified = self.has_witness(now, model, flight.ticket.seq);
        let suspects_only = {
            self.suspects.insert(flight.ticket.seq);
            // The flight itself was already taken out of the books.
            self.suspects.len() as u64 > self.live()
        };
        let retries = self.policy.retries_per_model;
        let course = flight.ticket.course();
        course.last = Some(verdict.outcome);
        let here = course.on_model(ModelId(model as u32));
        here.timeouts += u32::from(verdict.outcome == Outcome::Timeout);
        if testified || (suspects_only && here.uncharged >= retries) {
            here.charged += 1;
        } else {
            here.uncharged += 1;
        }
        let (tries, charged) = (here.faults(), here.charged);
        if charged > 0 && tries > retries {
            return self.next_model(now, flight);
        }
        let delays = &self.policy.retry_delays;
        let step = (tries as usize).clamp(1, delays.len().max(1)) - 1;
        let delay = delays.get(step).copied().unwrap_or_default();
        let jitter = delay.mul_f64(self.random.f64() * 0.25);
        // A provider that says when to come back is not asked before, as long as that is sane.
        let stated = verdict.retry_after.map(|hint| hint.delay.min(self.policy.max_retry_after)).unwrap_or_default();
        self.wait(now, flight, Some((delay + jitter).max(stated)))
    }

    /// Whether this model answered some other item within the last minute.
    fn has_witness(&self, now: Now, model: usize, seq: Seq) -> bool {
        let recent = |(other, at): &(Seq, MonoTime)| *other != seq && now.mono.since(*at) < TESTIMONY;
        self.models[model].witnesses.iter().flatten().any(recent)
    }

    pub(super) fn empty(&mut self, now: Now, flight: &mut Flight, verdict: &AttemptResult) -> Fate {
        let model = ModelId(self.routes[flight.route.index()].model as u32);
        // Where the provider says why there is nothing, asking again is no use.
        let quick = if verdict.action == OutcomeAction::FailItem { 0 } else { self.policy.max_empty_retries };
        let course = flight.ticket.course();
        course.last = Some(Outcome::EmptyOutput);
        let here = course.on_model(model);
        here.empties += 1;
        if here.empties <= quick { self.wait(now, flight, None) } else { self.next_model(now, flight) }
    }

    pub(super) fn truncated(&mut self, now: Now, flight: &mut Flight, verdict: &AttemptResult) -> Fate {
        let has_text = verdict.answer.as_ref().is_some_and(|answer| !answer.text.trim().is_empty());
        if has_text && !flight.ticket.caption {
            return Fate::Done { truncated: true };
        }
        if self.policy.truncated_retry_factor.is_none() || flight.ticket.course().enlarged {
            return Fate::Failed;
        }
        let before: SmallVec<[Option<u32>; 8]> = self.most_outputs(flight);
        flight.ticket.course().enlarged = true;
        // Where every model's cap, or the item's money, keeps the limit as it is, the answer would be no longer.
        let helps = self.most_outputs(flight) != before;
        let serves = |route: &RouteId| self.unfit(*route, &flight.ticket).is_none();
        if helps && self.classes[flight.class].candidates.iter().any(serves) {
            return self.wait(now, flight, None);
        }
        Fate::Failed
    }

    fn most_outputs(&self, flight: &Flight) -> SmallVec<[Option<u32>; 8]> {
        self.models.iter().map(|state| self.most_output(&state.model, &flight.ticket)).collect()
    }

    /// Items refused alike and none accepted: one wrong parameter must not fail five thousand, and what a proxy turns
    /// away for the key must not be sent for ever.
    pub(super) fn refused(
        &mut self,
        flight: &Flight,
        verdict: &AttemptResult,
        cause: Cause,
        events: &mut Vec<EventKind>,
    ) {
        let after = self.policy.max_identical_rejections;
        let route = &mut self.routes[flight.route.index()];
        if route.ever_accepted || after == 0 {
            return;
        }
        // Pages carry a number of their own each, in letters too.
        let page = verdict.is_html_auth_error();
        let alike = fingerprint(if page { "" } else { &verdict.message });
        let (count, last) = &mut route.refused_alike;
        *count = if *last == alike { *count + 1 } else { 1 };
        *last = alike;
        if *count >= after && route.held.is_none() {
            route.held = Some(cause);
            let subject = self.route_name(flight.route);
            let items = pluralize(u64::from(after), if page { "request" } else { "item" });
            let message = format!("{items} refused alike and none accepted: {}", verdict.message);
            events.push(EventKind::Disabled { subject, outcome: verdict.outcome, message });
        }
    }

    pub(super) fn unreachable(&mut self, now: Now, route: RouteId, cause: Cause, events: &mut Vec<EventKind>) {
        let provider = self.routes[route.index()].provider;
        let state = &mut self.providers[provider];
        if state.hold.as_ref().is_some_and(|hold| !hold.over(now)) {
            return;
        }
        let span = (Duration::from_secs(1) * 2_u32.saturating_pow(state.hold_step)).min(LONGEST_HOLD);
        state.hold_step = (state.hold_step + 1).min(10);
        let message = cause.message.clone();
        let first = state.hold_step == 1;
        let until = now + span;
        state.hold = Some(Cooldown { since: now, until, calendar: false, cause });
        if first {
            let subject = format!("provider {}", state.name);
            events.push(EventKind::Cooldown { subject, outcome: Outcome::ClientTrouble, wait: Some(span), message });
        }
    }
}

/// Digits differ between otherwise like messages (sizes, positions, request ids).
fn fingerprint(message: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    for character in message.chars().filter(|character| !character.is_ascii_digit()) {
        character.hash(&mut hasher);
    }
    hasher.finish()
}
