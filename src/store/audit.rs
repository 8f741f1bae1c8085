//! Checks that no item was lost, no item was answered twice and the budget was kept, and that the results file and the
//! captions match the database.
//!
//! The checks trust only the rows of the database. Stored sums are computed again and compared.

use std::{
    fs,
    fs::File,
    io::{self, BufReader, Read as _},
    path::Path,
};

use rusqlite::Connection;

use super::{
    connect,
    counters::RunCounters,
    error::StoreError,
    results_file::MatchPoint,
    row::{line_digest, parse_json},
    run_dir::RunDir,
    saved_state::load_state,
    schema,
};
use crate::domain::{CostByKind, Image, ItemSpec, Money, Usage, WallTime, pluralize};

mod invariants;

use invariants::{INVARIANTS, KINDS_ADD_UP};

/// Maximum number of examples that a check keeps. Its count covers all violations.
const MAX_EXAMPLES: usize = 10;

/// Bytes of the results file that are read at a time.
const READ_BYTES: usize = 1 << 20;

/// Name of the saved state that holds the largest budget cap ever in force, in pico-dollars.
pub const HIGHEST_BUDGET_STATE: &str = "widest_cap";

/// Saved as the highest budget once the run had none.
pub const UNLIMITED_BUDGET: Money = Money(u64::MAX);

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Audit {
    pub items: u64,
    pub waiting: u64,
    pub done: u64,
    pub failed: u64,
    /// The input was read to its end.
    pub input_complete: bool,
    pub attempts: u64,
    pub usage: Usage,
    pub cost: Money,
    /// `cost` by kind. Attempts of versions that did not record the kinds are missing here.
    pub cost_by_kind: CostByKind,
    /// Worst-case cost of attempts that may have been billed without an answer, those in flight included.
    pub at_risk: Money,
    /// The attempts that `at_risk` covers.
    pub unanswered: Vec<UnansweredAttempt>,
    /// Attempts that were sent and have no outcome: a living process waits for them, or a killed process left them.
    pub in_flight: u64,
    pub checks: Vec<AuditCheck>,
    /// Number of captions that are missing together with their pictures. They are no violation, since a user may delete
    /// both.
    pub deleted_captions: u64,
}

/// An attempt that may have been billed and whose answer was never received.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnansweredAttempt {
    pub attempt: u64,
    pub item: String,
    pub key: String,
    pub model: String,
    pub sent_at: WallTime,
    /// The outcome's name; `None` while there is no outcome.
    pub outcome: Option<String>,
    pub at_risk: Money,
}

/// The result of checking one invariant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditCheck {
    pub invariant: &'static str,
    pub violations: u64,
    /// One sentence each for the first ten violations.
    pub examples: Vec<String>,
}

impl Audit {
    pub fn is_ok(&self) -> bool {
        self.checks.iter().all(|check| check.violations == 0)
    }
}

/// Checks every row. `budget` is the cap to check the spending against; if it is `None`, the largest recorded cap is
/// used.
///
/// # Errors
/// If there is no run, or its database can't be read.
pub fn audit(dir: &Path, budget: Option<Money>) -> Result<Audit, StoreError> {
    connect::read_run(dir, |dir, conn| run_checks(dir, &conn, budget))
}

fn run_checks(dir: &RunDir, conn: &Connection, budget: Option<Money>) -> Result<Audit, StoreError> {
    // Read before the database snapshot: if the run ends in between, its files are newer than the snapshot.
    let is_owned = dir.is_owned();
    // A read transaction, so that all checks see the same state of the database.
    let snapshot = conn.unchecked_transaction()?;
    let conn = &*snapshot;
    let mut checks = vec![check_database_file(conn)];
    checks.extend(INVARIANTS.iter().map(|(invariant, query)| check_query(conn, invariant, query)));
    if schema::has_kinds(conn)? {
        checks.push(check_query(conn, KINDS_ADD_UP.0, KINDS_ADD_UP.1));
    }
    checks.push(check_or_unchecked(LINES_UNALTERED, || check_line_digests(dir, conn)));
    checks.push(check_or_unchecked(RESULTS_FILE_MATCHES, || check_results_file(dir, conn, is_owned)));
    let mut deleted_captions = 0;
    checks.push(check_or_unchecked(CAPTIONS_EXIST, || check_captions(conn, is_owned, &mut deleted_captions)));
    let mut audit = Audit { checks, deleted_captions, ..Audit::default() };
    // A database too damaged to count has been reported by the checks above.
    match load_totals(conn, &mut audit)
        .and_then(|()| budget.map_or_else(|| load_highest_budget(conn), |cap| Ok(Some(cap))))
    {
        Ok(cap) => audit.checks.push(check_budget(&audit, cap)),
        Err(error) => audit.checks.push(unchecked(BUDGET_KEPT, &error)),
    }
    Ok(audit)
}

/// Describes the broken invariants; empty if the database is consistent. This process must have locked the directory.
pub(super) fn broken_invariants(dir: &RunDir, conn: &Connection) -> Result<Vec<String>, StoreError> {
    let audit = run_checks(dir, conn, None)?;
    // An exceeded budget is not damage to the database.
    let excluded = [RESULTS_FILE_MATCHES, CAPTIONS_EXIST, BUDGET_KEPT];
    let broken = audit.checks.into_iter().filter(|check| check.violations > 0 && !excluded.contains(&check.invariant));
    Ok(broken.map(|check| format!("{} ({})", check.invariant, check.examples.join(", "))).collect())
}

const LINES_UNALTERED: &str = "no line was changed after it was recorded";
const RESULTS_FILE_MATCHES: &str = "results.jsonl matches the record";
const CAPTIONS_EXIST: &str = "every finished picture has its caption";
const BUDGET_KEPT: &str = "the budget was kept, including all that may have been billed";

fn load_totals(conn: &Connection, audit: &mut Audit) -> Result<(), StoreError> {
    let counters = RunCounters::load(conn)?;
    let states =
        "SELECT count(*), coalesce(sum(state = 0), 0), coalesce(sum(state = 1), 0), coalesce(sum(state = 2), 0)
                  FROM progress";
    let count = |row: &rusqlite::Row<'_>, column| row.get::<_, u64>(column);
    (audit.items, audit.waiting, audit.done, audit.failed) =
        conn.query_row(states, [], |row| Ok((count(row, 0)?, count(row, 1)?, count(row, 2)?, count(row, 3)?)))?;
    audit.input_complete = counters.input_rows.is_some();
    // Counted as in the summary: attempts for which no request was sent are left out.
    audit.attempts = counters.attempts.saturating_sub(counters.unsent);
    audit.usage = counters.usage;
    audit.cost = counters.cost;
    audit.cost_by_kind = counters.cost_by_kind;
    let mut statement = conn.prepare(
        "SELECT attempt, items.id, key, model, sent_at, outcome, at_risk FROM (
             SELECT attempt, seq, route, sent_at, outcome, at_risk FROM attempts WHERE at_risk > 0 OR outcome = 'lost'
             UNION ALL SELECT attempt, seq, route, sent_at, NULL, reserved FROM in_flight)
         JOIN items USING (seq) JOIN routes ON routes.id = route ORDER BY attempt",
    )?;
    let attempts = statement.query_map([], |row| {
        Ok(UnansweredAttempt {
            attempt: count(row, 0)?,
            item: row.get(1)?,
            key: row.get(2)?,
            model: row.get(3)?,
            sent_at: WallTime(row.get(4)?),
            outcome: row.get(5)?,
            at_risk: Money(count(row, 6)?),
        })
    })?;
    audit.unanswered = attempts.collect::<Result<_, _>>()?;
    audit.in_flight = audit.unanswered.iter().filter(|attempt| attempt.outcome.is_none()).count() as u64;
    audit.at_risk = audit.unanswered.iter().map(|attempt| attempt.at_risk).sum();
    Ok(())
}

fn load_highest_budget(conn: &Connection) -> Result<Option<Money>, StoreError> {
    load_state(conn, HIGHEST_BUDGET_STATE)?.map_or(Ok(None), |json| parse_json(&json, "the highest budget"))
}

/// The result of a check that could not be run. It counts as one violation.
fn unchecked(invariant: &'static str, error: &StoreError) -> AuditCheck {
    AuditCheck { invariant, violations: 1, examples: vec![format!("it could not be checked: {error}")] }
}

fn check_or_unchecked(invariant: &'static str, check: impl FnOnce() -> Result<AuditCheck, StoreError>) -> AuditCheck {
    check().unwrap_or_else(|error| unchecked(invariant, &error))
}

impl AuditCheck {
    const fn new(invariant: &'static str) -> Self {
        Self { invariant, violations: 0, examples: Vec::new() }
    }

    fn add_violation(&mut self, example: impl FnOnce() -> String) {
        self.violations += 1;
        if self.examples.len() < MAX_EXAMPLES {
            self.examples.push(example());
        }
    }
}

fn check_query(conn: &Connection, invariant: &'static str, query: &str) -> AuditCheck {
    check_or_unchecked(invariant, || {
        let mut check = AuditCheck::new(invariant);
        let mut statement = conn.prepare(query)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let example: String = row.get(0)?;
            check.add_violation(|| example);
        }
        Ok(check)
    })
}

fn check_database_file(conn: &Connection) -> AuditCheck {
    let check = check_query(conn, "the database file is intact", "PRAGMA integrity_check(10)");
    if check.examples == ["ok"] { AuditCheck::new(check.invariant) } else { check }
}

/// Compares each line with its recorded digest. Lines recorded under an earlier schema have no digest; they all come
/// before the first line that has one.
fn check_line_digests(dir: &RunDir, conn: &Connection) -> Result<AuditCheck, StoreError> {
    let mut check = AuditCheck::new(LINES_UNALTERED);
    if !schema::has_digests(conn, dir)? {
        return Ok(check);
    }
    let mut statement = conn.prepare(
        "SELECT coalesce('item ' || items.id, 'an item ' || results.seq || ' that does not exist'), results.line, digest
         FROM results LEFT JOIN items USING (seq) ORDER BY results.n",
    )?;
    let mut rows = statement.query([])?;
    let mut has_digests = false;
    while let Some(row) = rows.next()? {
        let line = row.get_ref(1)?.as_bytes().map_err(rusqlite::Error::from)?;
        let recorded_digest = row.get_ref(2)?.as_bytes_or_null().map_err(rusqlite::Error::from)?;
        has_digests |= recorded_digest.is_some();
        if has_digests && recorded_digest != Some(&line_digest(line)[..]) {
            let item: String = row.get(0)?;
            check.add_violation(|| format!("the line of {item} was altered after it was recorded"));
        }
    }
    Ok(check)
}

/// Compares results.jsonl with the table. The end of the file isn't compared while a process owns the run: the file may
/// lag behind by a moment.
fn check_results_file(dir: &RunDir, conn: &Connection, is_owned: bool) -> Result<AuditCheck, StoreError> {
    let path = dir.results();
    let file = File::open(&path).map_err(|error| StoreError::file("open the results file", &path, error))?;
    let match_point = find_match_point(&file, &path, conn)?;
    let length = file.metadata().map_err(|error| StoreError::file("read", &path, error))?.len();
    let missing_lines: u64 =
        conn.query_row("SELECT count(*) FROM results WHERE n > ?1", [match_point.last_row], |row| row.get(0))?;
    let mut check = AuditCheck::new(RESULTS_FILE_MATCHES);
    if !is_owned && (length > match_point.length || missing_lines > 0) {
        let extra_bytes = length.saturating_sub(match_point.length);
        check.add_violation(|| {
            format!(
                "they differ from byte {} on: the record has {} from there, the file {extra_bytes} bytes; the next \
                 start repairs it",
                match_point.length,
                pluralize(missing_lines, "line"),
            )
        });
    }
    Ok(check)
}

/// Compares the file with the lines in the table, from the first byte.
fn find_match_point(file: &File, path: &Path, conn: &Connection) -> Result<MatchPoint, StoreError> {
    let mut reader = BufReader::with_capacity(READ_BYTES, file);
    let mut statement = conn.prepare_cached("SELECT n, line FROM results ORDER BY n")?;
    let mut rows = statement.query([])?;
    let mut match_point = MatchPoint::default();
    let mut file_line = Vec::new();
    while let Some(row) = rows.next()? {
        let line = row.get_ref(1)?.as_bytes().map_err(rusqlite::Error::from)?;
        file_line.resize(line.len() + 1, 0);
        match reader.read_exact(&mut file_line) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            other => other.map_err(|error| StoreError::file("read", path, error))?,
        }
        if file_line.split_last() != Some((&b'\n', line)) {
            break;
        }
        match_point.length += file_line.len() as u64;
        match_point.last_row = row.get(0)?;
    }
    Ok(match_point)
}

/// Checks that every done item's caption file exists and is not empty. The text isn't compared, since the caption may
/// have been edited. While a process owns the run nothing is checked, since the newest captions may not be written yet.
fn check_captions(conn: &Connection, is_owned: bool, deleted: &mut u64) -> Result<AuditCheck, StoreError> {
    let mut check = AuditCheck::new(CAPTIONS_EXIST);
    if is_owned {
        return Ok(check);
    }
    let mut statement = conn.prepare(
        "SELECT id, iif(json_valid(body), body ->> 'caption', NULL), body FROM progress JOIN items USING (seq)
         JOIN payload USING (seq) WHERE state = 1",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (id, caption): (String, Option<String>) = (row.get(0)?, row.get(1)?);
        let Some(caption) = caption else { continue };
        if fs::metadata(&caption).is_ok_and(|file| file.is_file() && file.len() > 0) {
            continue;
        }
        let spec: Option<ItemSpec> = serde_json::from_str(&row.get::<_, String>(2)?).ok();
        let is_gone = |image: &Image| matches!(image, Image::File(path) if !path.exists());
        if !Path::new(&caption).exists() && spec.is_some_and(|spec| spec.request.images().any(is_gone)) {
            *deleted += 1;
        } else {
            check.add_violation(|| format!("item {id} is done, but {caption} is missing or empty"));
        }
    }
    Ok(check)
}

fn check_budget(audit: &Audit, cap: Option<Money>) -> AuditCheck {
    let mut check = AuditCheck::new(BUDGET_KEPT);
    let spent = audit.cost + audit.at_risk;
    if let Some(cap) = cap.filter(|cap| spent > *cap) {
        check.add_violation(|| format!("{spent} of {cap} was spent or possibly billed"));
    }
    check
}
