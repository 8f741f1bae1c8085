//! One line of `results.jsonl`. Field names and order are a contract: scripts read them.

use serde::{Deserialize, Serialize};

use super::{
    answer_parts::AnswerParts, attempt_result::Usage, item::ItemState, outcome::Outcome, price::CostByKindUsd,
};

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ResultLine {
    pub id: String,
    /// `done` or `failed`: only final states are written.
    pub status: FinalState,
    /// The answer. A failed item has one if the answer failed a check.
    pub output: Option<String>,
    pub error: Option<ResultError>,
    pub finish_reason: Option<String>,
    /// The alias, never the secret.
    pub key: Option<String>,
    pub provider: Option<String>,
    pub model: Option<String>,
    pub model_version: Option<String>,
    pub usage: Usage,
    pub cost_usd: f64,
    /// `cost_usd` by kind. `None` in lines of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_by_kind_usd: Option<CostByKindUsd>,
    /// Latency of the last attempt.
    pub latency_ms: u64,
    pub attempts: u32,
    /// When the first attempt was sent: RFC 3339, UTC.
    pub started_at: Option<String>,
    pub finished_at: String,
    pub request_hash: String,
    #[serde(default, flatten)]
    pub parts: AnswerParts,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ResultError {
    pub outcome: Outcome,
    pub status: Option<u16>,
    /// The provider's own text, redacted; for `invalid_output`, what the check says.
    pub message: String,
    /// The name of the check that the answer failed; for `invalid_output` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinalState {
    Done,
    Failed,
}

impl From<FinalState> for ItemState {
    fn from(state: FinalState) -> Self {
        match state {
            FinalState::Done => Self::Done,
            FinalState::Failed => Self::Failed,
        }
    }
}
