//! Ops to SQL: one function per transition, each a handful of cached statements.

use rusqlite::{OptionalExtension as _, params};

use super::{
    error::StoreError,
    group::{Group, beginning},
    ingest::{OnChanged, ingest},
    op::{Answer, Decision, Intent, LocalVerdict, Op, Settled},
    report::{KEYS, RUN_STATE, WORKED},
    requeue::requeue,
};
use crate::domain::{AttemptId, Event, Money, Outcome, ResultLine, Usage, WallTime};

pub(super) fn apply(group: &mut Group<'_>, op: &Op) -> Result<(), StoreError> {
    match op {
        Op::Items(specs) => {
            let ingested = ingest(group, specs, OnChanged::Report)?;
            group.answers.push(Answer::Ingested(ingested));
        }
        Op::IngestDone { rows } => group.tallies.input_rows = Some(*rows),
        Op::Intent(intent) => record_intent(group, intent)?,
        Op::Unsend { attempt } => take_back(group, *attempt)?,
        Op::Settle(settled) => settle(group, settled)?,
        Op::Verdict(verdict) => {
            let LocalVerdict { seq, outcome, line } = &**verdict;
            group.end_item(seq.0, *outcome, None, line)?;
        }
        Op::Event(event) => record_event(group, event)?,
        Op::Decision(decision) => decide(group, decision)?,
        Op::Forget { target } => {
            group.run("DELETE FROM decisions WHERE target = ?1", [target])?;
        }
        Op::RunState(state) => {
            let json = serde_json::to_string(state).map_err(|error| StoreError::record("the run's state", error))?;
            keep_state(group, RUN_STATE, &json)?;
        }
        Op::Keys(standings) => {
            let json = serde_json::to_string(standings).map_err(|error| StoreError::record("the keys", error))?;
            keep_state(group, KEYS, &json)?;
        }
        Op::Worked(span) => keep_state(group, WORKED, &span.as_micros().to_string())?,
        Op::State { name, json } => keep_state(group, name, json)?,
        Op::Requeue(filter) => {
            let queued = requeue(group, filter, None)?;
            group.answers.push(Answer::Requeued(queued));
        }
        Op::RequeueTo(filter, to) => {
            let queued = requeue(group, filter, Some(to))?;
            group.answers.push(Answer::Requeued(queued));
        }
    }
    Ok(())
}

fn record_intent(group: &mut Group<'_>, intent: &Intent) -> Result<(), StoreError> {
    let Some(route) = group.routes.get(intent.route.index()).copied() else {
        return Err(StoreError::Contradiction(format!("attempt {} names no known route", intent.attempt.0)));
    };
    // Only a waiting item may be sent: a finished one never is again.
    let recorded = group.run(
        "INSERT INTO in_flight(attempt, seq, route, sent_at, reserved, est_tokens)
         SELECT ?1, seq, ?3, ?4, ?5, ?6 FROM progress WHERE seq = ?2 AND state = 0",
        params![
            intent.attempt.0 as i64,
            intent.seq.0 as i64,
            route,
            intent.sent_at.0,
            intent.reserved.0 as i64,
            intent.est_tokens as i64
        ],
    )?;
    if recorded != 1 {
        let what = group.state_words(intent.seq.0)?;
        return Err(StoreError::Contradiction(format!("attempt {} was to be sent, but {what}", intent.attempt.0)));
    }
    let tallies = &mut group.tallies;
    tallies.last_attempt = tallies.last_attempt.max(intent.attempt.0);
    tallies.first_sent = tallies.first_sent.or(Some(intent.sent_at));
    Ok(())
}

fn take_back(group: &mut Group<'_>, attempt: AttemptId) -> Result<(), StoreError> {
    match group.run("DELETE FROM in_flight WHERE attempt = ?1", [attempt.0 as i64])? {
        0 => {
            Err(StoreError::Contradiction(format!("attempt {} was to be taken back, but is not in flight", attempt.0)))
        }
        _ => Ok(()),
    }
}

fn settle(group: &mut Group<'_>, settled: &Settled) -> Result<(), StoreError> {
    let Settled { attempt, settled_at, outcome, status, latency_ms, message, usage, cost, at_risk, last } = settled;
    close_attempt(
        group,
        &Ending {
            attempt: attempt.0,
            settled_at: Some(*settled_at),
            outcome: *outcome,
            status: *status,
            latency_ms: *latency_ms,
            message,
            usage: *usage,
            cost: *cost,
            at_risk: *at_risk,
        },
        last.as_ref(),
    )
}

/// A settled attempt, or one whose answer nobody was there to see.
pub(super) struct Ending<'a> {
    pub attempt: u64,
    pub settled_at: Option<WallTime>,
    pub outcome: Outcome,
    pub status: Option<u16>,
    pub latency_ms: u64,
    pub message: &'a str,
    pub usage: Usage,
    pub cost: Money,
    pub at_risk: Money,
}

/// Moves an intent to the attempts, and its item on: to its end, or back to wait.
pub(super) fn close_attempt(
    group: &mut Group<'_>,
    ending: &Ending<'_>,
    last: Option<&ResultLine>,
) -> Result<(), StoreError> {
    let attempt = ending.attempt as i64;
    let intent = group
        .conn
        .prepare_cached("SELECT seq, route, sent_at, est_tokens FROM in_flight WHERE attempt = ?1")?
        .query_row([attempt], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?, row.get::<_, i64>(3)?))
        })
        .optional()?;
    let Some((seq, route, sent_at, est_tokens)) = intent else {
        return Err(StoreError::Contradiction(format!("attempt {attempt} has an outcome, but is not in flight")));
    };
    group.run("DELETE FROM in_flight WHERE attempt = ?1", [attempt])?;
    group.run(
        "INSERT INTO attempts(attempt, seq, route, sent_at, est_tokens, settled_at, outcome, status, latency_ms,
                              input_tokens, output_tokens, thinking_tokens, cost, at_risk, message)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        params![
            attempt,
            seq,
            route,
            sent_at,
            est_tokens,
            ending.settled_at.map(|wall| wall.0),
            ending.outcome.name(),
            ending.status,
            ending.latency_ms as i64,
            ending.usage.input_tokens as i64,
            ending.usage.output_tokens as i64,
            ending.usage.thinking_tokens as i64,
            ending.cost.0 as i64,
            ending.at_risk.0 as i64,
            ending.message,
        ],
    )?;
    group.tallies.settle(ending.outcome, ending.usage, ending.cost, ending.at_risk);
    if let Some(line) = last {
        return group.end_item(seq as u64, ending.outcome, Some(route), line);
    }
    // An item that ended meanwhile keeps the outcome it ended with.
    group.run(
        "UPDATE progress SET attempts = attempts + 1,
                             outcome = iif(state = 0, ?2, outcome),
                             route = iif(state = 0, ?3, route),
                             words = iif(state = 0, ?4, words)
         WHERE seq = ?1",
        params![seq, ending.outcome.name(), route, beginning(ending.message)],
    )?;
    Ok(())
}

fn record_event(group: &mut Group<'_>, event: &Event) -> Result<(), StoreError> {
    let json = serde_json::to_string(event).map_err(|error| StoreError::record("an event", error))?;
    group.run(
        "INSERT OR REPLACE INTO events(number, at, json) VALUES (?1, ?2, ?3)",
        params![event.number as i64, event.at.0, json],
    )?;
    group.tallies.last_event = group.tallies.last_event.max(event.number);
    Ok(())
}

fn decide(group: &mut Group<'_>, decision: &Decision) -> Result<(), StoreError> {
    let Decision { target, command, at, reason } = decision;
    let command = serde_json::to_string(command).map_err(|error| StoreError::record("a decision", error))?;
    group.run(
        "INSERT OR REPLACE INTO decisions(target, at, reason, command) VALUES (?1, ?2, ?3, ?4)",
        params![target, at.0, reason, command],
    )?;
    Ok(())
}

fn keep_state(group: &mut Group<'_>, name: &str, json: &str) -> Result<(), StoreError> {
    group.run("INSERT OR REPLACE INTO states(name, json) VALUES (?1, ?2)", params![name, json])?;
    Ok(())
}
