//! Windows of items for a screen: ranges of rows of a list. Loading one from a million rows costs about as much as from
//! ten.
//!
//! Without a filter a window is a range of seqs. A filter by state finds the first block of the window by the blocks'
//! counters. A filter by text scans all rows once and caches the list of matches for later windows.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::Deserialize;

use super::{
    counters::RunCounters,
    error::StoreError,
    prompt::prompt_text,
    query_cache::QueryCache,
    row::{RouteName, load_routes, parse_json, parse_outcome, truncate},
    schema::{BLOCK_ITEMS, DONE, FAILED, WAITING},
    search::{MAX_SEARCHED_BODY_BYTES, Needle},
};
use crate::domain::{ItemFilter, ItemRow, ItemSpec, ItemState, Page};

/// Maximum number of rows of one window, even if more are requested.
const MAX_WINDOW_ROWS: u32 = 1_000;

pub(super) struct ItemWindows {
    conn: Connection,
    routes: HashMap<i64, RouteName>,
    /// The seqs of the items that match a filter by text.
    matches: QueryCache<ItemFilter, Vec<u64>>,
}

impl ItemWindows {
    pub fn new(conn: Connection) -> Self {
        Self { conn, routes: HashMap::new(), matches: QueryCache::new() }
    }

    pub fn conn(&self) -> &Connection {
        &self.conn
    }

    pub fn load_page(&mut self, filter: &ItemFilter, offset: u64, limit: u32) -> Result<Page, StoreError> {
        let limit = limit.min(MAX_WINDOW_ROWS) as usize;
        // A read transaction, so that the count and the rows come from the same state of the database.
        self.conn.execute_batch("BEGIN")?;
        let page = self.load_window(filter, offset, limit);
        let ended = self.conn.execute_batch("COMMIT");
        let page = page?;
        ended?;
        Ok(page)
    }

    fn load_window(&mut self, filter: &ItemFilter, offset: u64, limit: usize) -> Result<Page, StoreError> {
        let in_flight = in_flight_routes(&self.conn)?;
        let mut outdated = false;
        let (seqs, matching) = match filter.state {
            _ if !filter.text.is_empty() => {
                let scan_all = || scan(&self.conn, filter, &in_flight);
                let (seqs, is_outdated) = self.matches.get_or_load(&self.conn, filter, scan_all)?;
                outdated = is_outdated;
                (window_of(seqs, offset, limit), seqs.len() as u64)
            }
            None => {
                let total = RunCounters::load(&self.conn)?.items;
                ((offset.saturating_add(1)..=total).take(limit).collect(), total)
            }
            Some(ItemState::InFlight) => {
                let seqs: Vec<_> = in_flight.keys().copied().collect();
                (window_of(&seqs, offset, limit), seqs.len() as u64)
            }
            Some(ItemState::Waiting) => window_in_state(&self.conn, WAITING, &in_flight, offset, limit)?,
            Some(ItemState::Done) => window_in_state(&self.conn, DONE, &BTreeMap::new(), offset, limit)?,
            Some(ItemState::Failed) => window_in_state(&self.conn, FAILED, &BTreeMap::new(), offset, limit)?,
        };
        let mut rows = Vec::with_capacity(seqs.len());
        for seq in seqs {
            rows.extend(self.load_row(seq, in_flight.get(&seq).copied())?);
        }
        Ok(Page::Items { rows, matching, offset, outdated })
    }

    /// Loads one item as a row; `None` if there is none. `in_flight_route` is the route of its open intent, if it has one.
    pub fn load_row(&mut self, seq: u64, in_flight_route: Option<i64>) -> Result<Option<ItemRow>, StoreError> {
        let record = self
            .conn
            .prepare_cached(
                "SELECT items.id, state, attempts, outcome,
                        route, words, results.line,
                        iif(attempts = 0 AND octet_length(body) <= ?2, body, NULL)
                 FROM items JOIN progress USING (seq) JOIN payload USING (seq)
                      LEFT JOIN results ON results.n = progress.result
                 WHERE items.seq = ?1",
            )?
            .query_row([seq, MAX_SEARCHED_BODY_BYTES.into()], ItemRecord::read)
            .optional()?;
        let Some(mut record) = record else { return Ok(None) };
        record.route = in_flight_route.or(record.route);
        if record.route.is_some_and(|route| !self.routes.contains_key(&route)) {
            self.routes = load_routes(&self.conn)?;
        }
        record.into_row(seq, in_flight_route.is_some(), &self.routes).map(Some)
    }
}

/// The items with an open intent, and the ids of the routes they were sent on.
pub(super) fn in_flight_routes(conn: &Connection) -> Result<BTreeMap<u64, i64>, StoreError> {
    let mut statement = conn.prepare_cached("SELECT seq, route FROM in_flight")?;
    let routes = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(routes.collect::<Result<_, _>>()?)
}

fn window_of(seqs: &[u64], offset: u64, limit: usize) -> Vec<u64> {
    let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
    seqs.iter().copied().skip(skipped).take(limit).collect()
}

/// Loads a window of the items in one state, leaving out those in `excluded`. Also returns the number of all such
/// items.
fn window_in_state(
    conn: &Connection,
    state: i64,
    excluded: &BTreeMap<u64, i64>,
    offset: u64,
    limit: usize,
) -> Result<(Vec<u64>, u64), StoreError> {
    let mut counted = conn.prepare_cached("SELECT block, waiting, done, failed FROM blocks ORDER BY block")?;
    let mut blocks = counted.query([])?;
    let mut in_block = conn.prepare_cached("SELECT seq FROM progress WHERE seq BETWEEN ?1 AND ?2 AND state = ?3")?;
    let mut seqs = Vec::with_capacity(limit);
    let mut matching = 0;
    while let Some(row) = blocks.next()? {
        let block = row.get::<_, u64>(0)?;
        let (first, last) = (block * BLOCK_ITEMS, block * BLOCK_ITEMS + BLOCK_ITEMS - 1);
        let count = row.get::<_, u64>(1 + state as usize)?;
        let count = count.saturating_sub(excluded.range(first..=last).count() as u64);
        let before = matching;
        matching += count;
        if count == 0 || matching <= offset || seqs.len() == limit {
            continue;
        }
        let mut skip = offset.saturating_sub(before);
        let mut rows = in_block.query(params![first, last, state])?;
        while let Some(row) = rows.next()? {
            let seq = row.get::<_, u64>(0)?;
            if excluded.contains_key(&seq) {
                continue;
            }
            if skip > 0 {
                skip -= 1;
                continue;
            }
            seqs.push(seq);
            if seqs.len() == limit {
                break;
            }
        }
    }
    Ok((seqs, matching))
}

/// Scans all items and returns the seqs of those that match.
fn scan(conn: &Connection, filter: &ItemFilter, in_flight: &BTreeMap<u64, i64>) -> Result<Vec<u64>, StoreError> {
    let needle = Needle::new(&filter.text);
    let mut statement = conn.prepare_cached(
        "SELECT progress.seq, progress.state, items.id, progress.words,
                iif(octet_length(payload.body) <= ?1, payload.body, NULL), results.line
         FROM progress JOIN items USING (seq) JOIN payload USING (seq)
              LEFT JOIN results ON results.n = progress.result
         ORDER BY progress.seq",
    )?;
    let mut rows = statement.query([MAX_SEARCHED_BODY_BYTES])?;
    let mut seqs = Vec::new();
    while let Some(row) = rows.next()? {
        let seq = row.get::<_, u64>(0)?;
        let state = item_state(row.get(1)?, in_flight.contains_key(&seq));
        if filter.state.is_some_and(|wanted| wanted != state) {
            continue;
        }
        let text = |column| row.get_ref(column).map(|value| value.as_str().ok());
        let is_in = |text: Option<&str>| text.is_some_and(|text| needle.is_in_text(text));
        if text(2)?.is_some_and(|id| needle.is_in_id(id))
            || is_in(text(3)?)
            || text(4)?.map_or(Ok(false), |body| needle.is_in_body(body))?
            || text(5)?.map_or(Ok(false), |line| needle.is_in_result(line))?
        {
            seqs.push(seq);
        }
    }
    Ok(seqs)
}

const fn item_state(state: i64, is_in_flight: bool) -> ItemState {
    match state {
        DONE => ItemState::Done,
        FAILED => ItemState::Failed,
        _ if is_in_flight => ItemState::InFlight,
        _ => ItemState::Waiting,
    }
}

/// An item as it is stored in the tables.
struct ItemRecord {
    id: String,
    state: i64,
    attempts: u32,
    outcome: Option<String>,
    route: Option<i64>,
    message: Option<String>,
    line: Option<String>,
    /// Set only for items without attempts.
    body: Option<String>,
}

impl ItemRecord {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            state: row.get(1)?,
            attempts: row.get(2)?,
            outcome: row.get(3)?,
            route: row.get(4)?,
            message: row.get(5)?,
            line: row.get(6)?,
            body: row.get(7)?,
        })
    }

    fn into_row(self, seq: u64, is_in_flight: bool, routes: &HashMap<i64, RouteName>) -> Result<ItemRow, StoreError> {
        let state = item_state(self.state, is_in_flight);
        // A failed item's result line counts only attempts that were sent.
        let attempts_sent = match &self.line {
            Some(line) if state == ItemState::Failed => {
                sent_attempts(line).map_or(self.attempts, |sent| sent.min(self.attempts))
            }
            _ => self.attempts,
        };
        let preview = match (self.message, self.line, self.body) {
            (None, Some(line), _) if state == ItemState::Done => answer_preview(&line)?,
            (None, _, Some(body)) => {
                truncate(&prompt_text(&parse_json::<ItemSpec>(&body, "an item")?.request)).to_owned()
            }
            (preview, ..) => preview.unwrap_or_default(),
        };
        Ok(ItemRow {
            seq,
            id: self.id,
            state,
            attempts: attempts_sent,
            outcome: self.outcome.as_deref().map(parse_outcome).transpose()?,
            route: self
                .route
                .filter(|_| attempts_sent > 0 || self.attempts == 0)
                .and_then(|route| routes.get(&route))
                .map(|route| format!("{}@{}", route.model, route.key)),
            preview,
        })
    }
}

fn sent_attempts(line: &str) -> Option<u32> {
    #[derive(Deserialize)]
    struct Sent {
        attempts: u32,
    }
    serde_json::from_str(line).ok().map(|Sent { attempts }| attempts)
}

fn answer_preview(line: &str) -> Result<String, StoreError> {
    #[derive(Deserialize)]
    struct Answered {
        output: Option<String>,
    }
    let answered: Answered = parse_json(line, "a result")?;
    Ok(answered.output.as_deref().map(truncate).unwrap_or_default().to_owned())
}
