//! Leaving the dashboard: the quit dialog, and what to wait for before leaving.

use super::{event::Effect, sending::send_command};
use crate::{
    domain::{Command, Snapshot},
    tui::state::{ExitReason, Leaving, Overlay, State},
};

/// How long to wait for the engine's reply before leaving anyway.
const STOP_REPLY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(3);

pub(super) fn quit(state: &mut State, snapshot: &Snapshot) -> Vec<Effect> {
    if state.is_run_over(snapshot) {
        return vec![Effect::Leave(ExitReason::RunEnded)];
    }
    if state.read_only {
        return vec![Effect::Leave(ExitReason::Detached)];
    }
    state.overlay = Some(Overlay::Quit);
    Vec::new()
}

/// Handles Ctrl-C. The first press is like `q`, the second stops the run, the third leaves without waiting for the
/// engine. While the run drains, the first press stops it. If the run is over or the screen is read-only, each press is
/// like `q`.
pub(super) fn interrupt(state: &mut State, snapshot: &Snapshot) -> Vec<Effect> {
    if state.is_run_over(snapshot) || state.read_only {
        return quit(state, snapshot);
    }
    match (state.leaving, &state.overlay) {
        (Some(Leaving::Stopping { .. }), _) => vec![Effect::Leave(ExitReason::Stopped)],
        (Some(Leaving::Draining), _) | (None, Some(Overlay::Quit)) => stop_now(state, snapshot),
        (None, _) => quit(state, snapshot),
    }
}

pub(super) fn drain(state: &mut State, snapshot: &Snapshot) -> Vec<Effect> {
    state.overlay = None;
    if state.is_run_over(snapshot) {
        return vec![Effect::Leave(ExitReason::RunEnded)];
    }
    state.leaving = Some(Leaving::Draining);
    send_command(state, snapshot, Command::Drain)
}

pub(super) fn stop_now(state: &mut State, snapshot: &Snapshot) -> Vec<Effect> {
    state.overlay = None;
    if state.is_run_over(snapshot) {
        return vec![Effect::Leave(ExitReason::RunEnded)];
    }
    state.leaving = Some(Leaving::Stopping { since: state.ui_elapsed });
    send_command(state, snapshot, Command::Stop)
}

/// Leaves if the run is over and the dashboard was waiting for that.
pub(super) fn leave_if_over(state: &State, snapshot: &Snapshot) -> Vec<Effect> {
    match state.leaving {
        Some(leaving) if state.is_run_over(snapshot) => vec![Effect::Leave(leaving.exit_reason())],
        _ => Vec::new(),
    }
}

pub(super) fn leave_after_timeout(state: &State) -> Vec<Effect> {
    match state.leaving {
        Some(Leaving::Stopping { since }) if state.ui_elapsed.saturating_sub(since) >= STOP_REPLY_TIMEOUT => {
            vec![Effect::Leave(ExitReason::Stopped)]
        }
        _ => Vec::new(),
    }
}
