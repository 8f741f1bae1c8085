//! Leaving the dashboard: how it is asked, and what is waited for.

use super::{Effect, over, send};
use crate::{
    domain::{Command, Snapshot},
    tui::{
        Exit,
        state::{Leaving, Overlay, State},
    },
};

/// How long to wait for the engine's word before leaving anyway.
const STOP_PATIENCE: std::time::Duration = std::time::Duration::from_secs(3);

pub(super) fn quit(state: &mut State, snapshot: &Snapshot) -> Vec<Effect> {
    if over(state, snapshot) {
        return vec![Effect::Leave(Exit::Over)];
    }
    if state.read_only {
        return vec![Effect::Leave(Exit::Detach)];
    }
    state.overlay = Some(Overlay::Quit);
    Vec::new()
}

/// Ctrl-C: first as `q`, then stops the run, then doesn't wait for the engine either.
pub(super) fn interrupt(state: &mut State, snapshot: &Snapshot) -> Vec<Effect> {
    if over(state, snapshot) || state.read_only {
        return quit(state, snapshot);
    }
    match (state.leaving, &state.overlay) {
        (Some(Leaving::Stopping { .. }), _) => vec![Effect::Leave(Exit::StopNow)],
        (Some(Leaving::Draining), _) | (None, Some(Overlay::Quit)) => stop_now(state, snapshot),
        (None, _) => quit(state, snapshot),
    }
}

pub(super) fn drain(state: &mut State, snapshot: &Snapshot) -> Vec<Effect> {
    state.overlay = None;
    if over(state, snapshot) {
        return vec![Effect::Leave(Exit::Over)];
    }
    state.leaving = Some(Leaving::Draining);
    send(state, snapshot, Command::Drain)
}

pub(super) fn stop_now(state: &mut State, snapshot: &Snapshot) -> Vec<Effect> {
    state.overlay = None;
    if over(state, snapshot) {
        return vec![Effect::Leave(Exit::Over)];
    }
    state.leaving = Some(Leaving::Stopping { since: state.ui });
    send(state, snapshot, Command::Stop)
}

/// Leaves where that was only waiting for the run to end.
pub(super) fn leave_if_over(state: &State, snapshot: &Snapshot) -> Vec<Effect> {
    match state.leaving {
        Some(leaving) if over(state, snapshot) => vec![Effect::Leave(leaving.exit())],
        _ => Vec::new(),
    }
}

pub(super) fn give_up_waiting(state: &State) -> Vec<Effect> {
    match state.leaving {
        Some(Leaving::Stopping { since }) if state.ui.saturating_sub(since) >= STOP_PATIENCE => {
            vec![Effect::Leave(Exit::StopNow)]
        }
        _ => Vec::new(),
    }
}

impl Leaving {
    const fn exit(self) -> Exit {
        match self {
            Self::Draining => Exit::Drained,
            Self::Stopping { .. } => Exit::StopNow,
        }
    }
}
