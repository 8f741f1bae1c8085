//! One transaction in the making: everything a group changes besides the rows themselves, so that a group
//! that is rolled back leaves no trace in memory either.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _, params};
use xxhash_rust::xxh3::xxh3_128;

use super::{
    error::StoreError,
    op::Answer,
    schema::{DONE, FAILED, WAITING},
    tallies::{BlockChanges, Tallies},
};
use crate::domain::{FinalState, Outcome, ResultLine, RoutingRule, RoutingTraits};

/// At most this many characters of an error are kept with the item; the attempt has them all.
pub(super) const WORDS: usize = 200;

pub(super) struct Group<'a> {
    pub conn: &'a Connection,
    /// Rows of the table of routes, by the engine's route index.
    pub routes: &'a [i64],
    /// The routing rules that items are classed by.
    pub rules: &'a [RoutingRule],
    pub tallies: Tallies,
    pub blocks: BlockChanges,
    /// What results.jsonl gains by this group.
    pub lines: Vec<u8>,
    pub answers: Vec<Answer>,
    /// Not yet in `known`: it may only learn them once they are committed.
    pub new_traits: HashMap<RoutingTraits, u32>,
    known: &'a HashMap<RoutingTraits, u32>,
}

/// What a group leaves behind once it is committed.
pub(super) struct Changes {
    pub tallies: Tallies,
    pub new_traits: HashMap<RoutingTraits, u32>,
    pub lines: Vec<u8>,
    pub answers: Vec<Answer>,
}

impl<'a> Group<'a> {
    pub fn new(
        conn: &'a Connection,
        tallies: Tallies,
        known: &'a HashMap<RoutingTraits, u32>,
        routes: &'a [i64],
    ) -> Self {
        Self {
            conn,
            routes,
            rules: &[],
            tallies,
            blocks: BlockChanges::default(),
            lines: Vec::new(),
            answers: Vec::new(),
            new_traits: HashMap::new(),
            known,
        }
    }

    /// Writes the sums; the caller commits.
    pub fn finish(self) -> Result<Changes, StoreError> {
        self.blocks.save(self.conn)?;
        self.tallies.save(self.conn)?;
        let Self { tallies, new_traits, lines, answers, .. } = self;
        Ok(Changes { tallies, new_traits, lines, answers })
    }

    pub fn run(&self, sql: &str, values: impl rusqlite::Params) -> Result<usize, StoreError> {
        Ok(self.conn.prepare_cached(sql)?.execute(values)?)
    }

    pub fn traits_id(&mut self, traits: RoutingTraits) -> Result<u32, StoreError> {
        if let Some(id) = self.known.get(&traits).or_else(|| self.new_traits.get(&traits)) {
            return Ok(*id);
        }
        let id = (self.known.len() + self.new_traits.len()) as u32 + 1;
        let json = serde_json::to_string(&traits).map_err(|error| StoreError::record("an item's traits", error))?;
        self.run("INSERT INTO traits(id, json) VALUES (?1, ?2)", params![id, json])?;
        self.new_traits.insert(traits, id);
        Ok(id)
    }

    /// Ends a waiting item: its line goes to the results, and it never changes again but by being queued anew.
    pub fn end_item(
        &mut self,
        seq: u64,
        outcome: Outcome,
        route: Option<i64>,
        line: &ResultLine,
    ) -> Result<(), StoreError> {
        let state = match line.status {
            FinalState::Done => DONE,
            FinalState::Failed => FAILED,
        };
        let json = serde_json::to_string(line).map_err(|error| StoreError::record("a result", error))?;
        self.tallies.last_result += 1;
        let n = self.tallies.last_result as i64;
        let words = line.error.as_ref().map(|error| beginning(&error.message));
        let ended = self.run(
            "UPDATE progress SET state = ?2, attempts = attempts + ?3, outcome = ?4, route = coalesce(?5, route),
                                 result = ?6, words = ?7
             WHERE seq = ?1 AND state = 0",
            params![seq as i64, state, i64::from(route.is_some()), outcome.name(), route, n, words],
        )?;
        if ended != 1 {
            let what = self.state_words(seq)?;
            return Err(StoreError::Contradiction(format!("item {} was to end as {outcome}, but {what}", line.id)));
        }
        self.run(
            "INSERT INTO results(n, seq, line, digest) VALUES (?1, ?2, ?3, ?4)",
            params![n, seq as i64, json, digest(json.as_bytes())],
        )?;
        self.lines.extend_from_slice(json.as_bytes());
        self.lines.push(b'\n');
        self.blocks.moves(seq, WAITING, state);
        self.tallies.truncated += u64::from(outcome == Outcome::Truncated && state == DONE);
        Ok(())
    }

    /// Where an item stands, for the sentence that refuses a contradiction.
    pub fn state_words(&self, seq: u64) -> Result<String, StoreError> {
        let found = self
            .conn
            .prepare_cached(
                "SELECT items.id, progress.state FROM items JOIN progress USING (seq) WHERE items.seq = ?1",
            )?
            .query_row([seq as i64], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))
            .optional()?;
        Ok(match found {
            None => format!("there is no item {seq}"),
            Some((id, WAITING)) => format!("item {id} waits"),
            Some((id, DONE)) => format!("item {id} is done"),
            Some((id, _)) => format!("item {id} has failed"),
        })
    }
}

/// Of a line of the results, to tell one that was altered later. Not a signature: who can alter a line can make its digest.
pub(super) fn digest(line: &[u8]) -> [u8; 16] {
    xxh3_128(line).to_be_bytes()
}

/// The first [`WORDS`] characters.
pub(super) fn beginning(text: &str) -> &str {
    text.char_indices().nth(WORDS).map_or(text, |(end, _)| &text[..end])
}
