//! Opens the item of the selected row, and moves from the open item to its neighbours in the same list.

use crate::{
    domain::{EventKind, Snapshot},
    tui::{
        pane::Pane,
        state::{DetailView, State, ToastLevel},
    },
};

pub(super) fn open_selected(state: &mut State, snapshot: &Snapshot) {
    let pane = state.focus;
    let index = state.selected_row(pane, snapshot);
    match (item_at(state, snapshot, index), pane) {
        (Some(seq), _) => show_item(state, snapshot, index, seq),
        (None, Pane::Events) => {
            state.toasts.push("this event is not about a single item", ToastLevel::Rejected, state.ui_elapsed);
        }
        (None, Pane::Items | Pane::Failures) => {}
        (None, _) => state.toggle_zoom(),
    }
}

/// Opens the next or previous item in the list of the focused pane. Rows of the open item itself are skipped.
pub(super) fn open_neighbour(state: &mut State, snapshot: &Snapshot, forward: bool) {
    let Some(open_seq) = state.detail.as_ref().map(|detail| detail.seq) else { return };
    let index = state.selected_row(state.focus, snapshot);
    let other = |index| item_at(state, snapshot, index).filter(|seq| *seq != open_seq).map(|seq| (index, seq));
    // Starts at the selected row: if the open item has left the list, another item has taken its row.
    let found = if forward {
        (index..state.row_count(state.focus, snapshot)).find_map(other)
    } else {
        (0..index).rev().find_map(other)
    };
    if let Some((index, seq)) = found {
        show_item(state, snapshot, index, seq);
    }
}

fn show_item(state: &mut State, snapshot: &Snapshot, index: usize, seq: u64) {
    state.select_row(state.focus, index, snapshot);
    if state.focus == Pane::Events {
        // The newest event is selected by its number too, so that the next step starts from it even if newer events
        // have come.
        state.selection.event = snapshot.events.iter().rev().nth(index).map(|event| event.number);
    }
    state.detail = Some(DetailView::new(seq));
}

/// The item of a row in the focused pane; `None` if it has none, or the row isn't loaded yet.
fn item_at(state: &State, snapshot: &Snapshot, index: usize) -> Option<u64> {
    match state.focus {
        Pane::Items => state.items.row(index as u64).map(|row| row.seq),
        Pane::Failures => state.failures.groups()?.get(index).map(|group| group.first_seq),
        Pane::Events => match &snapshot.events.iter().rev().nth(index)?.kind {
            EventKind::Fallback { seq, .. } | EventKind::ItemFailed { seq, .. } => Some(*seq),
            _ => None,
        },
        _ => None,
    }
}
