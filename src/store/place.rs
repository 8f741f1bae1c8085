//! The place of a run: the item, key and model of the attempt that was started last, from the record.

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::{
    counters::RunCounters, error::StoreError, op::BACKOFF_STATE, row::parse_outcome, saved_state::parse_state,
};
use crate::domain::{
    WallTime,
    snapshot::{BackoffWait, CurrentRoute},
    summary::{BackoffSummary, PlaceSummary},
};

/// The last attempt, in flight or ended; `None` before the first one. Keys are numbered in the order of
/// `key_names`, the keys of the last start; models within their provider, in the order in which they were first configured.
pub(super) fn load_place(
    conn: &Connection,
    counters: &RunCounters,
    key_names: &[&str],
) -> Result<Option<PlaceSummary>, StoreError> {
    let mut last = None;
    if let Some(item) = counters.last_item {
        last = find_last_attempt(conn, "WHERE seq = ?1", [item])?;
    }
    if last.is_none() {
        // The record of an earlier version, or the last attempt was taken back.
        last = find_last_attempt(conn, "", [])?;
    }
    let Some(LastAttempt { attempt, seq, route, sent_at }) = last else { return Ok(None) };
    let item = conn.query_row("SELECT id FROM items WHERE seq = ?1", [seq], |row| row.get(0))?;
    let names = "SELECT key, model, provider FROM routes WHERE id = ?1";
    let (key, model, provider): (String, String, String) =
        conn.query_row(names, [route], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let models = names_in_order(conn, "SELECT model FROM routes WHERE provider = ?1 ORDER BY id", &provider)?;
    Ok(Some(PlaceSummary {
        item,
        item_number: seq as u64,
        item_count: counters.items,
        key_number: number_of(&key, key_names),
        key_count: key_names.len() as u64,
        model_number: number_of(&model, &models),
        model_count: models.len() as u64,
        retry: count_retries(conn, attempt, seq, &model)?,
        backoff: load_backoff(conn, &key, &model)?,
        key,
        model,
        at: sent_at.rfc3339(),
    }))
}

struct LastAttempt {
    attempt: i64,
    seq: i64,
    route: i64,
    sent_at: WallTime,
}

/// The attempt with the highest number that `condition` selects, in flight or ended.
fn find_last_attempt(
    conn: &Connection,
    condition: &str,
    parameters: impl rusqlite::Params,
) -> Result<Option<LastAttempt>, StoreError> {
    let query = format!(
        "SELECT attempt, seq, route, sent_at FROM (SELECT attempt, seq, route, sent_at FROM in_flight
                                                   UNION ALL SELECT attempt, seq, route, sent_at FROM attempts)
         {condition} ORDER BY attempt DESC LIMIT 1"
    );
    let read = |row: &Row<'_>| {
        Ok(LastAttempt { attempt: row.get(0)?, seq: row.get(1)?, route: row.get(2)?, sent_at: WallTime(row.get(3)?) })
    };
    Ok(conn.query_row(&query, parameters, read).optional()?)
}

/// The backoff of a route as last recorded, if it was the current one.
fn load_backoff(conn: &Connection, key: &str, model: &str) -> Result<Option<BackoffSummary>, StoreError> {
    let recorded: Option<Option<CurrentRoute>> = parse_state(conn, BACKOFF_STATE)?;
    let route = recorded.flatten().filter(|route| route.key == key && route.model == model);
    Ok(route.and_then(|route| {
        let BackoffWait { until, outcome, status } = route.backoff?;
        Some(BackoffSummary {
            retry: route.retry_number,
            retries: route.max_retries,
            until: until.rfc3339(),
            outcome: outcome.name().to_owned(),
            status,
        })
    }))
}

/// The distinct names in the first column, in the order of the rows.
fn names_in_order(conn: &Connection, query: &str, parameter: &str) -> Result<Vec<String>, StoreError> {
    let mut statement = conn.prepare(query)?;
    let mut names: Vec<String> = Vec::new();
    for name in statement.query_map([parameter], |row| row.get(0))? {
        let name = name?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// The position of `name`, from 1; 0 if it is not in the list.
fn number_of(name: &str, names: &[impl AsRef<str>]) -> u64 {
    names.iter().position(|other| other.as_ref() == name).map_or(0, |index| index as u64 + 1)
}

/// Provider errors of the item on this model before the attempt.
fn count_retries(conn: &Connection, attempt: i64, seq: i64, model: &str) -> Result<u64, StoreError> {
    let mut statement = conn.prepare(
        "SELECT outcome FROM attempts JOIN routes ON routes.id = attempts.route
         WHERE seq = ?1 AND attempt < ?2 AND model = ?3",
    )?;
    let mut retries = 0;
    for outcome in statement.query_map((seq, attempt, model), |row| row.get::<_, String>(0))? {
        retries += u64::from(parse_outcome(&outcome?)?.is_provider_error());
    }
    Ok(retries)
}
