//! Rate limits and timing that a provider states beside an answer or a refusal, independent of the vendor.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{bottleneck::Bottleneck, named::names};

/// The unit of a limit and its period.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitDimension {
    RequestsPerMinute,
    /// Counted as configured (`counted`): input alone, or input and output.
    TokensPerMinute,
    InputTokensPerMinute,
    OutputTokensPerMinute,
    RequestsPerDay,
    TokensPerDay,
    /// Requests at the same time.
    Concurrency,
}

// Limits per minute, then limits per day, then concurrency. The names are those in metrics and in JSON.
names!(LimitDimension {
    RequestsPerMinute = "requests_per_minute",
    TokensPerMinute = "tokens_per_minute",
    InputTokensPerMinute = "input_tokens_per_minute",
    OutputTokensPerMinute = "output_tokens_per_minute",
    RequestsPerDay = "requests_per_day",
    TokensPerDay = "tokens_per_day",
    Concurrency = "concurrency",
});

impl LimitDimension {
    /// The bottleneck that time blocked by a limit of this dimension is counted under.
    pub const fn bottleneck(self) -> Bottleneck {
        match self {
            Self::RequestsPerMinute => Bottleneck::RequestsPerMinute,
            Self::TokensPerMinute | Self::InputTokensPerMinute | Self::OutputTokensPerMinute => {
                Bottleneck::TokensPerMinute
            }
            Self::RequestsPerDay | Self::TokensPerDay => Bottleneck::DailyQuota,
            Self::Concurrency => Bottleneck::Concurrency,
        }
    }
}

/// One limit as the provider states it; every part may be missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProviderLimit {
    pub dimension: LimitDimension,
    pub limit: Option<u64>,
    /// The amount left after this request was counted.
    pub remaining: Option<u64>,
    /// If nothing is left now: the time until something is left again.
    pub resets_in: Option<Duration>,
}

/// Metadata that one response states beside its content.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ResponseMeta {
    pub limits: Vec<ProviderLimit>,
    /// How long the server worked on the request. The provider counted the request before this time began.
    pub server_time: Option<Duration>,
}

/// The source of a limit in force, most certain first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitSource {
    Configured,
    /// Stated by the provider.
    #[serde(alias = "stated")]
    Provider,
    /// Found by increasing until the provider refused.
    Learned,
}

names!(LimitSource { Configured = "configured", Provider = "provider", Learned = "learned" });

impl ProviderLimit {
    pub const fn new(dimension: LimitDimension) -> Self {
        Self { dimension, limit: None, remaining: None, resets_in: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_serde_names() {
        for dimension in LimitDimension::ALL {
            assert_eq!(serde_json::to_value(dimension).unwrap(), dimension.name());
        }
    }
}
