//! Handles actions in the command line, and runs what was entered.

use super::{event::Effect, navigation::focus_pane, replay::open_dialog_for_filter, sending::send_command};
use crate::{
    domain::{Command, Snapshot},
    tui::{
        action::Action,
        command_line::{LineCompletion, ParsedLine, common_prefix, completions, parse},
        pane::Pane,
        state::{CommandInput, DetailView, Overlay, State, ToastLevel},
    },
};

/// Performs an action while the command line is open. `None` if it does not handle the action.
pub(super) fn perform(
    state: &mut State,
    snapshot: &Snapshot,
    action: Action,
    mut input: CommandInput,
) -> Option<Vec<Effect>> {
    let completions = completions(&input.text, state, snapshot);
    let count = completions.len();
    match action {
        Action::Back => {
            state.overlay = None;
            return Some(Vec::new());
        }
        Action::Down if count > 0 => {
            input.selected_completion = Some(input.selected_completion.map_or(0, |at| (at + 1) % count));
        }
        Action::Up if count > 0 => {
            input.selected_completion =
                Some(input.selected_completion.map_or(count - 1, |at| (at + count - 1) % count));
        }
        Action::NextPane => {
            let common_prefix = common_prefix(&completions, &input.text);
            match (input.selected_completion.and_then(|at| completions.get(at)), common_prefix) {
                (Some(chosen), _) => input = CommandInput { text: chosen.text.clone(), ..CommandInput::default() },
                (None, Some(text)) => input = CommandInput { text, ..CommandInput::default() },
                (None, None) => input.selected_completion = (count > 0).then_some(0),
            }
        }
        Action::Open => {
            let text = entered_text(&input, &completions);
            return Some(run(state, snapshot, text));
        }
        Action::Up | Action::Down | Action::PreviousPane => {}
        _ => return None,
    }
    state.overlay = Some(Overlay::CommandLine(input));
    Some(Vec::new())
}

/// Closes the command line and returns the action that its text names. `None` if it isn't open, or its text is anything
/// else.
pub(super) fn take_named_action(state: &mut State, snapshot: &Snapshot) -> Option<Action> {
    let Some(Overlay::CommandLine(input)) = &state.overlay else { return None };
    let text = entered_text(input, &completions(&input.text, state, snapshot));
    match parse(&text, snapshot) {
        Ok(ParsedLine::Action(action)) => {
            state.overlay = None;
            Some(action)
        }
        _ => None,
    }
}

/// The selected completion, or the text that was typed.
fn entered_text(input: &CommandInput, completions: &[LineCompletion]) -> String {
    let chosen = input.selected_completion.and_then(|at| completions.get(at));
    chosen.map_or(&input.text, |completion| &completion.text).clone()
}

/// Runs a command line that does not name an action: see [`take_named_action`].
fn run(state: &mut State, snapshot: &Snapshot, text: String) -> Vec<Effect> {
    match parse(&text, snapshot) {
        Ok(ParsedLine::Empty | ParsedLine::Action(_)) => {
            state.overlay = None;
            Vec::new()
        }
        Ok(ParsedLine::FindItems(text)) => {
            state.overlay = None;
            focus_pane(state, Pane::Items);
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
            open_dialog_for_filter(state, snapshot, text, filter);
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
