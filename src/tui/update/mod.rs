//! Handles events: `update(state, snapshot, event) -> effects`. It does no I/O and reads no clock.

mod announcements;
mod clipboard;
mod command_line;
mod commands;
mod dialogs;
mod images;
mod item_detail;
mod leaving;
mod mouse;
mod navigation;
mod replay;
mod replies;

use crossterm::event::{KeyEvent, KeyModifiers, MouseEvent};
use ratatui::layout::Size;

use super::{
    ExitReason,
    action::{Action, LogAction},
    keymap::Chord,
    layout::SizeClass,
    pane::Pane,
    picture::{CellPixels, ImageRequest, RenderedImage},
    state::{CommandInput, InspectSubject, Overlay, PendingQuery, ScrollPosition, State, ToastLevel, find_inverse},
};
use crate::domain::{Command, ItemState, Page, Query, Snapshot};

pub use command_line::{LineCompletion, completions};
pub use commands::{command_for, current_label, rejection_reason};
pub use dialogs::{MenuChoice, menu_choices};
pub use replay::{estimated_cost_usd, group_label};

/// Everything that can happen to the screen.
#[derive(Debug)]
pub enum UiEvent {
    Key(KeyEvent),
    Mouse(MouseEvent),
    Paste(String),
    Resize(Size),
    /// The size of the terminal's cells, if it is known.
    CellSize(Option<CellPixels>),
    /// An action that no key triggered: from a signal or a test.
    Action(Action),
    /// The process was told to end: drain first, stop at once the second time. It does not come from the operator, so
    /// it also works on a read-only screen.
    Terminate,
    /// There is a newer snapshot: the one that is passed to [`update`] with this event.
    NewSnapshot,
    /// No more snapshots will come.
    EngineGone,
    /// Time has passed: see [`State::now`] and [`State::ui_elapsed`].
    Tick,
    /// The engine's reply to a command.
    CommandReply {
        command: Command,
        reply: Result<String, String>,
    },
    /// The answer to a pending query.
    QueryAnswer {
        query: PendingQuery,
        page: Result<Page, String>,
    },
    /// The result of [`Effect::RunExport`].
    ExportDone(Result<Page, String>),
    /// The result of [`Effect::RenderImage`].
    ImageRendered {
        request: ImageRequest,
        result: Result<RenderedImage, String>,
    },
}

/// An effect that the event loop must carry out.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    SendCommand(Command),
    /// Run an export once; its result comes as [`UiEvent::ExportDone`].
    RunExport(Query),
    /// Render an item's picture in the background; the result comes as [`UiEvent::ImageRendered`]. The number
    /// identifies the picture to the terminal.
    RenderImage {
        request: ImageRequest,
        image_number: u32,
    },
    /// Copy to the clipboard of the operator's terminal.
    CopyToClipboard(String),
    Leave(ExitReason),
    Suspend,
    RedrawAll,
    CaptureMouse(bool),
    SetTitle(String),
    /// Ring the bell and send a desktop notification.
    Notify(String),
}

/// Handles one event. Returns the effects for the event loop to carry out.
pub fn update(state: &mut State, snapshot: &Snapshot, event: UiEvent) -> Vec<Effect> {
    let mut effects = handle_event(state, snapshot, event);
    state.update_cooldown_selection(snapshot);
    state.toasts.expire(state.ui_elapsed);
    state.pending_commands.drop_confirmed(snapshot, state.ui_elapsed);
    effects.extend(leaving::leave_after_timeout(state));
    effects.extend(images::request_image(state, snapshot));
    effects
}

fn handle_event(state: &mut State, snapshot: &Snapshot, event: UiEvent) -> Vec<Effect> {
    match event {
        UiEvent::Key(key) => handle_key(state, snapshot, key),
        UiEvent::Mouse(event) => mouse::update(state, snapshot, event),
        UiEvent::Paste(text) => dialogs::paste(state, &text),
        UiEvent::Resize(size) => {
            state.terminal_size = size;
            // An overlay that isn't visible must not have the keyboard.
            if is_too_small(state) && !matches!(state.overlay, Some(Overlay::Quit)) {
                state.overlay = None;
            }
            Vec::new()
        }
        UiEvent::CellSize(cell) => {
            if let Some(caps) = &mut state.images.caps {
                caps.cell_size = cell;
            }
            Vec::new()
        }
        UiEvent::Action(action) => perform(state, snapshot, action),
        UiEvent::Terminate if state.leaving.is_some() => leaving::stop_now(state, snapshot),
        UiEvent::Terminate => leaving::drain(state, snapshot),
        UiEvent::NewSnapshot => on_snapshot(state, snapshot),
        UiEvent::EngineGone => {
            state.engine_gone = true;
            state.toasts.dismiss();
            leaving::leave_if_over(state, snapshot)
        }
        UiEvent::Tick => Vec::new(),
        UiEvent::CommandReply { command, reply } => replies::on_command_reply(state, &command, reply),
        UiEvent::ImageRendered { request, result } => {
            images::on_rendered(state, snapshot, request, result);
            Vec::new()
        }
        UiEvent::ExportDone(answer) => replies::on_export_done(state, answer),
        UiEvent::QueryAnswer { query, page } => replies::on_query_answer(state, query, page),
    }
}

fn handle_key(state: &mut State, snapshot: &Snapshot, key: KeyEvent) -> Vec<Effect> {
    // No binding uses Alt. Esc followed quickly by a letter looks like Alt with that letter, and must not trigger the
    // letter.
    if key.modifiers.contains(KeyModifiers::ALT) {
        return Vec::new();
    }
    let chord = Chord::from(key);
    match state.keymap.action_for(&state.key_contexts(), chord) {
        Some(action) => perform(state, snapshot, action),
        None => dialogs::type_key(state, chord),
    }
}

/// Performs `action`, whether it came from a key, the command line or the mouse.
pub(crate) fn perform(state: &mut State, snapshot: &Snapshot, action: Action) -> Vec<Effect> {
    if state.read_only && action.changes_run() {
        state.toasts.push("this screen is read-only", ToastLevel::Rejected, state.ui_elapsed);
        return Vec::new();
    }
    if is_too_small(state) && !works_without_panes(action) {
        let quit = state.keymap.key_label(Action::Quit);
        state.toasts.push(format!("the screen is too small; {quit} quits"), ToastLevel::Rejected, state.ui_elapsed);
        return Vec::new();
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
        Action::NextFilter => cycle_item_list(state, 1),
        Action::PreviousFilter => cycle_item_list(state, ITEM_LISTS.len() - 1),
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
        Action::ReplayAll => replay::open_dialog_for_all(state, snapshot),
        Action::Toggle
        | Action::SwitchOn
        | Action::SwitchOff
        | Action::ClearCooldowns
        | Action::Probe
        | Action::TogglePause
        | Action::Replay
        | Action::MoreInFlight
        | Action::FewerInFlight => match command_for(action, state, snapshot) {
            Ok(command) => return send_command(state, snapshot, command),
            Err(reason) => state.toasts.push(reason, ToastLevel::Rejected, state.ui_elapsed),
        },
        Action::Quit => return leaving::quit(state, snapshot),
        Action::Interrupt => return leaving::interrupt(state, snapshot),
        Action::Detach => {
            return vec![Effect::Leave(if is_over(state, snapshot) {
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

/// Sends a command. Stores it as pending, so that the screen can show it, and stores its inverse for undo.
fn send_command(state: &mut State, snapshot: &Snapshot, command: Command) -> Vec<Effect> {
    let inverse =
        find_inverse(&command, snapshot).map(|inverse_command| commands::expected_inverse(inverse_command, state));
    state.undo.on_sent(&command, inverse);
    state.pending_commands.on_sent(command.clone());
    vec![Effect::SendCommand(command)]
}

/// Sends the command of an undo. It gets no inverse of its own; otherwise pressing `u` again would redo the change.
fn send_undo(state: &mut State, command: Command) -> Vec<Effect> {
    state.pending_commands.on_sent(command.clone());
    vec![Effect::SendCommand(command)]
}

/// Whether the terminal has room only for the status lines.
fn is_too_small(state: &State) -> bool {
    SizeClass::of(state.terminal_size) == SizeClass::TooSmall
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

/// Whether nothing more will happen in the run, as far as this screen can know.
fn is_over(state: &State, snapshot: &Snapshot) -> bool {
    state.engine_gone || snapshot.state.is_over()
}

// === Views ===

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

/// The lists of the items pane, in the order in which they are cycled.
pub const ITEM_LISTS: [Option<ItemState>; 5] =
    [Some(ItemState::Failed), Some(ItemState::Waiting), Some(ItemState::InFlight), Some(ItemState::Done), None];

fn cycle_item_list(state: &mut State, steps: usize) {
    let index = ITEM_LISTS.iter().position(|list| *list == state.items.state_filter).unwrap_or(0);
    let text = state.items.text_filter.clone();
    state.items.set_filter(ITEM_LISTS[(index + steps) % ITEM_LISTS.len()], text);
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

// === Commands ===

fn confirm_hard_pause(state: &mut State, snapshot: &Snapshot) {
    if let Some(reason) = rejection_reason(Action::HardPause, state, snapshot) {
        state.toasts.push(reason, ToastLevel::Rejected, state.ui_elapsed);
        return;
    }
    state.overlay = Some(Overlay::HardPause);
}

fn on_snapshot(state: &mut State, snapshot: &Snapshot) -> Vec<Effect> {
    state.history.record(snapshot);
    state.items.choose_default_list(&snapshot.totals);
    let mut effects = announcements::announce(state, snapshot);
    effects.extend(leaving::leave_if_over(state, snapshot));
    effects
}
