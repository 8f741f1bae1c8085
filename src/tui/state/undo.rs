//! The stack of commands that undo the operator's changes.

use crate::domain::{
    Command, Snapshot,
    snapshot::{Condition, KeyView, RouteView, RunState},
};

/// Maximum changes that can be undone.
const MAX_UNDO_STEPS: usize = 64;

#[derive(Clone, PartialEq, Debug, Default)]
pub struct UndoStack {
    /// Commands without a reply, each with its inverse.
    unanswered: Vec<(Command, Command)>,
    /// Inverses of the accepted commands, the newest last.
    inverses: Vec<Command>,
}

impl UndoStack {
    /// Records a command that was just sent, with its inverse if it has one.
    pub fn on_sent(&mut self, command: &Command, inverse: Option<Command>) {
        if let Some(inverse_command) = inverse {
            self.unanswered.push((command.clone(), inverse_command));
        }
    }

    /// Moves the command's inverse to those that can be undone if the engine accepted the command, or else drops it.
    pub fn on_reply(&mut self, command: &Command, accepted: bool) {
        let Some(index) = self.unanswered.iter().position(|(sent, _)| sent == command) else { return };
        let (_, inverse) = self.unanswered.remove(index);
        if accepted {
            self.inverses.push(inverse);
            if self.inverses.len() > MAX_UNDO_STEPS {
                self.inverses.remove(0);
            }
        }
    }

    /// Removes and returns the inverse of the last change.
    pub fn pop(&mut self) -> Option<Command> {
        self.inverses.pop()
    }
}

/// The command that undoes `command`, given the state before it; `None` if there is none.
pub fn find_inverse(command: &Command, snapshot: &Snapshot) -> Option<Command> {
    if has_nothing_to_undo(command, snapshot) {
        return None;
    }
    Some(match command {
        Command::Pause | Command::HardPause => Command::Resume,
        Command::Resume if matches!(snapshot.state, RunState::Pausing | RunState::Paused) => Command::Pause,
        Command::SetKey { key, on } => Command::SetKey { key: key.clone(), on: !on },
        Command::SetModel { model, on } => Command::SetModel { model: model.clone(), on: !on },
        Command::SetRoute { key, model, on } => Command::SetRoute { key: key.clone(), model: model.clone(), on: !on },
        Command::SetStrategy { .. } => Command::SetStrategy { strategy: snapshot.strategy },
        Command::SetCascadeOrder { .. } => Command::SetCascadeOrder { order: snapshot.cascade_order },
        Command::SetWhenLimited { .. } => Command::SetWhenLimited { when_limited: snapshot.when_limited },
        Command::SetOnExhausted { .. } => Command::SetOnExhausted { on_exhausted: snapshot.on_exhausted },
        Command::SetMaxInFlight { .. } => Command::SetMaxInFlight { max_in_flight: snapshot.max_in_flight },
        Command::SetBudget { .. } => Command::SetBudget { max_usd: snapshot.spend.budget },
        Command::Resume
        | Command::Drain
        | Command::Stop
        | Command::Replay { .. }
        | Command::ProbeKey { .. }
        | Command::ClearCooldowns { .. }
        | Command::BreakOff { .. }
        | Command::GiveUp { .. } => return None,
    })
}

/// True if the state already is what `command` requests. Its inverse would then undo a change that this command did not
/// make. Also true for a disabled key, because no command could bring that condition back.
fn has_nothing_to_undo(command: &Command, snapshot: &Snapshot) -> bool {
    match command {
        Command::Pause | Command::HardPause => matches!(snapshot.state, RunState::Pausing | RunState::Paused),
        Command::SetKey { key, on } => {
            let is_on = |view: &KeyView| !matches!(view.condition, Condition::SwitchedOff { .. });
            let is_disabled = |view: &KeyView| matches!(view.condition, Condition::Disabled { .. });
            snapshot.keys.iter().any(|view| view.name == *key && (is_on(view) == *on || is_disabled(view)))
        }
        Command::SetModel { model, on } => snapshot.models.iter().any(|view| view.name == *model && view.on == *on),
        Command::SetRoute { key, model, on } => {
            let same = |view: &RouteView| view.key == *key && view.model == *model && view.on == *on;
            snapshot.routes.iter().any(same)
        }
        _ => false,
    }
}
