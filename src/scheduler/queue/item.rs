//! An item as the scheduler knows it: its size and its history, but not its text.

use smallvec::SmallVec;

use crate::{
    domain::{Api, ModelId, Money, MonoTime, RequestBilling, Seq},
    scheduler::health::fault_attribution::HealthPenalties,
};

/// An item as the scheduler knows it: its size and its history, but not its text.
#[derive(Clone, Debug)]
pub struct QueuedItem {
    pub seq: Seq,
    /// Estimated number of input tokens.
    pub input_tokens: u64,
    /// The most output tokens that its own parameters allow.
    pub max_output_tokens: Option<u32>,
    /// What its worst-case cost depends on besides its length.
    pub billing: RequestBilling,
    /// The most that one attempt for it may cost.
    pub max_usd: Option<Money>,
    /// The answer is written to a caption file, so a truncated answer counts as a failure.
    pub is_caption: bool,
    /// APIs that can't encode its request.
    pub unsupported_apis: SmallVec<[Api; 2]>,
    /// When it could first have been sent.
    pub waiting_since: MonoTime,
    /// `None` until an attempt failed, so most items never have one.
    pub retry_state: Option<Box<RetryState>>,
}

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
    pub penalties: HealthPenalties,
}

/// Failures of an item on one model.
#[derive(Clone, Copy, Debug, Default)]
pub struct ModelFailures {
    /// Provider errors that count against the item.
    pub counted_errors: u32,
    /// Provider errors that don't count against the item, since no other item's success shows that the model works.
    pub excused_errors: u32,
    pub empty_outputs: u32,
    pub timeouts: u32,
}

impl ModelFailures {
    pub const fn provider_errors(self) -> u32 {
        self.counted_errors + self.excused_errors
    }
}

impl QueuedItem {
    pub fn retry_state_mut(&mut self) -> &mut RetryState {
        self.retry_state.get_or_insert_default()
    }

    pub fn attempts(&self) -> u32 {
        self.retry_state.as_ref().map_or(0, |retry_state| retry_state.attempts)
    }

    /// Whether requests for it state a larger output limit, after an answer that was truncated without usable text.
    pub fn has_larger_output(&self) -> bool {
        self.retry_state.as_ref().is_some_and(|retry_state| retry_state.has_larger_output)
    }

    /// Gives up on a model: the item is no longer sent to it.
    pub fn give_up_on(&mut self, model: ModelId) {
        if !self.has_given_up_on(model) {
            self.retry_state_mut().models_given_up.push(model);
        }
    }

    /// Sets the number of attempts that earlier processes made.
    pub fn restore_attempts(&mut self, attempts: u32) {
        self.retry_state_mut().attempts = attempts;
    }

    pub fn has_given_up_on(&self, model: ModelId) -> bool {
        self.retry_state.as_ref().is_some_and(|retry_state| retry_state.models_given_up.contains(&model))
    }

    /// Number of provider errors on a model, whether or not they count against the item.
    pub fn provider_errors_on(&self, model: ModelId) -> u32 {
        let model_failures = self
            .retry_state
            .as_ref()
            .and_then(|retry_state| retry_state.failures_by_model.iter().find(|(other, _)| *other == model));
        model_failures.map_or(0, |(_, failures)| failures.provider_errors())
    }

    /// Provider errors and empty answers, over all models.
    pub fn failed_tries(&self) -> u32 {
        let failures = self.retry_state.iter().flat_map(|retry_state| &retry_state.failures_by_model);
        failures.map(|(_, failures)| failures.provider_errors() + failures.empty_outputs).sum()
    }

    /// Failures on the model it was last sent to.
    pub fn last_model_failures(&self) -> ModelFailures {
        self.retry_state.as_ref().map_or_else(ModelFailures::default, |retry_state| retry_state.last_model_failures())
    }
}

impl RetryState {
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

    fn last_model_failures(&self) -> ModelFailures {
        let found = self.failures_by_model.iter().find(|(model, _)| Some(*model) == self.last_model);
        found.map_or_else(ModelFailures::default, |(_, model_failures)| *model_failures)
    }
}
