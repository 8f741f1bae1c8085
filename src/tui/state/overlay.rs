//! What lies over the dashboard and has the keyboard: one thing at most.

use super::{Reading, ReplayPlan, Timer};
use crate::domain::{Command, ItemState};

#[derive(Clone, PartialEq, Debug)]
pub enum Overlay {
    Help(Reading),
    Why {
        subject: Subject,
        reading: Reading,
    },
    Confirm(Confirm),
    Replay(ReplayPlan),
    Quit,
    Menu {
        selected: usize,
    },
    /// Typing a filter for the items; what was shown before comes back with Esc.
    Filter {
        before: (Option<ItemState>, String),
    },
    CommandLine(Line),
}

/// What a question of "why" is about, by name: rows may move while it is read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Subject {
    Key(String),
    Model(String),
    Route {
        key: String,
        model: String,
    },
    Cooldown(Timer),
    /// The run itself: why not faster.
    Run,
}

/// Something that costs, asked before it is done.
#[derive(Clone, PartialEq, Debug)]
pub struct Confirm {
    pub question: String,
    pub consequence: String,
    pub command: Command,
}

/// A line being typed, with a choice among its completions.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Line {
    pub text: String,
    pub choice: Option<usize>,
    pub complaint: Option<String>,
}
