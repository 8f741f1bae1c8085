//! The ways in which a run ends: what is over, what rests, and the last words.

use std::time::{Duration, Instant};

use super::{
    core::{Engine, Phase},
    journal::WRITER_GONE,
    start::Ending,
};
use crate::{
    domain::{
        AttemptId, AttemptResult, EventLevel, MonoTime, Now, OnExhausted, Outcome, WallTime, event::format_duration,
        pluralize, snapshot::RunState,
    },
    scheduler::StallReason,
    store::Op,
};

/// Between two looks at whether the record's files are in their places.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Whether a provider has answered this process, with whatever status.
#[derive(Debug)]
pub(super) enum Contact {
    /// No request has gone out yet.
    NotYet,
    /// No request so far has an answer.
    Failing {
        /// When the first of them was sent.
        since: MonoTime,
        /// Those that ended without an answer.
        requests: u64,
        /// Why the last one had none.
        message: String,
    },
    Made,
}

impl Contact {
    pub fn sent(&mut self, now: MonoTime) {
        if matches!(self, Self::NotYet) {
            *self = Self::Failing { since: now, requests: 0, message: String::new() };
        }
    }

    /// An attempt has ended; `others` are still in flight.
    pub fn note(&mut self, others: usize, provider: &str, verdict: &AttemptResult) {
        let Self::Failing { requests, message, .. } = self else { return };
        if verdict.status.is_some() || verdict.outcome.is_answered() {
            *self = Self::Made;
        } else if matches!(verdict.outcome, Outcome::ClientTrouble | Outcome::ServerError | Outcome::Timeout) {
            *requests += 1;
            *message = format!("{provider}: {}", verdict.message);
        } else if *requests == 0 && others == 0 {
            // Other outcomes without a status are of this side alone.
            *self = Self::NotYet;
        }
    }
}

impl Engine {
    /// When a run that nobody watches stops, unless a provider answers before.
    pub(super) fn gives_up_at(&self) -> Option<MonoTime> {
        let limit = self.scheduler.policy().give_up_after;
        match &self.contact {
            Contact::Failing { since, .. }
                if self.unattended && !limit.is_zero() && matches!(self.phase, Phase::Going) =>
            {
                Some(*since + limit)
            }
            _ => None,
        }
    }

    /// Ends a run that nobody watches once no provider has answered for too long. An answer that has begun counts.
    fn stop_where_unanswered(&mut self, now: Now) {
        if self.gives_up_at().is_none_or(|at| now.mono < at) {
            return;
        }
        if self.client.has_heard() {
            self.contact = Contact::Made;
            return;
        }
        let Contact::Failing { requests, message, .. } = &self.contact else { return };
        let mut said = Vec::new();
        if *requests > 0 {
            said.push(format!("{}, the last to {message}", pluralize(*requests, "request")));
        }
        if !self.flights.is_empty() {
            let broken = pluralize(self.flights.len() as u64, "request");
            said.push(format!("{broken} in flight broken off, which may have been billed"));
        }
        let limit = format_duration(self.scheduler.policy().give_up_after);
        let why = format!("no provider has answered within {limit} ({})", said.join("; "));
        self.abandon_flights(now);
        self.end(Ending::Stopped { why });
    }

    /// `ending`, or why it is none: the record's files are not where they were.
    fn unless_removed(&self, ending: Ending) -> Ending {
        match (self.held_files.check(), ending) {
            (Ok(()), ending) | (Err(_), ending @ Ending::Broken { .. }) => ending,
            (Err(error), _) => Ending::Broken { why: error.to_string() },
        }
    }

    /// Whether the run is over, for one reason or another.
    pub(super) fn conclude(&mut self, now: Now) {
        if self.trouble.as_ref().is_some_and(|(_, said)| said.elapsed() > Duration::from_secs(5)) {
            self.trouble = None;
            self.dirty = true;
        }
        let at_rest = self.flights.is_empty()
            && self.settling == 0
            && self.scheduler.in_flight_count() == 0
            && self.captions.is_empty();
        if self.journal.is_dead() {
            let why = self.journal.stuck().unwrap_or(WRITER_GONE).to_owned();
            self.end(Ending::Broken { why });
        }
        if self.looked.elapsed() >= LOOK_EVERY && !matches!(self.phase, Phase::Ending { .. }) {
            self.looked = Instant::now();
            if let Err(error) = self.held_files.check() {
                self.end(Ending::Broken { why: error.to_string() });
            }
        }
        self.stop_where_unanswered(now);
        match &self.phase {
            Phase::Ending { .. } | Phase::Resting { .. } => {}
            Phase::Draining { ending, deadline } => {
                let (ending, late) = (ending.clone(), Instant::now() >= *deadline);
                let settled = at_rest && self.intake_is_settled();
                let nothing_left = self.scheduler.unfinished_items() == 0 && !self.intake.reading;
                // Captions that the disk does not take are written by the next start: nobody has to wait for them.
                let unwritten = self.trouble.is_some()
                    && self.flights.is_empty()
                    && self.settling == 0
                    && self.scheduler.in_flight_count() == 0
                    && self.intake_is_settled();
                if settled && nothing_left {
                    self.end(self.nothing_left());
                } else if settled {
                    self.end(ending);
                } else if unwritten {
                    self.end(ending.but("captions that could not be written are written by the next start"));
                } else if late {
                    let late = if self.scheduler.in_flight_count() > 0 {
                        "the last requests did not answer in time"
                    } else {
                        "the last answers or captions could not be written in time"
                    };
                    self.abandon_flights(now);
                    self.end(ending.but(late));
                }
            }
            Phase::Going if !at_rest || self.paused || !self.intake_is_settled() => {}
            Phase::Going => match self.scheduler.stall_reason(now) {
                // What is still being read may have somewhere to go.
                _ if self.intake.reading => {}
                StallReason::NothingToDo => self.rest(self.nothing_left()),
                StallReason::Exhausted { resumes_at, reason } => self.exhausted(resumes_at, reason),
                StallReason::Budget { min_cost } if self.unattended => {
                    self.end(Ending::BudgetSpent { why: self.budget_words(min_cost) });
                }
                _ => {}
            },
        }
    }

    /// Nothing is on its way from the disk that would change the picture.
    fn intake_is_settled(&self) -> bool {
        !self.ingesting && self.journal.is_clean()
    }

    fn exhausted(&mut self, returns: Option<WallTime>, why: String) {
        let asks = self.scheduler.needs_operator();
        if asks && !self.unattended {
            return;
        }
        let waits = self.scheduler.policy().on_exhausted == OnExhausted::Wait;
        match returns {
            Some(_) if waits => {}
            Some(returns) => self.rest(Ending::Stopped { why: format!("{why}; quota returns at {returns}") }),
            None => self.rest(Ending::Stopped { why }),
        }
    }

    /// Nothing more can be done: the run ends, or rests while somebody is there who may have another idea.
    fn rest(&mut self, ending: Ending) {
        let ending = self.unless_removed(ending);
        if self.unattended || matches!(ending, Ending::Broken { .. }) {
            return self.end(ending);
        }
        self.announce(&ending);
        self.phase = Phase::Resting { ending };
    }

    /// The operator has had another idea.
    pub(super) fn wake_up(&mut self) {
        if matches!(self.phase, Phase::Resting { .. }) {
            self.phase = Phase::Going;
            self.worked.go_on(self.clock.now().mono);
            self.journal.record(Op::RunState(RunState::Running));
        }
    }

    /// Records the last words; the loop ends once they are on disk.
    pub(super) fn end(&mut self, ending: Ending) {
        let ending = self.unless_removed(ending);
        let ending = match std::mem::replace(&mut self.phase, Phase::Going) {
            ended @ Phase::Ending { .. } => {
                self.phase = ended;
                return;
            }
            // Already announced; leaving changes nothing of it.
            Phase::Resting { ending: announced } if !matches!(ending, Ending::Broken { .. }) => announced,
            Phase::Resting { .. } | Phase::Going | Phase::Draining { .. } => {
                self.announce(&ending);
                ending
            }
        };
        self.phase = Phase::Ending { ending, since: Instant::now() };
        self.dirty = true;
    }

    fn announce(&mut self, ending: &Ending) {
        let now = self.clock.now();
        match ending {
            Ending::Finished => {
                let failed = self.totals.failed;
                let words = format!("finished: {} done, {failed} failed", self.totals.done);
                self.say(if failed > 0 { EventLevel::Warn } else { EventLevel::Info }, words);
            }
            Ending::Stopped { why } | Ending::BudgetSpent { why } => {
                self.say(EventLevel::Alert, format!("stopped with work left: {why}"));
            }
            Ending::HeldBack { why } => self.say(EventLevel::Info, format!("stopped with work left: {why}")),
            Ending::Broken { why } => self.say(EventLevel::Alert, format!("broken off: {why}")),
        }
        self.forgetful = true;
        self.worked.rest(now.mono);
        self.remember(now, true);
        self.journal.record(Op::RunState(ending.state()));
        self.dirty = true;
    }

    /// Aborts what is in flight: each call may have been billed.
    pub(super) fn abandon_flights(&mut self, now: Now) {
        let attempts: Vec<AttemptId> = self.flights.keys().copied().collect();
        for attempt in attempts {
            if let Some(flying) = self.flights.get(&attempt) {
                flying.abort.abort();
            }
            self.lost(now, attempt);
        }
    }

    /// The end of a run that has nothing left to do.
    fn nothing_left(&self) -> Ending {
        match &self.intake.broken {
            Some(why) => Ending::Broken { why: why.clone() },
            None if self.owed.len() > 0 => Ending::Broken {
                why: format!(
                    "every item has ended, but {} could not be written; their answers are recorded, and the same command \
                     writes them once the files or folders are mended",
                    pluralize(self.owed.len() as u64, "caption")
                ),
            },
            None if self.held_back > 0 => Ending::HeldBack {
                why: format!(
                    "the first rows have ended, {} of an earlier start {} beyond the limit of this one",
                    pluralize(self.held_back, "item"),
                    if self.held_back == 1 { "waits" } else { "wait" },
                ),
            },
            None => Ending::Finished,
        }
    }

    /// The last snapshot, and the end of the writer.
    pub(super) async fn close(mut self, ending: Ending) -> Ending {
        let ending = self.unless_removed(ending);
        self.tasks.shutdown().await;
        self.return_leases().await;
        self.captions.shutdown().await;
        let now = self.clock.now();
        // It may have been another until its last words could not be recorded.
        self.phase = Phase::Ending { ending: ending.clone(), since: Instant::now() };
        self.publish(now);
        let Self { journal, snapshots, .. } = self;
        let closed = tokio::task::spawn_blocking(move || {
            let mut store = journal.into_writer().close()?;
            store.compact_results()
        })
        .await;
        drop(snapshots);
        match (closed, ending) {
            // What broke first is what is told.
            (Ok(Ok(_)), ending) | (_, ending @ Ending::Broken { .. }) => ending,
            (Ok(Err(error)), _) => Ending::Broken { why: format!("the run's database could not be closed: {error}") },
            (Err(_), _) => Ending::Broken { why: "the writer of the run's database panicked".to_owned() },
        }
    }
}

impl Ending {
    fn but(self, more: &str) -> Self {
        match self {
            Self::Finished => Self::Finished,
            Self::Stopped { why } => Self::Stopped { why: format!("{why}; {more}") },
            Self::BudgetSpent { why } => Self::BudgetSpent { why: format!("{why}; {more}") },
            Self::HeldBack { why } => Self::HeldBack { why: format!("{why}; {more}") },
            Self::Broken { why } => Self::Broken { why: format!("{why}; {more}") },
        }
    }

    pub(super) fn state(&self) -> RunState {
        match self {
            Self::Finished => RunState::Finished,
            Self::Stopped { why } | Self::BudgetSpent { why } | Self::HeldBack { why } | Self::Broken { why } => {
                RunState::Stopped { reason: why.clone() }
            }
        }
    }
}
