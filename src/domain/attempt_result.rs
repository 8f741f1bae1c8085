//! The result of one attempt: its class, the answer, token usage and the stated wait.

use std::{borrow::Cow, ops::AddAssign, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    answer_parts::{AnswerParts, Choice},
    outcome::{Outcome, OutcomeAction},
    plural::group_digits,
    response_meta::ResponseMeta,
};

/// Tokens as the provider counted them. `output_tokens` excludes thinking; both are billed as output.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Usage {
    /// The whole prompt, the three kinds of cached tokens included.
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub thinking_tokens: u64,
    /// Part of `input_tokens`: read from the provider's cache.
    #[serde(default)]
    pub cached_input_tokens: u64,
    /// Part of `input_tokens`: written to the cache for five minutes, or for a time that the provider did not state.
    #[serde(default)]
    pub cache_write_tokens: u64,
    /// Part of `input_tokens`: written to the cache for one hour.
    #[serde(default)]
    pub cache_write_1h_tokens: u64,
}

impl Usage {
    /// Output and thinking tokens together: the number an output price applies to.
    pub const fn billed_output(self) -> u64 {
        self.output_tokens.saturating_add(self.thinking_tokens)
    }

    /// Input tokens that were neither read from nor written to the cache.
    pub const fn uncached_input(self) -> u64 {
        self.input_tokens
            .saturating_sub(self.cached_input_tokens)
            .saturating_sub(self.cache_write_tokens)
            .saturating_sub(self.cache_write_1h_tokens)
    }

    /// Tokens written to the cache, for any time.
    pub const fn all_cache_writes(self) -> u64 {
        self.cache_write_tokens.saturating_add(self.cache_write_1h_tokens)
    }

    /// The cached part of the input in brackets: ` (900 cached, 40 written to the cache)`. Empty if there is none.
    pub fn describe_cached(self) -> String {
        let kinds = [(self.cached_input_tokens, "cached"), (self.all_cache_writes(), "written to the cache")];
        let used = kinds.into_iter().filter(|(tokens, _)| *tokens > 0);
        let parts: Vec<String> = used.map(|(tokens, label)| format!("{} {label}", group_digits(tokens))).collect();
        if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
    }

    pub const fn total(self) -> u64 {
        self.input_tokens.saturating_add(self.billed_output())
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        let add = |sum: &mut u64, tokens: u64| *sum = sum.saturating_add(tokens);
        add(&mut self.input_tokens, other.input_tokens);
        add(&mut self.output_tokens, other.output_tokens);
        add(&mut self.thinking_tokens, other.thinking_tokens);
        add(&mut self.cached_input_tokens, other.cached_input_tokens);
        add(&mut self.cache_write_tokens, other.cache_write_tokens);
        add(&mut self.cache_write_1h_tokens, other.cache_write_1h_tokens);
    }
}

/// The text of an answer and what came with it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Answer {
    pub text: String,
    /// The provider's own finish reason (`stop`, `length`, `end_turn`), in lower case.
    pub finish_reason: Option<String>,
    /// The model that answered, if the provider names it. Providers route aliases and retired names to other models.
    pub model_version: Option<String>,
    /// The parts of the answer besides its text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<Box<AnswerParts>>,
}

impl Answer {
    /// All answers of the response; the first is this answer itself.
    pub fn choices(&self) -> Vec<Choice<'_>> {
        let parts = self.parts.as_deref();
        let first = Choice {
            text: self.text.as_str().into(),
            tool_calls: parts.and_then(|parts| parts.tool_calls.as_ref()).map(Cow::Borrowed),
            finish_reason: self.finish_reason.as_deref().map(Cow::Borrowed),
        };
        let all = parts.and_then(|parts| parts.choices.as_ref()?.as_array()).map(Vec::as_slice).unwrap_or_default();
        std::iter::once(first).chain(all.iter().skip(1).map(Choice::read)).collect()
    }
}

/// The beginning of the message about an answer that could not be checked. Its outcome is `invalid_output` too, but
/// nothing is known against the answer.
pub const UNCHECKED_MESSAGE_START: &str = "could not make the check ";

/// Whether an attempt's answer could not be checked, so that it counts neither for nor against the model.
pub fn is_unchecked(outcome: Outcome, message: &str) -> bool {
    outcome == Outcome::InvalidOutput && message.starts_with(UNCHECKED_MESSAGE_START)
}

/// The check that an answer failed, and what follows for its item.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FailedCheck {
    /// The name of the check.
    pub name: String,
    /// How often an item is sent to the same model again.
    pub retries: u32,
    /// The answer was cut off at a token limit, so a retry may need a larger one.
    pub is_truncated: bool,
    /// The paragraph about the fault for the next request; `None` if its check does not explain.
    pub explanation: Option<String>,
}

/// A wait that the provider stated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RetryAfter {
    pub delay: Duration,
}

/// One classified attempt. Code outside `provider` gets nothing else of a response.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct AttemptResult {
    pub outcome: Outcome,
    pub action: OutcomeAction,
    /// HTTP status; `None` if no response came.
    pub status: Option<u16>,
    /// The provider's stated wait, if it can be trusted. `None` for a day quota whose stated wait must be ignored.
    pub retry_after: Option<RetryAfter>,
    /// The provider's own text, or a local reason: redacted, without control characters, at most 500 characters.
    pub message: String,
    /// The rule that decided the outcome, as a phrase for people.
    pub rule: String,
    /// Set for `ok` and `invalid_output`, and for `truncated` if there was any text.
    pub answer: Option<Answer>,
    pub usage: Usage,
    /// A limit stated in the refusal itself (Gemini's `quotaValue`).
    pub stated_limit: Option<u64>,
    /// The project has no quota for this model at all (`limit: 0`); the quota is not just used up.
    pub limit_is_zero: bool,
    /// Rate limits and server time that the response states.
    #[serde(default)]
    pub response_meta: ResponseMeta,
    /// The request is longer than the model's context; a model with a larger context may accept it.
    pub exceeds_context: bool,
    /// The provider can't use a picture of this request. The error concerns this item only, not other items.
    pub picture_refused: bool,
    /// Set for `invalid_output`.
    #[serde(default)]
    pub failed_check: Option<Box<FailedCheck>>,
}

impl AttemptResult {
    /// The result of an attempt without a response. `rule` says as a phrase why it has this outcome.
    pub fn without_response(outcome: Outcome, action: OutcomeAction, message: &str, rule: &str) -> Self {
        Self {
            outcome,
            action,
            status: None,
            retry_after: None,
            message: message.to_owned(),
            rule: rule.to_owned(),
            answer: None,
            usage: Usage::default(),
            stated_limit: None,
            limit_is_zero: false,
            response_meta: ResponseMeta::default(),
            exceeds_context: false,
            picture_refused: false,
            failed_check: None,
        }
    }

    /// Whether an HTML page refused the request with 401 or 403. Such a page comes from a proxy, which may object to
    /// the key or to the client's address. Providers report errors of a key in JSON.
    pub const fn is_html_auth_error(&self) -> bool {
        matches!((self.outcome, self.status), (Outcome::ServerError, Some(401 | 403)))
    }
}
