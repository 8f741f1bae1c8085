//! Commands that were sent but aren't visible in the snapshot yet. The screen shows them as requested, such as
//! "pausing...".

use std::time::Duration;

use crate::domain::{
    Command, Snapshot,
    snapshot::{Condition, RunState},
};

/// After this time an acknowledged command is dropped even if the snapshot doesn't reflect it: another command has
/// overridden it.
const CONFIRMATION_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, PartialEq, Debug, Default)]
pub struct PendingCommands(Vec<PendingCommand>);

#[derive(Clone, PartialEq, Debug)]
struct PendingCommand {
    command: Command,
    /// When the engine accepted the command, on the clock of [`State::ui_elapsed`](super::State::ui_elapsed).
    acknowledged_at: Option<Duration>,
}

impl PendingCommands {
    /// Adds a command. It replaces an earlier one about the same subject: the engine may apply both between two
    /// snapshots, and then the first would never become visible.
    pub fn on_sent(&mut self, command: Command) {
        let subject = command.subject();
        self.0.retain(|pending| subject.is_none() || pending.command.subject() != subject);
        self.0.push(PendingCommand { command, acknowledged_at: None });
    }

    /// Records the engine's reply. A rejected command is removed.
    pub fn on_reply(&mut self, command: &Command, accepted: bool, now: Duration) {
        let oldest = self.0.iter().position(|pending| pending.acknowledged_at.is_none() && pending.command == *command);
        let Some(index) = oldest else { return };
        if accepted {
            self.0[index].acknowledged_at = Some(now);
        } else {
            self.0.remove(index);
        }
    }

    /// Drops the accepted commands that the snapshot reflects or that have timed out.
    pub fn drop_confirmed(&mut self, snapshot: &Snapshot, now: Duration) {
        self.0.retain(|pending| match pending.acknowledged_at {
            None => true,
            Some(acknowledged_at) => {
                !is_reflected(&pending.command, snapshot) && now.saturating_sub(acknowledged_at) < CONFIRMATION_TIMEOUT
            }
        });
    }

    /// The pending commands, oldest first.
    pub fn commands(&self) -> impl DoubleEndedIterator<Item = &Command> {
        self.0.iter().map(|pending| &pending.command)
    }

    /// The state of the run that the newest pending command requests, as a word for the header.
    pub fn run_state_label(&self, snapshot: &Snapshot) -> Option<&'static str> {
        self.commands().rev().filter(|command| !is_reflected(command, snapshot)).find_map(|command| match command {
            Command::Pause | Command::HardPause => Some("pausing"),
            Command::Resume => Some("resuming"),
            Command::Drain => Some("draining"),
            Command::Stop => Some("stopping"),
            _ => None,
        })
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether the snapshot already reflects the command.
fn is_reflected(command: &Command, snapshot: &Snapshot) -> bool {
    let state = &snapshot.state;
    match command {
        Command::Pause => matches!(state, RunState::Pausing | RunState::Paused) || state.is_over(),
        Command::HardPause => matches!(state, RunState::Paused) || state.is_over(),
        Command::Resume => !matches!(state, RunState::Pausing | RunState::Paused),
        Command::Drain => matches!(state, RunState::Draining) || state.is_over(),
        Command::Stop => state.is_over(),
        Command::SetKey { key, on } => snapshot
            .keys
            .iter()
            .find(|view| view.name == *key)
            .is_none_or(|view| *on != matches!(view.condition, Condition::SwitchedOff { .. })),
        Command::SetModel { model, on } => {
            snapshot.models.iter().find(|view| view.name == *model).is_none_or(|view| view.on == *on)
        }
        Command::SetRoute { key, model, on } => snapshot
            .routes
            .iter()
            .find(|view| view.key == *key && view.model == *model)
            .is_none_or(|view| view.on == *on),
        Command::SetStrategy { strategy } => snapshot.strategy == *strategy,
        Command::SetCascadeOrder { order } => snapshot.cascade_order == *order,
        Command::SetWhenLimited { when_limited } => snapshot.when_limited == *when_limited,
        Command::SetOnExhausted { on_exhausted } => snapshot.on_exhausted == *on_exhausted,
        Command::SetMaxInFlight { max_in_flight } => snapshot.max_in_flight == *max_in_flight,
        Command::SetBudget { max_usd } => snapshot.spend.budget == *max_usd,
        Command::Replay { .. }
        | Command::ProbeKey { .. }
        | Command::ClearCooldowns { .. }
        | Command::BreakOff { .. }
        | Command::GiveUp { .. } => true,
    }
}
