//! Read-only access to a run for commands in other processes, also while the run goes on: its summary, its results in
//! input order, and the items that a replay would queue.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
    time::Duration,
};

use rusqlite::{Connection, OptionalExtension as _};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    connect,
    counters::RunCounters,
    error::StoreError,
    ingest::compare,
    items::ItemWindows,
    op::RouteName,
    open::parse_json,
    place::load_place,
    requeue,
    resume::{load_routes, parse_outcome},
    run_dir::RunDir,
    schema::DONE,
};
use crate::domain::{
    ItemRow, ItemSpec, LatencyHistogram, Money, Outcome, PictureStamp, ReplayFilter, ResultLine, Seq, Summary,
    snapshot::{Condition, RunState},
    summary::{KeySummary, ModelSummary},
};

/// Names in the table of states that this module reads.
pub(super) const RUN_STATE: &str = "run";
pub(super) const KEY_RECORDS: &str = "keys";
pub(super) const ACTIVE_TIME: &str = "worked";

/// Rows of one read. A long export must not keep the WAL of a running run from being truncated.
const RESULT_CHUNK_ROWS: i64 = 1_000;

/// The last saved state of a key, for reports of other processes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct KeyRecord {
    pub name: String,
    /// The label of its condition.
    pub state: String,
    /// Health from 0 to 100.
    pub health: u8,
    /// The lowest worst-case cost of a request that was sent with it; `None` before the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_cost: Option<Money>,
}

impl KeyRecord {
    /// The keys recorded by earlier processes, from the run's saved states. Empty if there are none, or if they can't be
    /// read.
    pub fn all_from(saved_states: &BTreeMap<String, String>) -> Vec<Self> {
        saved_states.get(KEY_RECORDS).and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
    }
}

/// An item's final result line, with its position in the input.
#[derive(Clone, Copy, Debug)]
pub struct FinalLine<'a> {
    pub seq: Seq,
    /// The line as in results.jsonl, without the newline.
    pub line: &'a str,
}

impl FinalLine<'_> {
    pub fn parse(&self) -> Result<ResultLine, StoreError> {
        parse_json(self.line, "a result")
    }
}

/// The done items in input order.
///
/// # Errors
/// If the database can't be read.
pub fn load_done_items(dir: &Path) -> Result<Vec<Seq>, StoreError> {
    let dir = RunDir::new(dir);
    let conn = connect::open_reader(&dir)?;
    let read = || -> Result<Vec<Seq>, StoreError> {
        let mut statement = conn.prepare("SELECT seq FROM progress WHERE state = ?1 ORDER BY seq")?;
        let items = statement.query_map([DONE], |row| Ok(Seq(row.get::<_, i64>(0)? as u64)))?;
        Ok(items.collect::<Result<_, _>>()?)
    };
    read().map_err(|error| error.with_path(dir.database()))
}

pub fn load_summary(dir: &Path) -> Result<Summary, StoreError> {
    let dir = RunDir::new(dir);
    let conn = connect::open_reader(&dir)?;
    read_summary(&dir, &conn).map_err(|error| error.with_path(dir.database()))
}

fn read_summary(dir: &RunDir, conn: &Connection) -> Result<Summary, StoreError> {
    // A read transaction, so that all figures come from the same state of the database.
    let snapshot = conn.unchecked_transaction()?;
    let conn = &*snapshot;
    let counters = RunCounters::load(conn)?;
    let totals = counters.load_totals(conn)?;
    // If no process owns the run, attempts still in flight were left by a killed process and will never be answered.
    let abandoned = if dir.is_owned() { Money::ZERO } else { counters.load_spend(conn)?.reserved };
    let route_totals = RouteTotals::load(conn)?;
    let keys = load_keys(dir, conn)?;
    Ok(Summary {
        run: dir.name(),
        state: run_state_label(dir, conn)?,
        total: totals.total,
        waiting: totals.waiting,
        in_flight: totals.in_flight,
        done: totals.done,
        failed: totals.failed,
        truncated: totals.truncated,
        not_in_input: totals.not_in_input,
        attempts: totals.attempts,
        rate_limited: totals.rate_limited,
        input_tokens: counters.usage.input_tokens,
        output_tokens: counters.usage.billed_output(),
        cost_usd: counters.cost.as_usd(),
        at_risk_usd: (counters.at_risk + abandoned).as_usd(),
        elapsed_s: load_active_time(conn)?.as_secs_f64(),
        place: load_place(conn, &counters, &keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>())?,
        keys: route_totals.key_summaries(&keys),
        models: route_totals.model_summaries(),
    })
}

/// The run's state for a summary. If no process owns the run, the saved state is valid only if it is `Finished`;
/// otherwise the run is stopped. If a process owns it, a saved state of the end is from an earlier process, and the run
/// is running.
fn run_state_label(dir: &RunDir, conn: &Connection) -> Result<String, StoreError> {
    let recorded: Option<RunState> = read_state(conn, RUN_STATE)?;
    let label = match recorded {
        Some(RunState::Finished) => RunState::Finished.name(),
        Some(state) if dir.is_owned() && !state.is_over() => state.name(),
        _ if dir.is_owned() => RunState::Running.name(),
        _ => "stopped",
    };
    Ok(label.to_owned())
}

/// Loads the saved state of the keys. If no process owns the run, they are from its end. Then keys that were at a limit
/// are shown as ready, since per-minute limits have passed.
fn load_keys(dir: &RunDir, conn: &Connection) -> Result<Vec<KeyRecord>, StoreError> {
    let mut keys: Vec<KeyRecord> = read_state(conn, KEY_RECORDS)?.unwrap_or_default();
    if !dir.is_owned() {
        let limited = Condition::Limited { limit: String::new(), until: None };
        for key in keys.iter_mut().filter(|key| key.state == limited.name()) {
            limited.final_name().clone_into(&mut key.state);
        }
    }
    Ok(keys)
}

/// Loads a value that the engine saved with [`super::Op::SetState`].
pub fn load_saved_state<T: DeserializeOwned>(dir: &Path, name: &str) -> Result<Option<T>, StoreError> {
    let dir = RunDir::new(dir);
    let conn = connect::open_reader(&dir)?;
    read_state(&conn, name).map_err(|error| error.with_path(dir.database()))
}

/// Returns a function that tells whether an id is recorded. An id that can't be looked up counts as unknown.
pub fn known_id_lookup(dir: &Path) -> Result<impl Fn(&str) -> bool + Send + 'static, StoreError> {
    id_lookup(dir, "SELECT 1 FROM items WHERE id = ?1")
}

/// Returns a function that tells whether an item of the input is recorded unchanged: with the same request and
/// pictures.
///
/// # Errors
/// If the database can't be opened. The returned function fails if the database can't be read.
pub fn unchanged_item_lookup(
    dir: &Path,
) -> Result<impl Fn(&ItemSpec) -> Result<bool, StoreError> + Send + 'static, StoreError> {
    let conn = connect::open_reader(&RunDir::new(dir))?;
    Ok(move |item: &ItemSpec| {
        let compared = compare(&conn, std::slice::from_ref(item))?;
        Ok(compared.new == 0 && compared.changed.is_empty())
    })
}

/// Returns a function that tells whether an id belongs to an item that is done or failed.
pub fn ended_id_lookup(dir: &Path) -> Result<impl Fn(&str) -> bool + Send + 'static, StoreError> {
    id_lookup(dir, "SELECT 1 FROM items JOIN progress USING (seq) WHERE items.id = ?1 AND progress.state <> 0")
}

/// Returns a function that tells whether an id belongs to an item that is done or failed and has no pending caption.
/// The engine saves the items with pending captions as the state `captions_owed`.
pub fn fully_ended_id_lookup(dir: &Path) -> Result<impl Fn(&str) -> bool + Send + 'static, StoreError> {
    id_lookup(
        dir,
        "SELECT 1 FROM items JOIN progress USING (seq) WHERE items.id = ?1 AND progress.state <> 0
         AND progress.seq NOT IN (SELECT value FROM states, json_each(states.json) WHERE states.name = 'captions_owed')",
    )
}

/// Calls `each` with the caption path of every item that waits or has failed.
///
/// # Errors
/// If the database can't be read.
pub fn for_each_unfinished_caption(dir: &Path, mut each: impl FnMut(&Path)) -> Result<(), StoreError> {
    let dir = RunDir::new(dir);
    let conn = connect::open_reader(&dir)?;
    let mut read = || -> Result<(), StoreError> {
        let mut statement = conn.prepare(
            "SELECT iif(json_valid(body), body ->> 'caption', NULL) FROM progress JOIN payload USING (seq) WHERE state <> ?1",
        )?;
        let mut rows = statement.query([DONE])?;
        while let Some(row) = rows.next()? {
            if let Some(caption) = row.get_ref(0)?.as_str_or_null().map_err(rusqlite::Error::from)? {
                each(Path::new(caption));
            }
        }
        Ok(())
    };
    read().map_err(|error| error.with_path(dir.database()))
}

/// Calls `each` with every waiting item for whose id `is_known` returns false, including items in flight. It gets
/// `None` if the item's body is damaged.
///
/// # Errors
/// If the database can't be read.
pub fn for_each_unknown_waiting(
    dir: &Path,
    is_known: impl Fn(&str) -> bool,
    mut each: impl FnMut(Option<ItemSpec>),
) -> Result<(), StoreError> {
    let dir = RunDir::new(dir);
    let conn = connect::open_reader(&dir)?;
    let mut read = || -> Result<(), StoreError> {
        let mut statement = conn.prepare(
            "SELECT id, body FROM progress JOIN items USING (seq) JOIN payload USING (seq) WHERE state = 0 ORDER BY seq",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if !is_known(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?) {
                each(serde_json::from_str(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?).ok());
            }
        }
        Ok(())
    };
    read().map_err(|error| error.with_path(dir.database()))
}

/// Returns a function that looks up a recorded picture stamp by the item's id. A stamp that can't be read counts as
/// missing.
///
/// # Errors
/// If the database can't be opened.
pub fn picture_stamp_lookup(dir: &Path) -> Result<impl Fn(&str) -> Option<PictureStamp> + Send + 'static, StoreError> {
    let conn = connect::open_reader(&RunDir::new(dir))?;
    Ok(move |id: &str| {
        let query =
            "SELECT iif(json_valid(body), body -> 'picture', NULL) FROM payload JOIN items USING (seq) WHERE id = ?1";
        let mut find = conn.prepare_cached(query).ok()?;
        let json: Option<String> = find.query_row([id], |row| row.get(0)).ok()?;
        serde_json::from_str(&json?).ok()
    })
}

fn id_lookup(dir: &Path, query: &'static str) -> Result<impl Fn(&str) -> bool + Send + 'static, StoreError> {
    let conn = connect::open_reader(&RunDir::new(dir))?;
    Ok(move |id: &str| conn.prepare_cached(query).and_then(|mut find| find.exists([id])).unwrap_or(false))
}

/// How long all processes have worked on the run. The time after a process's last commit is not included.
pub(super) fn load_active_time(conn: &Connection) -> Result<Duration, StoreError> {
    Ok(Duration::from_micros(read_state(conn, ACTIVE_TIME)?.unwrap_or_default()))
}

fn read_state<T: DeserializeOwned>(conn: &Connection, name: &str) -> Result<Option<T>, StoreError> {
    conn.query_row("SELECT json FROM states WHERE name = ?1", [name], |row| row.get::<_, String>(0))
        .optional()?
        .map(|json| parse_json(&json, name))
        .transpose()
}

/// Sums of attempts by route.
struct RouteTotals {
    routes: Vec<(RouteName, AttemptSums)>,
}

#[derive(Clone, Default)]
struct AttemptSums {
    ok: u64,
    failed: u64,
    input_tokens: u64,
    /// Thinking tokens included.
    output_tokens: u64,
    /// In pico-dollars.
    cost: u64,
    /// Of successful attempts only.
    latencies: LatencyHistogram,
}

impl RouteTotals {
    fn load(conn: &Connection) -> Result<Self, StoreError> {
        let mut sums: HashMap<i64, AttemptSums> = HashMap::new();
        let mut statement = conn.prepare(
            "SELECT route, outcome, latency_ms, input_tokens, output_tokens + thinking_tokens, cost FROM attempts",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let count = |column| row.get::<_, i64>(column).map(|count| count as u64);
            let route = sums.entry(row.get(0)?).or_default();
            let outcome = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
            let outcome = parse_outcome(outcome)?;
            if outcome.is_answered() {
                route.ok += 1;
                route.latencies.record(count(2)?);
            } else if !outcome.is_unattributed() {
                route.failed += 1;
            }
            route.input_tokens += count(3)?;
            route.output_tokens += count(4)?;
            route.cost += count(5)?;
        }
        let mut routes: Vec<_> = load_routes(conn)?.into_iter().collect();
        routes.sort_unstable_by_key(|(id, _)| *id);
        let routes = routes.into_iter().map(|(id, name)| (name, sums.remove(&id).unwrap_or_default())).collect();
        Ok(Self { routes })
    }

    /// Adds up the routes with the same `name`, in the order in which the names were first recorded.
    fn sum_by(&self, name: impl Fn(&RouteName) -> &str) -> Vec<(String, AttemptSums)> {
        let mut groups: Vec<(String, AttemptSums)> = Vec::new();
        for (route, sums) in &self.routes {
            let name = name(route);
            let at = groups.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
                groups.push((name.to_owned(), AttemptSums::default()));
                groups.len() - 1
            });
            groups[at].1.add(sums);
        }
        groups
    }

    fn key_summaries(&self, keys: &[KeyRecord]) -> Vec<KeySummary> {
        let summarised = self.sum_by(|route| &route.key).into_iter().map(|(name, sums)| {
            let key = keys.iter().find(|record| record.name == name);
            KeySummary {
                state: key.map_or_else(|| "ready".to_owned(), |record| record.state.clone()),
                health: key.map_or(100, |record| record.health),
                ok: sums.ok,
                failed: sums.failed,
                cost_usd: sums.cost as f64 / 1e12,
                name,
            }
        });
        let mut summaries: Vec<KeySummary> = summarised.collect();
        // Keys that are no longer configured come last.
        summaries.sort_by_key(|key| keys.iter().position(|record| record.name == key.name).unwrap_or(usize::MAX));
        summaries
    }

    fn model_summaries(&self) -> Vec<ModelSummary> {
        let summarised = self.sum_by(|route| &route.model).into_iter().map(|(name, sums)| ModelSummary {
            name,
            ok: sums.ok,
            failed: sums.failed,
            mean_ms: sums.latencies.mean_ms(),
            p50_ms: sums.latencies.percentile_ms(50),
            p95_ms: sums.latencies.percentile_ms(95),
            input_tokens: sums.input_tokens,
            output_tokens: sums.output_tokens,
            cost_usd: sums.cost as f64 / 1e12,
        });
        summarised.collect()
    }
}

impl AttemptSums {
    fn add(&mut self, other: &Self) {
        self.ok += other.ok;
        self.failed += other.failed;
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        self.cost += other.cost;
        self.latencies.merge(&other.latencies);
    }
}

/// Calls `each` with the final line of every item that has one, in input order.
pub fn for_each_result<E: From<StoreError>>(
    dir: &Path,
    mut each: impl FnMut(FinalLine<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let dir = RunDir::new(dir);
    let conn = connect::open_reader(&dir)?;
    let to_store_error = |error: rusqlite::Error| StoreError::from(error).with_path(dir.database());
    let mut statement = conn
        .prepare(
            "SELECT progress.seq, results.line FROM progress JOIN results ON results.n = progress.result
             WHERE progress.seq > ?1 ORDER BY progress.seq LIMIT ?2",
        )
        .map_err(to_store_error)?;
    let mut last = 0;
    loop {
        let mut rows = statement.query([last, RESULT_CHUNK_ROWS]).map_err(to_store_error)?;
        let mut read = 0;
        while let Some(row) = rows.next().map_err(to_store_error)? {
            last = row.get(0).map_err(to_store_error)?;
            let line =
                row.get_ref(1).map_err(to_store_error)?.as_str().map_err(|error| to_store_error(error.into()))?;
            each(FinalLine { seq: Seq(last as u64), line })?;
            read += 1;
        }
        if read < RESULT_CHUNK_ROWS {
            return Ok(());
        }
    }
}

/// The items that a replay would queue.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ReplayPreview {
    pub matching: u64,
    /// Number of items by outcome. `None` stands for no outcome, or for one that this version does not know.
    pub outcomes: BTreeMap<Option<Outcome>, u64>,
    /// The first of them in input order.
    pub first: Vec<ItemRow>,
}

/// Counts the failed items that match a filter, and loads the first `limit` of them.
pub fn preview_replay(dir: &Path, filter: &ReplayFilter, limit: usize) -> Result<ReplayPreview, StoreError> {
    let dir = RunDir::new(dir);
    let mut windows = ItemWindows::new(connect::open_reader(&dir)?);
    let mut read = || {
        let mut found = ReplayPreview::default();
        let mut first = BTreeSet::new();
        requeue::for_each_failed(windows.conn(), filter, |item| {
            found.matching += 1;
            *found.outcomes.entry(item.outcome).or_default() += 1;
            first.insert(item.queue_entry.seq.0);
            if first.len() > limit {
                first.pop_last();
            }
            Ok(())
        })?;
        for seq in first {
            found.first.extend(windows.load_row(seq, false)?);
        }
        Ok(found)
    };
    read().map_err(|error: StoreError| error.with_path(dir.database()))
}
