//! The engine's event loop: the events, the order in which they are handled, and the work at the start of each tick.

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
    attempt::{AttemptDone, AttemptTask},
    caption_writer::{DiskFault, PendingCaptions},
    completion::CommittedAttempt,
    forecasting::{ForecastTask, TimedForecast},
    handle::CommandRequest,
    intake::Intake,
    journal::Journal,
    key_probe::ProbeResult,
    lease_client::{LeaseClient, LedgerReply},
    shutdown::ProviderContact,
    startup::{InputRows, RunOutcome},
    stats::{ActiveTime, AttemptCounts, ThroughputEstimate},
};
use crate::{
    clock::Clock,
    domain::{
        AttemptId, Event, EventKind, EventLevel, Key, Model, Money, Now, Provider, Seq, Snapshot, WallTime, is_or_are,
        plain_text::sanitize,
        pluralize,
        snapshot::{Spend, Totals},
    },
    output::ExistingCaptionPolicy,
    provider::{Client, Endpoint, WorkerPool},
    scheduler::{NextStep, PlannedAttempt, Scheduler},
    store::{Ack, Intent, ItemLoader, LoadedItems, Op, OpReply, RunFiles, report::KeyRecord},
};

/// Shortest time between two snapshots.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(100);
/// Shortest time between two saves of the scheduler's state while it changes.
const STATE_SAVE_INTERVAL: Duration = Duration::from_secs(1);
/// Shortest time between two checks whether the recorded state of the keys is current.
const KEY_STATUS_INTERVAL: Duration = Duration::from_secs(2);
/// Longest sleep of the loop. It is limited because the computer may be suspended and clocks may jump.
const MAX_SLEEP: Duration = Duration::from_secs(2);
/// Maximum number of events in a snapshot.
const MAX_EVENTS_SHOWN: usize = 256;
/// How long the engine waits at the end for its last transitions to be recorded. After that it ends without them.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// The effect of a transition, carried out once its group is on disk.
#[derive(Debug)]
pub(super) enum AfterCommit {
    Send(PlannedAttempt),
    CountAttempt(Box<CommittedAttempt>),
    Reply(tokio::sync::oneshot::Sender<Result<String, String>>, String),
    /// The reply to a replay, with the number of items that were queued again.
    ReplyRequeued(tokio::sync::oneshot::Sender<Result<String, String>>),
}

#[derive(Debug)]
pub(super) struct SentAttempt {
    pub planned: PlannedAttempt,
    pub sent_at: WallTime,
    pub abort_handle: AbortHandle,
}

/// The phase of the run.
#[derive(Debug)]
pub(super) enum Phase {
    Running,
    /// No new request is sent. Ends when the last attempt and caption are done, or at the deadline.
    Draining {
        /// The outcome of the run, unless nothing is left to do by then.
        run_outcome: RunOutcome,
        deadline: Instant,
    },
    /// Nothing is left to send, but an operator is there who may replay items or bring a key back.
    Idle {
        run_outcome: RunOutcome,
    },
    /// The last transitions have been handed to the journal. Ends when they are on disk.
    Closing {
        run_outcome: RunOutcome,
        since: Instant,
    },
}

/// A class index with the items that were loaded for it, or with the numbers of the items if loading failed.
pub(super) type LoadedBatch = (usize, Result<LoadedItems, Vec<Seq>>);

pub(super) struct Channels {
    pub commands: mpsc::Receiver<CommandRequest>,
    pub acks: mpsc::Receiver<Ack>,
    pub loaded: mpsc::Receiver<LoadedBatch>,
    /// `None` if the whole input has been read.
    pub input_rows: Option<mpsc::Receiver<InputRows>>,
    pub disk_faults: mpsc::Receiver<DiskFault>,
    pub forecasts: mpsc::Receiver<TimedForecast>,
    pub lease_replies: mpsc::Receiver<LedgerReply>,
    pub probe_results: mpsc::Receiver<ProbeResult>,
}

pub(super) struct Engine {
    pub clock: Clock,
    pub started_at: Now,
    pub active_time: ActiveTime,
    /// The highest budget of the run that was ever in force; no budget counts as the highest.
    pub highest_budget: Option<Money>,
    pub run_name: String,
    pub providers: Vec<Provider>,
    pub models: Vec<Model>,
    pub keys: Vec<Key>,
    /// Fingerprints of the keys' secrets, to detect a changed secret.
    pub key_fingerprints: Vec<Option<String>>,
    pub scheduler: Scheduler,
    pub journal: Journal<AfterCommit>,
    pub intake: Intake,
    pub loader: ItemLoader,
    pub loaded_tx: mpsc::Sender<LoadedBatch>,
    pub client: Client,
    pub endpoints: Vec<Arc<Endpoint>>,
    pub model_names: Vec<Arc<str>>,
    pub existing_captions: ExistingCaptionPolicy,
    pub fault_tx: mpsc::Sender<DiskFault>,
    pub probe_tx: mpsc::Sender<ProbeResult>,
    pub attempt_tasks: JoinSet<AttemptDone>,
    /// Tasks that write committed captions to their files.
    pub caption_tasks: JoinSet<Option<Seq>>,
    pub caption_threads: Arc<WorkerPool>,
    pub pending_captions: PendingCaptions,
    pub in_flight: HashMap<AttemptId, SentAttempt>,
    /// Finished attempts whose outcome is not on disk yet; shown as in flight.
    pub uncommitted: u64,
    /// Time of the first attempt of each item that has had one and has not ended.
    pub first_sent_at: HashMap<Seq, WallTime>,
    pub totals: Totals,
    pub spend: Spend,
    pub key_counts: Vec<AttemptCounts>,
    pub model_counts: Vec<AttemptCounts>,
    /// Answered and failed attempts of each route.
    pub route_counts: Vec<(u64, u64)>,
    pub throughput: ThroughputEstimate,
    pub forecasting: ForecastTask,
    pub lease_client: LeaseClient,
    /// The attempt that was sent last.
    pub last_planned: Option<PlannedAttempt>,
    pub events: VecDeque<Arc<Event>>,
    pub next_event_number: u64,
    pub phase: Phase,
    pub is_paused: bool,
    /// The disk fault that blocks new requests, and when it was last reported.
    pub disk_fault: Option<(String, Instant)>,
    /// No operator is present to unblock the run, so it stops if it is blocked.
    pub is_unattended: bool,
    /// An ingest batch is in the journal and not yet committed. No further rows are read until then.
    pub is_ingest_pending: bool,
    pub snapshot_tx: watch::Sender<Arc<Snapshot>>,
    pub snapshot_dirty: bool,
    pub published_at: Instant,
    pub state_dirty: bool,
    pub state_saved_at: Instant,
    /// The state of the keys as last recorded for other processes. `status_checked_at` is the time of the last
    /// comparison.
    pub key_records: Vec<KeyRecord>,
    pub status_checked_at: Instant,
    /// The identities of the store's files. `files_checked_at` is the time of the last check that the files are in
    /// place.
    pub run_files: RunFiles,
    pub files_checked_at: Instant,
    pub provider_contact: ProviderContact,
    /// Number of waiting items that this start does not send, because it is limited to the first rows.
    pub held_back_items: u64,
    /// Ticks of the loop so far.
    #[cfg(test)]
    pub ticks: Arc<std::sync::atomic::AtomicU64>,
}

impl Engine {
    pub async fn run(mut self, mut channels: Channels) -> RunOutcome {
        loop {
            // The tick comes first: a resumed run has all it needs, and no event would wake it.
            if let Some(run_outcome) = self.tick() {
                // Leases that are still on their way are returned with the others.
                channels.lease_replies.close();
                while let Ok(reply) = channels.lease_replies.try_recv() {
                    self.on_lease_reply(Some(reply));
                }
                return self.close(run_outcome).await;
            }
            let wakeup = self.next_wakeup();
            tokio::select! {
                biased;
                Some(request) = channels.commands.recv() => self.on_command(request),
                ack = channels.acks.recv(), if !self.journal.is_closed() => self.on_ack(ack),
                Some(done) = self.attempt_tasks.join_next(), if !self.attempt_tasks.is_empty() => {
                    self.on_attempt_joined(done);
                    while let Some(done) = self.attempt_tasks.try_join_next() {
                        self.on_attempt_joined(done);
                    }
                }
                // Faults are handled before finished captions. So the fault of the last caption is logged before the
                // run ends.
                Some(fault) = channels.disk_faults.recv() => self.on_disk_fault(fault),
                Some(written) = self.caption_tasks.join_next(), if !self.caption_tasks.is_empty() => {
                    self.snapshot_dirty = true;
                    // If the task was aborted or gave up, the caption stays pending.
                    if let Ok(Some(item)) = written {
                        self.pending_captions.remove(item);
                    }
                }
                Some((class, batch)) = channels.loaded.recv() => self.on_loaded(class, batch),
                rows = next_rows(&mut channels.input_rows), if self.intake.is_reading && !self.is_ingest_pending => self.on_input_rows(rows),
                Some(result) = channels.probe_results.recv() => self.on_probe_result(result),
                reply = channels.lease_replies.recv(), if self.lease_client.is_connected() => self.on_lease_reply(reply),
                Some(forecast) = channels.forecasts.recv() => self.on_forecast(forecast),
                () = tokio::time::sleep_until(wakeup.into()) => {}
            }
        }
    }

    /// The work at the start of each tick. Returns the run's outcome once it is on disk.
    pub(super) fn tick(&mut self) -> Option<RunOutcome> {
        #[cfg(test)]
        self.ticks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let now = self.clock.now();
        self.dispatch(now);
        self.request_leases(now);
        self.load_items();
        self.check_done(now);
        self.save_state(now, false);
        if let Some(pending) = self.pending_captions.take_state_op() {
            self.journal.record(pending);
        }
        if self.journal.has_pending() {
            self.journal.record(Op::SetActiveTime(self.active_time.total(now.mono)));
        }
        self.journal.flush();
        self.maybe_forecast(now);
        self.publish_if_due(now);
        match &self.phase {
            Phase::Closing { run_outcome, .. } if self.journal.is_flushed() => Some(run_outcome.clone()),
            Phase::Closing { since, .. } if self.journal.is_closed() || since.elapsed() > CLOSE_TIMEOUT => {
                Some(RunOutcome::Failed {
                    reason: self
                        .journal
                        .stall_reason()
                        .unwrap_or("the run's last changes could not be recorded in time")
                        .to_owned(),
                })
            }
            _ => None,
        }
    }

    /// Handles the writer's reply to a group. `None` means that the writer's thread has ended and nothing can be
    /// recorded.
    pub(super) fn on_ack(&mut self, ack: Option<Ack>) {
        match ack {
            Some(ack) => self.apply_ack(ack),
            None => self.journal.on_writer_exit(),
        }
    }

    fn next_wakeup(&self) -> Instant {
        let now = Instant::now();
        let mut wakeup = now + MAX_SLEEP;
        // A wakeup stays due until the scheduler is polled. While the scheduler is not polled, an overdue wakeup is
        // ignored, since the loop would never sleep.
        if self.can_dispatch()
            && let Some(at) = self.scheduler.next_wakeup()
        {
            wakeup = wakeup.min(self.clock.instant_of(at));
        }
        if self.snapshot_dirty {
            wakeup = wakeup.min(self.published_at + PUBLISH_INTERVAL);
        }
        if let Some(at) = self.gives_up_at() {
            wakeup = wakeup.min(self.clock.instant_of(at));
        }
        if self.journal.stall_reason().is_some() || self.disk_fault.is_some() || self.lease_client.has_backlog() {
            wakeup = wakeup.min(now + Duration::from_secs(1));
        }
        match &self.phase {
            Phase::Draining { deadline, .. } => wakeup = wakeup.min(*deadline),
            Phase::Closing { .. } => wakeup = wakeup.min(now + Duration::from_millis(200)),
            Phase::Running | Phase::Idle { .. } => {}
        }
        wakeup
    }

    /// Whether the scheduler is polled for the next request.
    fn can_dispatch(&self) -> bool {
        matches!(self.phase, Phase::Running) && self.journal.stall_reason().is_none() && self.disk_fault.is_none()
    }

    fn dispatch(&mut self, now: Now) {
        if !self.can_dispatch() {
            return;
        }
        while let Some(step) = self.scheduler.poll(now) {
            self.snapshot_dirty = true;
            match step {
                NextStep::Send(planned) => {
                    self.journal.record(Op::RecordIntent(Intent {
                        attempt: planned.attempt,
                        seq: planned.seq,
                        route: planned.route,
                        sent_at: now.wall,
                        reserved: planned.max_cost,
                        est_tokens: planned.estimated_input_tokens,
                    }));
                    self.journal.add_effect(AfterCommit::Send(planned));
                }
                NextStep::Reject(rejection) => self.on_rejected(now, &rejection),
            }
        }
    }

    /// Sends the request; its intent is on disk.
    fn send(&mut self, planned: PlannedAttempt) {
        let now = self.clock.now();
        let spec = self.intake.spec(planned.seq).cloned();
        let (Some(spec), Phase::Running, false) = (spec, &self.phase, self.is_paused) else {
            self.journal.record(Op::CancelIntent { attempt: planned.attempt });
            self.scheduler.cancel(now, planned.attempt);
            return;
        };
        self.scheduler.on_sent(now, planned.attempt);
        self.provider_contact.on_sent(now.mono);
        self.totals.attempts += 1;
        let model = &self.models[planned.model.index()];
        let task = AttemptTask {
            attempt: planned.attempt,
            client: self.client.clone(),
            endpoint: Arc::clone(&self.endpoints[planned.key.index()]),
            model: Arc::clone(&self.model_names[planned.model.index()]),
            max_output: model.max_output,
            spec,
            output_multiplier: planned.output_multiplier,
            timeout: planned.timeout,
            clock: self.clock,
        };
        let abort_handle = self.attempt_tasks.spawn(task.run());
        self.last_planned = Some(planned.clone());
        self.in_flight.insert(planned.attempt, SentAttempt { planned, sent_at: now.wall, abort_handle });
    }

    pub(super) fn apply_ack(&mut self, ack: Ack) {
        self.snapshot_dirty = true;
        let (replies, effects) = self.journal.on_ack(ack);
        let requeued: usize = replies.iter().map(OpReply::requeued_count).sum();
        // Items that ended in this group are counted before items that the same group requeued.
        for effect in effects {
            match effect {
                AfterCommit::Send(planned) => self.send(planned),
                AfterCommit::CountAttempt(committed) => self.on_committed(*committed),
                // The send fails only if the front end has gone.
                AfterCommit::Reply(reply, message) => drop(reply.send(Ok(message))),
                AfterCommit::ReplyRequeued(reply) => {
                    let requeued = requeued as u64;
                    let message =
                        format!("{} {} waiting again", pluralize(requeued, "failed item"), is_or_are(requeued));
                    drop(reply.send(Ok(message)));
                }
            }
        }
        for reply in replies {
            match reply {
                OpReply::Ingested(ingested) => {
                    self.is_ingest_pending = false;
                    for (id, traits) in &ingested.new_traits {
                        self.intake.add_class(&mut self.scheduler, *id, traits);
                    }
                    self.totals.total += ingested.added.len() as u64;
                    for item in ingested.added {
                        self.intake.add_waiting(&mut self.scheduler, item);
                    }
                }
                OpReply::Traits(traits) => {
                    for (id, traits) in &traits {
                        self.intake.add_class(&mut self.scheduler, *id, traits);
                    }
                }
                OpReply::Requeued(items) => {
                    self.totals.failed -= items.len() as u64;
                    for item in items {
                        self.intake.add_waiting(&mut self.scheduler, item);
                    }
                }
            }
            self.intake.update_backlog(&mut self.scheduler);
        }
    }

    fn load_items(&mut self) {
        while let Some((class, batch)) = self.intake.next_batch(&self.scheduler) {
            self.intake.update_backlog(&mut self.scheduler);
            let (loader, loaded_tx, fault_tx) = (self.loader.clone(), self.loaded_tx.clone(), self.fault_tx.clone());
            tokio::spawn(async move {
                let loaded = match loader.load(batch.clone()).await {
                    Ok(items) => Ok(items),
                    Err(error) => {
                        // The send fails only if the engine has ended.
                        let message = format!("waiting items can't be read from the run's database: {error}");
                        let _ = fault_tx.send(DiskFault::Blocking(message)).await;
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        Err(batch)
                    }
                };
                // The send fails only if the engine has ended.
                let _ = loaded_tx.send((class, loaded)).await;
            });
        }
    }

    pub(super) fn on_loaded(&mut self, class: usize, batch: Result<LoadedItems, Vec<Seq>>) {
        let now = self.clock.now();
        match batch {
            Ok(LoadedItems { items, unreadable }) => {
                for item in unreadable {
                    self.fail_unreadable(now, item);
                }
                for item in &items {
                    if let Some(started) = item.started_at {
                        self.first_sent_at.insert(item.seq, started);
                    }
                }
                self.intake.on_loaded(&mut self.scheduler, now.mono, class, items);
            }
            Err(batch) => self.intake.on_load_failed(class, batch),
        }
    }

    fn on_input_rows(&mut self, input_rows: Option<InputRows>) {
        match input_rows {
            Some(InputRows::Batch(items)) => {
                self.is_ingest_pending = true;
                self.journal.record(Op::IngestItems(items));
            }
            Some(InputRows::End) => {
                self.intake.is_reading = false;
                self.journal.record(Op::FinishIngest { rows: self.totals.total });
            }
            Some(InputRows::Failed(reason)) => {
                self.log(EventLevel::Alert, format!("can't read the rest of the input: {reason}"));
                self.on_input_error(reason);
            }
            // The reader announces the end of the input. If the channel closes without that, the reader has failed.
            None => self.on_input_error("the input could not be read to the end".to_owned()),
        }
        self.snapshot_dirty = true;
    }

    pub(super) fn on_input_error(&mut self, reason: String) {
        self.intake.is_reading = false;
        self.intake.input_error = Some(reason.clone());
        self.begin_drain(RunOutcome::Failed { reason });
    }

    fn on_disk_fault(&mut self, fault: DiskFault) {
        match fault {
            DiskFault::OneFile(message) => self.log(EventLevel::Alert, message),
            DiskFault::Blocking(message) => {
                if self.disk_fault.is_none() {
                    self.log(EventLevel::Alert, message.clone());
                }
                self.disk_fault = Some((message, Instant::now()));
                self.snapshot_dirty = true;
            }
        }
    }

    fn on_attempt_joined(&mut self, done: Result<AttemptDone, tokio::task::JoinError>) {
        self.snapshot_dirty = true;
        match done {
            Ok(done) => self.on_attempt_done(done),
            Err(error) if error.is_panic() => {
                // This is a bug, and the state of that item is unknown. The run ends in an orderly way and reports it.
                self.begin_closing(RunOutcome::Failed {
                    reason: "a worker panicked; see the log for details".to_owned(),
                });
            }
            Err(_) => {}
        }
    }

    /// Saves the scheduler's state for the next start, and the state of the keys for other processes.
    pub(super) fn save_state(&mut self, now: Now, at_once: bool) {
        if at_once || self.status_checked_at.elapsed() >= KEY_STATUS_INTERVAL {
            self.status_checked_at = Instant::now();
            let records = self.key_records(now);
            if records != self.key_records {
                self.key_records.clone_from(&records);
                self.journal.record(Op::SetKeys(records));
            }
        }
        if self.state_dirty && (at_once || self.state_saved_at.elapsed() > STATE_SAVE_INTERVAL) {
            let saved_state = self.scheduler.saved_state(now, &self.key_fingerprints);
            match serde_json::to_string(&saved_state) {
                Ok(json) => {
                    self.journal.record(Op::SetState { name: super::startup::SCHEDULER_STATE.to_owned(), json });
                }
                Err(error) => tracing::error!("can't save the scheduler's state: {error}"),
            }
            self.state_dirty = false;
            self.state_saved_at = Instant::now();
        }
    }

    pub(super) fn log(&mut self, level: EventLevel, message: String) {
        self.emit_event(EventKind::Run { level, message });
    }

    /// Numbers an event, records it and shows it.
    pub(super) fn emit_event(&mut self, kind: EventKind) {
        let event = Arc::new(Event { number: self.next_event_number, at: self.clock.now().wall, kind });
        self.next_event_number += 1;
        let message = event.kind.to_string();
        let message = sanitize(&message);
        match event.level() {
            EventLevel::Info | EventLevel::Operator => tracing::info!(target: "cascadeck::events", "{message}"),
            EventLevel::Warn => tracing::warn!(target: "cascadeck::events", "{message}"),
            EventLevel::Alert => tracing::error!(target: "cascadeck::events", "{message}"),
        }
        self.journal.record(Op::RecordEvent(Arc::clone(&event)));
        if self.events.len() == MAX_EVENTS_SHOWN {
            self.events.pop_front();
        }
        self.events.push_back(event);
        self.snapshot_dirty = true;
    }

    fn publish_if_due(&mut self, now: Now) {
        if self.snapshot_dirty && self.published_at.elapsed() >= PUBLISH_INTERVAL {
            self.publish(now);
        }
    }
}

async fn next_rows(input_rows: &mut Option<mpsc::Receiver<InputRows>>) -> Option<InputRows> {
    match input_rows {
        Some(input_rows) => input_rows.recv().await,
        None => std::future::pending().await,
    }
}
