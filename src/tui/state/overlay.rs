//! The overlay over the dashboard, which has the keyboard. There is at most one.

use super::{CooldownId, ItemList, ReplayPlan, ScrollPosition};

#[derive(Clone, PartialEq, Debug)]
pub enum Overlay {
    Help(ScrollPosition),
    Inspect {
        subject: InspectSubject,
        scroll: ScrollPosition,
    },
    /// Asks whether to pause and abort the attempts in flight.
    HardPause,
    Replay(Box<ReplayPlan>),
    Quit,
    StrategyMenu {
        selected: usize,
    },
    /// Edits the text filter of the items. Esc restores the list as it was before.
    Filter {
        previous: Box<ItemList>,
    },
    CommandLine(CommandInput),
}

/// The subject of the inspect overlay, by name: rows may move while it is open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum InspectSubject {
    Key(String),
    Model(String),
    Route {
        key: String,
        model: String,
    },
    Cooldown(CooldownId),
    /// The run itself, and what limits it.
    Run,
}

/// The text of the command line, with a selection among its completions.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CommandInput {
    pub text: String,
    pub selected_completion: Option<usize>,
    pub error: Option<String>,
}
