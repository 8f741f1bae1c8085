//! Handles actions while an overlay is open.

use super::{command_line, event::Effect, navigation::scroll_lines, sending::send_command};
use crate::{
    domain::{Command, Snapshot},
    tui::{
        action::Action,
        overlays,
        state::{Overlay, ReplayPlan, State, ToastLevel, menu_choices},
    },
};

/// Performs an action in the open overlay. `None` if no overlay is open or it does not handle the action.
pub(super) fn perform(state: &mut State, snapshot: &Snapshot, action: Action) -> Option<Vec<Effect>> {
    match state.overlay.as_ref()? {
        Overlay::Help(_) | Overlay::Inspect { .. } => scroll_text(state, snapshot, action),
        Overlay::HardPause => match action {
            Action::Yes => {
                state.overlay = None;
                Some(send_command(state, snapshot, Command::HardPause))
            }
            Action::No | Action::Back => Some(close(state)),
            _ => None,
        },
        Overlay::GiveUp(command) => match action {
            Action::Yes => {
                let command = command.clone();
                state.overlay = None;
                state.items.marks.clear();
                Some(send_command(state, snapshot, command))
            }
            Action::No | Action::Back => Some(close(state)),
            _ => None,
        },
        Overlay::Replay(plan) => {
            let plan = plan.clone();
            perform_in_replay(state, snapshot, action, plan)
        }
        Overlay::Quit => {
            if action == Action::Back {
                Some(close(state))
            } else {
                None
            }
        }
        Overlay::StrategyMenu { selected } => {
            let selected = *selected;
            perform_in_menu(state, snapshot, action, selected)
        }
        Overlay::Filter { previous: previous_list } => match action {
            Action::Open => Some(close(state)),
            Action::Back => {
                let previous_list = previous_list.clone();
                state.items.restore(*previous_list);
                Some(close(state))
            }
            Action::NextPane | Action::PreviousPane | Action::Up | Action::Down => Some(Vec::new()),
            _ => None,
        },
        Overlay::CommandLine(line) => {
            let line = line.clone();
            command_line::perform(state, snapshot, action, line)
        }
    }
}

fn close(state: &mut State) -> Vec<Effect> {
    state.overlay = None;
    Vec::new()
}

fn scroll_text(state: &mut State, snapshot: &Snapshot, action: Action) -> Option<Vec<Effect>> {
    if action == Action::Back {
        return Some(close(state));
    }
    let (total, visible) = overlays::text_extent(state, snapshot);
    let lines = scroll_lines(action, visible)?;
    match &mut state.overlay {
        Some(Overlay::Help(scroll_position) | Overlay::Inspect { scroll: scroll_position, .. }) => {
            scroll_position.scroll(lines, total, visible);
        }
        _ => return None,
    }
    Some(Vec::new())
}

fn perform_in_replay(
    state: &mut State,
    snapshot: &Snapshot,
    action: Action,
    mut plan: Box<ReplayPlan>,
) -> Option<Vec<Effect>> {
    let (scope_count, target_count) = (plan.scopes.len(), plan.targets.len());
    match action {
        Action::Up => plan.target_index = plan.target_index.saturating_sub(1),
        Action::Down => plan.target_index = (plan.target_index + 1).min(target_count.saturating_sub(1)),
        Action::Left => plan.scope_index = (plan.scope_index + scope_count - 1) % scope_count,
        Action::Right => plan.scope_index = (plan.scope_index + 1) % scope_count,
        Action::No | Action::Back => return Some(close(state)),
        // Nothing is sent before the preview has shown what it would be.
        Action::Yes => match plan.preview() {
            Some(Ok((_, 1..))) => {
                state.overlay = None;
                return Some(send_command(state, snapshot, plan.command()));
            }
            Some(Ok(_)) => state.toasts.push("no failed item matches this", ToastLevel::Rejected, state.ui_elapsed),
            _ => state.toasts.push(
                "still looking up which items that would send",
                ToastLevel::Rejected,
                state.ui_elapsed,
            ),
        },
        _ => return None,
    }
    state.overlay = Some(Overlay::Replay(plan));
    Some(Vec::new())
}

fn perform_in_menu(state: &mut State, snapshot: &Snapshot, action: Action, selected: usize) -> Option<Vec<Effect>> {
    let choices = menu_choices(snapshot);
    let last = choices.len().saturating_sub(1);
    let selected = match action {
        Action::Up => selected.saturating_sub(1),
        Action::Down => (selected + 1).min(last),
        Action::Open => {
            state.overlay = None;
            let choice = choices.into_iter().nth(selected)?;
            return Some(if choice.is_current { Vec::new() } else { send_command(state, snapshot, choice.command) });
        }
        Action::Back => return Some(close(state)),
        _ => return None,
    };
    state.overlay = Some(Overlay::StrategyMenu { selected });
    Some(Vec::new())
}
