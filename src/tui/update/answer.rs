//! Answers coming back: of the engine to commands, and of the run's database to questions.

use super::Effect;
use crate::{
    domain::{Command, Page, Query, pluralize},
    tui::{
        Exit,
        state::{Detail, Leaving, Overlay, State, ToastLevel, Wanted},
    },
};

pub(super) fn replied(state: &mut State, command: &Command, reply: Result<String, String>) -> Vec<Effect> {
    state.pending.replied(command, reply.is_ok(), state.ui);
    state.undo.replied(command, reply.is_ok());
    let accepted = reply.is_ok();
    match reply {
        Ok(words) => state.toasts.push(words, ToastLevel::Done, state.ui),
        Err(words) => state.toasts.push(words, ToastLevel::Trouble, state.ui),
    }
    match (command, state.leaving) {
        // The engine knows, or is no longer there to be told: nothing more to wait for.
        (Command::Stop, Some(Leaving::Stopping { .. })) => vec![Effect::Leave(Exit::StopNow)],
        (Command::Drain, Some(Leaving::Draining)) if !accepted => {
            state.leaving = None;
            Vec::new()
        }
        (Command::Replay { filter, .. }, _) => {
            // What was sent again may have failed again by the next snapshot: other items under the same counts.
            state.items.distrust();
            state.failures.distrust();
            state.detail.iter_mut().for_each(Detail::distrust);
            if accepted {
                state.items.unmark(filter);
            }
            Vec::new()
        }
        _ => Vec::new(),
    }
}

pub(super) fn answered(state: &mut State, wanted: Wanted, page: Result<Page, String>) -> Vec<Effect> {
    match wanted.query {
        Query::Items { filter, offset, .. } => state.items.answered(filter, offset, wanted.stamp, page),
        Query::Failures { filter } => {
            if filter.matches_all() {
                state.failures.answered(wanted.stamp, page.clone());
            }
            if let Some(Overlay::Replay(plan)) = &mut state.overlay {
                plan.answered(filter, wanted.stamp, page);
            }
        }
        // Never wanted like that: one is asked for once, the other goes to whoever draws it.
        Query::ExportFailures { .. } | Query::Picture { .. } => {}
        Query::Item { seq } => {
            if let Some(detail) = &mut state.detail {
                detail.answered(seq, wanted.stamp, page);
            }
        }
    }
    Vec::new()
}

/// The answer to what was asked once: an export has come to an end.
pub(super) fn told(state: &mut State, answer: Result<Page, String>) -> Vec<Effect> {
    state.exporting = false;
    match answer {
        Ok(Page::Exported { path, rows }) => {
            state.toasts.push(format!("{} written to {path}", pluralize(rows, "line")), ToastLevel::Done, state.ui);
        }
        Ok(_) => {}
        Err(words) => state.toasts.push(words, ToastLevel::Trouble, state.ui),
    }
    Vec::new()
}
