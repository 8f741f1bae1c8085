//! A transaction and the in-memory changes that belong to it.
//!
//! The changes are taken over only after the commit, so that a rollback leaves the memory unchanged too.

use std::{cell::RefCell, collections::HashMap, ptr};

use rusqlite::{CachedStatement, Connection, OptionalExtension as _, params};

use super::{
    counters::{BlockChanges, RunCounters},
    error::StoreError,
    intents::{CommittedIntents, IntentChanges, OpenIntents},
    op::OpReply,
    result_line::{EndingAttempt, StoredLine},
    route_sums::{AllRouteSums, CommittedSums, RouteAttempt},
    row::{ConfiguredRoutes, line_digest, parse_json, parse_outcome, to_json, truncate},
    schema::{DONE, FAILED, WAITING},
};
use crate::domain::{FinalState, Outcome, ResultLine, RoutingRule, RoutingTraits};

pub(super) struct Txn<'a> {
    pub conn: &'a Connection,
    pub routes: &'a ConfiguredRoutes,
    /// The routing rules that decide items' traits.
    pub rules: &'a [RoutingRule],
    pub counters: RunCounters,
    pub block_changes: BlockChanges,
    pub intents: IntentChanges<'a>,
    /// The attempts that this transaction completes.
    pub attempts: Vec<RouteAttempt>,
    /// Lines to append to results.jsonl, each with its line break.
    pub result_bytes: Vec<u8>,
    pub replies: Vec<OpReply>,
    /// Traits added by this transaction. The store adds them to its own after the commit.
    pub new_traits: HashMap<RoutingTraits, u32>,
    known_traits: &'a HashMap<RoutingTraits, u32>,
    route_sums: &'a AllRouteSums,
    /// Statements that were executed, by the address of their text. Taking one from the connection's cache and putting
    /// it back, with a hash of its text, costs as much as executing it.
    statements: RefCell<Vec<(&'static str, CachedStatement<'a>)>>,
}

/// The in-memory changes of a committed transaction.
pub(super) struct TxnChanges {
    pub counters: RunCounters,
    pub intents: CommittedIntents,
    pub sums: CommittedSums,
    pub new_traits: HashMap<RoutingTraits, u32>,
    pub result_bytes: Vec<u8>,
    pub replies: Vec<OpReply>,
}

impl<'a> Txn<'a> {
    pub fn new(
        conn: &'a Connection,
        counters: RunCounters,
        intents: &'a OpenIntents,
        known_traits: &'a HashMap<RoutingTraits, u32>,
        routes: &'a ConfiguredRoutes,
        route_sums: &'a AllRouteSums,
    ) -> Self {
        Self {
            conn,
            routes,
            rules: &[],
            counters,
            block_changes: BlockChanges::default(),
            intents: IntentChanges::new(intents),
            attempts: Vec::new(),
            result_bytes: Vec::new(),
            replies: Vec::new(),
            new_traits: HashMap::new(),
            known_traits,
            route_sums,
            statements: RefCell::default(),
        }
    }

    /// Writes the intents, the sums and the counters. The caller commits.
    pub fn finish(self) -> Result<TxnChanges, StoreError> {
        self.check_intents()?;
        self.block_changes.save(self.conn)?;
        self.counters.save(self.conn)?;
        let Self { conn, counters, intents, attempts, route_sums, new_traits, result_bytes, replies, .. } = self;
        let sums = route_sums.save(conn, attempts)?;
        Ok(TxnChanges { counters, intents: intents.save(conn)?, sums, new_traits, result_bytes, replies })
    }

    /// Only waiting items may be sent. An item that has ended must be requeued first.
    fn check_intents(&self) -> Result<(), StoreError> {
        // Items are sent nearly in order, and counting a range of them is quicker than finding each.
        let mut count =
            self.conn.prepare_cached("SELECT count(*) FROM progress WHERE seq BETWEEN ?1 AND ?2 AND state = 0")?;
        let mut count_waiting = |first: u64, last: u64| count.query_row([first, last], |row| row.get::<_, usize>(0));
        let mut intents: Vec<_> = self.intents.added().iter().map(|intent| (intent.seq.0, intent.attempt)).collect();
        intents.sort_unstable();
        for range in intents.chunk_by(|(seq, _), (next, _)| seq + 1 == *next) {
            if count_waiting(range[0].0, range[range.len() - 1].0)? == range.len() {
                continue;
            }
            for (seq, attempt) in range {
                if count_waiting(*seq, *seq)? == 0 {
                    let (what, attempt) = (self.describe_state(*seq)?, attempt.0);
                    return Err(StoreError::Contradiction(format!("attempt {attempt} was to be sent, but {what}")));
                }
            }
        }
        Ok(())
    }

    pub fn execute(&self, sql: &'static str, values: impl rusqlite::Params) -> Result<usize, StoreError> {
        let mut statements = self.statements.borrow_mut();
        if let Some((_, known)) = statements.iter_mut().find(|(text, _)| ptr::eq(*text, sql)) {
            return Ok(known.execute(values)?);
        }
        let mut statement = self.conn.prepare_cached(sql)?;
        let changed = statement.execute(values)?;
        statements.push((sql, statement));
        Ok(changed)
    }

    pub fn intern_traits(&mut self, traits: RoutingTraits) -> Result<u32, StoreError> {
        if let Some(id) = self.known_traits.get(&traits).or_else(|| self.new_traits.get(&traits)) {
            return Ok(*id);
        }
        let id = (self.known_traits.len() + self.new_traits.len()) as u32 + 1;
        let json = to_json(&traits, "an item's traits")?;
        self.execute("INSERT INTO traits(id, json) VALUES (?1, ?2)", params![id, json])?;
        self.new_traits.insert(traits, id);
        Ok(id)
    }

    /// Loads the traits with this id.
    pub fn read_traits(&self, id: u32) -> Result<RoutingTraits, StoreError> {
        let json: String =
            self.conn.prepare_cached("SELECT json FROM traits WHERE id = ?1")?.query_row([id], |row| row.get(0))?;
        parse_json(&json, "an item's traits")
    }

    /// Ends a waiting item and adds its line to the results. An ended item changes only by being requeued.
    pub fn end_item(
        &mut self,
        seq: u64,
        outcome: Outcome,
        ended_by: Option<&EndingAttempt<'_>>,
        line: &ResultLine,
    ) -> Result<(), StoreError> {
        let state = match line.status {
            FinalState::Done => DONE,
            FinalState::Failed => FAILED,
        };
        let StoredLine { format, text } = StoredLine::new(line, ended_by)?;
        let start = self.result_bytes.len();
        line.write_json(&mut self.result_bytes).map_err(|error| StoreError::corrupt_record("a result", error))?;
        let digest = line_digest(&self.result_bytes[start..]);
        self.result_bytes.push(b'\n');
        let route = ended_by.map(|attempt| attempt.route);
        self.counters.last_result_row += 1;
        let row = self.counters.last_result_row;
        let message = line.error.as_ref().map(|error| truncate(&error.message));
        let ended = self.execute(
            "UPDATE progress SET state = ?2, attempts = attempts + ?3, outcome = ?4, route = coalesce(?5, route),
                                 result = ?6, words = ?7
             WHERE seq = ?1 AND state = 0",
            params![seq, state, i64::from(route.is_some()), outcome.name(), route, row, message],
        )?;
        if ended != 1 {
            let what = self.describe_state(seq)?;
            return Err(StoreError::Contradiction(format!("item {} was to end as {outcome}, but {what}", line.id)));
        }
        self.execute(
            "INSERT INTO result_rows(n, seq, line, digest, format, attempt) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![row, seq, text, digest, format as i64, ended_by.map(|attempt| attempt.completed.attempt.0)],
        )?;
        self.block_changes.move_item(seq, WAITING, state);
        self.counters.truncated += u64::from(outcome == Outcome::Truncated && state == DONE);
        if let Some(ended) = &mut self.counters.ended {
            ended.add(state, outcome);
        }
        Ok(())
    }

    /// Makes an ended item wait again, with all of its retries. Its line is marked as superseded. It stays in
    /// results.jsonl until the end of the process, when the file is compacted.
    pub fn reopen_item(&mut self, seq: u64, old_state: i64) -> Result<(), StoreError> {
        let row = seq;
        let outcome: Option<String> = self
            .conn
            .prepare_cached("SELECT outcome FROM progress WHERE seq = ?1")?
            .query_row([row], |found| found.get(0))?;
        if let (Some(ended), Some(outcome)) = (&mut self.counters.ended, outcome) {
            ended.remove(old_state, parse_outcome(&outcome)?);
        }
        self.execute(
            "INSERT INTO superseded(n) SELECT result FROM progress WHERE seq = ?1 AND result IS NOT NULL",
            [row],
        )?;
        self.execute(
            "UPDATE progress SET state = 0, result = NULL,
                                 counted_from = (SELECT coalesce(max(attempt), 0) + 1 FROM attempts WHERE seq = ?1)
             WHERE seq = ?1",
            [row],
        )?;
        self.block_changes.move_item(seq, old_state, WAITING);
        Ok(())
    }

    /// Describes an item's state, for the message of a `Contradiction` error.
    pub fn describe_state(&self, seq: u64) -> Result<String, StoreError> {
        let found = self
            .conn
            .prepare_cached(
                "SELECT items.id, progress.state FROM items JOIN progress USING (seq) WHERE items.seq = ?1",
            )?
            .query_row([seq], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))
            .optional()?;
        Ok(match found {
            None => format!("there is no item {seq}"),
            Some((id, WAITING)) => format!("item {id} is waiting"),
            Some((id, DONE)) => format!("item {id} is done"),
            Some((id, _)) => format!("item {id} has failed"),
        })
    }
}
