//! One unit of work, as it comes from the input and as it ends.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{money::Money, request::Request};

/// An item as read from the input: validated, its templates already filled in.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ItemSpec {
    /// The row's own id or a content hash; unique in a run.
    pub id: String,
    pub request: Request,
    /// Hash over everything that makes answers comparable (request, model, caption target): 32 hex digits.
    pub hash: String,
    /// 1-based line (or row, or picture) in the input, for messages.
    pub line: u64,
    /// The item's own preferred model, if its row names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_usd: Option<Money>,
    /// What else its row says, as text: only the fields that routing rules look at.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
    /// Where the answer goes as a sidecar text; set for caption jobs only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caption: Option<PathBuf>,
}

/// Where an item stands. `Waiting` includes backing off after a failed attempt.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemState {
    Waiting,
    InFlight,
    Done,
    Failed,
}

impl ItemState {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::InFlight => "in flight",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}
