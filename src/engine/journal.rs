//! The engine's side of the record: transitions gather into a group while the writer commits the one before.

use std::time::Duration;

use crate::store::{Ack, Answer, Op, StoreError, Writer};

/// What is to be done once the group that it belongs to is on disk.
#[derive(Debug)]
pub(super) struct Journal<Then> {
    writer: Writer,
    /// Transitions of the next group.
    gathering: Vec<Op>,
    /// What follows from them, once committed.
    then: Vec<Then>,
    /// The group at the writer, by number, and what follows from it.
    committing: Option<(u64, Vec<Then>)>,
    next_number: u64,
    /// The last commit failed: why, and since when nothing is handed over.
    stuck: Option<(String, std::time::Instant)>,
    /// The writer is gone, or a sync failed: nothing will ever be recorded again.
    dead: bool,
    /// The results file lags; an empty group makes the writer try again.
    behind: bool,
    /// Everything that was ever recorded, in order.
    #[cfg(test)]
    pub recorded: Vec<Op>,
}

/// Why a run ends whose record nobody writes any more.
pub(super) const WRITER_GONE: &str = "the writer of the run's database has ended; the log has the details";

/// How long a group that could not be committed rests before it is tried again.
const RETRY: Duration = Duration::from_secs(2);

impl<Then> Journal<Then> {
    pub fn new(writer: Writer) -> Self {
        Self {
            writer,
            gathering: Vec::new(),
            then: Vec::new(),
            committing: None,
            next_number: 1,
            stuck: None,
            dead: false,
            behind: false,
            #[cfg(test)]
            recorded: Vec::new(),
        }
    }

    pub fn record(&mut self, op: Op) {
        #[cfg(test)]
        self.recorded.push(op.clone());
        self.gathering.push(op);
    }

    /// Something was recorded since the last group was handed over.
    pub const fn has_news(&self) -> bool {
        !self.gathering.is_empty()
    }

    /// To be done when everything recorded so far is on disk.
    pub fn then(&mut self, then: Then) {
        self.then.push(then);
    }

    /// Hands the gathered group over, if the writer is free.
    pub fn flush(&mut self) {
        let nothing = self.gathering.is_empty() && self.then.is_empty() && !self.behind;
        let resting = self.stuck.as_ref().is_some_and(|(_, since)| since.elapsed() < RETRY);
        if nothing || resting || self.committing.is_some() {
            return;
        }
        let number = self.next_number;
        self.next_number += 1;
        self.committing = Some((number, std::mem::take(&mut self.then)));
        let ops = std::mem::take(&mut self.gathering);
        if let Err(unsubmitted) = self.writer.submit(number, ops) {
            self.dead = unsubmitted.closed;
            let why = if self.dead { WRITER_GONE } else { "the writer of the run's database lags behind" };
            self.give_back(unsubmitted.ops, why.to_owned());
        }
    }

    fn give_back(&mut self, mut ops: Vec<Op>, why: String) {
        let (_, mut then) = self.committing.take().unwrap_or_default();
        ops.append(&mut self.gathering);
        then.append(&mut self.then);
        (self.gathering, self.then) = (ops, then);
        self.stuck = Some((why, std::time::Instant::now()));
    }

    /// Takes the writer's word on the group at hand: answers, and what may now be done.
    pub fn acknowledged(&mut self, ack: Ack) -> (Vec<Answer>, Vec<Then>) {
        match ack.outcome {
            Ok(answers) => {
                let (number, then) = self.committing.take().unwrap_or_default();
                debug_assert_eq!(number, ack.number);
                self.behind = ack.behind.is_some();
                self.stuck = ack.behind.map(|error| (words(&error), std::time::Instant::now()));
                (answers, then)
            }
            Err(rejected) if rejected.error.is_final() => {
                self.end_for(words(&rejected.error));
                (Vec::new(), Vec::new())
            }
            Err(rejected) => {
                self.give_back(rejected.ops, words(&rejected.error));
                (Vec::new(), Vec::new())
            }
        }
    }

    /// The writer's thread has gone, with whatever was handed to it.
    pub fn bereave(&mut self) {
        self.end_for(WRITER_GONE.to_owned());
    }

    /// Nothing will be recorded any more, and nothing follows from what was handed over.
    fn end_for(&mut self, why: String) {
        self.dead = true;
        self.stuck = Some((why, std::time::Instant::now()));
    }

    /// Why nothing can be recorded at present.
    pub fn stuck(&self) -> Option<&str> {
        self.stuck.as_ref().map(|(why, _)| why.as_str())
    }

    pub const fn is_dead(&self) -> bool {
        self.dead
    }

    /// Everything recorded is on disk.
    pub fn is_clean(&self) -> bool {
        self.gathering.is_empty() && self.then.is_empty() && self.committing.is_none() && !self.behind
    }

    pub fn into_writer(self) -> Writer {
        self.writer
    }
}

fn words(error: &StoreError) -> String {
    format!("the run can't be recorded: {error}")
}
