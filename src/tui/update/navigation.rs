//! Navigation between panes, within lists and through texts.

use super::item_detail;
use crate::{
    domain::Snapshot,
    tui::{action::Action, layout::SizeClass, pane::Pane, panes, render_ctx::RenderCtx, state::State},
};

pub(super) fn focus_pane(state: &mut State, pane: Pane) {
    state.detail = None;
    state.focus = pane;
    if SizeClass::of(state.terminal_size).tabs().contains(&pane) {
        state.tab = pane;
    }
}

pub(super) fn cycle_pane(state: &mut State, forward: bool) {
    let dashboard = SizeClass::of(state.terminal_size).dashboard_panes();
    let panes = if state.fullscreen_pane().is_some() { &Pane::ALL[..] } else { dashboard };
    let index = panes.iter().position(|pane| *pane == state.focus).unwrap_or(0);
    let next = if forward { index + 1 } else { index + panes.len() - 1 };
    focus_pane(state, panes[next % panes.len()]);
}

/// Moves the selection in the focused pane. If an item is open, scrolls it or opens its neighbour; in the log pane,
/// scrolls the log.
pub(super) fn move_selection(state: &mut State, snapshot: &Snapshot, action: Action) {
    if state.detail.is_some() {
        return scroll_detail(state, snapshot, action);
    }
    let pane = state.focus;
    if pane == Pane::Log {
        return scroll_log(state, action);
    }
    let (index, last) = (state.selected_row(pane, snapshot), state.row_count(pane, snapshot).saturating_sub(1));
    let page = state.layout(snapshot).list_rows(pane).max(2) - 1;
    let target = match action {
        Action::Up => index.saturating_sub(1),
        Action::Down => index.saturating_add(1),
        Action::PageUp => index.saturating_sub(page),
        Action::PageDown => index.saturating_add(page),
        Action::Top => 0,
        Action::Bottom => last,
        Action::Left | Action::Right => return move_route_column(state, snapshot, action == Action::Right),
        _ => return,
    };
    state.select_row(pane, target.min(last), snapshot);
}

fn move_route_column(state: &mut State, snapshot: &Snapshot, right: bool) {
    if state.focus == Pane::Routes {
        let (index, last) = (state.selected_model(snapshot), snapshot.models.len().saturating_sub(1));
        state.selection.route.1 = if right { (index + 1).min(last) } else { index.saturating_sub(1) };
    }
}

fn scroll_detail(state: &mut State, snapshot: &Snapshot, action: Action) {
    if matches!(action, Action::Left | Action::Right) {
        return item_detail::open_neighbour(state, snapshot, action == Action::Right);
    }
    let body = state.layout(snapshot).body;
    let Some(detail) = &state.detail else { return };
    let (total, visible) = panes::detail::text_extent(RenderCtx { state, snapshot }, detail, body);
    if let (Some(lines), Some(detail)) = (scroll_lines(action, visible), &mut state.detail) {
        detail.scroll.scroll(lines, total, visible);
    }
}

/// The number of lines to scroll down for an action (negative: up) in a text of which `visible` lines are shown. `None`
/// if the action doesn't scroll.
pub(super) fn scroll_lines(action: Action, visible: usize) -> Option<isize> {
    let page = visible.max(2) as isize - 1;
    match action {
        Action::Up => Some(-1),
        Action::Down => Some(1),
        Action::PageUp => Some(-page),
        Action::PageDown => Some(page),
        Action::Top => Some(isize::MIN / 2),
        Action::Bottom => Some(isize::MAX / 2),
        _ => None,
    }
}

fn scroll_log(state: &State, action: Action) {
    use tui_logger::TuiWidgetEvent as Event;
    let event = match action {
        Action::Up => Event::UpKey,
        Action::Down => Event::DownKey,
        Action::PageUp => Event::PrevPageKey,
        Action::PageDown => Event::NextPageKey,
        // Leaves tui-logger's page mode, so that the log follows new lines again.
        Action::Bottom => Event::EscapeKey,
        _ => return,
    };
    state.log_widget_state.transition(event);
}
