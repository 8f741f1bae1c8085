//! Handles the mouse. A click focuses a pane and selects a row; the wheel focuses the pane under the pointer and moves
//! its selection.

use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::{Margin, Position};

use super::{actions::perform, event::Effect, navigation};
use crate::{
    domain::Snapshot,
    tui::{
        action::Action,
        pane::Pane,
        panes::routes,
        render_ctx::RenderCtx,
        state::{Overlay, State},
        widgets::frame::first_visible_row,
    },
};

const WHEEL_ROWS: usize = 3;

pub(super) fn update(state: &mut State, snapshot: &Snapshot, event: MouseEvent) -> Vec<Effect> {
    let pointer = Position { x: event.column, y: event.row };
    match event.kind {
        MouseEventKind::ScrollUp => on_wheel(state, snapshot, pointer, Action::Up),
        MouseEventKind::ScrollDown => on_wheel(state, snapshot, pointer, Action::Down),
        MouseEventKind::Down(MouseButton::Left) => on_click(state, snapshot, pointer),
        _ => {}
    }
    Vec::new()
}

/// An overlay gets the wheel wherever the pointer is: texts and the menu scroll, all others ignore it. Otherwise the
/// open item scrolls, or the pane under the pointer.
fn on_wheel(state: &mut State, snapshot: &Snapshot, pointer: Position, action: Action) {
    match state.overlay {
        Some(Overlay::Help(_) | Overlay::Inspect { .. } | Overlay::StrategyMenu { .. }) => {}
        Some(_) => return,
        None if state.detail.is_some() => {}
        None => {
            let layout = state.layout(snapshot);
            let Some((pane, _)) = layout.panes.iter().find(|(_, area)| area.contains(pointer)) else { return };
            navigation::focus_pane(state, *pane);
        }
    }
    for _ in 0..WHEEL_ROWS {
        perform(state, snapshot, action);
    }
}

fn on_click(state: &mut State, snapshot: &Snapshot, pointer: Position) {
    if state.overlay.is_some() || state.detail.is_some() {
        return;
    }
    let layout = state.layout(snapshot);
    let Some(&(pane, area)) = layout.panes.iter().find(|(_, area)| area.contains(pointer)) else { return };
    navigation::focus_pane(state, pane);
    let list = layout.with_padding(area.inner(Margin::new(1, 1)));
    let list_top = list.y + pane.info().heading_rows;
    let rows = layout.list_rows(pane);
    if pointer.y < list_top || usize::from(pointer.y - list_top) >= rows {
        return;
    }
    let first = first_visible_row(state.selected_row(pane, snapshot), rows, state.row_count(pane, snapshot));
    let clicked = first + usize::from(pointer.y - list_top);
    if clicked >= state.row_count(pane, snapshot) {
        return;
    }
    let model =
        pointer.x.checked_sub(list.x).and_then(|x| routes::model_at(RenderCtx { state, snapshot }, list.width, x));
    state.select_row(pane, clicked, snapshot);
    if let (Pane::Routes, Some(model)) = (pane, model) {
        state.selection.route.1 = model;
    }
}
