//! Changes by the operator and by key checks: switches, strategy, caps, and cooldowns ended by hand.

use crate::domain::{
    AttemptId, CascadeOrder, EventKind, KeyId, Money, MonoTime, Now, OnExhausted, Outcome, Policy, ProviderId, Seq,
    SpillTo, Strategy, WallTime, WhenLimited,
    snapshot::{Cause, CauseSource},
};

use super::{Scheduler, queue::LocalRejection};

/// No key, model or route has this name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there is no {kind} called {name}")]
pub struct NotFound {
    pub kind: &'static str,
    pub name: String,
}

impl Scheduler {
    pub fn set_paused(&mut self, paused: bool) {
        self.is_paused = paused;
        self.readiness.mark_changed();
    }

    /// Switches a key on or off. Switching on also re-enables a disabled key and ends its project's cooldown for
    /// missing credit.
    ///
    /// # Errors
    ///
    /// If there is no key of this name.
    pub fn switch_key(&mut self, now: WallTime, name: &str, on: bool) -> Result<(), NotFound> {
        let id = self.find_key(name)?;
        self.fleet.switch_key(now, id, on);
        self.routing.update_key_stats(&self.fleet, id);
        self.unpark_all();
        Ok(())
    }

    fn find_key(&self, name: &str) -> Result<KeyId, NotFound> {
        self.fleet.find_key(name).ok_or_else(|| NotFound { kind: "key", name: name.to_owned() })
    }

    /// Switches all models of this name on or off.
    ///
    /// # Errors
    ///
    /// If there is no model of this name.
    pub fn switch_model(&mut self, now: WallTime, name: &str, on: bool) -> Result<(), NotFound> {
        let found = self.fleet.switch_models(name, (!on).then_some(now));
        self.unpark_all();
        if found { Ok(()) } else { Err(NotFound { kind: "model", name: name.to_owned() }) }
    }

    /// Switches a route on or off. Switching on also re-enables a route that is unavailable or waits for the operator.
    ///
    /// # Errors
    ///
    /// If there is no such route.
    pub fn switch_route(&mut self, now: WallTime, key: &str, model: &str, on: bool) -> Result<(), NotFound> {
        let not_found = || NotFound { kind: "route", name: format!("{model}@{key}") };
        let id = self.fleet.find_route(key, model).ok_or_else(not_found)?;
        self.fleet.switch_route(now, id, on);
        self.unpark_all();
        Ok(())
    }

    /// Ends every cooldown, exhausted day and open breaker of a key's routes, pools, project and providers. True if
    /// there was any.
    ///
    /// # Errors
    ///
    /// If there is no key of this name.
    pub fn clear_cooldowns(&mut self, name: &str) -> Result<bool, NotFound> {
        let has_ended_any = self.fleet.clear_cooldowns(self.find_key(name)?);
        self.unpark_all();
        Ok(has_ended_any)
    }

    /// # Errors
    ///
    /// If the strategy can't be combined with `when_limited`; the error is a message for the operator.
    pub fn set_strategy(&mut self, strategy: Strategy) -> Result<(), String> {
        self.change_policy(|policy| policy.strategy = strategy)
    }

    pub fn set_order(&mut self, order: CascadeOrder) {
        self.policy.order = order;
        self.rebuild_routing();
    }

    /// # Errors
    ///
    /// If it can't be combined with the strategy or with a rule's; the error is a message for the operator.
    pub fn set_when_limited(&mut self, when_limited: WhenLimited) -> Result<(), String> {
        self.change_policy(|policy| policy.when_limited = when_limited)
    }

    fn change_policy(&mut self, change: impl FnOnce(&mut Policy)) -> Result<(), String> {
        let before = (self.policy.strategy, self.policy.when_limited);
        change(&mut self.policy);
        if let Some(reason) = self.policy.wait_conflict() {
            (self.policy.strategy, self.policy.when_limited) = before;
            return Err(reason);
        }
        self.apply_strict_mode();
        self.rebuild_routing();
        Ok(())
    }

    pub fn set_spill_to(&mut self, spill_to: SpillTo) {
        self.policy.spill_to = spill_to;
        self.unpark_all();
    }

    pub const fn set_on_exhausted(&mut self, on_exhausted: OnExhausted) {
        self.policy.on_exhausted = on_exhausted;
    }

    pub fn set_max_in_flight(&mut self, max_in_flight: u32) {
        self.policy.max_in_flight = max_in_flight.max(1);
    }

    pub fn set_max_usd(&mut self, max_usd: Option<Money>) {
        self.policy.max_usd = max_usd;
        self.unpark_all();
    }

    /// Marks all models as available for a key, except `unlisted`, after the provider listed its models.
    pub fn mark_models_listed(&mut self, name: &str, unlisted: &[String]) {
        let Some(key) = self.fleet.find_key(name) else { return };
        self.fleet.mark_models_listed(key, unlisted);
        self.unpark_all();
    }

    /// Whether requests to a provider fail: it can't be reached, the circuit of one of its routes is open, or only items
    /// that fail are left, which count as failed only once something shows that their provider works.
    pub fn is_provider_failing(&self, provider: ProviderId) -> bool {
        let failing = self.queue.failing_count();
        self.fleet.is_failing(provider) || (failing > 0 && failing >= self.unfinished_items())
    }

    /// Gives up on the waiting items for which `is_meant` holds: `poll` returns a rejection for each. Returns their
    /// number. Items in flight stay.
    pub fn give_up(&mut self, is_meant: impl Fn(Seq) -> bool) -> usize {
        let count = self
            .queue
            .reject_where(|_, item| is_meant(item.seq).then(|| LocalRejection::given_up(item.seq, item.attempts())));
        // Other items may have yielded their turn to one of these.
        self.readiness.mark_changed();
        count
    }

    /// The attempts that are reserved or in flight for the items for which `is_meant` holds.
    pub fn attempts_of(&self, is_meant: impl Fn(Seq) -> bool) -> Vec<AttemptId> {
        let meant = self.reservations.iter().filter(|(_, reservation)| is_meant(reservation.item.seq));
        let mut attempts: Vec<AttemptId> = meant.map(|(attempt, _)| *attempt).collect();
        attempts.sort_unstable();
        attempts
    }

    /// Whether an attempt is reserved or in flight.
    pub fn has_attempt(&self, attempt: AttemptId) -> bool {
        self.reservations.contains_key(&attempt)
    }

    /// The next item that fails without being sent. `poll` returns it too.
    pub fn pop_rejection(&mut self) -> Option<LocalRejection> {
        self.queue.pop_rejection()
    }

    /// Notes that a provider has responded to a health check that was sent at `sent_at`. If only items that fail are
    /// left, their routes are tried again at once, so that they don't wait for the circuits that they have opened.
    pub fn on_health_response(&mut self, provider: ProviderId, sent_at: MonoTime) {
        self.fleet.on_health_response(provider, sent_at);
        let failing = self.queue.failing_count();
        if failing > 0 && failing >= self.unfinished_items() && self.fleet.close_circuits(provider) {
            self.unpark_all();
        }
    }

    /// Notes that a provider does not respond to its health check: no item waits for the slow start of its routes.
    pub fn mark_provider_down(&mut self, provider: ProviderId) {
        self.fleet.set_down(provider, true);
        self.unpark_all();
    }

    /// Lets each route of a provider whose circuit is open try a request now, after the provider has responded to a
    /// health check again.
    pub fn retry_provider(&mut self, provider: ProviderId) {
        self.fleet.set_down(provider, false);
        self.fleet.half_open_all(provider);
        self.unpark_all();
    }

    /// Re-enables a key that the provider has just accepted, and marks its models as available, except `unlisted`.
    /// Returns why the key was disabled, if it was.
    pub fn mark_key_valid(&mut self, name: &str, unlisted: &[String]) -> Option<Cause> {
        self.mark_models_listed(name, unlisted);
        let key = self.fleet.find_key(name)?;
        let previous_cause = self.fleet.enable_key(key);
        if previous_cause.is_some() {
            self.routing.update_key_stats(&self.fleet, key);
        }
        self.unpark_all();
        previous_cause
    }

    /// Disables a key that the provider does not accept. `None` if it was disabled already or does not exist.
    pub fn disable_key(&mut self, now: Now, name: &str, message: String) -> Option<EventKind> {
        let id = self.fleet.find_key(name)?;
        if self.fleet.key(id).disabled.is_some() {
            return None;
        }
        let (outcome, source) = (Outcome::InvalidKey, CauseSource::Provider);
        let event = self.fleet.disable_key(id, Cause { outcome, source, message, since: now.wall, status: None });
        self.routing.update_key_stats(&self.fleet, id);
        self.unpark_all();
        event
    }
}
