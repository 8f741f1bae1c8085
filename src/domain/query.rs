//! What a screen may ask beyond the snapshot: rows of items, and one item whole.
//! Answered from a read-only connection, so that no question ever waits on, or delays, the engine.

use serde::{Deserialize, Serialize};

use super::{
    attempt_result::Usage, command::ReplayFilter, failure::FailureGroup, item::ItemState, money::Money,
    outcome::Outcome, request::Image, time::WallTime,
};

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "query", rename_all = "snake_case")]
pub enum Query {
    /// A window of items in input order.
    Items { filter: ItemFilter, offset: u64, limit: u32 },
    /// One item with its attempts and answer.
    Item { seq: u64 },
    /// One of an item's pictures, counted from 0 in the order of [`ItemDetail::pictures`]. Apart from the item, because
    /// what came in a row may be megabytes.
    Picture { seq: u64, index: usize },
    /// Failed items by what they failed of.
    Failures { filter: ReplayFilter },
    /// Writes the lines of failed items, as in results.jsonl, to a file beside it.
    ExportFailures { filter: ReplayFilter },
}

/// `None` and empty match everything. In-flight items count as waiting in the store's item table; the
/// reader tells them apart by their open intent.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ItemFilter {
    pub state: Option<ItemState>,
    /// Case-insensitive substring of the id, the last error, what it asks, or the answer.
    pub text: String,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "page", rename_all = "snake_case")]
pub enum Page {
    Items {
        rows: Vec<ItemRow>,
        /// Rows that match, over all pages.
        matching: u64,
        offset: u64,
        /// The list is older than the run's latest change: asked again a little later, it is made anew.
        outdated: bool,
    },
    Item(Box<ItemDetail>),
    Picture(Image),
    /// The largest groups first; `matching` counts the items of all, also of those that are too many to list.
    Failures {
        groups: Vec<FailureGroup>,
        matching: u64,
        /// As of a window of items.
        outdated: bool,
    },
    Exported {
        path: String,
        rows: u64,
    },
    /// No such item, or picture.
    #[serde(alias = "nothing")]
    NotFound,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ItemRow {
    pub seq: u64,
    pub id: String,
    pub state: ItemState,
    pub attempts: u32,
    /// Of the last attempt; `None` before the first.
    pub outcome: Option<Outcome>,
    /// `model@key` of the last attempt, the one under way included.
    pub route: Option<String>,
    /// The beginning of its answer or of its last error; of what it asks, before the first attempt: at most 200
    /// characters.
    #[serde(alias = "words")]
    pub preview: String,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ItemDetail {
    pub row: ItemRow,
    pub line: u64,
    pub system: Option<String>,
    /// The whole prompt as text; pictures stand as `[picture PATH]`.
    pub prompt: String,
    /// Their names: a path, a URL, or what is known of one that came with the row.
    pub pictures: Vec<String>,
    pub output: Option<String>,
    pub finish_reason: Option<String>,
    pub model_version: Option<String>,
    pub usage: Usage,
    pub cost: Money,
    /// In order, earlier replays included.
    pub attempts: Vec<AttemptRow>,
    /// The one that has no answer yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(alias = "under_way")]
    pub in_flight: Option<InFlightAttempt>,
    /// Which routing rule applied and why.
    pub rule: Option<String>,
}

/// A call that was sent, or was about to be.
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
    /// The provider's own words, redacted.
    pub message: String,
    pub usage: Usage,
    pub cost: Money,
}
