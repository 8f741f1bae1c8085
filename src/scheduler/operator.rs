//! Changes by the operator: switches, strategy, caps, and cooldowns ended by hand.

use crate::domain::{CascadeOrder, Money, OnExhausted, Policy, SpillTo, Strategy, WallTime, WhenLimited};

use super::{Scheduler, health::breaker::Breaker};

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
        self.readiness_version += 1;
    }

    /// Switches a key on or off. Switching on also re-enables a disabled key and ends its project's cooldown for
    /// missing credit.
    ///
    /// # Errors
    ///
    /// If there is no key of this name.
    pub fn switch_key(&mut self, now: WallTime, name: &str, on: bool) -> Result<(), NotFound> {
        let key = self.keys.iter_mut().find(|state| state.key.name == name);
        let key = key.ok_or_else(|| NotFound { kind: "key", name: name.to_owned() })?;
        key.switched_off_at = (!on).then_some(now);
        if on && key.disabled.take().is_some() {
            key.health = super::Health::from_score(50);
        }
        let project = key.project;
        if let Some(index) = self.keys.iter().position(|state| state.key.name == name) {
            self.update_key_stats(index);
        }
        if on {
            self.projects[project].out_of_credit = None;
        }
        self.unpark_all();
        Ok(())
    }

    /// Switches all models of this name on or off.
    ///
    /// # Errors
    ///
    /// If there is no model of this name.
    pub fn switch_model(&mut self, now: WallTime, name: &str, on: bool) -> Result<(), NotFound> {
        let mut found = false;
        for model in self.models.iter_mut().filter(|state| state.model.name == name) {
            model.switched_off_at = (!on).then_some(now);
            found = true;
        }
        self.unpark_all();
        if found { Ok(()) } else { Err(NotFound { kind: "model", name: name.to_owned() }) }
    }

    /// Switches a route on or off. Switching on also re-enables a route that is unavailable or waits for the operator.
    ///
    /// # Errors
    ///
    /// If there is no such route.
    pub fn switch_route(&mut self, now: WallTime, key: &str, model: &str, on: bool) -> Result<(), NotFound> {
        let (keys, models) = (&self.keys, &self.models);
        let route = self
            .routes
            .iter_mut()
            .find(|route| keys[route.key].key.name == key && models[route.model].model.name == model)
            .ok_or_else(|| NotFound { kind: "route", name: format!("{model}@{key}") })?;
        route.switched_off_at = (!on).then_some(now);
        if on {
            route.unavailable = None;
            route.needs_operator = None;
            route.identical_rejections = (0, 0);
            route.picture_rejections = 0;
        }
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
        let key = self.keys.iter().position(|state| state.key.name == name);
        let key = key.ok_or_else(|| NotFound { kind: "key", name: name.to_owned() })?;
        let mut has_ended_any = self.projects[self.keys[key].project].out_of_credit.take().is_some();
        for index in 0..self.keys[key].routes.len() {
            let route = &mut self.routes[self.keys[key].routes[index].index()];
            has_ended_any |= matches!(route.breaker, Breaker::Open { .. });
            route.breaker = Breaker::default();
            route.ramp = None;
            let provider = route.provider;
            has_ended_any |= self.pools[route.pool].clear_cooldowns().is_some();
            has_ended_any |= self.providers[provider].unreachable.take().is_some();
        }
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
        self.rebuild_ranking_keeping_cursor();
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
        self.rebuild_ranking_keeping_cursor();
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
}
