//! What happens when something happens: `update(state, snapshot, message) -> effects`. No I/O, no clock.

mod announce;
mod answer;
mod command_line;
mod copying;
mod dialog;
mod leaving;
mod mouse;
mod moving;
mod opening;
mod orders;
mod pictures;
mod replaying;

use crossterm::event::{KeyEvent, KeyModifiers, MouseEvent};
use ratatui::layout::Size;

use super::{
    Exit,
    action::{Action, LogAction},
    keymap::Chord,
    layout::Shape,
    pane::Pane,
    picture::{Ask, CellPixels, Drawing},
    state::{Line, Overlay, Reading, State, Subject, ToastLevel, Wanted, inverse},
};
use crate::domain::{Command, ItemState, Page, Query, Snapshot};

pub use command_line::{Completion, completions};
pub use dialog::{Choice, choices};
pub use orders::{order, refusal, word_now};
pub use replaying::{estimate, reason};

/// Everything that can happen to the screen.
#[derive(Debug)]
pub enum Message {
    Key(KeyEvent),
    Mouse(MouseEvent),
    Pasted(String),
    Resized(Size),
    /// How large the terminal's cells are now, where it says so.
    Cell(Option<CellPixels>),
    /// From a signal, or a test.
    Act(Action),
    /// The process was told to end: in order, and the second time at once. Not the operator's wish, so that it is
    /// heeded on a read-only screen too.
    Terminate,
    /// There is a newer snapshot (the one that comes with this message).
    Published,
    /// Nobody will publish any more.
    Gone,
    /// Time has passed: [`State::now`] and [`State::ui`] say which.
    Tick,
    /// The engine's word on a command.
    Replied {
        command: Command,
        reply: Result<String, String>,
    },
    /// The answer to what was wanted.
    Answered {
        wanted: Wanted,
        page: Result<Page, String>,
    },
    /// The answer to [`Effect::Ask`].
    Told(Result<Page, String>),
    /// The answer to [`Effect::Depict`].
    Depicted {
        ask: Ask,
        seen: Result<Drawing, String>,
    },
}

/// What the loop is to do about it.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    Send(Command),
    /// An export, asked for once, on the operator's word; the answer comes as [`Message::Told`].
    Ask(Query),
    /// Draw an item's picture, away from here; it comes as [`Message::Depicted`]. The number is for the terminal.
    Depict {
        ask: Ask,
        number: u32,
    },
    /// Onto the clipboard of whoever's terminal this is.
    Copy(String),
    Leave(Exit),
    Suspend,
    Repaint,
    CaptureMouse(bool),
    SetTitle(String),
    /// Bell and notification.
    Notify(String),
}

pub fn update(state: &mut State, snapshot: &Snapshot, message: Message) -> Vec<Effect> {
    let mut effects = take(state, snapshot, message);
    state.follow_cooldown(snapshot);
    state.toasts.expire(state.ui);
    state.pending.settle(snapshot, state.ui);
    effects.extend(leaving::give_up_waiting(state));
    effects.extend(pictures::ask(state, snapshot));
    effects
}

fn take(state: &mut State, snapshot: &Snapshot, message: Message) -> Vec<Effect> {
    match message {
        Message::Key(key) => press(state, snapshot, key),
        Message::Mouse(event) => mouse::update(state, snapshot, event),
        Message::Pasted(text) => dialog::paste(state, &text),
        Message::Resized(size) => {
            state.size = size;
            // What can't be seen must not have the keyboard.
            if cramped(state) && !matches!(state.overlay, Some(Overlay::Quit)) {
                state.overlay = None;
            }
            Vec::new()
        }
        Message::Cell(cell) => {
            if let Some(canvas) = &mut state.pictures.canvas {
                canvas.cell = cell;
            }
            Vec::new()
        }
        Message::Act(action) => act(state, snapshot, action),
        Message::Terminate if state.leaving.is_some() => leaving::stop_now(state, snapshot),
        Message::Terminate => leaving::drain(state, snapshot),
        Message::Published => published(state, snapshot),
        Message::Gone => {
            state.gone = true;
            state.toasts.dismiss();
            leaving::leave_if_over(state, snapshot)
        }
        Message::Tick => Vec::new(),
        Message::Replied { command, reply } => answer::replied(state, &command, reply),
        Message::Depicted { ask, seen } => {
            pictures::came(state, snapshot, ask, seen);
            Vec::new()
        }
        Message::Told(answer) => answer::told(state, answer),
        Message::Answered { wanted, page } => answer::answered(state, wanted, page),
    }
}

fn press(state: &mut State, snapshot: &Snapshot, key: KeyEvent) -> Vec<Effect> {
    // Nothing is bound to Alt, and Esc with a letter right behind it looks like it: that must not be the letter.
    if key.modifiers.contains(KeyModifiers::ALT) {
        return Vec::new();
    }
    let chord = Chord::from(key);
    match state.keymap.lookup(&state.contexts(), chord) {
        Some(action) => act(state, snapshot, action),
        None => dialog::type_key(state, chord),
    }
}

/// Does `action`, whichever way it was asked for.
pub(crate) fn act(state: &mut State, snapshot: &Snapshot, action: Action) -> Vec<Effect> {
    if state.read_only && action.changes_run() {
        state.toasts.push("this screen is read-only", ToastLevel::Refused, state.ui);
        return Vec::new();
    }
    if cramped(state) && !fits_a_line(action) {
        let quit = state.keymap.key_for(Action::Quit);
        state.toasts.push(format!("no room for that here; {quit} quits"), ToastLevel::Refused, state.ui);
        return Vec::new();
    }
    if action != Action::Interrupt
        && let Some(effects) = dialog::act(state, snapshot, action)
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
        | Action::Bottom => moving::update(state, snapshot, action),
        Action::NextPane => moving::cycle_pane(state, true),
        Action::PreviousPane => moving::cycle_pane(state, false),
        Action::Focus(pane) => moving::focus(state, pane),
        Action::Zoom => state.zoom(),
        Action::Open => opening::open(state, snapshot),
        Action::Back => back(state),
        Action::Why => why(state, snapshot),
        Action::WhyRun => state.overlay = Some(Overlay::Why { subject: Subject::Run, reading: Reading::default() }),
        Action::Copy => return copying::copy(state, snapshot),
        Action::Mark => {
            if !state.items.mark() {
                state.toasts.push("no item is selected", ToastLevel::Refused, state.ui);
            }
        }
        Action::Export => match state.failures.selected_group() {
            Some(_) if state.exporting => {
                state.toasts.push("the last export is still being written", ToastLevel::Refused, state.ui);
            }
            Some(group) => {
                state.exporting = true;
                return vec![Effect::Ask(Query::ExportFailures { filter: group.replay_filter() })];
            }
            None => {
                let words = format!("select a group of failures first ({})", state.keymap.pane(Pane::Failures));
                state.toasts.push(words, ToastLevel::Refused, state.ui);
            }
        },
        Action::NextPicture => pictures::next(state),
        Action::Pictures => pictures::hide_or_show(state),
        Action::Undo => match state.undo.take() {
            Some(command) => return undo(state, command),
            None => state.toasts.push("nothing of yours is left to undo", ToastLevel::Refused, state.ui),
        },
        Action::Replay if !state.items.marks.is_empty() && state.detail.is_none() => replaying::plan(state, snapshot),
        Action::ReplayTo => replaying::plan(state, snapshot),
        Action::Filter => {
            moving::focus(state, Pane::Items);
            state.overlay = Some(Overlay::Filter { before: Box::new(state.items.clone()) });
            // Nobody meant one list only: what is looked for may be in any.
            if !state.items.is_chosen() {
                state.items.refilter(None, state.items.text.clone());
            }
        }
        Action::NextFilter => walk_lists(state, 1),
        Action::PreviousFilter => walk_lists(state, LISTS.len() - 1),
        Action::Help => state.overlay = Some(Overlay::Help(Reading::default())),
        Action::CommandLine => state.overlay = Some(Overlay::CommandLine(Line::default())),
        Action::Strategy => {
            let selected = choices(snapshot).iter().position(|choice| choice.chosen).unwrap_or(0);
            state.overlay = Some(Overlay::Menu { selected });
        }
        Action::Redraw => return vec![Effect::Repaint],
        Action::Suspend => return vec![Effect::Suspend],
        Action::Mouse => {
            state.mouse = !state.mouse;
            let words = if state.mouse { "the mouse is the dashboard's" } else { "the mouse is the terminal's" };
            state.toasts.push(words, ToastLevel::Done, state.ui);
            return vec![Effect::CaptureMouse(state.mouse)];
        }
        Action::ClearCooldowns if state.cooldown_slipped() => {
            state.toasts.push("that cooldown has just ended", ToastLevel::Refused, state.ui);
        }
        Action::HardPause => ask_hard_pause(state, snapshot),
        Action::ReplayAll => replaying::plan_all(state, snapshot),
        Action::Toggle
        | Action::SwitchOn
        | Action::SwitchOff
        | Action::ClearCooldowns
        | Action::Probe
        | Action::Pause
        | Action::Replay
        | Action::MoreInFlight
        | Action::FewerInFlight => match order(action, state, snapshot) {
            Ok(command) => return send(state, snapshot, command),
            Err(why_not) => state.toasts.push(why_not, ToastLevel::Refused, state.ui),
        },
        Action::Quit => return leaving::quit(state, snapshot),
        Action::Interrupt => return leaving::interrupt(state, snapshot),
        Action::Detach => return vec![Effect::Leave(if over(state, snapshot) { Exit::Over } else { Exit::Detach })],
        Action::Drain => return leaving::drain(state, snapshot),
        Action::StopNow => return leaving::stop_now(state, snapshot),
        Action::Log(action) => log(state, action),
        Action::Yes | Action::No => {}
    }
    Vec::new()
}

/// Remembers that the command is on its way, so that the screen can say so, and how to take it back.
fn send(state: &mut State, snapshot: &Snapshot, command: Command) -> Vec<Effect> {
    let back = inverse(&command, snapshot).map(|back| orders::as_asked(back, state));
    state.undo.sent(&command, back);
    state.pending.sent(command.clone());
    vec![Effect::Send(command)]
}

/// A change taken back is not itself a change to be taken back, or `u` would go round in circles.
fn undo(state: &mut State, command: Command) -> Vec<Effect> {
    state.pending.sent(command.clone());
    vec![Effect::Send(command)]
}

/// Only the status lines are seen.
fn cramped(state: &State) -> bool {
    Shape::of(state.size) == Shape::TooSmall
}

/// What can be done, and seen to be done, where there are only the status lines.
const fn fits_a_line(action: Action) -> bool {
    matches!(
        action,
        Action::Pause
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

fn over(state: &State, snapshot: &Snapshot) -> bool {
    state.gone || snapshot.state.is_over()
}

// === Looking ===

/// Closes the nearest thing that can be closed. Never quits.
fn back(state: &mut State) {
    if state.detail.take().is_some() {
        return;
    }
    if state.toasts.dismiss() {
        return;
    }
    if state.focus == Pane::Items && !state.items.text.is_empty() {
        let show = state.items.show;
        state.items.refilter(show, String::new());
    } else if state.focus == Pane::Items && !state.items.marks.is_empty() {
        state.items.marks.clear();
    } else if let Some(pane) = state.whole_body() {
        state.zoomed = false;
        if state.whole_body() == Some(pane) {
            moving::focus(state, Pane::Keys);
        }
    } else if state.focus == Pane::Events {
        state.selection.event = None;
    }
}

/// Of the selection; where that has no state of its own, of the run.
fn why(state: &mut State, snapshot: &Snapshot) {
    let subject = state.subject(snapshot).unwrap_or(Subject::Run);
    state.overlay = Some(Overlay::Why { subject, reading: Reading::default() });
}

/// The lists of the items pane, in the order in which they are walked.
pub const LISTS: [Option<ItemState>; 5] =
    [Some(ItemState::Failed), Some(ItemState::Waiting), Some(ItemState::InFlight), Some(ItemState::Done), None];

fn walk_lists(state: &mut State, steps: usize) {
    let at = LISTS.iter().position(|list| *list == state.items.show).unwrap_or(0);
    let text = state.items.text.clone();
    state.items.refilter(LISTS[(at + steps) % LISTS.len()], text);
}

fn log(state: &State, action: LogAction) {
    use tui_logger::TuiWidgetEvent as Event;
    state.log.transition(match action {
        LogAction::HideSelector => Event::HideKey,
        LogAction::FocusTarget => Event::FocusKey,
        LogAction::HideOff => Event::SpaceKey,
        LogAction::ShowLess => Event::LeftKey,
        LogAction::ShowMore => Event::RightKey,
        LogAction::CaptureLess => Event::MinusKey,
        LogAction::CaptureMore => Event::PlusKey,
    });
}

// === Steering ===

fn ask_hard_pause(state: &mut State, snapshot: &Snapshot) {
    if let Some(why_not) = refusal(Action::HardPause, state, snapshot) {
        state.toasts.push(why_not, ToastLevel::Refused, state.ui);
        return;
    }
    state.overlay = Some(Overlay::HardPause);
}

fn published(state: &mut State, snapshot: &Snapshot) -> Vec<Effect> {
    state.history.record(snapshot);
    state.items.suggest(&snapshot.totals);
    let mut effects = announce::news(state, snapshot);
    effects.extend(leaving::leave_if_over(state, snapshot));
    effects
}
