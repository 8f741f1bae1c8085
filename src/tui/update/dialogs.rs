//! Handles actions and typed text while an overlay is open.

use crossterm::event::KeyCode;

use super::{Effect, command_line, navigation::scroll_lines, send_command};
use crate::{
    domain::{CascadeOrder, Command, OnExhausted, Snapshot, Strategy, WhenLimited},
    tui::{
        action::Action,
        keymap::Chord,
        labels, overlays,
        state::{CommandInput, DetailView, Overlay, ReplayPlan, State, ToastLevel},
        text::one_line,
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
            perform_in_command_line(state, snapshot, action, line)
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

// === Replay ===

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

// === Strategy menu ===

/// One line of the menu.
#[derive(Clone, PartialEq, Debug)]
pub struct MenuChoice {
    pub section: &'static str,
    pub label: String,
    pub is_current: bool,
    pub command: Command,
}

/// The choices of the strategy menu: all values of the settings that can be chosen by name while the run goes on.
pub fn menu_choices(snapshot: &Snapshot) -> Vec<MenuChoice> {
    let strategies = Strategy::ALL.into_iter().map(|strategy| MenuChoice {
        section: "Strategy",
        label: format!("{}: {}", labels::strategy(strategy), strategy.description()),
        is_current: snapshot.strategy == strategy,
        command: Command::SetStrategy { strategy },
    });
    let orders = [CascadeOrder::KeyFirst, CascadeOrder::ModelFirst].into_iter().map(|order| MenuChoice {
        section: "Order of the cascade",
        label: format!("{}: {}", labels::order(order), labels::order_meaning(order)),
        is_current: snapshot.cascade_order == order,
        command: Command::SetCascadeOrder { order },
    });
    let limited = [WhenLimited::Spill, WhenLimited::Wait].into_iter().map(|when_limited| MenuChoice {
        section: "When a route is limited",
        label: format!("{}: {}", labels::when_limited(when_limited), labels::when_limited_meaning(when_limited)),
        is_current: snapshot.when_limited == when_limited,
        command: Command::SetWhenLimited { when_limited },
    });
    let exhausted = [OnExhausted::Stop, OnExhausted::Wait].into_iter().map(|on_exhausted| MenuChoice {
        section: "When everything is exhausted",
        label: format!("{}: {}", labels::on_exhausted(on_exhausted), labels::on_exhausted_meaning(on_exhausted)),
        is_current: snapshot.on_exhausted == on_exhausted,
        command: Command::SetOnExhausted { on_exhausted },
    });
    strategies.chain(orders).chain(limited).chain(exhausted).collect()
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

// === Typing ===

/// Handles a key that has no binding. It edits the text of the open text input, if there is one.
pub(super) fn type_key(state: &mut State, chord: Chord) -> Vec<Effect> {
    edit_text(state, |text| match (chord.code, chord.ctrl) {
        (KeyCode::Char('u'), true) => text.clear(),
        (KeyCode::Char('w'), true) => {
            let kept = text.trim_end().rfind(' ').map_or(0, |space| space + 1);
            text.truncate(kept);
        }
        (KeyCode::Backspace, _) => {
            text.pop();
        }
        (KeyCode::Char(letter), false) => text.push(letter),
        _ => {}
    });
    Vec::new()
}

pub(super) fn paste(state: &mut State, pasted: &str) -> Vec<Effect> {
    edit_text(state, |text| text.push_str(&one_line(pasted)));
    Vec::new()
}

/// Changes the text of the open filter or command line.
fn edit_text(state: &mut State, change: impl FnOnce(&mut String)) {
    match &mut state.overlay {
        Some(Overlay::Filter { .. }) => {
            let mut text = state.items.text_filter.clone();
            change(&mut text);
            if text != state.items.text_filter {
                let state_filter = state.items.state_filter;
                state.items.set_filter(state_filter, text);
            }
        }
        Some(Overlay::CommandLine(line)) => {
            change(&mut line.text);
            line.selected_completion = None;
            line.error = None;
        }
        _ => {}
    }
}

fn perform_in_command_line(
    state: &mut State,
    snapshot: &Snapshot,
    action: Action,
    mut input: CommandInput,
) -> Option<Vec<Effect>> {
    let completions = command_line::completions(&input.text, state, snapshot);
    let count = completions.len();
    match action {
        Action::Back => return Some(close(state)),
        Action::Down if count > 0 => {
            input.selected_completion = Some(input.selected_completion.map_or(0, |at| (at + 1) % count));
        }
        Action::Up if count > 0 => {
            input.selected_completion =
                Some(input.selected_completion.map_or(count - 1, |at| (at + count - 1) % count));
        }
        Action::NextPane => {
            let common_prefix = command_line::common_prefix(&completions, &input.text);
            match (input.selected_completion.and_then(|at| completions.get(at)), common_prefix) {
                (Some(chosen), _) => input = CommandInput { text: chosen.text.clone(), ..CommandInput::default() },
                (None, Some(text)) => input = CommandInput { text, ..CommandInput::default() },
                (None, None) => input.selected_completion = (count > 0).then_some(0),
            }
        }
        Action::Open => {
            let text = match input.selected_completion.and_then(|at| completions.into_iter().nth(at)) {
                Some(chosen) => chosen.text,
                None => input.text.clone(),
            };
            return Some(run_command_line(state, snapshot, text));
        }
        Action::Up | Action::Down | Action::PreviousPane => {}
        _ => return None,
    }
    state.overlay = Some(Overlay::CommandLine(input));
    Some(Vec::new())
}

fn run_command_line(state: &mut State, snapshot: &Snapshot, text: String) -> Vec<Effect> {
    use command_line::ParsedLine;
    match command_line::parse(&text, snapshot) {
        Ok(ParsedLine::Empty) => {
            state.overlay = None;
            Vec::new()
        }
        Ok(ParsedLine::Action(action)) => {
            state.overlay = None;
            super::perform(state, snapshot, action)
        }
        Ok(ParsedLine::FindItems(text)) => {
            state.overlay = None;
            super::navigation::focus_pane(state, crate::tui::pane::Pane::Items);
            state.items.set_filter(None, text);
            Vec::new()
        }
        Ok(ParsedLine::OpenItem(seq)) => {
            state.overlay = None;
            state.detail = Some(DetailView::new(seq));
            Vec::new()
        }
        Ok(ParsedLine::Command(_)) if state.read_only => {
            state.overlay = None;
            state.toasts.push("this screen is read-only", ToastLevel::Rejected, state.ui_elapsed);
            Vec::new()
        }
        Ok(ParsedLine::Command(Command::Replay { filter, .. })) => {
            state.overlay = None;
            super::replay::open_dialog_for_filter(state, snapshot, text, filter);
            Vec::new()
        }
        Ok(ParsedLine::Command(command)) => {
            state.overlay = None;
            send_command(state, snapshot, command)
        }
        Err(error) => {
            state.overlay =
                Some(Overlay::CommandLine(CommandInput { text, selected_completion: None, error: Some(error) }));
            Vec::new()
        }
    }
}
