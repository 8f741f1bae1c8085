//! The way back from the operator's own changes, newest first.

use crate::domain::{
    Command, Snapshot,
    snapshot::{Condition, KeyView, RouteView, RunState},
};

/// Changes that can be taken back, at most.
const MOST: usize = 64;

#[derive(Clone, PartialEq, Debug, Default)]
pub struct Undo {
    /// What was asked for, and what takes it back, once the engine agrees.
    asked: Vec<(Command, Command)>,
    /// What takes back what was done.
    back: Vec<Command>,
}

impl Undo {
    /// To be called before the snapshot shows the change.
    pub fn sent(&mut self, command: &Command, back: Option<Command>) {
        if let Some(back) = back {
            self.asked.push((command.clone(), back));
        }
    }

    pub fn replied(&mut self, command: &Command, accepted: bool) {
        let Some(place) = self.asked.iter().position(|(asked, _)| asked == command) else { return };
        let (_, back) = self.asked.remove(place);
        if accepted {
            self.back.push(back);
            if self.back.len() > MOST {
                self.back.remove(0);
            }
        }
    }

    /// The way back from the last change; taken once.
    pub fn take(&mut self) -> Option<Command> {
        self.back.pop()
    }
}

/// What takes `command` back, given how things are before it; `None` where nothing does.
pub fn inverse(command: &Command, snapshot: &Snapshot) -> Option<Command> {
    if changes_nothing(command, snapshot) {
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
        | Command::ClearCooldowns { .. } => return None,
    })
}

/// Whether things are already as `command` wants them: taking that back would undo somebody else's doing.
fn changes_nothing(command: &Command, snapshot: &Snapshot) -> bool {
    match command {
        Command::Pause | Command::HardPause => matches!(snapshot.state, RunState::Pausing | RunState::Paused),
        Command::SetKey { key, on } => {
            let is_on = |view: &KeyView| !matches!(view.condition, Condition::SwitchedOff { .. });
            let dead = |view: &KeyView| matches!(view.condition, Condition::Disabled { .. });
            snapshot.keys.iter().any(|view| view.name == *key && (is_on(view) == *on || dead(view)))
        }
        Command::SetModel { model, on } => snapshot.models.iter().any(|view| view.name == *model && view.on == *on),
        Command::SetRoute { key, model, on } => {
            let same = |view: &RouteView| view.key == *key && view.model == *model && view.on == *on;
            snapshot.routes.iter().any(same)
        }
        _ => false,
    }
}
