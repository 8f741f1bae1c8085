//! What an operator can ask of a running engine.

use serde::{Deserialize, Serialize};

use super::{
    money::Money,
    outcome::Outcome,
    policy::{CascadeOrder, OnExhausted, WhenLimited},
    routing::RouteTarget,
    strategy::Strategy,
};

/// Every variant is answered with what was done, or with why not. All are logged as "you" and persisted.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// No new dispatches; what is in flight finishes.
    Pause,
    /// Pause, and abort what is in flight: those calls may have been billed.
    HardPause,
    Resume,
    /// Finish what is in flight, then end the run's process, resumable.
    Drain,
    /// End the run's process now, resumable.
    Stop,
    /// Keys, models and routes that are switched off finish what they have in flight.
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
    /// Queue failed items again: to the cascade, or to one model or route alone.
    Replay {
        filter: ReplayFilter,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[serde(alias = "to")]
        target: Option<RouteTarget>,
    },
    /// Ask a key's provider about it now, at no cost; one that was dead and is good again is switched on.
    #[serde(alias = "probe")]
    ProbeKey {
        key: String,
    },
    /// End the cooldowns of a key (all its routes) now.
    ClearCooldowns {
        key: String,
    },
}

impl Command {
    /// What a decision is about, if it outlives this process: a later one about the same takes its place.
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
            Self::Drain | Self::Stop | Self::Replay { .. } | Self::ProbeKey { .. } | Self::ClearCooldowns { .. } => {
                return None;
            }
        })
    }
}

/// Which failed items: all that is said must be true of one, and of a list any one. Empty matches everything.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ReplayFilter {
    pub ids: Vec<String>,
    pub outcomes: Vec<Outcome>,
    /// Models of the last attempt.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Keys of the last attempt.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// Case-insensitive substrings of the error, or of its [`pattern`](super::failure::pattern): `#` is any number.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<String>,
    /// What the error must be but for its numbers: see [`pattern`](super::failure::pattern).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// Case-insensitive substring of the id, the error, or what it asks.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
}

impl ReplayFilter {
    /// Every failed item.
    pub fn matches_all(&self) -> bool {
        *self == Self::default()
    }
}
