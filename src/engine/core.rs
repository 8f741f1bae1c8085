//! The loop: what can happen, in which order it is looked at, and what every turn begins with.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, JoinSet},
};

use super::{
    ahead::{Ahead, Foreseen},
    captions::{Owed, Trouble},
    ending::Contact,
    flight::{Errand, Landed},
    handle::Order,
    intake::Intake,
    journal::Journal,
    landing::Account,
    probe::Probed,
    sharing::{Sharing, Told},
    start::{Ending, Rows},
    stats::{Tally, Throughput, Worked},
};
use crate::{
    clock::Clock,
    domain::{
        AttemptId, Event, EventKind, EventLevel, Key, Model, Money, Now, Provider, Seq, Snapshot, WallTime,
        plain_text::sanitize,
        pluralize,
        snapshot::{Spend, Totals},
    },
    output::Existing,
    provider::{Client, Endpoint, WorkerPool},
    scheduler::{NextStep, PlannedAttempt, Scheduler},
    store::{Ack, Answer, Batch, HeldFiles, Intent, Loader, Op, report::KeyStanding},
};

/// Between two snapshots.
const PUBLISH_EVERY: Duration = Duration::from_millis(100);
/// Between two saves of what the scheduler remembers, while it changes.
const REMEMBER_EVERY: Duration = Duration::from_secs(1);
/// Between two looks at whether what others are told of the keys is still so; the longest sleep, too: machines suspend and
/// clocks jump.
const STANDINGS_EVERY: Duration = Duration::from_secs(2);
/// Events kept for the screen.
const EVENTS_SHOWN: usize = 256;
/// A stop that can't be recorded is given up after this.
const LAST_RECORD: Duration = Duration::from_secs(10);

/// What follows once a group of transitions is on disk.
#[derive(Debug)]
pub(super) enum Then {
    Send(PlannedAttempt),
    Account(Box<Account>),
    Reply(tokio::sync::oneshot::Sender<Result<String, String>>, String),
    /// A replay's answer says how many items wait again.
    ReplyRequeued(tokio::sync::oneshot::Sender<Result<String, String>>),
}

#[derive(Debug)]
pub(super) struct Flying {
    pub dispatch: PlannedAttempt,
    pub sent_at: WallTime,
    pub abort: AbortHandle,
}

/// Where the run is on its way to the end.
#[derive(Debug)]
pub(super) enum Phase {
    Going,
    /// Nothing new goes out; ends when the last flight lands, or at the deadline.
    Draining {
        /// What it comes to, unless nothing is left to do by then.
        ending: Ending,
        deadline: Instant,
    },
    /// Nothing is left that could go out, and an operator is there who may yet replay, or bring a key back.
    Resting {
        ending: Ending,
    },
    /// The last words are recorded; ends when they are on disk.
    Ending {
        ending: Ending,
        since: Instant,
    },
}

/// Answers of a load, on their way back to the engine.
pub(super) type LoadedBatch = (usize, Result<Batch, Vec<Seq>>);

pub(super) struct Channels {
    pub orders: mpsc::Receiver<Order>,
    pub acks: mpsc::Receiver<Ack>,
    pub loaded: mpsc::Receiver<LoadedBatch>,
    /// `None` where the whole input has been read.
    pub rows: Option<mpsc::Receiver<Rows>>,
    pub trouble: mpsc::Receiver<Trouble>,
    pub foreseen: mpsc::Receiver<Foreseen>,
    pub days: mpsc::Receiver<Told>,
    pub probes: mpsc::Receiver<Probed>,
}

pub(super) struct Engine {
    pub clock: Clock,
    pub began: Now,
    pub worked: Worked,
    /// The widest cap on money that was ever in force; none at all is wider than any.
    pub widest_cap: Option<Money>,
    pub run: String,
    pub providers: Vec<Provider>,
    pub models: Vec<Model>,
    pub keys: Vec<Key>,
    /// Of the keys' secrets, to tell a changed one.
    pub fingerprints: Vec<Option<String>>,
    pub scheduler: Scheduler,
    pub journal: Journal<Then>,
    pub intake: Intake,
    pub loader: Loader,
    pub loaded: mpsc::Sender<LoadedBatch>,
    pub client: Client,
    pub endpoints: Vec<Arc<Endpoint>>,
    pub model_names: Vec<Arc<str>>,
    pub existing: Existing,
    pub complaints: mpsc::Sender<Trouble>,
    pub probes: mpsc::Sender<Probed>,
    pub tasks: JoinSet<Landed>,
    /// Committed answers on their way to their files.
    pub captions: JoinSet<Option<Seq>>,
    pub caption_threads: Arc<WorkerPool>,
    pub owed: Owed,
    pub flights: HashMap<AttemptId, Flying>,
    /// Landed attempts whose outcome is not on disk yet: still shown as in flight.
    pub settling: u64,
    /// When items that were sent more than once were first sent.
    pub first_sent: HashMap<Seq, WallTime>,
    pub totals: Totals,
    pub spend: Spend,
    pub key_tallies: Vec<Tally>,
    pub model_tallies: Vec<Tally>,
    pub route_counts: Vec<(u64, u64)>,
    pub throughput: Throughput,
    pub ahead: Ahead,
    pub sharing: Sharing,
    pub last_dispatch: Option<PlannedAttempt>,
    pub events: VecDeque<Arc<Event>>,
    pub next_event: u64,
    pub phase: Phase,
    pub paused: bool,
    /// A caption that can't be written, and when that was last said.
    pub trouble: Option<(String, Instant)>,
    /// Nobody is there to lift a hold: stop instead.
    pub unattended: bool,
    /// An ingest batch is in the journal; the next waits for it.
    pub ingesting: bool,
    pub snapshots: watch::Sender<Arc<Snapshot>>,
    pub dirty: bool,
    pub published: Instant,
    pub forgetful: bool,
    pub remembered: Instant,
    /// As it was last recorded for others, and when that was looked at.
    pub standings: Vec<KeyStanding>,
    pub stood: Instant,
    /// The record's files, and when it was last looked whether they are in their places.
    pub held_files: HeldFiles,
    pub looked: Instant,
    pub contact: Contact,
    /// Waiting items that this start does not send.
    pub held_back: u64,
    /// Turns of the loop so far.
    #[cfg(test)]
    pub turns: Arc<std::sync::atomic::AtomicU64>,
}

impl Engine {
    pub async fn run(mut self, mut channels: Channels) -> Ending {
        loop {
            // First of all: a resumed run has everything it needs, and nothing else would wake it.
            if let Some(ending) = self.turn() {
                // Blocks that are still coming are given back with the rest.
                channels.days.close();
                while let Ok(told) = channels.days.try_recv() {
                    self.told_of_days(Some(told));
                }
                return self.close(ending).await;
            }
            let wake = self.wake();
            tokio::select! {
                biased;
                Some(order) = channels.orders.recv() => self.order(order),
                ack = channels.acks.recv(), if !self.journal.is_dead() => self.hear(ack),
                Some(landed) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    self.join(landed);
                    while let Some(landed) = self.tasks.try_join_next() {
                        self.join(landed);
                    }
                }
                // Before the captions: the last one's trouble is told before the run ends for it.
                Some(trouble) = channels.trouble.recv() => self.hear_trouble(trouble),
                Some(written) = self.captions.join_next(), if !self.captions.is_empty() => {
                    self.dirty = true;
                    // Where its task was ended, or gave up, it is still owed.
                    if let Ok(Some(item)) = written {
                        self.owed.written(item);
                    }
                }
                Some((class, batch)) = channels.loaded.recv() => self.take_loaded(class, batch),
                rows = next_rows(&mut channels.rows), if self.intake.reading && !self.ingesting => self.take_rows(rows),
                Some(probed) = channels.probes.recv() => self.probed(probed),
                told = channels.days.recv(), if self.sharing.is_on() => self.told_of_days(told),
                Some(foreseen) = channels.foreseen.recv() => self.foreseen(foreseen),
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
    }

    /// What every turn of the loop begins with. The ending, once it is on disk.
    pub(super) fn turn(&mut self) -> Option<Ending> {
        #[cfg(test)]
        self.turns.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let now = self.clock.now();
        self.dispatch(now);
        self.lease(now);
        self.load();
        self.conclude(now);
        self.remember(now, false);
        if let Some(owed) = self.owed.news() {
            self.journal.record(owed);
        }
        if self.journal.has_news() {
            self.journal.record(Op::Worked(self.worked.span(now.mono)));
        }
        self.journal.flush();
        self.look_ahead(now);
        self.publish_if_due(now);
        match &self.phase {
            Phase::Ending { ending, .. } if self.journal.is_clean() => Some(ending.clone()),
            Phase::Ending { since, .. } if self.journal.is_dead() || since.elapsed() > LAST_RECORD => {
                Some(Ending::Broken { why: self.journal.stuck().unwrap_or("the record lags").to_owned() })
            }
            _ => None,
        }
    }

    /// The writer's word on a group; none means that its thread has gone, and that nothing will be recorded again.
    pub(super) fn hear(&mut self, ack: Option<Ack>) {
        match ack {
            Some(ack) => self.acknowledged(ack),
            None => self.journal.bereave(),
        }
    }

    fn wake(&self) -> Instant {
        let now = Instant::now();
        let mut wake = now + STANDINGS_EVERY;
        // A wakeup stays due until the scheduler is polled: where it is not, it must not cut the sleep to nothing.
        if self.is_dispatching()
            && let Some(at) = self.scheduler.next_wakeup()
        {
            wake = wake.min(self.clock.instant_of(at));
        }
        if self.dirty {
            wake = wake.min(self.published + PUBLISH_EVERY);
        }
        if let Some(at) = self.gives_up_at() {
            wake = wake.min(self.clock.instant_of(at));
        }
        if self.journal.stuck().is_some() || self.trouble.is_some() || self.sharing.lags() {
            wake = wake.min(now + Duration::from_secs(1));
        }
        match &self.phase {
            Phase::Draining { deadline, .. } => wake = wake.min(*deadline),
            Phase::Ending { .. } => wake = wake.min(now + Duration::from_millis(200)),
            Phase::Going | Phase::Resting { .. } => {}
        }
        wake
    }

    /// Whether the scheduler is polled for the next request.
    fn is_dispatching(&self) -> bool {
        matches!(self.phase, Phase::Going) && self.journal.stuck().is_none() && self.trouble.is_none()
    }

    fn dispatch(&mut self, now: Now) {
        if !self.is_dispatching() {
            return;
        }
        while let Some(step) = self.scheduler.poll(now) {
            self.dirty = true;
            match step {
                NextStep::Send(dispatch) => {
                    self.journal.record(Op::Intent(Intent {
                        attempt: dispatch.attempt,
                        seq: dispatch.seq,
                        route: dispatch.route,
                        sent_at: now.wall,
                        reserved: dispatch.max_cost,
                        est_tokens: dispatch.estimated_input_tokens,
                    }));
                    self.journal.then(Then::Send(dispatch));
                }
                NextStep::Reject(refusal) => self.refuse(now, &refusal),
            }
        }
    }

    /// The intent is on disk: the request goes out.
    fn send(&mut self, dispatch: PlannedAttempt) {
        let now = self.clock.now();
        let spec = self.intake.spec(dispatch.seq).cloned();
        let (Some(spec), Phase::Going, false) = (spec, &self.phase, self.paused) else {
            self.journal.record(Op::Unsend { attempt: dispatch.attempt });
            self.scheduler.cancel(now, dispatch.attempt);
            return;
        };
        self.scheduler.on_sent(now, dispatch.attempt);
        self.contact.sent(now.mono);
        self.totals.attempts += 1;
        let model = &self.models[dispatch.model.index()];
        let errand = Errand {
            attempt: dispatch.attempt,
            client: self.client.clone(),
            endpoint: Arc::clone(&self.endpoints[dispatch.key.index()]),
            model: Arc::clone(&self.model_names[dispatch.model.index()]),
            max_output: model.max_output,
            spec,
            enlarge: dispatch.output_multiplier,
            timeout: dispatch.timeout,
            clock: self.clock,
        };
        let abort = self.tasks.spawn(errand.run());
        self.last_dispatch = Some(dispatch.clone());
        self.flights.insert(dispatch.attempt, Flying { dispatch, sent_at: now.wall, abort });
    }

    pub(super) fn acknowledged(&mut self, ack: Ack) {
        self.dirty = true;
        let (answers, then) = self.journal.acknowledged(ack);
        let requeued: usize = answers.iter().map(Answer::requeued).sum();
        // What ended in this group is counted before what the group queued again.
        for then in then {
            match then {
                Then::Send(dispatch) => self.send(dispatch),
                Then::Account(account) => self.account(*account),
                // A front end that has gone needs no answer.
                Then::Reply(reply, words) => drop(reply.send(Ok(words))),
                Then::ReplyRequeued(reply) => {
                    let wait = if requeued == 1 { "waits" } else { "wait" };
                    let words = format!("{} {wait} again", pluralize(requeued as u64, "failed item"));
                    drop(reply.send(Ok(words)));
                }
            }
        }
        for answer in answers {
            match answer {
                Answer::Ingested(ingested) => {
                    self.ingesting = false;
                    for (id, traits) in &ingested.traits {
                        self.intake.learn(&mut self.scheduler, *id, traits);
                    }
                    self.totals.total += ingested.added.len() as u64;
                    for item in ingested.added {
                        self.intake.queue(&mut self.scheduler, item);
                    }
                }
                Answer::Traits(traits) => {
                    for (id, traits) in &traits {
                        self.intake.learn(&mut self.scheduler, *id, traits);
                    }
                }
                Answer::Requeued(items) => {
                    self.totals.failed -= items.len() as u64;
                    for item in items {
                        self.intake.queue(&mut self.scheduler, item);
                    }
                }
            }
            self.intake.count_backlog(&mut self.scheduler);
        }
    }

    fn load(&mut self) {
        while let Some((class, batch)) = self.intake.wanted(&self.scheduler) {
            self.intake.count_backlog(&mut self.scheduler);
            let (loader, back, complaints) = (self.loader.clone(), self.loaded.clone(), self.complaints.clone());
            tokio::spawn(async move {
                let loaded = match loader.load(batch.clone()).await {
                    Ok(items) => Ok(items),
                    Err(error) => {
                        // The engine being gone means that nobody is there to help.
                        let words = format!("waiting items can't be read from the run's database: {error}");
                        let _ = complaints.send(Trouble::Holds(words)).await;
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        Err(batch)
                    }
                };
                // The engine being gone means that nobody waits for them.
                let _ = back.send((class, loaded)).await;
            });
        }
    }

    pub(super) fn take_loaded(&mut self, class: usize, batch: Result<Batch, Vec<Seq>>) {
        let now = self.clock.now();
        match batch {
            Ok(Batch { items, unreadable }) => {
                for item in unreadable {
                    self.give_up(now, item);
                }
                for item in &items {
                    if let Some(started) = item.started_at {
                        self.first_sent.insert(item.seq, started);
                    }
                }
                self.intake.loaded(&mut self.scheduler, now.mono, class, items);
            }
            Err(batch) => self.intake.not_loaded(class, batch),
        }
    }

    fn take_rows(&mut self, rows: Option<Rows>) {
        match rows {
            Some(Rows::Batch(items)) => {
                self.ingesting = true;
                self.journal.record(Op::Items(items));
            }
            Some(Rows::End) => {
                self.intake.reading = false;
                self.journal.record(Op::IngestDone { rows: self.totals.total });
            }
            Some(Rows::Broken(why)) => {
                self.say(EventLevel::Alert, format!("the input can't be read on: {why}"));
                self.input_breaks_off(why);
            }
            // Its end is announced: a reader that just goes away has failed.
            None => self.input_breaks_off("the input could not be read to its end".to_owned()),
        }
        self.dirty = true;
    }

    pub(super) fn input_breaks_off(&mut self, why: String) {
        self.intake.reading = false;
        self.intake.broken = Some(why.clone());
        self.wind_down(Ending::Broken { why });
    }

    fn hear_trouble(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::OfOneFile(words) => self.say(EventLevel::Alert, words),
            Trouble::Holds(words) => {
                if self.trouble.is_none() {
                    self.say(EventLevel::Alert, words.clone());
                }
                self.trouble = Some((words, Instant::now()));
                self.dirty = true;
            }
        }
    }

    fn join(&mut self, landed: Result<Landed, tokio::task::JoinError>) {
        self.dirty = true;
        match landed {
            Ok(landed) => self.landed(landed),
            Err(error) if error.is_panic() => {
                // A bug, and the state of that one item is unknown: end in order, and say so.
                self.end(Ending::Broken { why: "a worker panicked; the log has the details".to_owned() });
            }
            Err(_) => {}
        }
    }

    /// Keeps what the scheduler knows for the next start.
    pub(super) fn remember(&mut self, now: Now, at_once: bool) {
        if at_once || self.stood.elapsed() >= STANDINGS_EVERY {
            self.stood = Instant::now();
            let standings = self.key_standings(now);
            if standings != self.standings {
                self.standings.clone_from(&standings);
                self.journal.record(Op::Keys(standings));
            }
        }
        if self.forgetful && (at_once || self.remembered.elapsed() > REMEMBER_EVERY) {
            let memory = self.scheduler.saved_state(now, &self.fingerprints);
            match serde_json::to_string(&memory) {
                Ok(json) => self.journal.record(Op::State { name: super::start::MEMORY.to_owned(), json }),
                Err(error) => tracing::error!("the scheduler's memory can't be written: {error}"),
            }
            self.forgetful = false;
            self.remembered = Instant::now();
        }
    }

    pub(super) fn say(&mut self, level: EventLevel, message: String) {
        self.event(EventKind::Run { level, message });
    }

    /// Numbers an event, records it and shows it.
    pub(super) fn event(&mut self, kind: EventKind) {
        let event = Arc::new(Event { number: self.next_event, at: self.clock.now().wall, kind });
        self.next_event += 1;
        let words = event.kind.to_string();
        let words = sanitize(&words);
        match event.level() {
            EventLevel::Info | EventLevel::Operator => tracing::info!(target: "cascadeck::events", "{words}"),
            EventLevel::Warn => tracing::warn!(target: "cascadeck::events", "{words}"),
            EventLevel::Alert => tracing::error!(target: "cascadeck::events", "{words}"),
        }
        self.journal.record(Op::Event(Arc::clone(&event)));
        if self.events.len() == EVENTS_SHOWN {
            self.events.pop_front();
        }
        self.events.push_back(event);
        self.dirty = true;
    }

    fn publish_if_due(&mut self, now: Now) {
        if self.dirty && self.published.elapsed() >= PUBLISH_EVERY {
            self.publish(now);
        }
    }
}

async fn next_rows(rows: &mut Option<mpsc::Receiver<Rows>>) -> Option<Rows> {
    match rows {
        Some(rows) => rows.recv().await,
        None => std::future::pending().await,
    }
}
