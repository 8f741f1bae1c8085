//! Opens the replay dialog with the sets of failed items that the current view suggests.

use crate::{
    domain::{ItemRow, ItemState, ReplayFilter, Snapshot},
    tui::{
        action::Action,
        commands::unavailable_reason,
        pane::Pane,
        state::{Overlay, ReplayPlan, ReplayScope, State, ToastLevel},
    },
};

/// Opens the dialog for the current selection. Offers the marked items, the selected item or group, the filtered items,
/// and all failed items, as far as there are any.
pub(super) fn open_dialog_for_selection(state: &mut State, snapshot: &Snapshot) {
    let mut scopes = Vec::new();
    let ids = |ids: Vec<String>| ReplayFilter { ids, ..ReplayFilter::default() };
    let marks = &state.items.marks;
    if !marks.is_empty() && state.detail.is_none() {
        let label = format!("{} marked", marks.len());
        scopes.push(ReplayScope { label, filter: ids(marks.values().cloned().collect()) });
    }
    if let Some(row) = selected_item(state).filter(|row| row.state == ItemState::Failed) {
        scopes.push(ReplayScope { label: format!("item #{}", row.id), filter: ids(vec![row.id.clone()]) });
    }
    if let Some(group) = state.failures.selected_group().filter(|_| is_failures_list_active(state)) {
        scopes.push(ReplayScope { label: "the selected group".to_owned(), filter: group.replay_filter() });
    }
    if state.focus == Pane::Items && !state.items.text_filter.is_empty() {
        let text = state.items.text_filter.clone();
        let label = format!("failed with \u{201c}{text}\u{201d}");
        scopes.push(ReplayScope { label, filter: ReplayFilter { text, ..ReplayFilter::default() } });
    }
    open_dialog(state, snapshot, scopes);
}

/// Opens the dialog for all failed items.
pub(super) fn open_dialog_for_all(state: &mut State, snapshot: &Snapshot) {
    open_dialog(state, snapshot, Vec::new());
}

/// Opens the dialog for the items of a command that was typed after `:`. Offers all failed items too.
pub(super) fn open_dialog_for_filter(state: &mut State, snapshot: &Snapshot, label: String, filter: ReplayFilter) {
    open_dialog(state, snapshot, vec![ReplayScope { label, filter }]);
}

fn open_dialog(state: &mut State, snapshot: &Snapshot, mut scopes: Vec<ReplayScope>) {
    if let Some(reason) = unavailable_reason(Action::ReplayAll, state, snapshot) {
        state.toasts.push(reason, ToastLevel::Rejected, state.ui_elapsed);
        return;
    }
    scopes.push(ReplayScope { label: "all failed".to_owned(), filter: ReplayFilter::default() });
    state.overlay = Some(Overlay::Replay(Box::new(ReplayPlan::new(scopes, snapshot))));
}

fn is_failures_list_active(state: &State) -> bool {
    state.focus == Pane::Failures && state.detail.is_none()
}

fn selected_item(state: &State) -> Option<&ItemRow> {
    match &state.detail {
        Some(detail) => detail.item().map(|item| &item.row),
        None if state.focus == Pane::Items => state.items.selected_row(),
        None => None,
    }
}
