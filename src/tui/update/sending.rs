//! Sends commands, and stores what undoes them.

use super::event::Effect;
use crate::{
    domain::{Command, Snapshot},
    tui::state::{State, find_inverse},
};

/// Sends a command. Stores it as pending, so that the screen can show it, and stores its inverse for undo.
pub(super) fn send_command(state: &mut State, snapshot: &Snapshot, command: Command) -> Vec<Effect> {
    let inverse = find_inverse(&command, snapshot).map(|inverse_command| expected_inverse(inverse_command, state));
    state.undo.on_sent(&command, inverse);
    state.pending_commands.on_sent(command.clone());
    vec![Effect::SendCommand(command)]
}

/// Sends the command of an undo. It gets no inverse of its own; otherwise pressing `u` again would redo the change.
pub(super) fn send_undo(state: &mut State, command: Command) -> Vec<Effect> {
    state.pending_commands.on_sent(command.clone());
    vec![Effect::SendCommand(command)]
}

/// The inverse of a setting must restore the value before the command. If that value was requested by a command that is
/// still pending, the snapshot doesn't show it yet, so the pending command is the inverse.
fn expected_inverse(inverse: Command, state: &State) -> Command {
    let same = |command: &&Command| std::mem::discriminant(*command) == std::mem::discriminant(&inverse);
    match inverse {
        Command::SetMaxInFlight { .. }
        | Command::SetStrategy { .. }
        | Command::SetCascadeOrder { .. }
        | Command::SetWhenLimited { .. }
        | Command::SetOnExhausted { .. }
        | Command::SetBudget { .. } => state.pending_commands.commands().rev().find(same).cloned().unwrap_or(inverse),
        _ => inverse,
    }
}
