//! Performs actions, whether they came from a key, the command line or the mouse.

use super::{
    clipboard, command_line, dialogs,
    event::Effect,
    images, item_detail, leaving, navigation, replay,
    sending::{send_command, send_undo},
};
use crate::{
    domain::{Query, Snapshot},
    tui::{
        action::{Action, LogAction},
        commands::{command_for, unavailable_reason},
        pane::Pane,
        state::{
            CommandInput, ExitReason, ITEM_LISTS, InspectSubject, Overlay, ScrollPosition, State, ToastLevel,
            menu_choices,
        },
    },
};

/// Performs `action`, whether it came from a key, the command line or the mouse.
pub(super) fn perform(state: &mut State, snapshot: &Snapshot, action: Action) -> Vec<Effect> {
    if state.read_only && action.changes_run() {
        state.toasts.push("this screen is read-only", ToastLevel::Rejected, state.ui_elapsed);
        return Vec::new();
    }
    if state.is_terminal_too_small() && !works_without_panes(action) {
        let quit = state.keymap.key_label(Action::Quit);
        state.toasts.push(format!("the screen is too small; {quit} quits"), ToastLevel::Rejected, state.ui_elapsed);
        return Vec::new();
    }
    if action == Action::Open
        && let Some(named_action) = command_line::take_named_action(state, snapshot)
    {
        return perform(state, snapshot, named_action);
    }
    if action != Action::Interrupt
        && let Some(effects) = dialogs::perform(state, snapshot, action)
    {
        return effects;
    }
    match action {
        Action::Up
        | Action::Down
        | Action::Left
        | Action::Right
        | Action::PageUp
        | Action::PageDown
        | Action::Top
        | Action::Bottom => navigation::move_selection(state, snapshot, action),
        Action::NextPane => navigation::cycle_pane(state, true),
        Action::PreviousPane => navigation::cycle_pane(state, false),
        Action::Focus(pane) => navigation::focus_pane(state, pane),
        Action::Zoom => state.toggle_zoom(),
        Action::Open => item_detail::open_selected(state, snapshot),
        Action::Back => go_back(state),
        Action::Inspect => open_inspect(state, snapshot),
        Action::InspectRun => {
            state.overlay = Some(Overlay::Inspect { subject: InspectSubject::Run, scroll: ScrollPosition::default() });
        }
        Action::Copy => return clipboard::copy(state, snapshot),
        Action::ToggleMark => {
            if !state.items.toggle_mark() {
                state.toasts.push("no item is selected", ToastLevel::Rejected, state.ui_elapsed);
            }
        }
        Action::ExportGroup => match state.failures.selected_group() {
            Some(_) if state.is_exporting => {
                state.toasts.push("the last export is still being written", ToastLevel::Rejected, state.ui_elapsed);
            }
            Some(group) => {
                state.is_exporting = true;
                return vec![Effect::RunExport(Query::ExportFailures { filter: group.replay_filter() })];
            }
            None => {
                let message = format!("select a group of failures first ({})", state.keymap.pane_label(Pane::Failures));
                state.toasts.push(message, ToastLevel::Rejected, state.ui_elapsed);
            }
        },
        Action::NextPicture => images::next_image(state),
        Action::TogglePictures => images::toggle_images(state),
        Action::Undo => match state.undo.pop() {
            Some(command) => return send_undo(state, command),
            None => state.toasts.push("there is nothing left to undo", ToastLevel::Rejected, state.ui_elapsed),
        },
        Action::Replay if !state.items.marks.is_empty() && state.detail.is_none() => {
            replay::open_dialog_for_selection(state, snapshot);
        }
        Action::OpenReplay => replay::open_dialog_for_selection(state, snapshot),
        Action::OpenFilter => {
            navigation::focus_pane(state, Pane::Items);
            state.overlay = Some(Overlay::Filter { previous: Box::new(state.items.clone()) });
            // If the operator has not chosen a list, the text may match items in any of them.
            if !state.items.is_chosen_by_operator() {
                state.items.set_filter(None, state.items.text_filter.clone());
            }
        }
        Action::NextFilter => state.items.cycle_state_filter(1),
        Action::PreviousFilter => state.items.cycle_state_filter(ITEM_LISTS.len() - 1),
        Action::OpenHelp => state.overlay = Some(Overlay::Help(ScrollPosition::default())),
        Action::OpenCommandLine => state.overlay = Some(Overlay::CommandLine(CommandInput::default())),
        Action::OpenStrategyMenu => {
            let selected = menu_choices(snapshot).iter().position(|choice| choice.is_current).unwrap_or(0);
            state.overlay = Some(Overlay::StrategyMenu { selected });
        }
        Action::Redraw => return vec![Effect::RedrawAll],
        Action::Suspend => return vec![Effect::Suspend],
        Action::ToggleMouse => {
            state.mouse_captured = !state.mouse_captured;
            let message = if state.mouse_captured {
                "the dashboard captures the mouse"
            } else {
                "the terminal has the mouse: select text with it"
            };
            state.toasts.push(message, ToastLevel::Success, state.ui_elapsed);
            return vec![Effect::CaptureMouse(state.mouse_captured)];
        }
        Action::ClearCooldowns if state.take_cooldown_moved() => {
            state.toasts.push("that cooldown has just ended", ToastLevel::Rejected, state.ui_elapsed);
        }
        Action::HardPause => confirm_hard_pause(state, snapshot),
        Action::GiveUp | Action::GiveUpRest => match command_for(action, state, snapshot) {
            Ok(command) => state.overlay = Some(Overlay::GiveUp(command)),
            Err(reason) => state.toasts.push(reason, ToastLevel::Rejected, state.ui_elapsed),
        },
        Action::ReplayAll => replay::open_dialog_for_all(state, snapshot),
        Action::Toggle
        | Action::SwitchOn
        | Action::SwitchOff
        | Action::ClearCooldowns
        | Action::Probe
        | Action::TogglePause
        | Action::Replay
        | Action::BreakOff
        | Action::MoreInFlight
        | Action::FewerInFlight => match command_for(action, state, snapshot) {
            Ok(command) => return send_command(state, snapshot, command),
            Err(reason) => state.toasts.push(reason, ToastLevel::Rejected, state.ui_elapsed),
        },
        Action::Quit => return leaving::quit(state, snapshot),
        Action::Interrupt => return leaving::interrupt(state, snapshot),
        Action::Detach => {
            return vec![Effect::Leave(if state.is_run_over(snapshot) {
                ExitReason::RunEnded
            } else {
                ExitReason::Detached
            })];
        }
        Action::Drain => return leaving::drain(state, snapshot),
        Action::StopNow => return leaving::stop_now(state, snapshot),
        Action::Log(action) => send_to_log_widget(state, action),
        Action::Yes | Action::No => {}
    }
    Vec::new()
}

/// Whether an action makes sense while only the status lines are shown.
const fn works_without_panes(action: Action) -> bool {
    matches!(
        action,
        Action::TogglePause
            | Action::Back
            | Action::Redraw
            | Action::Suspend
            | Action::Quit
            | Action::Interrupt
            | Action::Detach
            | Action::Drain
            | Action::StopNow
    )
}

/// Closes or clears one thing: the open item, otherwise the toasts, the text filter or the marks of the focused list,
/// full screen, or the selection in the events. Never quits.
fn go_back(state: &mut State) {
    if state.detail.take().is_some() {
        return;
    }
    if state.toasts.dismiss() {
        return;
    }
    if state.focus == Pane::Items && !state.items.text_filter.is_empty() {
        let state_filter = state.items.state_filter;
        state.items.set_filter(state_filter, String::new());
    } else if state.focus == Pane::Items && !state.items.marks.is_empty() {
        state.items.marks.clear();
    } else if let Some(pane) = state.fullscreen_pane() {
        state.is_zoomed = false;
        if state.fullscreen_pane() == Some(pane) {
            navigation::focus_pane(state, Pane::Keys);
        }
    } else if state.focus == Pane::Events {
        state.selection.event = None;
    }
}

/// Inspects the selection, or the run if the selection can't be inspected.
fn open_inspect(state: &mut State, snapshot: &Snapshot) {
    let subject = state.selected_subject(snapshot).unwrap_or(InspectSubject::Run);
    state.overlay = Some(Overlay::Inspect { subject, scroll: ScrollPosition::default() });
}

fn send_to_log_widget(state: &State, action: LogAction) {
    use tui_logger::TuiWidgetEvent as Event;
    state.log_widget_state.transition(match action {
        LogAction::ToggleSelector => Event::HideKey,
        LogAction::ToggleFocusedTarget => Event::FocusKey,
        LogAction::ToggleOffTargets => Event::SpaceKey,
        LogAction::ShowLess => Event::LeftKey,
        LogAction::ShowMore => Event::RightKey,
        LogAction::RecordLess => Event::MinusKey,
        LogAction::RecordMore => Event::PlusKey,
    });
}

fn confirm_hard_pause(state: &mut State, snapshot: &Snapshot) {
    if let Some(reason) = unavailable_reason(Action::HardPause, state, snapshot) {
        state.toasts.push(reason, ToastLevel::Rejected, state.ui_elapsed);
        return;
    }
    state.overlay = Some(Overlay::HardPause);
}
