//! What lies over the dashboard and has the keyboard: one thing at most.

use super::{Items, Reading, ReplayPlan, Timer};

#[derive(Clone, PartialEq, Debug)]
pub enum Overlay {
    Help(Reading),
    Why {
        subject: Subject,
        reading: Reading,
    },
    /// Whether to pause and abort what is in flight.
    HardPause,
    Replay(Box<ReplayPlan>),
    Quit,
    Menu {
        selected: usize,
    },
    /// Typing a filter for the items; how they were before comes back with Esc.
    Filter {
        before: Box<Items>,
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

/// A line being typed, with a choice among its completions.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Line {
    pub text: String,
    pub choice: Option<usize>,
    pub complaint: Option<String>,
}
