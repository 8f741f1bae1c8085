//! Proves from the record alone that nothing was lost, doubled or overspent. Every sum that is kept beside
//! the rows is made again from the rows; nothing is taken on trust but the rows themselves.

use std::{fs::File, path::Path};

use rusqlite::Connection;

use super::{connect, error::StoreError, projection, run_dir::RunDir, tallies::Tallies};
use crate::domain::Money;

/// Examples that one check names; it counts all.
const EXAMPLES: usize = 10;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Audit {
    pub items: u64,
    pub attempts: u64,
    /// Calls whose answer nobody saw: sent again since, or still to be, and possibly billed.
    pub lost_calls: u64,
    pub cost: Money,
    /// Worst case of calls that may have been billed without an answer.
    pub at_risk: Money,
    pub checks: Vec<Check>,
}

/// One promise, and what breaks it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    pub promise: &'static str,
    pub broken: u64,
    /// What breaks it, in words: the first ten.
    pub examples: Vec<String>,
}

impl Audit {
    pub fn holds(&self) -> bool {
        self.checks.iter().all(|check| check.broken == 0)
    }
}

/// Promises as queries that find what breaks them, one sentence a row.
const PROMISES: [(&str, &str); 9] = [
    (
        "every item of the input is recorded whole, once, in order",
        "SELECT 'item ' || id || ' lacks its body or its state' FROM items
         WHERE seq NOT IN (SELECT seq FROM payload) OR seq NOT IN (SELECT seq FROM progress)
         UNION ALL SELECT 'there is a state for an item ' || seq || ', which does not exist' FROM progress
         WHERE seq NOT IN (SELECT seq FROM items)
         UNION ALL SELECT 'there are ' || count(*) || ' items, numbered up to ' || max(seq)
         FROM items HAVING count(*) <> max(seq)",
    ),
    (
        "every finished item has its one line, every other has none",
        "SELECT 'item ' || id || iif(state = 0, ' waits, but has a line', ' has ended, but has no line')
         FROM progress JOIN items USING (seq) LEFT JOIN results ON results.n = result AND results.seq = progress.seq
         WHERE (state = 0) <> (results.n IS NULL)
         UNION ALL SELECT 'line ' || results.n || ' belongs to no item''s end'
         FROM results LEFT JOIN progress ON progress.seq = results.seq AND progress.result = results.n
         WHERE progress.seq IS NULL AND results.n NOT IN (SELECT n FROM superseded)",
    ),
    (
        "every line says what its item says",
        "SELECT 'the line of item ' || id || ' names ' || (results.line ->> 'id') || ' as ' || (results.line ->> 'status')
         FROM progress JOIN items USING (seq) JOIN results ON results.n = result
         WHERE state <> 0
           AND (results.line ->> 'id', results.line ->> 'status') <> (id, iif(state = 1, 'done', 'failed'))",
    ),
    (
        "no item was answered twice",
        "SELECT 'item ' || id || ' was answered ' || count(*) || ' times' FROM attempts JOIN items USING (seq)
         WHERE outcome = 'ok' GROUP BY seq HAVING count(*) > 1 + revision",
    ),
    (
        "no finished item was sent again",
        "SELECT 'item ' || id || ' was sent again after its answer' FROM attempts JOIN items USING (seq)
         JOIN progress USING (seq) WHERE state = 1 GROUP BY seq
         HAVING max(attempt) > max(iif(attempts.outcome IN ('ok', 'truncated'), attempt, 0))
            AND max(attempts.outcome IN ('ok', 'truncated'))
         UNION ALL SELECT 'item ' || id || ' has ended, but is in flight' FROM in_flight JOIN items USING (seq)
         JOIN progress USING (seq) WHERE state <> 0",
    ),
    (
        "every attempt is an item's, on a route, and counted",
        "SELECT 'attempt ' || attempt || ' is nobody''s' FROM attempts
         WHERE seq NOT IN (SELECT seq FROM items) OR route NOT IN (SELECT id FROM routes)
         UNION ALL SELECT 'item ' || id || ' had ' || count(attempt) || ' attempts and counts ' || progress.attempts
         FROM progress JOIN items USING (seq) LEFT JOIN attempts ON attempts.seq = progress.seq
         GROUP BY progress.seq HAVING count(attempt) <> progress.attempts",
    ),
    (
        "no attempt is both settled and in flight",
        "SELECT 'attempt ' || attempt || ' is both' FROM attempts JOIN in_flight USING (attempt)",
    ),
    (
        "items are counted right by state",
        "SELECT 'items ' || min(seq) || ' to ' || max(seq) || ' are counted wrong'
         FROM progress LEFT JOIN blocks ON block = seq / 4096 GROUP BY seq / 4096
         HAVING (sum(state = 0), sum(state = 1), sum(state = 2)) IS NOT (max(waiting), max(done), max(failed))",
    ),
    (
        "money and tokens add up",
        "SELECT 'the attempts say ' || rows || ', the run says ' || kept FROM (
             SELECT (SELECT json_array(count(*), coalesce(sum(cost), 0), coalesce(sum(at_risk), 0),
                                       coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0),
                                       coalesce(sum(thinking_tokens), 0)) FROM attempts) AS rows,
                    (SELECT json_array(value -> 'attempts', value -> 'cost', value -> 'at_risk',
                                       value -> '$.usage.input_tokens', value -> '$.usage.output_tokens',
                                       value -> '$.usage.thinking_tokens') FROM meta WHERE key = 'tallies') AS kept)
         WHERE rows <> kept",
    ),
];

/// Looks at every row. `budget` is the run's hard cap, where it has one.
pub fn audit(dir: &Path, budget: Option<Money>) -> Result<Audit, StoreError> {
    let dir = RunDir::new(dir);
    let conn = connect::reader(&dir)?;
    examine(&dir, &conn, budget).map_err(|error| error.in_file(dir.database()))
}

fn examine(dir: &RunDir, conn: &Connection, budget: Option<Money>) -> Result<Audit, StoreError> {
    // One state of the database for all the checks.
    let snapshot = conn.unchecked_transaction()?;
    let conn = &*snapshot;
    let mut checks = vec![file_is_sound(conn)?];
    for (promise, query) in PROMISES {
        checks.push(find(conn, promise, query)?);
    }
    checks.push(results_agree(dir, conn)?);
    let tallies = Tallies::load(conn)?;
    checks.push(within_budget(&tallies, budget));
    let lost: i64 = conn.query_row("SELECT count(*) FROM attempts WHERE outcome = 'lost'", [], |row| row.get(0))?;
    Ok(Audit {
        items: tallies.items,
        attempts: tallies.attempts,
        lost_calls: lost as u64,
        cost: tallies.cost,
        at_risk: tallies.at_risk,
        checks,
    })
}

fn find(conn: &Connection, promise: &'static str, query: &str) -> Result<Check, StoreError> {
    let mut check = Check { promise, broken: 0, examples: Vec::new() };
    let mut statement = conn.prepare(query)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        check.broken += 1;
        if check.examples.len() < EXAMPLES {
            check.examples.push(row.get(0)?);
        }
    }
    Ok(check)
}

fn file_is_sound(conn: &Connection) -> Result<Check, StoreError> {
    let mut check = find(conn, "the database file is sound", "PRAGMA quick_check(10)")?;
    if check.examples == ["ok"] {
        check = Check { broken: 0, examples: Vec::new(), ..check };
    }
    Ok(check)
}

/// While a process owns the run its file may be a moment behind; nothing can be said of its end then.
fn results_agree(dir: &RunDir, conn: &Connection) -> Result<Check, StoreError> {
    let path = dir.results();
    let file = File::open(&path).map_err(|error| StoreError::file("open the results file", &path, error))?;
    let agreed = projection::agreement(&file, &path, conn)?;
    let length = file.metadata().map_err(|error| StoreError::file("read", &path, error))?.len();
    let lacking: i64 = conn.query_row("SELECT count(*) FROM results WHERE n > ?1", [agreed.last], |row| row.get(0))?;
    let mut check = Check { promise: "results.jsonl is what the record says", broken: 0, examples: Vec::new() };
    if !dir.is_owned() && (length > agreed.length || lacking > 0) {
        check.broken = 1;
        check.examples.push(format!(
            "they part at byte {}: the record has {lacking} lines from there on, the file {} bytes; the next start repairs it",
            agreed.length,
            length.saturating_sub(agreed.length),
        ));
    }
    Ok(check)
}

fn within_budget(tallies: &Tallies, budget: Option<Money>) -> Check {
    let spent = tallies.cost + tallies.at_risk;
    let over = budget.filter(|budget| spent > *budget);
    Check {
        promise: "the budget was kept, with all that may have been billed",
        broken: u64::from(over.is_some()),
        examples: over.iter().map(|budget| format!("{spent} of {budget} was spent or is at risk")).collect(),
    }
}
