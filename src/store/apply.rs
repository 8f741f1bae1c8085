//! Executes each [`Op`] as SQL: one function per op, each with a few cached statements.

use rusqlite::params;

use super::{
    error::StoreError,
    ingest::{ChangedRowPolicy, ingest},
    intents::OpenIntent,
    op::{CompletedAttempt, Intent, KEY_RECORDS, LocalEnd, Op, OpReply, OperatorDecision, RUN_STATE},
    requeue::requeue,
    result_line::EndingAttempt,
    route_sums::{RouteAttempt, end_of_attempt},
    row::{amount_column, to_json, truncate},
    samples::record_sample,
    saved_state::save_state,
    txn::Txn,
};
use crate::domain::{AttemptId, Event, Seq, SummedAttempt, is_unchecked};

pub(super) fn apply(txn: &mut Txn<'_>, op: &Op) -> Result<(), StoreError> {
    match op {
        Op::IngestItems(specs) => {
            let ingested = ingest(txn, specs, ChangedRowPolicy::Report)?;
            txn.replies.push(OpReply::Ingested(ingested));
        }
        Op::FinishIngest { rows } => txn.counters.input_rows = Some(*rows),
        Op::RecordIntent(intent) => record_intent(txn, intent)?,
        Op::CancelIntent { attempt } => cancel_intent(txn, *attempt)?,
        Op::CompleteAttempt(completed) => complete_attempt(txn, completed)?,
        Op::EndLocally(end) => {
            let LocalEnd { seq, outcome, line } = &**end;
            txn.end_item(seq.0, *outcome, None, line)?;
        }
        Op::RecordEvent(event) => record_event(txn, event)?,
        Op::RecordDecision(decision) => record_decision(txn, decision)?,
        Op::ForgetDecision { target } => {
            txn.execute("DELETE FROM decisions WHERE target = ?1", [target])?;
        }
        Op::SetRunState(state) => save_state(txn.conn, RUN_STATE, &to_json(state, "the run's state")?)?,
        Op::SetKeys(keys) => save_state(txn.conn, KEY_RECORDS, &to_json(keys, "the keys")?)?,
        Op::SetActiveTime(active_time) => {
            txn.counters.active_us = Some(u64::try_from(active_time.as_micros()).unwrap_or(u64::MAX));
        }
        Op::SetState { name, json } => save_state(txn.conn, name, json)?,
        Op::RecordSample { sample, dropped } => record_sample(txn.conn, sample, dropped)?,
        Op::Requeue(filter) => {
            let requeued = requeue(txn, filter, None)?;
            txn.replies.push(OpReply::Requeued(requeued));
        }
        Op::RequeueTo(filter, target) => {
            let requeued = requeue(txn, filter, Some(target))?;
            txn.replies.push(OpReply::Requeued(requeued));
        }
    }
    Ok(())
}

fn record_intent(txn: &mut Txn<'_>, intent: &Intent) -> Result<(), StoreError> {
    let Some(route) = txn.routes.ids.get(intent.route.index()).copied() else {
        return Err(StoreError::Contradiction(format!("attempt {} names an unknown route", intent.attempt.0)));
    };
    let Intent { attempt, seq, sent_at, reserved, est_tokens, .. } = *intent;
    txn.intents.add(OpenIntent { attempt, seq, route, sent_at, reserved, est_tokens });
    let counters = &mut txn.counters;
    if attempt.0 > counters.last_attempt {
        counters.last_attempt = attempt.0;
        counters.last_item = Some(seq.0);
    }
    counters.first_sent = counters.first_sent.or(Some(sent_at));
    Ok(())
}

fn cancel_intent(txn: &mut Txn<'_>, attempt: AttemptId) -> Result<(), StoreError> {
    if txn.intents.cancel(attempt).is_none() {
        let message = format!("attempt {} was to be taken back, but is not in flight", attempt.0);
        return Err(StoreError::Contradiction(message));
    }
    if txn.counters.last_attempt == attempt.0 {
        txn.counters.last_item = None;
    }
    Ok(())
}

/// Moves an intent to the table of attempts. The item ends if the attempt has a `final_line`, else it waits again.
pub(super) fn complete_attempt(txn: &mut Txn<'_>, completed: &CompletedAttempt) -> Result<(), StoreError> {
    let attempt = completed.attempt.0;
    let Some(intent) = txn.intents.close(completed.attempt) else {
        return Err(StoreError::Contradiction(format!("attempt {attempt} has an outcome, but is not in flight")));
    };
    let OpenIntent { seq: Seq(seq), route, sent_at, est_tokens, .. } = intent;
    let CompletedAttempt { outcome, usage, cost, cost_by_kind, at_risk, message, .. } = completed;
    txn.execute(
        "INSERT INTO attempts(attempt, seq, route, sent_at, est_tokens, settled_at, outcome, status, latency_ms,
                              input_tokens, output_tokens, thinking_tokens, cost, at_risk, message,
                              cached_input_tokens, cache_write_tokens, cache_write_1h_tokens,
                              cost_input, cost_cached_input, cost_cache_write, cost_output, cost_images)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22,
                 ?23)",
        params![
            attempt,
            seq,
            route,
            sent_at.0,
            amount_column(est_tokens),
            completed.completed_at.map(|wall| wall.0),
            outcome.name(),
            completed.status,
            amount_column(completed.latency_ms),
            amount_column(usage.input_tokens),
            amount_column(usage.output_tokens),
            amount_column(usage.thinking_tokens),
            amount_column(cost.0),
            amount_column(at_risk.0),
            message,
            amount_column(usage.cached_input_tokens),
            amount_column(usage.cache_write_tokens),
            amount_column(usage.cache_write_1h_tokens),
            amount_column(cost_by_kind.input.0),
            amount_column(cost_by_kind.cached_input.0),
            amount_column(cost_by_kind.cache_write.0),
            amount_column(cost_by_kind.output.0),
            amount_column(cost_by_kind.images.0),
        ],
    )?;
    txn.counters.add_attempt(completed);
    txn.attempts.push(RouteAttempt {
        seq: Seq(seq),
        attempt: completed.attempt,
        route,
        summed: SummedAttempt {
            at: end_of_attempt(sent_at, completed.completed_at),
            outcome: *outcome,
            status: completed.status,
            is_unchecked: is_unchecked(*outcome, message),
            usage: *usage,
            est_tokens,
            latency_ms: completed.latency_ms,
            cost: *cost,
            cost_by_kind: *cost_by_kind,
            at_risk: *at_risk,
        },
    });
    if let Some(line) = &completed.final_line {
        let route_name = txn.routes.names.get(&route);
        let ended_by = EndingAttempt { route, route_name, sent_at, completed };
        return txn.end_item(seq, *outcome, Some(&ended_by), line);
    }
    // An item that has ended in the meantime keeps its outcome.
    txn.execute(
        "UPDATE progress SET attempts = attempts + 1,
                             outcome = iif(state = 0, ?2, outcome),
                             route = iif(state = 0, ?3, route),
                             words = iif(state = 0, ?4, words)
         WHERE seq = ?1",
        params![seq, outcome.name(), route, truncate(message)],
    )?;
    Ok(())
}

fn record_event(txn: &mut Txn<'_>, event: &Event) -> Result<(), StoreError> {
    let json = to_json(event, "an event")?;
    txn.execute(
        "INSERT OR REPLACE INTO events(number, at, json) VALUES (?1, ?2, ?3)",
        params![event.number, event.at.0, json],
    )?;
    txn.counters.last_event = txn.counters.last_event.max(event.number);
    Ok(())
}

fn record_decision(txn: &mut Txn<'_>, decision: &OperatorDecision) -> Result<(), StoreError> {
    let OperatorDecision { target, command, at, reason } = decision;
    let command = to_json(command, "a decision")?;
    txn.execute(
        "INSERT OR REPLACE INTO decisions(target, at, reason, command) VALUES (?1, ?2, ?3, ?4)",
        params![target, at.0, reason, command],
    )?;
    Ok(())
}
