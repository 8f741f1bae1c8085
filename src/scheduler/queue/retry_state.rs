//! The history of an item whose attempts failed, and what follows from it: a retry, another model, or the end.

use std::time::Duration;

use smallvec::SmallVec;

use crate::{
    domain::{ModelId, MonoTime, Outcome, Policy},
    scheduler::health::fault_attribution::HealthPenalties,
};

/// History of an item whose attempts failed.
#[derive(Clone, Debug, Default)]
pub struct RetryState {
    /// HTTP requests so far.
    pub attempts: u32,
    /// Models that the item is no longer sent to.
    models_given_up: SmallVec<[ModelId; 4]>,
    last_model: Option<ModelId>,
    /// Counted per model, so that an item that moves back and forth between models runs out of retries too.
    failures_by_model: SmallVec<[(ModelId, ModelFailures); 1]>,
    /// Whether the one retry with a larger output limit was used.
    pub has_larger_output: bool,
    /// Part of the item's input tokens: those of the explanation why its last answer was not accepted.
    pub explanation_tokens: u64,
    pub penalties: HealthPenalties,
}

/// Failures of an item on one model.
#[derive(Clone, Copy, Debug, Default)]
pub struct ModelFailures {
    /// Provider errors that count against the item.
    counted_errors: u32,
    /// Provider errors that don't count against the item, since nothing shows that the provider works; or that an
    /// earlier process counted, since it is not recorded whether they did.
    excused_errors: u32,
    empty_outputs: u32,
    /// Answers that failed a check.
    invalid_outputs: u32,
    pub timeouts: u32,
    /// When the last provider error of this process came.
    pub last_error_at: Option<MonoTime>,
}

/// The next step of an item after a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    /// It has used up its tries.
    Fail,
    /// It has used up its tries on this model.
    NextModel,
    /// The same model again, after this delay.
    SameModel(Duration),
}

/// Signs that an item is at fault for a provider error. Only what was seen after the item's last error on the
/// model counts: the provider may have gone down since.
#[derive(Clone, Copy, Debug)]
pub struct Evidence {
    /// The model has answered another item.
    pub model_works_for_others: bool,
    /// All remaining items fail, and the provider has processed a request or responded to a health check.
    pub only_failing_items_left: bool,
}

impl ModelFailures {
    pub const fn provider_errors(self) -> u32 {
        self.counted_errors + self.excused_errors
    }
}

impl RetryState {
    /// Counts a provider error on a model. It counts against the item if `model_works_for_others`, or if
    /// `only_failing_items_left`, although their provider works, and the item has been excused often enough.
    pub fn on_provider_error(
        &mut self,
        now: MonoTime,
        policy: &Policy,
        model: ModelId,
        outcome: Outcome,
        Evidence { model_works_for_others, only_failing_items_left }: Evidence,
    ) -> Retry {
        let retries = policy.retries_per_model;
        let failures = self.switch_to_model(model);
        failures.timeouts += u32::from(outcome == Outcome::Timeout);
        failures.last_error_at = Some(now);
        if model_works_for_others || (only_failing_items_left && failures.excused_errors >= retries) {
            failures.counted_errors += 1;
        } else {
            failures.excused_errors += 1;
        }
        let (errors, counted) = (failures.provider_errors(), failures.counted_errors);
        let max_errors = if retries == 0 { Some(1) } else { policy.max_errors_per_model };
        if self.has_no_tries_left(policy) {
            Retry::Fail
        } else if (counted > 0 && errors > retries) || max_errors.is_some_and(|max| errors >= max) {
            Retry::NextModel
        } else {
            let step = (errors as usize).clamp(1, policy.retry_delays.len().max(1)) - 1;
            Retry::SameModel(policy.retry_delays.get(step).copied().unwrap_or_default())
        }
    }

    /// Counts an empty answer of a model. `is_final`: a retry on this model is pointless.
    pub fn on_empty_output(&mut self, policy: &Policy, model: ModelId, is_final: bool) -> Retry {
        let failures = self.switch_to_model(model);
        failures.empty_outputs += 1;
        let may_retry = !is_final && failures.empty_outputs <= policy.max_empty_retries;
        self.retry_at_once(policy, may_retry)
    }

    /// Counts an answer of a model that failed a check, which is retried `retries` times on the same model.
    pub fn on_invalid_output(&mut self, policy: &Policy, model: ModelId, retries: u32) -> Retry {
        let failures = self.switch_to_model(model);
        failures.invalid_outputs += 1;
        let may_retry = failures.invalid_outputs <= retries;
        self.retry_at_once(policy, may_retry)
    }

    fn retry_at_once(&self, policy: &Policy, may_retry: bool) -> Retry {
        if self.has_no_tries_left(policy) {
            Retry::Fail
        } else if may_retry {
            Retry::SameModel(Duration::ZERO)
        } else {
            Retry::NextModel
        }
    }

    /// Counts tries on a model that an earlier process made, if they failed in a way that is counted. A model that was
    /// given up is not known any more: it is given up again at its next failure.
    pub fn restore_failures(&mut self, model: ModelId, outcome: Outcome, tries: u32) {
        let counter: fn(&mut ModelFailures) -> &mut u32 = match outcome {
            Outcome::EmptyOutput => |failures| &mut failures.empty_outputs,
            Outcome::InvalidOutput => |failures| &mut failures.invalid_outputs,
            outcome if outcome.is_provider_error() => |failures| &mut failures.excused_errors,
            _ => return,
        };
        let failures = self.switch_to_model(model);
        *counter(failures) += tries;
        if outcome == Outcome::Timeout {
            failures.timeouts += tries;
        }
    }

    /// Whether the item has used up its tries over all models. Provider errors, and empty and invalid answers count.
    fn has_no_tries_left(&self, policy: &Policy) -> bool {
        let tries = |(_, failures): &(ModelId, ModelFailures)| {
            failures.provider_errors() + failures.empty_outputs + failures.invalid_outputs
        };
        let failed_tries: u32 = self.failures_by_model.iter().map(tries).sum();
        policy.max_attempts.is_some_and(|max| failed_tries >= max)
    }

    /// Makes `model` the last model. Returns the failures on it.
    pub fn switch_to_model(&mut self, model: ModelId) -> &mut ModelFailures {
        self.last_model = Some(model);
        let found = self.failures_by_model.iter().position(|(other, _)| *other == model);
        let index = found.unwrap_or_else(|| {
            self.failures_by_model.push((model, ModelFailures::default()));
            self.failures_by_model.len() - 1
        });
        &mut self.failures_by_model[index].1
    }

    /// Failures on a model.
    pub fn failures_on(&self, model: ModelId) -> ModelFailures {
        let found = self.failures_by_model.iter().find(|(other, _)| *other == model);
        found.map_or_else(ModelFailures::default, |(_, failures)| *failures)
    }

    /// Failures on the model it was last sent to.
    pub fn last_model_failures(&self) -> ModelFailures {
        self.last_model.map_or_else(ModelFailures::default, |model| self.failures_on(model))
    }

    /// Gives up on a model: the item is no longer sent to it.
    pub fn give_up_on(&mut self, model: ModelId) {
        if !self.has_given_up_on(model) {
            self.models_given_up.push(model);
        }
    }

    pub fn has_given_up_on(&self, model: ModelId) -> bool {
        self.models_given_up.contains(&model)
    }
}
