//! Queries for data that the snapshot does not contain: lists of items, and one item in full. A read-only connection
//! answers them, so that no query waits for the engine or delays it.

use serde::{Deserialize, Serialize};

use super::{
    attempt_result::Usage, command::ReplayFilter, failure::FailureGroup, item::ItemState, money::Money,
    outcome::Outcome, price::CostByKind, request::Image, sample::Sample, time::WallTime,
};

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "query", rename_all = "snake_case")]
pub enum Query {
    /// A window of items in input order.
    Items { filter: ItemFilter, offset: u64, limit: u32 },
    /// One item with its attempts and answer.
    Item { seq: u64 },
    /// One picture of an item, counted from 0 in the order of [`ItemDetail::pictures`]. It is a query of its own,
    /// because a picture in a row may be megabytes.
    Picture { seq: u64, index: usize },
    /// All samples of the run, for charts.
    Samples,
    /// Failed items, grouped by error.
    Failures { filter: ReplayFilter },
    /// Writes the result lines of failed items, as in results.jsonl, to a file beside it.
    ExportFailures { filter: ReplayFilter },
}

/// Selects items. `None` and an empty text match everything. `Waiting` does not include items in flight.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ItemFilter {
    pub state: Option<ItemState>,
    /// Case-insensitive substring of the id, the last error, the prompt or the answer.
    pub text: String,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "page", rename_all = "snake_case")]
pub enum Page {
    Items {
        rows: Vec<ItemRow>,
        /// Number of matching rows over all pages.
        matching: u64,
        offset: u64,
        /// The list is older than the run's latest change; the same query a little later gets a new one.
        outdated: bool,
    },
    Item(Box<ItemDetail>),
    Picture(Image),
    /// Oldest first.
    Samples {
        samples: Vec<Sample>,
    },
    /// The largest groups first. `matching` counts the items of all groups, including those that are not listed.
    Failures {
        groups: Vec<FailureGroup>,
        matching: u64,
        /// As for `Items`.
        outdated: bool,
    },
    Exported {
        path: String,
        rows: u64,
    },
    /// There is no such item or picture.
    #[serde(alias = "nothing")]
    NotFound,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ItemRow {
    pub seq: u64,
    pub id: String,
    pub state: ItemState,
    pub attempts: u32,
    /// Outcome of the last attempt; `None` before the first.
    pub outcome: Option<Outcome>,
    /// `model@key` of the last attempt, including one in flight.
    pub route: Option<String>,
    /// Beginning of the answer or of the last error; before the first attempt, of the prompt. At most 200 characters.
    #[serde(alias = "words")]
    pub preview: String,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ItemDetail {
    pub row: ItemRow,
    pub line: u64,
    pub system: Option<String>,
    /// The whole prompt as text; a picture appears as `[picture PATH]`.
    pub prompt: String,
    /// Names of the pictures: a path, a URL, or a description of one that was inside the row.
    pub pictures: Vec<String>,
    pub output: Option<String>,
    pub finish_reason: Option<String>,
    pub model_version: Option<String>,
    pub usage: Usage,
    pub cost: Money,
    /// `cost` by kind. Attempts of earlier versions are missing here.
    #[serde(default)]
    pub cost_by_kind: CostByKind,
    /// Completed attempts in order, including those before a replay.
    pub attempts: Vec<AttemptRow>,
    /// The attempt that has no answer yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(alias = "under_way")]
    pub in_flight: Option<InFlightAttempt>,
    /// The routing rule that applied, and the reason.
    pub rule: Option<String>,
}

/// An attempt that was sent, or was about to be sent.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct InFlightAttempt {
    pub key: String,
    pub model: String,
    pub sent_at: WallTime,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct AttemptRow {
    pub number: u32,
    pub key: String,
    pub model: String,
    pub sent_at: WallTime,
    pub latency_ms: u64,
    pub outcome: Outcome,
    pub status: Option<u16>,
    /// The provider's own text, redacted.
    pub message: String,
    pub usage: Usage,
    pub cost: Money,
}
