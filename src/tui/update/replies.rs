//! Handles the engine's replies to commands and the database's answers to queries.

use super::event::Effect;
use crate::{
    domain::{Command, Page, Query, pluralize},
    tui::state::{DetailView, ExitReason, Leaving, Overlay, PendingQuery, State, ToastLevel},
};

pub(super) fn on_command_reply(state: &mut State, command: &Command, reply: Result<String, String>) -> Vec<Effect> {
    state.pending_commands.on_reply(command, reply.is_ok(), state.ui_elapsed);
    state.undo.on_reply(command, reply.is_ok());
    let accepted = reply.is_ok();
    match reply {
        Ok(message) => state.toasts.push(message, ToastLevel::Success, state.ui_elapsed),
        Err(message) => state.toasts.push(message, ToastLevel::Error, state.ui_elapsed),
    }
    match (command, state.leaving) {
        // The engine has the command or is gone, so there is nothing left to wait for.
        (Command::Stop, Some(Leaving::Stopping { .. })) => vec![Effect::Leave(ExitReason::Stopped)],
        (Command::Drain, Some(Leaving::Draining)) if !accepted => {
            state.leaving = None;
            Vec::new()
        }
        (Command::Replay { filter, .. }, _) => {
            // Replayed items may have failed again by the next snapshot. Then the totals are the same although the
            // items have changed.
            state.items.invalidate();
            state.failures.invalidate();
            state.detail.iter_mut().for_each(DetailView::invalidate);
            if accepted {
                state.items.unmark_replayed(filter);
            }
            Vec::new()
        }
        _ => Vec::new(),
    }
}

pub(super) fn on_query_answer(state: &mut State, pending: PendingQuery, page: Result<Page, String>) -> Vec<Effect> {
    match pending.query {
        Query::Items { filter, offset, .. } => state.items.on_answer(filter, offset, pending.data_version, page),
        Query::Failures { filter } => {
            if filter.matches_all() {
                state.failures.on_answer(pending.data_version, page.clone());
            }
            if let Some(Overlay::Replay(plan)) = &mut state.overlay {
                plan.on_answer(filter, pending.data_version, page);
            }
        }
        // These are never pending queries: an export is requested once, a picture goes to its renderer, and the samples
        // are loaded before the first frame.
        Query::ExportFailures { .. } | Query::Picture { .. } | Query::Samples => {}
        Query::Item { seq } => {
            if let Some(detail) = &mut state.detail {
                detail.on_answer(seq, pending.data_version, page);
            }
        }
    }
    Vec::new()
}

/// Handles the end of an export.
pub(super) fn on_export_done(state: &mut State, answer: Result<Page, String>) -> Vec<Effect> {
    state.is_exporting = false;
    match answer {
        Ok(Page::Exported { path, rows }) => {
            state.toasts.push(
                format!("{} written to {path}", pluralize(rows, "line")),
                ToastLevel::Success,
                state.ui_elapsed,
            );
        }
        Ok(_) => {}
        Err(message) => state.toasts.push(message, ToastLevel::Error, state.ui_elapsed),
    }
    Vec::new()
}
