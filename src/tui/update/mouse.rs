//! The mouse: a click focuses and selects, the wheel scrolls what is under it.

use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::{Margin, Position};

use super::{Effect, act, moving};
use crate::{
    domain::Snapshot,
    tui::{
        action::Action,
        pane::Pane,
        panes::routes,
        scene::Scene,
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

/// What lies on top has the wheel, wherever the pointer is: text and menus scroll, questions don't.
fn wheel(state: &mut State, snapshot: &Snapshot, at: Position, action: Action) {
    match state.overlay {
        Some(Overlay::Help(_) | Overlay::Why { .. } | Overlay::Menu { .. }) => {}
        Some(_) => return,
        None if state.detail.is_some() => {}
        None => {
            let arrangement = state.arrangement(snapshot);
            let Some((pane, _)) = arrangement.panes.iter().find(|(_, area)| area.contains(at)) else { return };
            moving::focus(state, *pane);
        }
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
    let list = arrangement.padded(area.inner(Margin::new(1, 1)));
    let list_top = list.y + pane.heading_rows();
    let rows = arrangement.list_rows(pane);
    if at.y < list_top || usize::from(at.y - list_top) >= rows {
        return;
    }
    let first = first_visible(state.selected(pane, snapshot), rows, state.length(pane, snapshot));
    let clicked = first + usize::from(at.y - list_top);
    if clicked >= state.length(pane, snapshot) {
        return;
    }
    let model = at.x.checked_sub(list.x).and_then(|x| routes::model_at(Scene { state, snapshot }, list.width, x));
    state.select(pane, clicked, snapshot);
    if let (Pane::Routes, Some(model)) = (pane, model) {
        state.selection.route.1 = model;
    }
}
