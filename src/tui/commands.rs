//! Turns actions into commands on the current selection.

use super::{
    action::Action,
    pane::Pane,
    state::{InspectSubject, State, key_of_cooldown},
};
use crate::domain::{
    Command, ItemRow, ItemState, ReplayFilter, Snapshot,
    snapshot::{Condition, RunState},
};

/// The command for `action` on the selection, or why there is none.
pub fn command_for(action: Action, state: &State, snapshot: &Snapshot) -> Result<Command, String> {
    if let Some(reason) = unavailable_reason(action, state, snapshot) {
        return Err(reason);
    }
    match action {
        Action::Toggle => switch_command(None, state, snapshot),
        Action::SwitchOn => switch_command(Some(true), state, snapshot),
        Action::SwitchOff => switch_command(Some(false), state, snapshot),
        Action::ClearCooldowns => clear_cooldowns_command(state, snapshot),
        Action::TogglePause if is_paused_or_pausing(state, snapshot) => Ok(Command::Resume),
        Action::TogglePause => Ok(Command::Pause),
        Action::HardPause => Ok(Command::HardPause),
        Action::Replay => replay_command(state),
        Action::BreakOff => break_off_command(state),
        Action::GiveUp => give_up_command(state),
        Action::GiveUpRest => Ok(Command::GiveUp { item_ids: None }),
        Action::ReplayAll => Ok(Command::Replay { filter: ReplayFilter::default(), target: None }),
        Action::Probe => probe_command(state, snapshot),
        Action::MoreInFlight => {
            Ok(Command::SetMaxInFlight { max_in_flight: requested_max_in_flight(state, snapshot).saturating_add(1) })
        }
        Action::FewerInFlight => {
            let fewer = requested_max_in_flight(state, snapshot).saturating_sub(1);
            if fewer == 0 {
                return Err(format!(
                    "at least one must be in flight; {} pauses",
                    state.keymap.key_label(Action::TogglePause)
                ));
            }
            Ok(Command::SetMaxInFlight { max_in_flight: fewer })
        }
        _ => Err(format!("{} is not a command", action.help_text())),
    }
}

/// Why `action` is not possible now, whatever is selected. The footer dims such actions.
pub fn unavailable_reason(action: Action, state: &State, snapshot: &Snapshot) -> Option<String> {
    match action {
        Action::ReplayAll if snapshot.totals.failed == 0 => Some("no item has failed".to_owned()),
        Action::TogglePause
        | Action::HardPause
        | Action::MoreInFlight
        | Action::FewerInFlight
        | Action::GiveUpRest
        | Action::Drain
            if state.is_run_over(snapshot) =>
        {
            Some("the run is over".to_owned())
        }
        _ => None,
    }
}

/// The footer's label for an action that toggles: what it would do now, such as `pause` or `go on`. `None` for actions
/// that don't toggle.
pub fn current_label(action: Action, state: &State, snapshot: &Snapshot) -> Option<&'static str> {
    let either = |on: bool, to_on, to_off| Some(if on { to_on } else { to_off });
    match action {
        Action::TogglePause => either(is_paused_or_pausing(state, snapshot), "resume", "pause"),
        Action::InspectRun => either(snapshot.state.is_over(), "run report", "why not faster"),
        Action::Toggle => match switch_command(None, state, snapshot).ok()? {
            Command::SetKey { on, .. } => either(on, "key on", "key off"),
            Command::SetModel { on, .. } => either(on, "model on", "model off"),
            Command::SetRoute { on, .. } => either(on, "route on", "route off"),
            _ => None,
        },
        _ => None,
    }
}

/// The command that switches the selected key, model or route on or off; `None` switches to the other state.
fn switch_command(on: Option<bool>, state: &State, snapshot: &Snapshot) -> Result<Command, String> {
    let subject = state.selected_subject(snapshot);
    let command_with = |on| match subject.clone() {
        Some(InspectSubject::Key(key)) => Ok(Command::SetKey { key, on }),
        Some(InspectSubject::Model(model)) => Ok(Command::SetModel { model, on }),
        Some(InspectSubject::Route { key, model }) => Ok(Command::SetRoute { key, model, on }),
        Some(InspectSubject::Cooldown(_) | InspectSubject::Run) | None => Err(format!(
            "select a key, model or route first ({})",
            pane_labels(state, &[Pane::Keys, Pane::Models, Pane::Routes])
        )),
    };
    let (to_on, to_off) = (command_with(true)?, command_with(false)?);
    let is_on = match &subject {
        // A disabled key counts as off, so toggling it switches it on.
        Some(InspectSubject::Key(key)) => snapshot.keys.iter().any(|view| {
            view.name == *key && !matches!(view.condition, Condition::SwitchedOff { .. } | Condition::Disabled { .. })
        }),
        Some(InspectSubject::Route { key, model }) => {
            let route = snapshot.routes.iter().find(|view| view.key == *key && view.model == *model);
            route.ok_or_else(|| format!("there is no route {model}@{key}"))?.on
        }
        Some(InspectSubject::Model(model)) => snapshot.models.iter().any(|view| view.name == *model && view.on),
        _ => false,
    };
    // A command that isn't confirmed yet counts as done, so that pressing the key twice quickly switches off and on
    // again.
    let requested = state.pending_commands.commands().rev().find(|command| **command == to_on || **command == to_off);
    let is_on = requested.map_or(is_on, |command| *command == to_on);
    Ok(if on.unwrap_or(!is_on) { to_on } else { to_off })
}

fn clear_cooldowns_command(state: &State, snapshot: &Snapshot) -> Result<Command, String> {
    let key = match state.selected_subject(snapshot) {
        Some(InspectSubject::Key(key) | InspectSubject::Route { key, .. }) => Some(key),
        Some(InspectSubject::Cooldown(cooldown_id)) => key_of_cooldown(&cooldown_id.subject, snapshot),
        Some(InspectSubject::Model(_) | InspectSubject::Run) | None => None,
    };
    let pane_hint = || pane_labels(state, &[Pane::Keys, Pane::Cooldowns]);
    let key = key.ok_or_else(|| format!("select the key whose cooldowns to clear ({})", pane_hint()))?;
    Ok(Command::ClearCooldowns { key })
}

/// Names panes in a message: `1 Keys, 3 Models`.
fn pane_labels(state: &State, panes: &[Pane]) -> String {
    let names: Vec<String> = panes.iter().map(|pane| state.keymap.pane_label(*pane)).collect();
    names.join(", ")
}

fn probe_command(state: &State, snapshot: &Snapshot) -> Result<Command, String> {
    match state.selected_subject(snapshot) {
        Some(InspectSubject::Key(key) | InspectSubject::Route { key, .. }) => Ok(Command::ProbeKey { key }),
        _ => Err(format!("select the key to test ({})", pane_labels(state, &[Pane::Keys, Pane::Routes]))),
    }
}

fn replay_command(state: &State) -> Result<Command, String> {
    let row = match &state.detail {
        Some(detail) => detail.item().map(|item| &item.row),
        None if state.focus == Pane::Items => state.items.selected_row(),
        None => return Err(format!("select a failed item first ({})", pane_labels(state, &[Pane::Items]))),
    };
    let row = row.ok_or("no item is selected")?;
    if row.state != ItemState::Failed {
        return Err(format!("item {} is {}; only failed items can be replayed", row.id, row.state.name()));
    }
    Ok(Command::Replay { filter: ReplayFilter { ids: vec![row.id.clone()], ..ReplayFilter::default() }, target: None })
}

/// The open or selected item.
fn chosen_item(state: &State) -> Result<&ItemRow, String> {
    let row = match &state.detail {
        Some(detail) => detail.item().map(|item| &item.row),
        None if state.focus == Pane::Items => state.items.selected_row(),
        None => return Err(format!("select an item first ({})", pane_labels(state, &[Pane::Items]))),
    };
    row.ok_or_else(|| "no item is selected".to_owned())
}

fn break_off_command(state: &State) -> Result<Command, String> {
    let row = chosen_item(state)?;
    if row.state != ItemState::InFlight {
        return Err(format!("item {} is {}; no request of it is in flight", row.id, row.state.name()));
    }
    Ok(Command::BreakOff { item_id: row.id.clone() })
}

/// Gives up on the marked items, or else on the chosen one.
fn give_up_command(state: &State) -> Result<Command, String> {
    if !state.items.marks.is_empty() && state.detail.is_none() {
        return Ok(Command::GiveUp { item_ids: Some(state.items.marks.values().cloned().collect()) });
    }
    let row = chosen_item(state)?;
    if matches!(row.state, ItemState::Done | ItemState::Failed) {
        return Err(format!("item {} is {} already", row.id, row.state.name()));
    }
    Ok(Command::GiveUp { item_ids: Some(vec![row.id.clone()]) })
}

/// The maximum number of attempts in flight after all pending commands.
fn requested_max_in_flight(state: &State, snapshot: &Snapshot) -> u32 {
    let requested = state.pending_commands.commands().rev().find_map(|command| match command {
        Command::SetMaxInFlight { max_in_flight } => Some(*max_in_flight),
        _ => None,
    });
    requested.unwrap_or(snapshot.max_in_flight)
}

/// Whether the run is paused or about to be, pending commands included.
fn is_paused_or_pausing(state: &State, snapshot: &Snapshot) -> bool {
    match state.pending_commands.run_state_label(snapshot) {
        Some("resuming") => false,
        Some("pausing") => true,
        _ => matches!(snapshot.state, RunState::Pausing | RunState::Paused),
    }
}
