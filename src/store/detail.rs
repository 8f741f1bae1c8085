//! The details of one item: its prompt, its answer and all its attempts.

use rusqlite::{OptionalExtension as _, Row};

use super::{
    billing::{Billing, billing_columns, read_billing},
    error::StoreError,
    items::{ItemWindows, in_flight_routes},
    prompt::{image_label, prompt_text},
    row::{parse_json, parse_outcome},
    rules,
};
use crate::domain::{AttemptRow, Image, InFlightAttempt, ItemDetail, ItemSpec, Part, ResultLine, WallTime, rule};

pub(super) fn load_detail(windows: &mut ItemWindows, seq: u64) -> Result<Option<ItemDetail>, StoreError> {
    let in_flight_route = in_flight_routes(windows.conn())?.get(&seq).copied();
    let Some(row) = windows.load_row(seq, in_flight_route)? else { return Ok(None) };
    let conn = windows.conn();
    let (line, body, result): (u64, String, Option<String>) = conn
        .prepare_cached(
            "SELECT items.line, payload.body, results.line
             FROM items JOIN payload USING (seq) JOIN progress USING (seq)
                  LEFT JOIN results ON results.n = progress.result
             WHERE items.seq = ?1",
        )?
        .query_row([seq], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?
        .ok_or_else(|| StoreError::Contradiction(format!("item {seq} has no body")))?;
    let spec: ItemSpec = parse_json(&body, "an item")?;
    let result: Option<ResultLine> = result.map(|line| parse_json(&line, "a result")).transpose()?;
    let (attempts, total) = load_attempts(conn, seq)?;
    let (output, finish_reason, model_version) =
        result.map_or((None, None, None), |line| (line.output, line.finish_reason, line.model_version));
    Ok(Some(ItemDetail {
        row,
        line,
        system: spec.request.system.clone(),
        prompt: prompt_text(&spec.request),
        pictures: spec.request.images().map(image_label).collect(),
        output,
        finish_reason,
        model_version,
        usage: total.usage,
        cost: total.cost,
        cost_by_kind: total.cost_by_kind,
        attempts,
        in_flight: load_in_flight(conn, seq)?,
        rule: describe_routing(conn, &spec)?,
    }))
}

/// Describes the routing rule that applies and its reason, and the item's own preferred model.
fn describe_routing(conn: &rusqlite::Connection, spec: &ItemSpec) -> Result<Option<String>, StoreError> {
    let rules = rules::load_rules(conn)?;
    let how = if spec.model_pinned { "alone" } else { "first" };
    let own = spec.preferred_model.as_ref().map(|model| format!("its row asks for {model} {how}"));
    let reasons: Vec<String> =
        rule::first_match(&rules, spec).map(|it| it.to_string()).into_iter().chain(own).collect();
    Ok((!reasons.is_empty()).then(|| reasons.join("; ")))
}

fn load_in_flight(conn: &rusqlite::Connection, seq: u64) -> Result<Option<InFlightAttempt>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT key, model, sent_at FROM in_flight JOIN routes ON routes.id = in_flight.route WHERE seq = ?1",
    )?;
    let read =
        |row: &Row<'_>| Ok(InFlightAttempt { key: row.get(0)?, model: row.get(1)?, sent_at: WallTime(row.get(2)?) });
    Ok(statement.query_row([seq], read).optional()?)
}

/// Loads the attempts of an item, and what they used and cost together.
fn load_attempts(conn: &rusqlite::Connection, seq: u64) -> Result<(Vec<AttemptRow>, Billing), StoreError> {
    let columns = billing_columns(conn)?;
    let mut statement = conn.prepare_cached(&format!(
        "SELECT key, model, sent_at, latency_ms, outcome, status, message, {columns}
         FROM attempts JOIN routes ON routes.id = attempts.route WHERE seq = ?1 ORDER BY attempt"
    ))?;
    let mut rows = statement.query([seq])?;
    let (mut attempts, mut total) = (Vec::new(), Billing::default());
    while let Some(row) = rows.next()? {
        let billing = read_billing(row, 7)?;
        attempts.push(read_attempt(row, attempts.len() as u32 + 1, &billing)?);
        total.add(&billing);
    }
    Ok((attempts, total))
}

fn read_attempt(row: &Row<'_>, number: u32, billing: &Billing) -> Result<AttemptRow, StoreError> {
    Ok(AttemptRow {
        number,
        key: row.get(0)?,
        model: row.get(1)?,
        sent_at: WallTime(row.get(2)?),
        latency_ms: row.get(3)?,
        outcome: parse_outcome(&row.get::<_, String>(4)?)?,
        status: row.get(5)?,
        message: row.get(6)?,
        usage: billing.usage,
        cost: billing.cost,
    })
}

/// Loads one of an item's pictures; `None` if the item has fewer.
pub(super) fn load_picture(conn: &rusqlite::Connection, seq: u64, index: usize) -> Result<Option<Image>, StoreError> {
    let body: Option<String> = conn
        .prepare_cached("SELECT body FROM payload WHERE seq = ?1")?
        .query_row([seq], |row| row.get(0))
        .optional()?;
    let Some(body) = body else { return Ok(None) };
    let spec: ItemSpec = parse_json(&body, "an item")?;
    let images = spec.request.messages.into_iter().flat_map(|message| message.parts).filter_map(|part| match part {
        Part::Image(image) => Some(image),
        Part::Text(_) => None,
    });
    Ok(images.into_iter().nth(index))
}
