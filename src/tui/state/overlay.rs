//! The overlay, which has the keyboard while it is open. At most one is open.

use super::{CooldownId, ItemList, ReplayPlan, ScrollPosition};
use crate::domain::Command;

#[derive(Clone, PartialEq, Debug)]
pub enum Overlay {
    Help(ScrollPosition),
    Inspect {
        subject: InspectSubject,
        scroll: ScrollPosition,
    },
    /// Asks whether to pause and abort the attempts in flight.
    HardPause,
    /// Asks whether to give up on items, with the command that does.
    GiveUp(Command),
    /// Asks which failed items to replay, and on which route.
    Replay(Box<ReplayPlan>),
    /// Asks how to leave.
    Quit,
    StrategyMenu {
        selected: usize,
    },
    /// Edits the text filter of the items, in the heading of the items pane. Esc restores the previous list.
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
