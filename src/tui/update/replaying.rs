//! Which failed items could be meant by a replay, from where the operator stands.

use super::orders::refusal;
use crate::{
    domain::{FailureGroup, ItemRow, ItemState, ReplayFilter, Snapshot},
    tui::{
        action::Action,
        pane::Pane,
        state::{Overlay, ReplayPlan, Scope, State, ToastLevel},
    },
};

/// Asks about the selection, what is marked, what the filter shows, or everything.
pub(super) fn plan(state: &mut State, snapshot: &Snapshot) {
    let mut scopes = Vec::new();
    let ids = |ids: Vec<String>| ReplayFilter { ids, ..ReplayFilter::default() };
    let marks = &state.items.marks;
    if !marks.is_empty() && state.detail.is_none() {
        let label = format!("{} marked", marks.len());
        scopes.push(Scope { label, filter: ids(marks.values().cloned().collect()) });
    }
    if let Some(row) = selected(state).filter(|row| row.state == ItemState::Failed) {
        scopes.push(Scope { label: format!("item #{}", row.id), filter: ids(vec![row.id.clone()]) });
    }
    if let Some(group) = state.failures.selected_group().filter(|_| on_failures(state)) {
        scopes.push(Scope { label: "the selected group".to_owned(), filter: group.replay_filter() });
    }
    if state.focus == Pane::Items && !state.items.text.is_empty() {
        let text = state.items.text.clone();
        let label = format!("failed with \u{201c}{text}\u{201d}");
        scopes.push(Scope { label, filter: ReplayFilter { text, ..ReplayFilter::default() } });
    }
    ask(state, snapshot, scopes);
}

pub(super) fn plan_all(state: &mut State, snapshot: &Snapshot) {
    ask(state, snapshot, Vec::new());
}

/// Asks about items that were named.
pub(super) fn plan_of(state: &mut State, snapshot: &Snapshot, label: String, filter: ReplayFilter) {
    ask(state, snapshot, vec![Scope { label, filter }]);
}

fn ask(state: &mut State, snapshot: &Snapshot, mut scopes: Vec<Scope>) {
    if let Some(why_not) = refusal(Action::ReplayAll, state, snapshot) {
        state.toasts.push(why_not, ToastLevel::Refused, state.ui);
        return;
    }
    scopes.push(Scope { label: "all failed".to_owned(), filter: ReplayFilter::default() });
    state.overlay = Some(Overlay::Replay(Box::new(ReplayPlan::new(scopes, snapshot))));
}

fn on_failures(state: &State) -> bool {
    state.focus == Pane::Failures && state.detail.is_none()
}

fn selected(state: &State) -> Option<&ItemRow> {
    match &state.detail {
        Some(detail) => detail.item().map(|item| &item.row),
        None if state.focus == Pane::Items => state.items.selected_row(),
        None => None,
    }
}

/// What a replay of so many items may cost on average, and by what reckoning; `None` where nothing is known.
pub fn estimate(plan: &ReplayPlan, count: u64, snapshot: &Snapshot) -> Option<f64> {
    let (cost, answers) = match plan.target() {
        Some(target) => {
            let model = snapshot.models.iter().find(|model| model.name == target.model)?;
            (model.cost, model.ok)
        }
        None => (snapshot.spend.cost, snapshot.models.iter().map(|model| model.ok).sum()),
    };
    (answers > 0).then(|| cost.as_usd() / answers as f64 * count as f64)
}

/// One line about a group: what a preview names.
pub fn reason(group: &FailureGroup) -> String {
    let outcome = group.outcome.map_or("?", crate::tui::words::outcome);
    let on = group.model.as_ref().map_or_else(String::new, |model| format!(" on {model}"));
    format!("{outcome}{on}")
}
