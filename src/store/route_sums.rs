//! The sums over the attempts of each route ([`RouteSums`]), which let a start do without reading the attempts.
//!
//! They are rows of `route_sums`, one for each route. Writing them with every commit would cost more than the attempts
//! themselves, so a commit adds only a row with the numbers of its attempts to `unsummed_attempts`. After
//! [`MAX_UNSUMMED`] attempts the sums are written and these rows deleted. A start adds the attempts in the rows that are
//! left to the sums. The sums are computed anew from all attempts if they don't contain each one, as in the record of an
//! earlier version.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use rusqlite::{Connection, Row, params};

use super::{
    billing::{Billing, billing_columns, read_billing},
    error::StoreError,
    row::{parse_json, parse_outcome, to_json},
};
use crate::domain::{AttemptId, Money, RouteSums, Seq, SummedAttempt, WallTime, is_unchecked};

/// Number of attempts after which the sums are written. A start reads about as many attempts.
const MAX_UNSUMMED: usize = 4_096;

/// Longest time between the intent of a request and its arrival at the provider, assumed if its result is unknown.
const MAX_ARRIVAL_DELAY: Duration = Duration::from_secs(30);

/// The form of the stored sums. Sums in another form are computed anew.
const FORMAT: i64 = 1;

/// An attempt that a transaction completes.
#[derive(Debug)]
pub(super) struct RouteAttempt {
    pub seq: Seq,
    pub attempt: AttemptId,
    pub route: i64,
    pub summed: SummedAttempt,
}

/// The sums of all routes, as last committed.
#[derive(Debug, Default)]
pub(super) struct AllRouteSums {
    by_route: HashMap<i64, RouteSums>,
    /// Routes whose stored sums lack attempts.
    changed: BTreeSet<i64>,
    /// Number of attempts in `unsummed_attempts`.
    unsummed: usize,
}

/// The attempts that a committed transaction has added.
#[derive(Debug)]
pub(super) struct CommittedSums {
    attempts: Vec<RouteAttempt>,
    /// The sums were written.
    is_saved: bool,
}

impl AllRouteSums {
    /// Loads the sums. `None` if they don't contain all `attempts` of the run.
    pub fn load(conn: &Connection, attempts: u64) -> Result<Option<Self>, StoreError> {
        let mut sums = Self::default();
        let mut statement = conn.prepare("SELECT route, json FROM route_sums WHERE format = ?1")?;
        let mut rows = statement.query([FORMAT])?;
        while let Some(row) = rows.next()? {
            let Ok(of_route) = serde_json::from_str(&row.get::<_, String>(1)?) else { return Ok(None) };
            sums.by_route.insert(row.get(0)?, of_route);
        }
        // Quicker than joining the elements of the lists with the attempts.
        let mut find = conn.prepare(&select_attempts(conn, "WHERE seq = ?1 AND attempt = ?2")?)?;
        let mut statement = conn.prepare("SELECT list FROM unsummed_attempts ORDER BY number")?;
        let mut lists = statement.query([])?;
        while let Some(row) = lists.next()? {
            let list: Vec<(u64, u64)> = parse_json(&row.get::<_, String>(0)?, "attempts")?;
            for (seq, attempt) in list {
                let mut rows = find.query([seq, attempt])?;
                if let Some(row) = rows.next()? {
                    sums.unsummed += 1;
                    sums.add(&read_attempt(row)?);
                }
            }
        }
        Ok((sums.by_route.values().map(RouteSums::attempt_count).sum::<u64>() == attempts).then_some(sums))
    }

    /// Computes the sums from all attempts and writes them. The caller commits.
    pub fn rebuild(conn: &Connection) -> Result<Self, StoreError> {
        let mut sums = Self::default();
        let mut statement = conn.prepare(&select_attempts(conn, "ORDER BY attempt")?)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            sums.add(&read_attempt(row)?);
        }
        conn.execute_batch("DELETE FROM route_sums")?;
        for (route, of_route) in &sums.by_route {
            save(conn, *route, of_route)?;
        }
        conn.execute_batch("DELETE FROM unsummed_attempts")?;
        sums.changed.clear();
        Ok(sums)
    }

    fn add(&mut self, attempt: &RouteAttempt) {
        self.by_route.entry(attempt.route).or_default().add(&attempt.summed);
        self.changed.insert(attempt.route);
    }

    pub fn iter(&self) -> impl Iterator<Item = (i64, &RouteSums)> {
        self.by_route.iter().map(|(route, sums)| (*route, sums))
    }

    /// Writes the attempts of a transaction. The caller commits, and then passes the result to [`Self::apply`].
    pub fn save(&self, conn: &Connection, attempts: Vec<RouteAttempt>) -> Result<CommittedSums, StoreError> {
        if attempts.is_empty() {
            return Ok(CommittedSums { attempts, is_saved: false });
        }
        if self.unsummed + attempts.len() <= MAX_UNSUMMED {
            let list: Vec<_> = attempts.iter().map(|it| (it.seq.0, it.attempt.0)).collect();
            let list = to_json(&list, "attempts")?;
            conn.prepare_cached("INSERT INTO unsummed_attempts(list) VALUES (?1)")?.execute([list])?;
            return Ok(CommittedSums { attempts, is_saved: false });
        }
        let mut changed = self.changed.clone();
        changed.extend(attempts.iter().map(|attempt| attempt.route));
        for route in changed {
            let mut sums = self.by_route.get(&route).cloned().unwrap_or_default();
            attempts.iter().filter(|attempt| attempt.route == route).for_each(|attempt| sums.add(&attempt.summed));
            save(conn, route, &sums)?;
        }
        conn.prepare_cached("DELETE FROM unsummed_attempts")?.execute([])?;
        Ok(CommittedSums { attempts, is_saved: true })
    }

    /// Takes over the attempts of a committed transaction.
    pub fn apply(&mut self, committed: &CommittedSums) {
        committed.attempts.iter().for_each(|attempt| self.add(attempt));
        self.unsummed += committed.attempts.len();
        if committed.is_saved {
            self.changed.clear();
            self.unsummed = 0;
        }
    }
}

fn save(conn: &Connection, route: i64, sums: &RouteSums) -> Result<(), StoreError> {
    let save = "INSERT OR REPLACE INTO route_sums(route, format, json) VALUES (?1, ?2, ?3)";
    conn.prepare_cached(save)?.execute(params![route, FORMAT, to_json(sums, "sums")?])?;
    Ok(())
}

/// The statement that selects attempts, with the columns that [`read_attempt`] reads.
fn select_attempts(conn: &Connection, which: &str) -> Result<String, StoreError> {
    let columns = billing_columns(conn)?;
    Ok(format!(
        "SELECT seq, attempt, route, sent_at, settled_at, outcome, status, message, est_tokens, latency_ms, at_risk,
                {columns} FROM attempts {which}"
    ))
}

fn read_attempt(row: &Row<'_>) -> Result<RouteAttempt, StoreError> {
    let text = |column: usize| row.get_ref(column).and_then(|value| Ok(value.as_str()?));
    let Billing { usage, cost, cost_by_kind } = read_billing(row, 11)?;
    let outcome = parse_outcome(text(5)?)?;
    Ok(RouteAttempt {
        seq: Seq(row.get(0)?),
        attempt: AttemptId(row.get(1)?),
        route: row.get(2)?,
        summed: SummedAttempt {
            at: end_of_attempt(WallTime(row.get(3)?), row.get::<_, Option<i64>>(4)?.map(WallTime)),
            outcome,
            status: row.get(6)?,
            is_unchecked: is_unchecked(outcome, text(7)?),
            usage,
            est_tokens: row.get(8)?,
            latency_ms: row.get(9)?,
            cost,
            cost_by_kind,
            at_risk: Money(row.get(10)?),
        },
    })
}

/// When an attempt ended. If it never did: when its request must have arrived at the latest.
pub(super) fn end_of_attempt(sent_at: WallTime, completed_at: Option<WallTime>) -> WallTime {
    completed_at.unwrap_or(sent_at + MAX_ARRIVAL_DELAY)
}
