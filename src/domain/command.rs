//! Commands that an operator can send to a running engine.

use serde::{Deserialize, Serialize};

use super::{
    money::Money,
    outcome::Outcome,
    policy::{CascadeOrder, OnExhausted, WhenLimited},
    routing::RouteTarget,
    strategy::Strategy,
};

/// A command of the operator. The reply says what was done, or why it was not. All commands are logged; decisions are
/// also recorded, so that they apply again after a restart.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Send no new requests; those in flight finish.
    Pause,
    /// Pause and abort the requests in flight; they may have been billed.
    HardPause,
    Resume,
    /// Finish the requests in flight, then end the process. The run can be resumed.
    Drain,
    /// End the process now. The run can be resumed.
    Stop,
    /// Switch a key on or off. If it is switched off, its requests in flight finish; the same holds for models and
    /// routes.
    SetKey {
        key: String,
        on: bool,
    },
    SetModel {
        model: String,
        on: bool,
    },
    SetRoute {
        key: String,
        model: String,
        on: bool,
    },
    SetStrategy {
        strategy: Strategy,
    },
    #[serde(alias = "set_order")]
    SetCascadeOrder {
        order: CascadeOrder,
    },
    SetWhenLimited {
        when_limited: WhenLimited,
    },
    SetOnExhausted {
        on_exhausted: OnExhausted,
    },
    /// At least 1.
    #[serde(alias = "set_in_flight")]
    SetMaxInFlight {
        #[serde(alias = "in_flight")]
        max_in_flight: u32,
    },
    SetBudget {
        max_usd: Option<Money>,
    },
    /// Queue failed items again: for the whole cascade, or for one model or route only.
    Replay {
        filter: ReplayFilter,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[serde(alias = "to")]
        target: Option<RouteTarget>,
    },
    /// Check a key with its provider now, at no cost. A disabled key that proves valid is switched on.
    #[serde(alias = "probe")]
    ProbeKey {
        key: String,
    },
    /// End all cooldowns of a key's routes now.
    ClearCooldowns {
        key: String,
    },
    /// Abort the request in flight of one item, which may have been billed. The item is sent again.
    BreakOff {
        item_id: String,
    },
    /// Give up on these items, or on all that remain: they fail, and can be replayed. Requests in flight for them are
    /// aborted and may have been billed.
    GiveUp {
        /// `None` for all that remain.
        item_ids: Option<Vec<String>>,
    },
}

impl Command {
    /// The subject of a decision that is kept across restarts; a later decision on the same subject replaces it. `None`
    /// for commands that are not kept.
    pub fn subject(&self) -> Option<String> {
        Some(match self {
            Self::Pause | Self::HardPause | Self::Resume => "pause".to_owned(),
            Self::SetKey { key, .. } => format!("key {key}"),
            Self::SetModel { model, .. } => format!("model {model}"),
            Self::SetRoute { key, model, .. } => format!("route {model}@{key}"),
            Self::SetStrategy { .. } => "strategy".to_owned(),
            Self::SetCascadeOrder { .. } => "order".to_owned(),
            Self::SetWhenLimited { .. } => "when_limited".to_owned(),
            Self::SetOnExhausted { .. } => "on_exhausted".to_owned(),
            Self::SetMaxInFlight { .. } => "in_flight".to_owned(),
            Self::SetBudget { .. } => "max_usd".to_owned(),
            Self::Drain
            | Self::Stop
            | Self::Replay { .. }
            | Self::ProbeKey { .. }
            | Self::ClearCooldowns { .. }
            | Self::BreakOff { .. }
            | Self::GiveUp { .. } => return None,
        })
    }
}

/// Selects failed items. An item must match every field that is set; of a list, any one entry. An empty filter matches
/// all.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ReplayFilter {
    pub ids: Vec<String>,
    pub outcomes: Vec<Outcome>,
    /// Models of the last attempt. An empty name stands for items of which nothing was sent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Keys of the last attempt.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// Case-insensitive substrings of the error or of its [`error_pattern`](super::failure::error_pattern), where `#`
    /// stands for any number.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<String>,
    /// The error with its numbers replaced: see [`error_pattern`](super::failure::error_pattern).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// Case-insensitive substring of the id, the error or the prompt.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
}

impl ReplayFilter {
    /// Whether the filter is empty and so matches every failed item.
    pub fn matches_all(&self) -> bool {
        *self == Self::default()
    }
}
