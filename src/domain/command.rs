//! What an operator can ask of a running engine.

use serde::{Deserialize, Serialize};

use super::{
    money::Money,
    outcome::Outcome,
    policy::{CascadeOrder, OnExhausted, Strategy, WhenLimited},
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
    SetOrder {
        order: CascadeOrder,
    },
    SetWhenLimited {
        when_limited: WhenLimited,
    },
    SetOnExhausted {
        on_exhausted: OnExhausted,
    },
    /// At least 1.
    SetInFlight {
        in_flight: u32,
    },
    SetBudget {
        max_usd: Option<Money>,
    },
    /// Queue failed items again.
    Replay {
        filter: ReplayFilter,
    },
    /// End the cooldowns of a key (all its routes) now.
    ClearCooldowns {
        key: String,
    },
}

/// Which failed items; empty lists match everything.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ReplayFilter {
    pub ids: Vec<String>,
    pub outcomes: Vec<Outcome>,
}
