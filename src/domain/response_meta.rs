//! What a provider says of its limits beside an answer or a refusal, in no vendor's words.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a limit counts, and over which time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitDimension {
    RequestsPerMinute,
    /// Counted as the configuration says (`counted`): input alone, or input and output.
    TokensPerMinute,
    InputTokensPerMinute,
    OutputTokensPerMinute,
    RequestsPerDay,
    TokensPerDay,
    /// Requests at the same time.
    Concurrency,
}

/// One limit as the provider states it; every part may be missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProviderLimit {
    pub dimension: LimitDimension,
    pub limit: Option<u64>,
    /// What was left when the request had been counted.
    pub remaining: Option<u64>,
    /// When something will be left again, where nothing is now.
    pub resets_in: Option<Duration>,
}

/// What one response says beside its content.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ResponseMeta {
    pub limits: Vec<ProviderLimit>,
    /// How long the server worked on the request: it has counted it before that.
    pub server_time: Option<Duration>,
}

/// Where a limit in force comes from, the most certain first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitSource {
    Configured,
    /// The provider said so.
    #[serde(alias = "stated")]
    Provider,
    /// Found by increasing until the provider refused.
    Learned,
}

impl LimitSource {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Configured => "configured",
            Self::Provider => "stated",
            Self::Learned => "learned",
        }
    }
}

impl ProviderLimit {
    pub const fn new(dimension: LimitDimension) -> Self {
        Self { dimension, limit: None, remaining: None, resets_in: None }
    }
}
