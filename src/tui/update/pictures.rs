//! Pictures of the open item: asked for when there is room for them, taken in when they come.

use super::Effect;
use crate::{
    domain::Snapshot,
    tui::{
        panes,
        picture::{Ask, Drawing},
        state::{State, ToastLevel},
    },
};

/// Asks for what the screen has room for and doesn't have.
pub(super) fn ask(state: &mut State, snapshot: &Snapshot) -> Option<Effect> {
    let wanted = wanted(state, snapshot);
    let (ask, number) = state.pictures.begin(wanted)?;
    Some(Effect::Depict { ask, number })
}

pub(super) fn came(state: &mut State, snapshot: &Snapshot, ask: Ask, seen: Result<Drawing, String>) {
    let wanted = wanted(state, snapshot);
    state.pictures.came(ask, seen, wanted);
}

fn wanted(state: &State, snapshot: &Snapshot) -> Option<Ask> {
    let detail = state.detail.as_ref()?;
    let item = detail.item().filter(|item| detail.picture < item.pictures.len())?;
    let canvas = state.pictures.wanted_on()?;
    let room = panes::picture::room(item, state.arrangement(snapshot).body)?;
    Some(Ask { seq: detail.seq, index: detail.picture, room, canvas })
}

/// The next one of the open item; after the last the first.
pub(super) fn next(state: &mut State) {
    let count = state.detail.as_ref().and_then(|detail| Some(detail.item()?.pictures.len())).unwrap_or_default();
    match &mut state.detail {
        Some(detail) if count > 1 => detail.picture = (detail.picture + 1) % count,
        Some(_) => state.toasts.push("this item has no other picture", ToastLevel::Refused, state.ui),
        None => state.toasts.push("open an item first (Enter in Items)", ToastLevel::Refused, state.ui),
    }
}

pub(super) fn hide_or_show(state: &mut State) {
    if state.pictures.canvas.is_none() {
        let words = "pictures are switched off in keys.toml: [dashboard] pictures";
        state.toasts.push(words, ToastLevel::Refused, state.ui);
        return;
    }
    state.pictures.hidden = !state.pictures.hidden;
    let words = if state.pictures.hidden { "pictures are hidden" } else { "pictures are shown" };
    state.toasts.push(words, ToastLevel::Done, state.ui);
}
