//! What lies over the dashboard and has the keyboard: one thing at most.

use super::{CooldownId, ItemList, ReplayPlan, ScrollPosition};

#[derive(Clone, PartialEq, Debug)]
pub enum Overlay {
    Help(ScrollPosition),
    Inspect {
        subject: InspectSubject,
        scroll: ScrollPosition,
    },
    /// Whether to pause and abort what is in flight.
    HardPause,
    Replay(Box<ReplayPlan>),
    Quit,
    StrategyMenu {
        selected: usize,
    },
    /// Typing a filter for the items; how they were before comes back with Esc.
    Filter {
        previous: Box<ItemList>,
    },
    CommandLine(CommandInput),
}

/// What a question of "why" is about, by name: rows may move while it is read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum InspectSubject {
    Key(String),
    Model(String),
    Route {
        key: String,
        model: String,
    },
    Cooldown(CooldownId),
    /// The run itself: why not faster.
    Run,
}

/// A line being typed, with a choice among its completions.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CommandInput {
    pub text: String,
    pub selected_completion: Option<usize>,
    pub error: Option<String>,
}
