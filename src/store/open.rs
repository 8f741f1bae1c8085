//! Opening a run: begun, or taken up again where it was left, however it was left.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    sync::Arc,
    time::Duration,
};

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    apply::{Ending, close_attempt},
    audit,
    commit::Durability,
    connect,
    error::StoreError,
    op::{Decision, RouteName},
    pins::Pins,
    projection::{Projection, Repair},
    report, rules,
    run_dir::{self, HeldFiles, RunDir, RunLock},
    schema,
    tallies::Tallies,
};
use crate::domain::{
    AttemptId, Event, Money, Outcome, RoutingRule, RoutingTraits, Seq, Usage, WallTime,
    snapshot::{Spend, Totals},
};

/// How many events a start brings back.
const EVENTS: i64 = 256;
const LOST: &str = "the program ended before the answer came; the call may have been billed";

/// A run's record, open for writing, owned by this process. Synchronous; see the module for what follows.
#[derive(Debug)]
pub struct Store {
    pub(super) dir: RunDir,
    pub(super) conn: Connection,
    pub(super) projection: Projection,
    pub(super) durability: Durability,
    pub(super) tallies: Tallies,
    pub(super) traits: HashMap<RoutingTraits, u32>,
    /// The routing rules that unfinished items were last classed by.
    pub(super) rules: Vec<RoutingRule>,
    /// Rows of the table of routes, by the engine's route index.
    pub(super) routes: Vec<i64>,
    /// Committed lines on their way to results.jsonl.
    pub(super) unprojected: Vec<u8>,
    /// Last, so that the directory is let go only once everything above is closed.
    pub(super) _lock: RunLock,
}

/// What there is to resume.
#[derive(Debug)]
pub struct Opened {
    /// Nothing was here before.
    pub fresh: bool,
    /// The input's contents are not what they were: read it again, with [`Store::ingest`] where changed rows
    /// may take the place of old ones, then [`Store::accept_input`].
    pub input_changed: bool,
    pub ingested: Ingest,
    pub totals: Totals,
    pub spend: Spend,
    /// When the first request of the run was sent.
    pub began: Option<WallTime>,
    /// How long earlier processes have worked on it.
    pub worked: Duration,
    pub next_attempt: AttemptId,
    pub next_event: u64,
    /// Calls that were in flight when the last process died: they may have been billed, and their items wait again.
    pub lost: Vec<LostCall>,
    pub decisions: Vec<Decision>,
    pub states: BTreeMap<String, String>,
    /// The newest 256, oldest first.
    pub events: Vec<Arc<Event>>,
    /// What had to be put right in results.jsonl.
    pub repair: Repair,
    /// Why the record was checked before anything else: a sync failed in the last process. It is sound.
    pub checked: Option<String>,
    /// Of the waiting items, those that this start sends, where it is a trial of the first rows; `None`: all.
    pub only: Option<HashSet<Seq>>,
}

/// How far the input was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ingest {
    /// Items recorded so far; the input's rows once it is `complete`.
    pub rows: u64,
    pub complete: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LostCall {
    pub attempt: AttemptId,
    pub seq: Seq,
    pub id: String,
    pub route: RouteName,
    pub sent_at: WallTime,
    pub at_risk: Money,
}

impl Store {
    /// Begins a run in `dir`, or resumes the one that is there. Takes the directory's lock, settles what a
    /// crash left open and repairs results.jsonl.
    pub fn open(dir: &RunDir, pins: &Pins) -> Result<(Self, Opened), StoreError> {
        Self::open_owned(dir, dir.own()?, pins)
    }

    /// The same in a directory that this process has taken already.
    pub fn open_owned(dir: &RunDir, lock: RunLock, pins: &Pins) -> Result<(Self, Opened), StoreError> {
        if !dir.holds_a_run() && fs::metadata(dir.results()).is_ok_and(|results| results.len() > 0) {
            return Err(StoreError::Orphaned { results: dir.results() });
        }
        // A rebuild of the results file that was cut short; the file itself is untouched then.
        let _ = fs::remove_file(dir.path().join("results.jsonl.new"));
        Self::open_locked(dir, lock, pins).map_err(|error| error.in_file(dir.database()))
    }

    fn open_locked(dir: &RunDir, lock: RunLock, pins: &Pins) -> Result<(Self, Opened), StoreError> {
        let unsynced = failed_sync(dir)?;
        let mut conn = connect::writer(dir)?;
        if let Some(reason) = &unsynced {
            check_after_failed_sync(dir, &conn, reason)?;
        }
        schema::migrate(&mut conn, dir)?;
        let was = stored_pins(&conn)?;
        if let Some(was) = &was {
            hold_to_pins(was, pins, dir)?;
        } else {
            save_pins(&conn, pins)?;
            run_dir::sync_directory(dir.path())?;
        }
        let (projection, repair) = Projection::open(dir, &conn)?;
        let mut store = Self {
            dir: dir.clone(),
            durability: Durability::new(dir)?,
            tallies: Tallies::load(&conn)?,
            traits: load_traits(&conn)?,
            rules: rules::load(&conn)?,
            routes: Vec::new(),
            unprojected: Vec::new(),
            conn,
            projection,
            _lock: lock,
        };
        let lost = store.settle_lost_calls()?;
        let conn = &store.conn;
        let opened = Opened {
            fresh: was.is_none(),
            input_changed: was.is_some_and(|was| was.fingerprint != pins.fingerprint),
            ingested: Ingest {
                rows: store.tallies.input_rows.unwrap_or(store.tallies.items),
                complete: store.tallies.input_rows.is_some(),
            },
            totals: store.tallies.totals(conn)?,
            spend: store.tallies.spend(conn)?,
            began: store.tallies.first_sent,
            worked: report::worked(conn)?,
            next_attempt: AttemptId(store.tallies.last_attempt + 1),
            next_event: store.tallies.last_event + 1,
            lost,
            decisions: load_decisions(conn)?,
            states: load_states(conn)?,
            events: load_events(conn)?,
            repair,
            checked: unsynced,
            only: None,
        };
        if opened.checked.is_some() {
            let mark = dir.unsynced_mark();
            fs::remove_file(&mark).map_err(|error| StoreError::file("remove", mark, error))?;
        }
        Ok((store, opened))
    }

    /// The files that must stay where they are while this process works on the run.
    ///
    /// # Errors
    /// Where one is gone already.
    pub fn held_files(&self) -> Result<HeldFiles, StoreError> {
        HeldFiles::of(&self.dir)
    }

    /// Intents without an outcome: the process that sent them died. Nobody knows whether they were served.
    fn settle_lost_calls(&mut self) -> Result<Vec<LostCall>, StoreError> {
        let lost = open_calls(&self.conn)?;
        if lost.is_empty() {
            return Ok(lost);
        }
        self.transact(|group| {
            lost.iter().try_for_each(|call| {
                let ending = Ending {
                    attempt: call.attempt.0,
                    settled_at: None,
                    outcome: Outcome::Lost,
                    status: None,
                    latency_ms: 0,
                    message: LOST,
                    usage: Usage::default(),
                    cost: Money::ZERO,
                    at_risk: call.at_risk,
                };
                close_attempt(group, &ending, None)
            })
        })?;
        self.sync()?;
        Ok(lost)
    }
}

/// Why a sync of the record failed in the last process, if one did. What the system holds of the database in memory is
/// dropped then: the disk may have something else.
fn failed_sync(dir: &RunDir) -> Result<Option<String>, StoreError> {
    let mark = dir.unsynced_mark();
    let reason = match fs::read_to_string(&mark) {
        Ok(reason) => reason,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::file("read", mark, error)),
    };
    #[cfg(target_os = "linux")]
    for path in [dir.database(), dir.wal()] {
        use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
        // Where it can't be dropped, what is held is checked. SQLite has no lock yet that closing could drop.
        if let Ok(file) = fs::File::open(path) {
            let _ = posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
        }
    }
    Ok(Some(reason))
}

/// Holds the record to its promises; what the start itself repairs is none of them.
fn check_after_failed_sync(dir: &RunDir, conn: &Connection, reason: &str) -> Result<(), StoreError> {
    let found = audit::contradictions(dir, conn)?;
    if found.is_empty() {
        return Ok(());
    }
    Err(StoreError::Damaged { dir: dir.path().to_owned(), reason: reason.to_owned(), found })
}

/// Refuses to go on with a run under settings that would make its answers incomparable.
fn hold_to_pins(was: &Pins, now: &Pins, dir: &RunDir) -> Result<(), StoreError> {
    let changes = was.changes(now);
    if changes.is_empty() { Ok(()) } else { Err(StoreError::Pinned { dir: dir.path().to_owned(), changes }) }
}

pub(super) fn stored_pins(conn: &Connection) -> Result<Option<Pins>, StoreError> {
    conn.query_row("SELECT value FROM meta WHERE key = 'pins'", [], |row| row.get::<_, String>(0))
        .optional()?
        .map(|json| serde_json::from_str(&json).map_err(|error| StoreError::record("the run's settings", error)))
        .transpose()
}

pub(super) fn save_pins(conn: &Connection, pins: &Pins) -> Result<(), StoreError> {
    let json = serde_json::to_string(pins).map_err(|error| StoreError::record("the run's settings", error))?;
    conn.execute("INSERT OR REPLACE INTO meta(key, value) VALUES ('pins', ?1)", [json])?;
    Ok(())
}

fn open_calls(conn: &Connection) -> Result<Vec<LostCall>, StoreError> {
    let mut statement = conn.prepare(
        "SELECT attempt, in_flight.seq, items.id, key, model, provider, sent_at, reserved
         FROM in_flight JOIN items USING (seq) JOIN routes ON routes.id = in_flight.route ORDER BY attempt",
    )?;
    let calls = statement.query_map(params![], |row| {
        Ok(LostCall {
            attempt: AttemptId(row.get::<_, i64>(0)? as u64),
            seq: Seq(row.get::<_, i64>(1)? as u64),
            id: row.get(2)?,
            route: RouteName { key: row.get(3)?, model: row.get(4)?, provider: row.get(5)? },
            sent_at: WallTime(row.get(6)?),
            at_risk: Money(row.get::<_, i64>(7)? as u64),
        })
    })?;
    Ok(calls.collect::<Result<_, _>>()?)
}

fn load_traits(conn: &Connection) -> Result<HashMap<RoutingTraits, u32>, StoreError> {
    let mut statement = conn.prepare("SELECT id, json FROM traits")?;
    let mut rows = statement.query([])?;
    let mut traits = HashMap::new();
    while let Some(row) = rows.next()? {
        let (id, json): (u32, String) = (row.get(0)?, row.get(1)?);
        traits.insert(parse(&json, "an item's traits")?, id);
    }
    Ok(traits)
}

fn load_decisions(conn: &Connection) -> Result<Vec<Decision>, StoreError> {
    let mut statement = conn.prepare("SELECT target, at, reason, command FROM decisions ORDER BY at")?;
    let mut rows = statement.query([])?;
    let mut decisions = Vec::new();
    while let Some(row) = rows.next()? {
        let command: String = row.get(3)?;
        decisions.push(Decision {
            target: row.get(0)?,
            at: WallTime(row.get(1)?),
            reason: row.get(2)?,
            command: parse(&command, "an operator's decision")?,
        });
    }
    Ok(decisions)
}

pub(super) fn load_states(conn: &Connection) -> Result<BTreeMap<String, String>, StoreError> {
    let mut statement = conn.prepare("SELECT name, json FROM states")?;
    let states = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(states.collect::<Result<_, _>>()?)
}

fn load_events(conn: &Connection) -> Result<Vec<Arc<Event>>, StoreError> {
    let mut statement = conn.prepare("SELECT json FROM events ORDER BY number DESC LIMIT ?1")?;
    let mut rows = statement.query([EVENTS])?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        let json: String = row.get(0)?;
        events.push(Arc::new(parse(&json, "an event")?));
    }
    events.reverse();
    Ok(events)
}

pub(super) fn parse<T: serde::de::DeserializeOwned>(json: &str, what: &str) -> Result<T, StoreError> {
    serde_json::from_str(json).map_err(|error| StoreError::record(what, error))
}
