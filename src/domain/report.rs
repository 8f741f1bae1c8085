//! What a provider says of its limits beside an answer or a refusal, in no vendor's words.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a limit counts, and over which time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dimension {
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
pub struct LimitReport {
    pub dimension: Dimension,
    pub limit: Option<u64>,
    /// What was left when the request had been counted.
    pub remaining: Option<u64>,
    /// When something will be left again, where nothing is now.
    pub opens_in: Option<Duration>,
}

/// What one response says beside its content.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    pub limits: Vec<LimitReport>,
    /// How long the server worked on the request: it has counted it before that.
    pub worked: Option<Duration>,
}

/// Where a limit in force comes from, the most certain first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provenance {
    Configured,
    /// The provider said so.
    Stated,
    /// Found by increasing until the provider refused.
    Learned,
}

impl Provenance {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Configured => "configured",
            Self::Stated => "stated",
            Self::Learned => "learned",
        }
    }
}

impl LimitReport {
    pub const fn of(dimension: Dimension) -> Self {
        Self { dimension, limit: None, remaining: None, opens_in: None }
    }
}
