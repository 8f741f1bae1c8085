//! The mouse: a click focuses and selects, the wheel scrolls what is under it.

use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::Position;

use super::{Effect, act, moving};
use crate::{
    domain::Snapshot,
    tui::{
        action::Action,
        state::{Overlay, State},
        widgets::frame::first_visible,
    },
};

const WHEEL_ROWS: usize = 3;

pub(super) fn update(state: &mut State, snapshot: &Snapshot, event: MouseEvent) -> Vec<Effect> {
    let at = Position { x: event.column, y: event.row };
    match event.kind {
        MouseEventKind::ScrollUp => wheel(state, snapshot, at, Action::Up),
        MouseEventKind::ScrollDown => wheel(state, snapshot, at, Action::Down),
        MouseEventKind::Down(MouseButton::Left) => click(state, snapshot, at),
        _ => {}
    }
    Vec::new()
}

/// Text and menus that lie over the rest scroll wherever the pointer is.
fn wheel(state: &mut State, snapshot: &Snapshot, at: Position, action: Action) {
    let over_everything = state.detail.is_some()
        || matches!(state.overlay, Some(Overlay::Help(_) | Overlay::Why { .. } | Overlay::Menu { .. }));
    if !over_everything {
        if state.overlay.is_some() {
            return;
        }
        let arrangement = state.arrangement(snapshot);
        let Some((pane, _)) = arrangement.panes.iter().find(|(_, area)| area.contains(at)) else { return };
        moving::focus(state, *pane);
    }
    for _ in 0..WHEEL_ROWS {
        act(state, snapshot, action);
    }
}

fn click(state: &mut State, snapshot: &Snapshot, at: Position) {
    if state.overlay.is_some() || state.detail.is_some() {
        return;
    }
    let arrangement = state.arrangement(snapshot);
    let Some(&(pane, area)) = arrangement.panes.iter().find(|(_, area)| area.contains(at)) else { return };
    moving::focus(state, pane);
    let list_top = area.y + 1 + pane.heading_rows();
    let rows = arrangement.list_rows(pane);
    if at.y < list_top || usize::from(at.y - list_top) >= rows {
        return;
    }
    let first = first_visible(state.selected(pane, snapshot), rows, state.length(pane, snapshot));
    let clicked = first + usize::from(at.y - list_top);
    if clicked < state.length(pane, snapshot) {
        state.select(pane, clicked, snapshot);
    }
}
