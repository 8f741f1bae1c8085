//! Open intents: attempts that were sent, or were about to be sent, and have no outcome yet.
//!
//! The intents of one transaction are one row of `intents`: a JSON list of `[attempt, seq, route, sent_at, reserved,
//! est_tokens]`. The row is deleted with the last outcome of its attempts. So an attempt costs no row of its own until it
//! is added to `attempts`. The view `in_flight` shows all intents whose attempts have no outcome.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use rusqlite::{Connection, params};

use super::{
    error::StoreError,
    row::{amount_column, to_json},
};
use crate::domain::{AttemptId, Money, Seq, WallTime};

/// An attempt without an outcome.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct OpenIntent {
    pub attempt: AttemptId,
    pub seq: Seq,
    /// Id in the table of routes.
    pub route: i64,
    pub sent_at: WallTime,
    pub reserved: Money,
    pub est_tokens: u64,
}

impl OpenIntent {
    const fn to_list_entry(self) -> (u64, u64, i64, i64, u64, u64) {
        let Self { attempt, seq, route, sent_at, reserved, est_tokens } = self;
        (attempt.0, seq.0, route, sent_at.0, reserved.0, est_tokens)
    }
}

/// The open intents of the run, as last committed.
#[derive(Debug, Default)]
pub(super) struct OpenIntents {
    /// With the number of its row.
    by_attempt: HashMap<AttemptId, (i64, OpenIntent)>,
    /// Number of open intents by row.
    open_by_row: HashMap<i64, usize>,
    /// The highest number of a row so far.
    last_row: i64,
}

impl OpenIntents {
    pub fn load(conn: &Connection) -> Result<Self, StoreError> {
        let mut intents = Self {
            last_row: conn.query_row("SELECT coalesce(max(number), 0) FROM intents", [], |row| row.get(0))?,
            ..Self::default()
        };
        let mut statement = conn.prepare(
            "SELECT number, attempt, seq, route, sent_at, reserved, est_tokens FROM in_flight ORDER BY attempt",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let intent = OpenIntent {
                attempt: AttemptId(row.get(1)?),
                seq: Seq(row.get(2)?),
                route: row.get(3)?,
                sent_at: WallTime(row.get(4)?),
                reserved: Money(row.get(5)?),
                est_tokens: row.get(6)?,
            };
            intents.insert(row.get(0)?, intent);
        }
        Ok(intents)
    }

    fn insert(&mut self, row: i64, intent: OpenIntent) {
        self.by_attempt.insert(intent.attempt, (row, intent));
        *self.open_by_row.entry(row).or_default() += 1;
    }

    /// Takes over the changes of a committed transaction.
    pub fn apply(&mut self, changes: CommittedIntents) {
        for attempt in changes.closed {
            if let Some((row, _)) = self.by_attempt.remove(&attempt)
                && let Entry::Occupied(mut open) = self.open_by_row.entry(row)
            {
                *open.get_mut() -= 1;
                if *open.get() == 0 {
                    open.remove();
                }
            }
        }
        if !changes.added.is_empty() {
            self.last_row += 1;
        }
        for intent in changes.added {
            self.insert(self.last_row, intent);
        }
    }
}

/// The changes of the open intents by one transaction.
pub(super) struct IntentChanges<'a> {
    committed: &'a OpenIntents,
    added: Vec<OpenIntent>,
    closed: HashSet<AttemptId>,
    /// Rows from which an intent was taken back.
    shortened_rows: HashSet<i64>,
}

/// The changes of a transaction that was committed.
pub(super) struct CommittedIntents {
    added: Vec<OpenIntent>,
    closed: HashSet<AttemptId>,
}

impl<'a> IntentChanges<'a> {
    pub fn new(committed: &'a OpenIntents) -> Self {
        Self { committed, added: Vec::new(), closed: HashSet::new(), shortened_rows: HashSet::new() }
    }

    pub fn add(&mut self, intent: OpenIntent) {
        self.added.push(intent);
    }

    /// Ends an open intent because its attempt has an outcome. `None` if there is none for this attempt.
    pub fn close(&mut self, attempt: AttemptId) -> Option<OpenIntent> {
        if let Some((_, intent)) = self.committed.by_attempt.get(&attempt) {
            return self.closed.insert(attempt).then_some(*intent);
        }
        let index = self.added.iter().position(|intent| intent.attempt == attempt)?;
        Some(self.added.remove(index))
    }

    /// Takes back an open intent whose request was never sent. `None` if there is none for this attempt.
    pub fn cancel(&mut self, attempt: AttemptId) -> Option<OpenIntent> {
        let intent = self.close(attempt)?;
        self.shortened_rows.extend(self.committed.by_attempt.get(&attempt).map(|(row, _)| *row));
        Some(intent)
    }

    /// Intents that this transaction adds.
    pub fn added(&self) -> &[OpenIntent] {
        &self.added
    }

    /// Writes the changes. The caller commits, and then passes the returned changes to [`OpenIntents::apply`].
    pub fn save(self, conn: &Connection) -> Result<CommittedIntents, StoreError> {
        let Self { committed, added, closed, shortened_rows } = self;
        if !added.is_empty() {
            let list = to_list(&added)?;
            conn.prepare_cached("INSERT INTO intents(number, list) VALUES (?1, ?2)")?
                .execute(params![committed.last_row + 1, list])?;
        }
        let mut closed_by_row: HashMap<i64, usize> = HashMap::new();
        for (row, _) in closed.iter().filter_map(|attempt| committed.by_attempt.get(attempt)) {
            *closed_by_row.entry(*row).or_default() += 1;
        }
        for (row, closed_here) in closed_by_row {
            if committed.open_by_row.get(&row) == Some(&closed_here) {
                conn.prepare_cached("DELETE FROM intents WHERE number = ?1")?.execute([row])?;
            } else if shortened_rows.contains(&row) {
                let of_row = committed.by_attempt.values().filter(|(number, _)| *number == row);
                let left: Vec<_> =
                    of_row.map(|(_, intent)| *intent).filter(|it| !closed.contains(&it.attempt)).collect();
                conn.prepare_cached("UPDATE intents SET list = ?2 WHERE number = ?1")?
                    .execute(params![row, to_list(&left)?])?;
            }
        }
        Ok(CommittedIntents { added, closed })
    }
}

fn to_list(intents: &[OpenIntent]) -> Result<String, StoreError> {
    let entries: Vec<_> = intents
        .iter()
        .map(|intent| {
            let capped = |amount| amount_column(amount) as u64;
            OpenIntent { reserved: Money(capped(intent.reserved.0)), est_tokens: capped(intent.est_tokens), ..*intent }
                .to_list_entry()
        })
        .collect();
    to_json(&entries, "the requests in flight")
}
