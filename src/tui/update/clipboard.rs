//! Copies the selection to the clipboard as plain text.

use super::event::Effect;
use crate::{
    domain::{Snapshot, plain_text::sanitize},
    tui::{
        pane::Pane,
        state::{InspectSubject, State, ToastLevel},
    },
};

/// Maximum bytes to copy: terminals reject sequences that are much longer.
const MAX_COPY_BYTES: usize = 64 * 1024;

pub(super) fn copy(state: &mut State, snapshot: &Snapshot) -> Vec<Effect> {
    let Some((label, text)) = copyable_selection(state, snapshot) else {
        state.toasts.push("nothing that can be copied is selected", ToastLevel::Rejected, state.ui_elapsed);
        return Vec::new();
    };
    if text.is_empty() {
        state.toasts.push("there is nothing to copy yet", ToastLevel::Rejected, state.ui_elapsed);
        return Vec::new();
    }
    // Terminals don't confirm that they have taken the text.
    let part = if text.len() > MAX_COPY_BYTES { "the first 64 KiB of " } else { "" };
    state.toasts.push(format!("{part}{label} sent to the clipboard"), ToastLevel::Success, state.ui_elapsed);
    vec![Effect::CopyToClipboard(text[..text.floor_char_boundary(MAX_COPY_BYTES)].to_owned())]
}

/// The selected text, and what to call it in the message to the operator.
fn copyable_selection(state: &State, snapshot: &Snapshot) -> Option<(&'static str, String)> {
    if let Some(detail) = &state.detail {
        let item = detail.item()?;
        return Some(match &item.output {
            Some(output) => ("the answer", output.clone()),
            None => ("the error", item.row.preview.clone()),
        });
    }
    match state.focus {
        Pane::Items => state.items.selected_row().map(|row| ("the item's id", row.id.clone())),
        Pane::Failures => state.failures.selected_group().map(|group| ("the reason", group.pattern.clone())),
        Pane::Events => {
            let index = state.selected_row(Pane::Events, snapshot);
            let event = snapshot.events.iter().rev().nth(index)?;
            Some(("the event", sanitize(&event.kind.to_string()).into_owned()))
        }
        _ => state.selected_subject(snapshot).map(|subject| match subject {
            InspectSubject::Key(name) | InspectSubject::Model(name) => ("its name", name),
            InspectSubject::Cooldown(cooldown_id) => ("its name", cooldown_id.subject),
            InspectSubject::Route { key, model } => ("the route", format!("{model}@{key}")),
            InspectSubject::Run => ("the run's name", snapshot.run.clone()),
        }),
    }
}
