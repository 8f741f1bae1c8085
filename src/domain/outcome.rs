//! The outcome of an attempt, and the default action that follows.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::named::names;

/// The class of an attempt's result. Only `provider::classify` derives it from status codes and bodies; the checks turn
/// an answer into `InvalidOutput`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Ok,
    RateLimitedMinute,
    TokensLimitedMinute,
    QuotaExhaustedDay,
    QuotaExhaustedBilling,
    InvalidKey,
    KeyForbidden,
    ModelNotFound,
    ServerError,
    Overloaded,
    Timeout,
    MalformedResponse,
    EmptyOutput,
    Truncated,
    ContentBlocked,
    BadRequest,
    /// A picture or row that can't be read on this machine; nothing was sent.
    UnreadableInput,
    /// The item's worst-case cost exceeds its money limit; nothing was sent.
    OverBudget,
    /// No route of the cascade can ever serve this item; nothing was sent.
    NoRoute,
    /// The request never left this machine: DNS, refused connection, no file handles, no network.
    ClientTrouble,
    /// The process died or was told to stop at once while the attempt was in flight, or the attempt was given up. It
    /// may have been billed.
    Lost,
    /// An answer that failed one of the configured checks.
    InvalidOutput,
    /// The operator gave up on the item; a request that was in flight for it is recorded as [`Self::Lost`].
    GivenUp,
}

/// The default action for an outcome; `cascadeck explain` prints its name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeAction {
    Complete,
    CoolPool,
    NextRoute,
    NextModel,
    DisableKey,
    DisableProject,
    DisableRoute,
    Retry,
    FailItem,
}

// The names in files, on the command line and on the screen.
names!(Outcome {
    Ok = "ok",
    RateLimitedMinute = "rate_limited_minute",
    TokensLimitedMinute = "tokens_limited_minute",
    QuotaExhaustedDay = "quota_exhausted_day",
    QuotaExhaustedBilling = "quota_exhausted_billing",
    InvalidKey = "invalid_key",
    KeyForbidden = "key_forbidden",
    ModelNotFound = "model_not_found",
    ServerError = "server_error",
    Overloaded = "overloaded",
    Timeout = "timeout",
    MalformedResponse = "malformed_response",
    EmptyOutput = "empty_output",
    Truncated = "truncated",
    ContentBlocked = "content_blocked",
    BadRequest = "bad_request",
    UnreadableInput = "unreadable_input",
    OverBudget = "over_budget",
    NoRoute = "no_route",
    ClientTrouble = "client_trouble",
    Lost = "lost",
    InvalidOutput = "invalid_output",
    GivenUp = "given_up",
});

impl Outcome {
    /// Whether the provider gave an answer that counts as one: it passed its checks, if there are any.
    pub const fn is_answered(self) -> bool {
        matches!(self, Self::Ok | Self::Truncated)
    }

    /// Whether the provider gave an answer, whatever the checks say of it. So its key, its model and its connection
    /// work.
    pub const fn is_provider_success(self) -> bool {
        self.is_answered() || matches!(self, Self::InvalidOutput)
    }

    /// Whether the provider accepted and processed the request, with or without an answer.
    pub const fn is_processed(self) -> bool {
        self.is_provider_success() || matches!(self, Self::EmptyOutput | Self::ContentBlocked)
    }

    /// Not attributable to a key or model: the request never left this machine, or its result is unknown. Excluded from
    /// their success and failure counts.
    pub const fn is_unattributed(self) -> bool {
        matches!(
            self,
            Self::UnreadableInput | Self::OverBudget | Self::NoRoute | Self::ClientTrouble | Self::Lost | Self::GivenUp
        )
    }

    /// No byte of a request was sent. The item's attempts include it, but the number of sent requests does not.
    pub const fn is_local(self) -> bool {
        matches!(self, Self::UnreadableInput | Self::OverBudget | Self::NoRoute | Self::ClientTrouble | Self::GivenUp)
    }

    /// A refusal because of quota, which the item did not cause.
    pub const fn is_limit_error(self) -> bool {
        matches!(
            self,
            Self::RateLimitedMinute | Self::TokensLimitedMinute | Self::QuotaExhaustedDay | Self::QuotaExhaustedBilling
        )
    }

    /// A per-minute or per-day refusal; summaries count these as `rate_limited`.
    pub const fn is_rate_limited(self) -> bool {
        matches!(self, Self::RateLimitedMinute | Self::TokensLimitedMinute | Self::QuotaExhaustedDay)
    }

    /// An error of the key or its account, whatever the request was.
    pub const fn is_key_error(self) -> bool {
        matches!(self, Self::InvalidKey | Self::KeyForbidden | Self::QuotaExhaustedBilling)
    }

    /// The provider's own failure. It counts for circuit breakers; it counts against the item only if the model has
    /// recently answered another item.
    pub const fn is_provider_error(self) -> bool {
        matches!(self, Self::ServerError | Self::Overloaded | Self::Timeout | Self::MalformedResponse)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_serde_names() {
        for outcome in Outcome::ALL {
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.name());
            assert_eq!(Outcome::from_name(outcome.name()), Some(outcome));
        }
    }
}
