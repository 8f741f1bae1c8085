//! All changes of the fleet: by requests and their results, by the operator, and from an earlier process. A change
//! returns the event that the log gets, if there is one.

use std::time::Duration;

use crate::{
    domain::{
        AttemptResult, EventKind, KeyId, ModelId, MonoTime, Now, Outcome, Policy, ProviderId, RouteId, Seq, WallTime,
        pluralize, snapshot::Cause,
    },
    scheduler::{
        admission::Cooldown,
        health::{
            breaker::Breaker, failure_streak::FailureStreak, fault_attribution::MIN_FAILING_ITEMS,
            rejections::MAX_PICTURE_REJECTIONS, score::Health,
        },
        limits::ramp::Ramp,
    },
};

use super::{Fleet, Proof, RouteState};

/// The health of a key that has just been re-enabled.
const REENABLED_HEALTH: u8 = 50;

/// Requests and their results.
impl Fleet {
    /// Counts a request that is about to be sent on this route.
    pub fn start_request(&mut self, now: Now, id: RouteId) {
        self.requests_started += 1;
        let route = &mut self.routes[id.index()];
        route.last_use_number = self.requests_started;
        route.in_flight += 1;
        route.breaker.half_open_if_due(now);
        self.keys[route.key.index()].in_flight += 1;
        let provider = &mut self.providers[route.provider.index()];
        provider.in_flight += 1;
        let pool = &mut self.pools[route.pool.index()];
        if pool.in_flight == 0 {
            pool.limits.slow_start_mut().begin_at(provider.slow_start);
        }
    }

    /// Counts a request on this route as ended.
    pub fn end_request(&mut self, id: RouteId) {
        let route = &mut self.routes[id.index()];
        route.in_flight -= 1;
        self.keys[route.key.index()].in_flight -= 1;
        self.providers[route.provider.index()].in_flight -= 1;
    }

    /// Moves the route's breaker from open to half-open once its open time is over.
    pub fn half_open_if_due(&mut self, now: Now, id: RouteId) {
        self.routes[id.index()].breaker.half_open_if_due(now);
    }

    /// Notes whether a provider's last health check failed.
    pub fn set_down(&mut self, provider: ProviderId, is_down: bool) {
        self.providers[provider.index()].is_down = is_down;
    }

    /// Half-opens the open breakers of a provider's routes, and ends its cooldown for a lost connection.
    pub fn half_open_all(&mut self, id: ProviderId) {
        self.providers[id.index()].connection.clear();
        self.routes.iter_mut().filter(|route| route.provider == id).for_each(|route| route.breaker.half_open());
    }

    /// Notes that a provider responded to a health check that was sent at `sent_at`.
    pub fn on_health_response(&mut self, id: ProviderId, sent_at: MonoTime) {
        self.note_proof(id, sent_at);
    }

    /// Notes that a provider processed what was sent at `sent_at`.
    fn note_proof(&mut self, id: ProviderId, sent_at: MonoTime) {
        let last_proof = &mut self.providers[id.index()].last_proof;
        *last_proof = (*last_proof).max(Some(sent_at));
    }

    /// Closes the circuits of a provider's routes, which begin with a ramp. True if one was not closed.
    pub fn close_circuits(&mut self, id: ProviderId) -> bool {
        let mut has_closed_any = false;
        for route in self.routes.iter_mut().filter(|route| route.provider == id) {
            if route.breaker.record_response() {
                route.ramp = Some(Ramp::AFTER_PROBE);
                has_closed_any = true;
            }
        }
        has_closed_any
    }

    /// Counts a request that got no response, or a provider error.
    pub fn on_failure(&mut self, now: Now, id: RouteId, result: &AttemptResult) {
        let provider = &mut self.providers[self.routes[id.index()].provider.index()];
        FailureStreak::extend(&mut provider.failures, now.wall, result.outcome, result.status);
    }

    /// Handles any response other than a provider error, even a refusal: the provider can be reached, so the route's
    /// breaker closes.
    pub fn on_provider_reached(&mut self, id: RouteId) -> impl Iterator<Item = EventKind> {
        let provider = self.routes[id.index()].provider;
        self.providers[provider.index()].is_down = false;
        self.providers[provider.index()].failures = None;
        let was_open = self.routes[id.index()].breaker.record_response();
        if was_open {
            self.routes[id.index()].ramp = Some(Ramp::AFTER_PROBE);
        }
        let recovered = |subject, message: &str| EventKind::Recovered { subject, message: message.to_owned() };
        let probed = was_open.then(|| recovered(self.route_name(id), "trial request succeeded"));
        let provider = &mut self.providers[self.routes[id.index()].provider.index()];
        let is_back = provider.connection.on_response();
        probed.into_iter().chain(is_back.then(|| recovered(provider.name.clone(), "reachable again")))
    }

    /// Handles a request that the provider accepted and processed: the key and the project's credit are good.
    pub fn on_accepted(&mut self, id: RouteId, proof: Proof) -> Option<EventKind> {
        let route = &mut self.routes[id.index()];
        route.rejections.on_accepted();
        route.last_accepted = Some(proof);
        route.ramp = route.ramp.and_then(Ramp::on_success);
        let (provider, key) = (route.provider, route.key);
        self.note_proof(provider, proof.sent_at);
        let project = &mut self.projects[self.keys[key.index()].project.index()];
        project.out_of_credit.take()?;
        Some(EventKind::Recovered { subject: project.name.clone(), message: "credit available again".to_owned() })
    }

    /// Handles an answer to an item: the key is rewarded, and what its pool has in flight counts for the provider.
    pub fn on_success(&mut self, id: RouteId, seq: Seq, proof: Proof) {
        let route = &self.routes[id.index()];
        let slow_start = self.pools[route.pool.index()].limits.slow_start();
        self.providers[route.provider.index()].slow_start.begin_at(slow_start);
        let key = &mut self.keys[route.key.index()];
        key.health.reward();
        key.recent_failures.clear();
        let recent = &mut self.models[route.model.index()].recent_successes;
        if recent[0].is_none_or(|(last, _)| last != seq) {
            recent[1] = recent[0];
        }
        recent[0] = Some((seq, proof));
    }

    /// Adds the output tokens of one answer to the model's running mean.
    pub fn record_output_tokens(&mut self, id: ModelId, tokens: u64) {
        let model = &mut self.models[id.index()];
        let mean = model.mean_output_tokens.unwrap_or(tokens as f64);
        model.mean_output_tokens = Some(mean + (tokens as f64 - mean) * 0.05);
    }

    /// Records the latency of an answer or a provider error. Refusals are not recorded, since they say nothing about
    /// speed. True if it is the first of the model.
    pub fn record_latency(&mut self, now: Now, id: RouteId, outcome: Outcome, latency: Duration) -> bool {
        let route = &mut self.routes[id.index()];
        let of_model = &mut self.models[route.model.index()].latency;
        let is_first = of_model.mean_micros().is_none() && outcome.is_provider_success();
        if outcome.is_provider_success() {
            route.latency.record(now.mono, latency);
            of_model.record(now.mono, latency);
        } else if outcome.is_provider_error() {
            route.latency.record_failure(now.mono, latency, *of_model);
        }
        is_first
    }

    /// Handles the first 429 of an episode: slow start begins anew for the model's pools, and pools of the provider
    /// that have sent nothing yet begin at its start.
    pub fn on_first_throttle(&mut self, id: RouteId) {
        let RouteState { pool, provider, .. } = *self.route(id);
        self.providers[provider.index()].slow_start.restart();
        let group = self.pools[pool.index()].model_group;
        for pool in &self.model_groups[group].pools {
            self.pools[pool.index()].limits.slow_start_mut().restart();
        }
    }

    /// Counts a provider error for the route's breaker. Returns the open time if this opened the breaker.
    pub fn record_failure(&mut self, now: Now, id: RouteId, policy: &Policy, cause: &Cause) -> Option<Duration> {
        let route = &mut self.routes[id.index()];
        route.last_failed_at = Some(now.mono);
        route.breaker.record_failure(now, policy, cause)
    }

    /// Lowers the health score of a key.
    pub fn penalize(&mut self, key: KeyId) {
        self.keys[key.index()].health.penalize();
    }

    /// Takes a penalty of a key back, after its failure turned out to be the item's fault.
    pub fn refund_penalty(&mut self, key: KeyId) {
        let key = &mut self.keys[key.index()];
        key.health.refund_penalty();
        key.recent_failures.clear();
    }

    /// Counts an item that failed on a key while another key answered. If enough different items did, the closed
    /// breakers of all routes of the key open.
    pub fn record_failed_item(
        &mut self,
        now: Now,
        key: KeyId,
        seq: Seq,
        open_time: Duration,
        cause: &Cause,
    ) -> Option<EventKind> {
        let key = &mut self.keys[key.index()];
        if !key.recent_failures.record(now.mono, seq) {
            return None;
        }
        key.recent_failures.clear();
        let mut any_opened = false;
        for route in &key.routes {
            let breaker = &mut self.routes[route.index()].breaker;
            if matches!(breaker, Breaker::Closed { .. }) {
                *breaker = Breaker::new_open(now, open_time, cause.clone());
                any_opened = true;
            }
        }
        let message =
            format!("{MIN_FAILING_ITEMS} different items failed here while other keys answered: {}", cause.message);
        let subject = format!("key {}", key.key.name);
        any_opened.then_some(EventKind::Cooldown { subject, outcome: cause.outcome, wait: Some(open_time), message })
    }

    /// Disables a key that the provider does not accept. `None` if it was disabled before.
    pub fn disable_key(&mut self, id: KeyId, cause: Cause) -> Option<EventKind> {
        let key = &mut self.keys[id.index()];
        key.health.set_to_zero();
        if key.disabled.is_some() {
            return None;
        }
        let event = disabled_event(format!("key {}", key.key.name), &cause);
        key.disabled = Some(cause);
        Some(event)
    }

    /// Marks the route's model as unavailable for all keys of its project. `None` if that is not new for any route.
    pub fn mark_model_unavailable(&mut self, id: RouteId, cause: &Cause) -> Option<EventKind> {
        let (model, project) = (self.route(id).model, self.key_of(id).project);
        let mut first = None;
        for id in self.route_ids() {
            let is_affected = self.route(id).model == model && self.key_of(id).project == project;
            let unavailable = &mut self.routes[id.index()].unavailable;
            if is_affected && unavailable.is_none() {
                *unavailable = Some(cause.clone());
                first = first.or(Some(id));
            }
        }
        first.map(|first| disabled_event(self.route_name(first), cause))
    }

    /// Starts a cooldown of the route's project for lack of credit. `None` if one was running.
    pub fn exhaust_credit(&mut self, now: Now, id: RouteId, wait: Duration, cause: Cause) -> Option<EventKind> {
        let project = self.key_of(id).project;
        let project = &mut self.projects[project.index()];
        let is_new = Cooldown::running(project.out_of_credit.as_ref(), now).is_none();
        let event = disabled_event(format!("project {}", project.name), &cause);
        Cooldown::extend(&mut project.out_of_credit, Cooldown::until_wall(now, now.wall + wait, cause), now);
        is_new.then_some(event)
    }

    /// Starts a cooldown of a provider that can't be reached. `None` if it was known before.
    pub fn disconnect(&mut self, now: Now, id: RouteId, cause: Cause) -> Option<EventKind> {
        let provider = &mut self.providers[self.routes[id.index()].provider.index()];
        let (outcome, message) = (cause.outcome, cause.message.clone());
        let wait = provider.connection.on_failure(now, cause)?;
        Some(EventKind::Cooldown { subject: format!("provider {}", provider.name), outcome, wait: Some(wait), message })
    }

    /// Disables the route until the operator decides, if it rejects every item alike.
    pub fn count_rejection(
        &mut self,
        id: RouteId,
        policy: &Policy,
        result: &AttemptResult,
        cause: Cause,
    ) -> Option<EventKind> {
        // The texts of HTML pages are not compared: they contain request ids, which differ in letters too.
        let is_html_page = result.is_html_auth_error();
        let message = if is_html_page { "" } else { result.message.as_str() };
        let threshold = policy.max_identical_rejections;
        if !self.routes[id.index()].rejections.count_identical(message, threshold) {
            return None;
        }
        let items = pluralize(u64::from(threshold), if is_html_page { "request" } else { "item" });
        let message = format!("{items} got the same error, none succeeded: {}", result.message);
        self.hold_for_operator(id, cause, message)
    }

    /// Disables the route until the operator decides, if it refuses every picture.
    pub fn count_refused_picture(&mut self, id: RouteId, policy: &Policy, cause: Cause) -> Option<EventKind> {
        let is_reached = self.routes[id.index()].rejections.count_picture();
        let message = format!(
            "the pictures of {MAX_PICTURE_REJECTIONS} items refused in a row and none accepted: {}",
            cause.message
        );
        (is_reached && policy.max_identical_rejections > 0)
            .then(|| self.hold_for_operator(id, cause, message))
            .flatten()
    }

    /// Disables a route until the operator decides. `None` if it was so before.
    fn hold_for_operator(&mut self, id: RouteId, cause: Cause, message: String) -> Option<EventKind> {
        let (subject, outcome) = (self.route_name(id), cause.outcome);
        let needs_operator = &mut self.routes[id.index()].needs_operator;
        if needs_operator.is_some() {
            return None;
        }
        *needs_operator = Some(cause);
        Some(EventKind::Disabled { subject, outcome, message })
    }
}

/// The operator and key checks.
impl Fleet {
    /// Switches a key on or off. Switching on also re-enables it and ends its project's cooldown for lack of credit.
    pub fn switch_key(&mut self, now: WallTime, id: KeyId, on: bool) {
        self.keys[id.index()].switched_off_at = (!on).then_some(now);
        if on {
            self.enable_key(id);
            let project = self.keys[id.index()].project;
            self.projects[project.index()].out_of_credit = None;
        }
    }

    /// Re-enables a key. Returns why it was disabled, if it was.
    pub fn enable_key(&mut self, id: KeyId) -> Option<Cause> {
        let key = &mut self.keys[id.index()];
        let previous_cause = key.disabled.take()?;
        key.health = Health::from_score(REENABLED_HEALTH);
        Some(previous_cause)
    }

    /// Switches all models of this name off since an instant, or on. False if there is none.
    pub fn switch_models(&mut self, name: &str, off_since: Option<WallTime>) -> bool {
        let mut found = false;
        for model in self.models.iter_mut().filter(|state| state.model.name == name) {
            model.switched_off_at = off_since;
            found = true;
        }
        found
    }

    /// Switches a route on or off. Switching on also makes it available again.
    pub fn switch_route(&mut self, now: WallTime, id: RouteId, on: bool) {
        let route = &mut self.routes[id.index()];
        route.switched_off_at = (!on).then_some(now);
        if on {
            (route.unavailable, route.needs_operator) = (None, None);
            route.rejections.clear();
        }
    }

    /// Marks all models as available for a key, except `unlisted`.
    pub fn mark_models_listed(&mut self, id: KeyId, unlisted: &[String]) {
        for route in &self.keys[id.index()].routes {
            let RouteState { model, unavailable, .. } = &mut self.routes[route.index()];
            if !unlisted.contains(&self.models[model.index()].model.name) {
                *unavailable = None;
            }
        }
    }

    /// Ends every cooldown, exhausted day and open breaker of a key's routes, pools, project and providers. True if
    /// there was any.
    pub fn clear_cooldowns(&mut self, id: KeyId) -> bool {
        let key = &self.keys[id.index()];
        let mut has_ended_any = self.projects[key.project.index()].out_of_credit.take().is_some();
        for route in &key.routes {
            let route = &mut self.routes[route.index()];
            has_ended_any |= matches!(route.breaker, Breaker::Open { .. });
            route.breaker = Breaker::default();
            route.ramp = None;
            has_ended_any |= self.pools[route.pool.index()].clear_cooldowns();
            has_ended_any |= self.providers[route.provider.index()].connection.clear();
        }
        has_ended_any
    }
}

/// The state of an earlier process.
impl Fleet {
    /// Restores the cooldown of a project for lack of credit.
    pub fn restore_project(&mut self, name: &str, out_of_credit: Option<Cooldown>) {
        if let Some(project) = self.projects.iter_mut().find(|project| project.name == name) {
            project.out_of_credit = out_of_credit;
        }
    }

    /// Restores the switch of a key; and its health and why it is disabled, if its secret is still the same.
    pub fn restore_key(&mut self, id: KeyId, off_since: Option<WallTime>, same_secret: Option<(Option<Cause>, u8)>) {
        let key = &mut self.keys[id.index()];
        key.switched_off_at = off_since;
        if let Some((disabled, score)) = same_secret {
            (key.disabled, key.health) = (disabled, Health::from_score(score));
        }
    }

    pub fn restore_route(&mut self, id: RouteId, off_since: Option<WallTime>, unavailable: Option<Cause>) {
        let route = &mut self.routes[id.index()];
        (route.switched_off_at, route.unavailable) = (off_since, unavailable);
    }
}

fn disabled_event(subject: String, cause: &Cause) -> EventKind {
    EventKind::Disabled { subject, outcome: cause.outcome, message: cause.message.clone() }
}
