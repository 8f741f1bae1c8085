//! Opens a run: creates a new one, or resumes one from any state that a process left it in.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use rusqlite::{Connection, TransactionBehavior, params};

use super::{
    apply::complete_attempt,
    audit, connect,
    counters::{EndedItems, RunCounters},
    durability::{WalSyncer, read_failed_sync, remove_failed_sync},
    error::StoreError,
    intents::OpenIntents,
    op::{CompletedAttempt, OperatorDecision},
    pinned_settings::PinnedSettings,
    results_check::ResultsCheck,
    results_file::{MatchPoint, Repair, ResultsFile},
    route_sums::AllRouteSums,
    row::{ConfiguredRoutes, RouteName, parse_json},
    rules,
    run_dir::{self, RunDir, RunFiles, RunLock},
    samples::{self, RecordedSamples},
    saved_state::{load_active_time, load_settings, load_states, save_settings},
    schema,
};
use crate::domain::{
    AttemptId, CostByKind, Event, Money, Outcome, RoutingRule, RoutingTraits, Seq, Usage, WallTime,
    snapshot::{Spend, Totals},
};

/// Number of events restored at the start.
const RESTORED_EVENTS: i64 = 256;
const LOST_MESSAGE: &str = "the program ended before the answer arrived; the request may have been billed";

/// A run's database and results file, open for writing and locked by this process. All its methods block.
/// [`Store::into_writer`] moves it to a thread.
#[derive(Debug)]
pub struct Store {
    pub(super) dir: RunDir,
    pub(super) conn: Connection,
    pub(super) results_file: ResultsFile,
    /// The point up to which results.jsonl was trusted and must still be compared, if it was.
    pub(super) trusted_results: Option<MatchPoint>,
    /// The comparison up to that point, while it runs.
    pub(super) results_check: Option<ResultsCheck>,
    /// Last check that results.jsonl is still the file that is written to.
    pub(super) last_results_check: Instant,
    pub(super) wal_syncer: WalSyncer,
    pub(super) counters: RunCounters,
    pub(super) open_intents: OpenIntents,
    pub(super) route_sums: AllRouteSums,
    /// The ids of all routing traits that items have.
    pub(super) routing_traits: HashMap<RoutingTraits, u32>,
    /// The routing rules that determined the traits of unfinished items.
    pub(super) rules: Vec<RoutingRule>,
    pub(super) routes: ConfiguredRoutes,
    /// Committed lines that are not yet in results.jsonl, each with its line break.
    pub(super) unwritten_result_bytes: Vec<u8>,
    /// The last field, since fields are dropped in order: everything above is closed before the lock is released.
    pub(super) _lock: RunLock,
}

/// Everything that is needed to resume a run.
#[derive(Debug)]
pub struct OpenedRun {
    /// True if the run was created now.
    pub is_new: bool,
    /// True if the input's contents have changed. The caller then reads it again, with [`Store::ingest`] if changed
    /// rows may replace old ones, and calls [`Store::accept_input`].
    pub input_changed: bool,
    pub ingest: IngestProgress,
    pub totals: Totals,
    pub spend: Spend,
    /// When the first request of the run was sent.
    pub first_sent_at: Option<WallTime>,
    /// How long earlier processes have worked on the run.
    pub active_time: Duration,
    pub next_attempt: AttemptId,
    pub next_event: u64,
    /// Attempts that were in flight when the last process died. They may have been billed; their items wait again.
    pub lost_attempts: Vec<LostAttempt>,
    pub decisions: Vec<OperatorDecision>,
    pub saved_states: BTreeMap<String, String>,
    /// The samples that earlier processes recorded for charts.
    pub samples: RecordedSamples,
    /// The newest 256 events, oldest first.
    pub events: Vec<Arc<Event>>,
    /// Repairs made to results.jsonl.
    pub repair: Repair,
    /// The reason of a failed sync in the last process, if any. The database was checked and is consistent.
    pub failed_sync: Option<String>,
    /// The waiting items that this start sends, if it is limited to the first rows. `None`: all.
    pub items_to_send: Option<HashSet<Seq>>,
}

/// How far the input was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IngestProgress {
    /// Number of recorded items; the number of the input's rows if `is_complete`.
    pub rows: u64,
    pub is_complete: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LostAttempt {
    pub attempt: AttemptId,
    pub seq: Seq,
    pub id: String,
    pub route: RouteName,
    pub sent_at: WallTime,
    pub at_risk: Money,
}

impl Drop for Store {
    fn drop(&mut self) {
        self.wal_syncer.close(&self.conn);
    }
}

impl Store {
    /// Creates a run in `dir` or resumes the one that is there. Locks the directory, completes the attempts that a
    /// crash left open and repairs results.jsonl.
    ///
    /// # Errors
    /// If another process has locked the directory, its run has other settings, or its files can't be read or written.
    pub fn open(dir: &RunDir, settings: &PinnedSettings) -> Result<(Self, OpenedRun), StoreError> {
        Self::open_with_lock(dir, dir.create_and_lock()?, settings)
    }

    /// Does the same as [`Store::open`] in a directory that this process has locked already.
    ///
    /// # Errors
    /// The same as those of [`Store::open`], apart from the lock.
    pub fn open_with_lock(
        dir: &RunDir,
        lock: RunLock,
        settings: &PinnedSettings,
    ) -> Result<(Self, OpenedRun), StoreError> {
        if !dir.has_run() && fs::metadata(dir.results()).is_ok_and(|results| results.len() > 0) {
            return Err(StoreError::OrphanedResults { results: dir.results() });
        }
        // Left by an interrupted rebuild of the results file; the file itself is unchanged then.
        let _ = fs::remove_file(dir.path().join("results.jsonl.new"));
        Self::open_locked(dir, lock, settings).map_err(|error| error.with_path(dir.database()))
    }

    fn open_locked(dir: &RunDir, lock: RunLock, settings: &PinnedSettings) -> Result<(Self, OpenedRun), StoreError> {
        let failed_sync = read_failed_sync(dir)?;
        let mut conn = connect::open_writer(dir)?;
        if let Some(reason) = &failed_sync {
            check_after_failed_sync(dir, &conn, reason)?;
        }
        schema::migrate(&mut conn, dir)?;
        let previous = load_settings(&conn)?;
        if let Some(previous) = &previous {
            check_settings(previous, settings, dir)?;
            if previous.fingerprint == settings.fingerprint && previous.checked_input != settings.checked_input {
                let checked_input = settings.checked_input.clone();
                save_settings(&conn, &PinnedSettings { checked_input, ..previous.clone() })?;
            }
        } else {
            save_settings(&conn, settings)?;
            run_dir::sync_directory(dir.path())?;
        }
        let mut counters = RunCounters::load(&conn)?;
        if counters.ended.is_none() {
            counters.ended = Some(EndedItems::count_all(&conn)?);
        }
        let route_sums = load_route_sums(&mut conn, &counters)?;
        // After a failed sync the disk may lack any part of the file.
        let written_results = counters.written_results.filter(|_| failed_sync.is_none());
        let (results_file, repair, trusted_results) = ResultsFile::open(dir, &conn, written_results)?;
        let mut store = Self {
            dir: dir.clone(),
            wal_syncer: WalSyncer::new(dir)?,
            counters,
            open_intents: OpenIntents::load(&conn)?,
            route_sums,
            routing_traits: load_traits(&conn)?,
            rules: rules::load_rules(&conn)?,
            routes: ConfiguredRoutes::default(),
            unwritten_result_bytes: Vec::new(),
            conn,
            results_file,
            trusted_results,
            results_check: None,
            last_results_check: Instant::now(),
            _lock: lock,
        };
        let lost_attempts = store.complete_lost_attempts()?;
        let conn = &store.conn;
        let opened = OpenedRun {
            is_new: previous.is_none(),
            input_changed: previous.is_some_and(|previous| previous.fingerprint != settings.fingerprint),
            ingest: IngestProgress {
                rows: store.counters.input_rows.unwrap_or(store.counters.items),
                is_complete: store.counters.input_rows.is_some(),
            },
            totals: store.counters.load_totals(conn)?,
            spend: store.counters.load_spend(conn)?,
            first_sent_at: store.counters.first_sent,
            active_time: load_active_time(conn)?,
            next_attempt: AttemptId(store.counters.last_attempt + 1),
            next_event: store.counters.last_event + 1,
            lost_attempts,
            decisions: load_decisions(conn)?,
            saved_states: load_states(conn)?,
            samples: samples::load_recorded(conn)?,
            events: load_events(conn)?,
            repair,
            failed_sync,
            items_to_send: None,
        };
        if opened.failed_sync.is_some() {
            remove_failed_sync(dir)?;
        }
        Ok((store, opened))
    }

    /// Records the identities of the files that must not be moved or replaced while this process works on the run.
    ///
    /// # Errors
    /// If one of them is missing.
    pub fn capture_files(&self) -> Result<RunFiles, StoreError> {
        RunFiles::capture(&self.dir)
    }

    /// Completes attempts without an outcome as lost. Their process died, so it is unknown whether they were sent and
    /// answered.
    fn complete_lost_attempts(&mut self) -> Result<Vec<LostAttempt>, StoreError> {
        let lost_attempts = load_lost_attempts(&self.conn)?;
        if lost_attempts.is_empty() {
            return Ok(lost_attempts);
        }
        self.transact(|txn| {
            lost_attempts.iter().try_for_each(|attempt| {
                let lost = CompletedAttempt {
                    attempt: attempt.attempt,
                    completed_at: None,
                    outcome: Outcome::Lost,
                    status: None,
                    latency_ms: 0,
                    message: LOST_MESSAGE.to_owned(),
                    usage: Usage::default(),
                    cost: Money::ZERO,
                    cost_by_kind: CostByKind::default(),
                    at_risk: attempt.at_risk,
                    final_line: None,
                };
                complete_attempt(txn, &lost)
            })
        })?;
        self.wal_syncer.sync()?;
        Ok(lost_attempts)
    }
}

/// Checks the invariants of the database. Differences that the start repairs, such as in results.jsonl, are not errors.
fn check_after_failed_sync(dir: &RunDir, conn: &Connection, reason: &str) -> Result<(), StoreError> {
    let violations = audit::broken_invariants(dir, conn)?;
    if violations.is_empty() {
        return Ok(());
    }
    Err(StoreError::Damaged { dir: dir.path().to_owned(), reason: reason.to_owned(), found: violations })
}

/// Refuses to resume a run under settings that would make its answers incomparable.
fn check_settings(previous: &PinnedSettings, current: &PinnedSettings, dir: &RunDir) -> Result<(), StoreError> {
    let changes = previous.changes_to(current);
    if changes.is_empty() { Ok(()) } else { Err(StoreError::SettingsChanged { dir: dir.path().to_owned(), changes }) }
}

fn load_route_sums(conn: &mut Connection, counters: &RunCounters) -> Result<AllRouteSums, StoreError> {
    if let Some(sums) = AllRouteSums::load(conn, counters.attempts)? {
        return Ok(sums);
    }
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let sums = AllRouteSums::rebuild(&transaction)?;
    transaction.commit()?;
    Ok(sums)
}

fn load_lost_attempts(conn: &Connection) -> Result<Vec<LostAttempt>, StoreError> {
    let mut statement = conn.prepare(
        "SELECT attempt, in_flight.seq, items.id, key, model, provider, sent_at, reserved
         FROM in_flight JOIN items USING (seq) JOIN routes ON routes.id = in_flight.route ORDER BY attempt",
    )?;
    let attempts = statement.query_map(params![], |row| {
        Ok(LostAttempt {
            attempt: AttemptId(row.get(0)?),
            seq: Seq(row.get(1)?),
            id: row.get(2)?,
            route: RouteName { key: row.get(3)?, model: row.get(4)?, provider: row.get(5)? },
            sent_at: WallTime(row.get(6)?),
            at_risk: Money(row.get(7)?),
        })
    })?;
    Ok(attempts.collect::<Result<_, _>>()?)
}

fn load_traits(conn: &Connection) -> Result<HashMap<RoutingTraits, u32>, StoreError> {
    let mut statement = conn.prepare("SELECT id, json FROM traits")?;
    let mut rows = statement.query([])?;
    let mut traits = HashMap::new();
    while let Some(row) = rows.next()? {
        let (id, json): (u32, String) = (row.get(0)?, row.get(1)?);
        traits.insert(parse_json(&json, "an item's traits")?, id);
    }
    Ok(traits)
}

fn load_decisions(conn: &Connection) -> Result<Vec<OperatorDecision>, StoreError> {
    let mut statement = conn.prepare("SELECT target, at, reason, command FROM decisions ORDER BY at")?;
    let mut rows = statement.query([])?;
    let mut decisions = Vec::new();
    while let Some(row) = rows.next()? {
        let command: String = row.get(3)?;
        decisions.push(OperatorDecision {
            target: row.get(0)?,
            at: WallTime(row.get(1)?),
            reason: row.get(2)?,
            command: parse_json(&command, "an operator's decision")?,
        });
    }
    Ok(decisions)
}

fn load_events(conn: &Connection) -> Result<Vec<Arc<Event>>, StoreError> {
    let mut statement = conn.prepare("SELECT json FROM events ORDER BY number DESC LIMIT ?1")?;
    let mut rows = statement.query([RESTORED_EVENTS])?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        let json: String = row.get(0)?;
        events.push(Arc::new(parse_json(&json, "an event")?));
    }
    events.reverse();
    Ok(events)
}
