//! Leaving the dashboard: what it waits for before, and the reason to report after.

use std::time::Duration;

/// The event that the dashboard waits for before it leaves. The command has been sent already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leaving {
    /// Waits until the items in flight have finished.
    Draining,
    /// Waits until the engine has replied, but at most a few seconds from `since`.
    Stopping { since: Duration },
}

impl Leaving {
    /// The reason to report when the awaited event has come.
    pub const fn exit_reason(self) -> ExitReason {
        match self {
            Self::Draining => ExitReason::Drained,
            Self::Stopping { .. } => ExitReason::Stopped,
        }
    }
}

/// The reason why the dashboard was left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExitReason {
    /// The run is over and the operator has left.
    RunEnded,
    /// The run goes on: the operator chose plain progress or left a read-only screen, or the terminal is gone.
    Detached,
    /// The engine was told to drain, and has ended.
    Drained,
    /// The engine was told to stop at once, and may not have stopped yet.
    Stopped,
}
