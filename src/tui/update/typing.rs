//! Handles typed and pasted text while an overlay with a text input is open.

use crossterm::event::KeyCode;

use super::event::Effect;
use crate::tui::{
    keymap::Chord,
    state::{Overlay, State},
    text::one_line,
};

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
