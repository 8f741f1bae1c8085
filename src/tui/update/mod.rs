//! Handles events: `update(state, snapshot, event) -> effects`. It does no I/O and reads no clock.

mod actions;
mod announcements;
mod clipboard;
mod command_line;
mod dialogs;
mod event;
mod images;
mod item_detail;
mod leaving;
mod mouse;
mod navigation;
mod replay;
mod replies;
mod sending;
mod typing;

use crossterm::event::{KeyEvent, KeyModifiers};

use super::{
    keymap::Chord,
    state::{Overlay, State},
};
use crate::domain::Snapshot;

pub use event::{Effect, UiEvent};

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
        UiEvent::Paste(text) => typing::paste(state, &text),
        UiEvent::Resize(size) => {
            state.terminal_size = size;
            // An overlay that isn't visible must not have the keyboard.
            if state.is_terminal_too_small() && !matches!(state.overlay, Some(Overlay::Quit)) {
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
        UiEvent::Action(action) => actions::perform(state, snapshot, action),
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
        Some(action) => actions::perform(state, snapshot, action),
        None => typing::type_key(state, chord),
    }
}

fn on_snapshot(state: &mut State, snapshot: &Snapshot) -> Vec<Effect> {
    state.history.record(snapshot);
    state.items.choose_default_list(&snapshot.totals);
    let mut effects = announcements::announce(state, snapshot);
    effects.extend(leaving::leave_if_over(state, snapshot));
    effects
}
