//! An item as the scheduler knows it: its size and its history, but not its text.

use smallvec::SmallVec;

use crate::domain::{Api, CostFactors, ModelId, Money, MonoTime, Outcome, Seq};

use super::retry_state::RetryState;

/// An item as the scheduler knows it: its size and its history, but not its text.
#[derive(Clone, Debug)]
pub struct QueuedItem {
    pub seq: Seq,
    /// Estimated number of input tokens.
    pub input_tokens: u64,
    /// The most output tokens that its own parameters allow.
    pub max_output_tokens: Option<u32>,
    /// The properties that its worst-case cost depends on besides its length.
    pub cost_factors: CostFactors,
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

    /// Sets the number of attempts that earlier processes made.
    pub fn restore_attempts(&mut self, attempts: u32) {
        self.retry_state_mut().attempts = attempts;
    }

    /// Counts tries on a model that an earlier process made.
    pub fn restore_failures(&mut self, model: ModelId, outcome: Outcome, tries: u32) {
        self.retry_state_mut().restore_failures(model, outcome, tries);
    }

    /// Sets the estimated tokens of the explanation that its next request carries, and adds them to its input.
    pub fn set_explanation_tokens(&mut self, tokens: u64) {
        let previous = std::mem::replace(&mut self.retry_state_mut().explanation_tokens, tokens);
        self.input_tokens = self.input_tokens.saturating_sub(previous).saturating_add(tokens);
    }

    pub fn has_given_up_on(&self, model: ModelId) -> bool {
        self.retry_state.as_ref().is_some_and(|retry_state| retry_state.has_given_up_on(model))
    }

    /// Number of provider errors on a model, whether or not they count against the item.
    pub fn provider_errors_on(&self, model: ModelId) -> u32 {
        self.retry_state.as_ref().map_or(0, |retry_state| retry_state.failures_on(model).provider_errors())
    }
}
