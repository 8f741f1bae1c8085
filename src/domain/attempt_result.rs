//! What one attempt brought back, once it is understood.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    outcome::{Outcome, OutcomeAction},
    response_meta::ResponseMeta,
};

/// Tokens as the provider counted them. `output_tokens` excludes thinking; both are billed as output.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Usage {
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub thinking_tokens: u64,
}

impl Usage {
    /// What an output price applies to.
    pub const fn billed_output(self) -> u64 {
        self.output_tokens.saturating_add(self.thinking_tokens)
    }

    pub const fn total(self) -> u64 {
        self.input_tokens.saturating_add(self.billed_output())
    }
}

/// The text of an answer and what came with it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Answer {
    pub text: String,
    /// The provider's own word (`STOP`, `length`, `end_turn`), lower-cased.
    pub finish_reason: Option<String>,
    /// The model that answered, where the provider says so: aliases and retired names are routed elsewhere.
    pub model_version: Option<String>,
}

/// How long the provider asked us to stay away.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RetryAfter {
    pub delay: Duration,
}

/// One attempt, classified: the only thing the rest of the program learns of a response.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct AttemptResult {
    pub outcome: Outcome,
    pub action: OutcomeAction,
    /// HTTP status; `None` where no response came.
    pub status: Option<u16>,
    /// The provider's wait, already judged trustworthy. `None` on a day quota whose hint must be ignored.
    pub retry_after: Option<RetryAfter>,
    /// The provider's own words: redacted, control characters kept out, at most 500 characters.
    pub message: String,
    /// Which rule decided, in a phrase a person can follow.
    pub rule: String,
    /// Present for `ok` and, where there was any text, for `truncated`.
    pub answer: Option<Answer>,
    pub usage: Usage,
    /// A limit that the refusal itself states (Gemini's `quotaValue`).
    pub stated_limit: Option<u64>,
    /// The whole model is not offered to this project (`limit: 0`), rather than used up.
    pub limit_is_zero: bool,
    /// What the response says of limits and of its own making.
    #[serde(default)]
    pub response_meta: ResponseMeta,
    /// The request is longer than the model's context: a model with a larger one may take it.
    pub exceeds_context: bool,
    /// The provider can't use a picture of the request: it says nothing of other items.
    pub picture_refused: bool,
}

impl AttemptResult {
    /// A web page turned the request away: somebody's in between, who may mean the key or the address it comes from.
    /// Providers say such things in JSON, and then of the key.
    pub const fn is_html_auth_error(&self) -> bool {
        matches!((self.outcome, self.status), (Outcome::ServerError, Some(401 | 403)))
    }
}
