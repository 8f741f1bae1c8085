//! The engine's event loop: the events, the order in which they are handled, and the work at the start of each tick.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::{
    attempt::AttemptRunner,
    caption_writer::CaptionWriter,
    disk_fault::DiskFaultState,
    event_log::EventLog,
    file_check::FileCheck,
    forecasting::Forecaster,
    health_checks::{HealthChange, HealthChecks},
    intake::Intake,
    item_table::{ItemTable, SentAttempt},
    journal::Journal,
    key_budget::key_records,
    lease_client::LeaseClient,
    messages::{
        AfterCommit, AttemptDone, CommandRequest, DiskFault, HealthCheckResult, InputRows, LedgerReply, LoadedBatch,
        ProbeResult, RunOutcome, TimedForecast,
    },
    outage_log::OutageLog,
    provider_contact::ProviderContact,
    publisher::SnapshotPublisher,
    routing_changes::RoutingChanges,
    row_model_departures::RowModelDepartures,
    run_stats::RunStats,
    sampler::Sampler,
    silence::{SilenceWatch, normal_silence},
    state_saver::StateSaver,
};
use crate::{
    checks::CheckFault,
    clock::Clock,
    domain::{
        EventKind, EventLevel, Key, Model, Now, Provider, ProviderId, Seq, is_or_are, pluralize, snapshot::Condition,
    },
    scheduler::{NextStep, PlannedAttempt, Scheduler},
    store::{Ack, Intent, LoadedItems, Op, OpReply},
};

/// Longest sleep of the loop. It is limited because the computer may be suspended and clocks may jump.
const MAX_SLEEP: Duration = Duration::from_secs(2);
/// Shortest time between two tries of something that fails, such as recording on a full disk.
const FAULT_RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// How long an unattended run waits for a check that can't be made.
const MAX_CHECK_FAULT_TIME: Duration = Duration::from_secs(10);
/// How often the loop looks whether its last transitions are recorded.
const CLOSE_CHECK_INTERVAL: Duration = Duration::from_millis(200);
/// How long the engine waits at the end for its last transitions to be recorded. After that it ends without them.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

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

/// Whether an operator is present to unblock the run. An unattended run stops if it is blocked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Attendance {
    Attended,
    Unattended,
}

pub(super) struct Channels {
    pub(super) commands: mpsc::Receiver<CommandRequest>,
    pub(super) acks: mpsc::Receiver<Ack>,
    pub(super) loaded: mpsc::Receiver<LoadedBatch>,
    /// `None` if the whole input has been read.
    pub(super) input_rows: Option<mpsc::Receiver<InputRows>>,
    pub(super) disk_faults: mpsc::Receiver<DiskFault>,
    pub(super) forecasts: mpsc::Receiver<TimedForecast>,
    pub(super) lease_replies: mpsc::Receiver<LedgerReply>,
    pub(super) probe_results: mpsc::Receiver<ProbeResult>,
    pub(super) health_results: mpsc::Receiver<HealthCheckResult>,
}

/// The parts of a run's engine, and what only the loop decides: the phase, pauses and faults.
pub(super) struct Engine {
    pub(super) clock: Clock,
    pub(super) started_at: Now,
    pub(super) run_name: String,
    pub(super) providers: Vec<Provider>,
    pub(super) models: Vec<Model>,
    pub(super) keys: Vec<Key>,
    pub(super) scheduler: Scheduler,
    pub(super) journal: Journal<AfterCommit>,
    pub(super) intake: Intake,
    pub(super) items: ItemTable,
    pub(super) attempts: AttemptRunner,
    pub(super) captions: CaptionWriter,
    pub(super) stats: RunStats,
    pub(super) event_log: EventLog,
    pub(super) forecaster: Forecaster,
    pub(super) leases: LeaseClient,
    pub(super) probe_tx: mpsc::Sender<ProbeResult>,
    pub(super) health_checks: HealthChecks,
    pub(super) publisher: SnapshotPublisher,
    pub(super) sampler: Sampler,
    pub(super) state_saver: StateSaver,
    pub(super) file_check: FileCheck,
    pub(super) provider_contact: ProviderContact,
    pub(super) silence: SilenceWatch,
    pub(super) outage_log: OutageLog,
    pub(super) routing_changes: RoutingChanges,
    pub(super) phase: Phase,
    pub(super) attendance: Attendance,
    pub(super) is_paused: bool,
    /// The operator has given up on all items that remain; those that are loaded later are given up too.
    pub(super) gives_up_rest: bool,
    pub(super) disk_fault: DiskFaultState,
    /// Why answers can't be checked at present. Until they can be, nothing is sent.
    pub(super) check_fault: Option<CheckFault>,
    /// Finished attempts whose outcome is not on disk yet; shown as in flight.
    pub(super) uncommitted: u64,
    pub(super) row_model_departures: RowModelDepartures,
    /// Ticks of the loop so far.
    #[cfg(test)]
    pub(super) ticks: Arc<std::sync::atomic::AtomicU64>,
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
                Some(done) = self.attempts.join_next(), if self.attempts.has_tasks() => {
                    self.on_attempt_joined(done);
                    while let Some(done) = self.attempts.try_join_next() {
                        self.on_attempt_joined(done);
                    }
                }
                // Faults are handled before finished captions. So the fault of the last caption is logged before the
                // run ends.
                Some(fault) = channels.disk_faults.recv() => self.on_disk_fault(fault),
                Some(written) = self.captions.join_next(), if self.captions.is_writing() => {
                    self.publisher.mark_dirty();
                    self.captions.on_written(&written);
                }
                Some((class, batch)) = channels.loaded.recv() => self.on_loaded(class, batch),
                rows = next_rows(&mut channels.input_rows), if self.intake.wants_rows() => self.on_input_rows(rows),
                Some(result) = channels.probe_results.recv() => self.on_probe_result(&result),
                Some(result) = channels.health_results.recv() => self.on_health_check(result),
                reply = channels.lease_replies.recv(), if self.leases.is_connected() => self.on_lease_reply(reply),
                Some(forecast) = channels.forecasts.recv() => {
                    if self.forecaster.on_forecast(forecast) {
                        self.publisher.mark_dirty();
                    }
                }
                () = tokio::time::sleep_until(wakeup.into()) => {}
            }
        }
    }

    /// The work at the start of each tick. Returns the run's outcome once it is on disk.
    pub(super) fn tick(&mut self) -> Option<RunOutcome> {
        #[cfg(test)]
        self.ticks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let now = self.clock.now();
        self.look_at_checks();
        self.dispatch(now);
        self.request_leases(now);
        self.intake.load_items(&mut self.scheduler, self.gives_up_rest);
        self.check_done(now);
        self.check_silence(now);
        self.check_providers(now);
        self.report_outages_and_routing_changes(now);
        self.save_state(now, false);
        if let Some(pending) = self.captions.take_state_op() {
            self.journal.record(pending);
        }
        if self.journal.has_pending() {
            self.journal.record(Op::SetActiveTime(self.stats.active_time.total(now.mono)));
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
                        .write_fault()
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
        let mut wakeup = (now + MAX_SLEEP).min(self.publisher.due_at());
        // A wakeup stays due until the scheduler is polled. While the scheduler is not polled, an overdue wakeup is
        // ignored, since the loop would never sleep.
        if self.can_dispatch()
            && let Some(at) = self.scheduler.next_wakeup()
        {
            wakeup = wakeup.min(self.clock.instant_of(at));
        }
        if let Some(at) = self.gives_up_at() {
            wakeup = wakeup.min(self.clock.instant_of(at));
        }
        let has_fault =
            self.journal.write_fault().is_some() || self.disk_fault.is_blocked() || self.check_fault.is_some();
        if has_fault || self.leases.has_backlog() {
            wakeup = wakeup.min(now + FAULT_RETRY_INTERVAL);
        }
        match &self.phase {
            Phase::Draining { deadline, .. } => wakeup = wakeup.min(*deadline),
            Phase::Closing { .. } => wakeup = wakeup.min(now + CLOSE_CHECK_INTERVAL),
            Phase::Running | Phase::Idle { .. } => {}
        }
        wakeup
    }

    /// Whether the scheduler is polled for the next request.
    pub(super) fn can_dispatch(&self) -> bool {
        matches!(self.phase, Phase::Running)
            && self.journal.write_fault().is_none()
            && !self.disk_fault.is_blocked()
            && self.check_fault.is_none()
    }

    /// Looks whether answers can be checked. An unattended run ends if they can't be for too long.
    fn look_at_checks(&mut self) {
        if matches!(self.phase, Phase::Closing { .. }) {
            return;
        }
        let fault = self.attempts.check_fault();
        match (&self.check_fault, &fault) {
            (None, Some(fault)) => {
                let waits = "nothing is sent until it can be; the answers that are there wait for their check";
                self.log(EventLevel::Alert, format!("{}; {waits}", fault.message));
            }
            (Some(_), None) => {
                let message =
                    "the command can be started, or no answer waits for it any more; sending goes on".to_owned();
                self.emit_event(EventKind::Recovered { subject: "checks".to_owned(), message });
            }
            _ => {}
        }
        self.check_fault = fault;
        if let Some(fault) = &self.check_fault
            && self.is_unattended()
            && fault.since.elapsed() >= MAX_CHECK_FAULT_TIME
        {
            self.begin_drain(RunOutcome::Stopped { reason: fault.message.clone() });
        }
        if matches!(self.phase, Phase::Draining { .. }) {
            self.attempts.stop_waiting_for_checks();
        }
    }

    fn dispatch(&mut self, now: Now) {
        if !self.can_dispatch() {
            return;
        }
        while let Some(step) = self.scheduler.poll(now) {
            self.publisher.mark_dirty();
            match step {
                NextStep::Send(planned) => {
                    let intent = Intent {
                        attempt: planned.attempt,
                        seq: planned.seq,
                        route: planned.route,
                        sent_at: now.wall,
                        reserved: planned.max_cost,
                        est_tokens: planned.estimated_input_tokens,
                    };
                    self.journal.submit(Op::RecordIntent(intent), AfterCommit::Send(planned));
                }
                NextStep::Reject(rejection) => self.on_rejected(now, &rejection),
            }
        }
    }

    /// Sends the request, whose intent is committed, unless something has stopped the run in the meantime.
    fn send(&mut self, planned: PlannedAttempt) {
        let now = self.clock.now();
        if !self.scheduler.has_attempt(planned.attempt) {
            // The operator has given up on its item, which took the intent back.
            return;
        }
        let spec = self.items.spec(planned.seq).cloned();
        let may_send = self.can_dispatch() && !self.is_paused;
        let (Some(spec), true) = (spec, may_send) else {
            self.journal.record(Op::CancelIntent { attempt: planned.attempt });
            self.scheduler.cancel(now, planned.attempt);
            return;
        };
        self.scheduler.on_sent(now, planned.attempt);
        self.provider_contact.on_sent(now.mono);
        self.silence.on_sent(self.keys[planned.key.index()].provider, now.mono);
        self.routing_changes.on_sent(planned.route);
        self.stats.totals.attempts += 1;
        self.stats.key_budgets[planned.key.index()].record_request(planned.max_cost);
        let explanation = self.items.explanation(planned.seq).map(str::to_owned);
        if let (Some(reason), Some(model)) = (planned.why_not_row_model, &spec.preferred_model) {
            let route = self.scheduler.route_name(planned.route);
            if let Some(message) = self.row_model_departures.count(model, reason, &route) {
                self.log(EventLevel::Info, message);
            }
        }
        let abort_handle = self.attempts.start(&planned, spec, explanation);
        self.items.set_sent(SentAttempt { planned, sent_at: now, abort_handle });
    }

    pub(super) fn apply_ack(&mut self, ack: Ack) {
        self.publisher.mark_dirty();
        if ack.result.is_ok() {
            self.stats.record_commit(self.journal.time_since_submission());
        }
        let (replies, effects) = self.journal.on_ack(ack);
        // The replies of replays come in the order of their commands.
        let mut requeued_counts: VecDeque<u64> = replies.iter().filter_map(requeued_count).collect();
        // Items that ended in this group are counted before items that the same group requeued.
        for effect in effects {
            match effect {
                AfterCommit::Send(planned) => self.send(planned),
                AfterCommit::CountEffects(committed) => self.on_committed(*committed),
                // The send fails only if the front end has gone.
                AfterCommit::Reply(reply, message) => drop(reply.send(Ok(message))),
                AfterCommit::ReplyRequeued(reply) => {
                    let requeued = requeued_counts.pop_front().unwrap_or_default();
                    let message =
                        format!("{} {} waiting again", pluralize(requeued, "failed item"), is_or_are(requeued));
                    drop(reply.send(Ok(message)));
                }
            }
        }
        for reply in replies {
            match reply {
                OpReply::Ingested(ingested) => {
                    self.intake.is_ingest_pending = false;
                    self.stats.totals.total += ingested.added.len() as u64;
                    self.intake.add_items(&mut self.scheduler, &ingested.new_traits, ingested.added);
                }
                OpReply::Traits(traits) => self.intake.add_items(&mut self.scheduler, &traits, Vec::new()),
                OpReply::Requeued(items) => {
                    self.stats.totals.failed -= items.len() as u64;
                    self.intake.add_items(&mut self.scheduler, &[], items);
                }
            }
        }
    }

    pub(super) fn on_loaded(&mut self, class: usize, batch: Result<LoadedItems, Vec<Seq>>) {
        let now = self.clock.now();
        match batch {
            Ok(LoadedItems { items, unreadable }) => {
                for item in unreadable {
                    self.fail_unreadable(now, item);
                }
                self.intake.on_loaded(&mut self.scheduler, &mut self.items, now.mono, class, items);
                if self.gives_up_rest && !matches!(self.phase, Phase::Closing { .. }) {
                    self.give_up(now, |_| true);
                }
            }
            Err(batch) => self.intake.on_load_failed(class, &batch),
        }
    }

    fn on_input_rows(&mut self, input_rows: Option<InputRows>) {
        match input_rows {
            Some(InputRows::Batch(items)) => {
                self.intake.is_ingest_pending = true;
                self.journal.record(Op::IngestItems(items));
            }
            Some(InputRows::End) => {
                self.intake.is_reading = false;
                self.journal.record(Op::FinishIngest { rows: self.stats.totals.total });
            }
            Some(InputRows::Failed(reason)) => {
                self.log(EventLevel::Alert, format!("can't read the rest of the input: {reason}"));
                self.on_input_error(reason);
            }
            // The reader announces the end of the input. If the channel closes without that, the reader has failed.
            None => self.on_input_error("the input could not be read to the end".to_owned()),
        }
        self.publisher.mark_dirty();
    }

    pub(super) fn on_input_error(&mut self, reason: String) {
        self.intake.is_reading = false;
        self.intake.input_error = Some(reason.clone());
        self.begin_drain(RunOutcome::Failed { reason });
    }

    /// Requests the leases that the scheduler needs, and sends what had no room before.
    fn request_leases(&mut self, now: Now) {
        if self.leases.is_connected() {
            self.leases.request(now.wall, self.scheduler.lease_requests(now));
        }
    }

    /// Handles a reply of the ledger's thread. `None` means that the thread has died.
    fn on_lease_reply(&mut self, reply: Option<LedgerReply>) {
        let now = self.clock.now();
        self.publisher.mark_dirty();
        let reason = match reply {
            Some(LedgerReply::Granted(grants)) => {
                for grant in &grants {
                    self.scheduler.apply_lease_grant(now, grant);
                }
                return;
            }
            Some(LedgerReply::Failed(reason)) => reason,
            None => "its thread has ended; see the log for details".to_owned(),
        };
        self.leases.disconnect();
        self.scheduler.stop_sharing_daily_quotas();
        let message = format!("can't use the daily ledger, so this run counts only its own requests: {reason}");
        self.log(EventLevel::Warn, message);
    }

    /// Starts a forecast, if one is due.
    fn maybe_forecast(&mut self, now: Now) {
        if matches!(self.phase, Phase::Running) && self.forecaster.is_due() {
            self.forecaster.start(self.scheduler.forecast_input(now, &self.stats.assumptions()));
        }
    }

    /// Reports a provider that has become silent, and makes its health check due. Gives up requests that a silent
    /// provider seems to have lost, so that they are asked again.
    fn check_silence(&mut self, now: Now) {
        let normal = |provider| {
            let models = self.models.iter().zip(&self.stats.models).filter(|(model, _)| model.provider == provider);
            models.map(|(_, counts)| normal_silence(counts.latencies.percentile_ms(95))).max().unwrap_or_default()
        };
        let being_checked = |provider| {
            let keys = self.keys.iter().enumerate().filter(|(_, key)| key.provider == provider);
            keys.map(|(index, _)| self.attempts.being_checked(index)).sum()
        };
        if let Some(provider) = self.silence.take_new(now.mono, being_checked, normal) {
            self.health_checks.make_due(provider, now.mono);
            self.health_checks.forget_response(provider);
            let message = self.silence.message(provider, &self.providers[provider.index()].name, now.mono);
            self.log(EventLevel::Warn, message);
        }
        if !self.can_dispatch() || self.is_paused {
            // Nothing could be asked again.
            return;
        }
        // A model that has not answered yet may take as long as the operator allows.
        let unknown = self.scheduler.policy().idle_timeout / 4;
        let normal = |provider| {
            let sent = self.items.sent().filter(|sent| self.keys[sent.planned.key.index()].provider == provider);
            let p95 = |sent: &SentAttempt| self.stats.models[sent.planned.model.index()].latencies.percentile_ms(95);
            sent.map(|sent| p95(sent).map_or(unknown, |ms| normal_silence(Some(ms)))).max().unwrap_or(unknown)
        };
        let may_answer = |provider| self.health_checks.responds(provider) != Some(false);
        if let Some(provider) = self.silence.take_trial(now.mono, may_answer, normal) {
            self.try_silent_provider(now, provider);
        }
        while let Some((provider, answered_sent_at)) = self.silence.take_revived(now.mono) {
            self.give_up_lost_requests(now, provider, answered_sent_at);
        }
    }

    /// Starts the health checks that are due: of all providers while no item waits, and else of those that fail or are
    /// silent.
    fn check_providers(&mut self, now: Now) {
        if !matches!(self.phase, Phase::Running | Phase::Idle { .. }) {
            return;
        }
        while let Some(provider) = self.health_checks.take_due(now.mono) {
            let may_be_down = self.silence.is_silent(provider) || self.scheduler.is_provider_failing(provider);
            if (may_be_down || self.scheduler.unfinished_items() == 0)
                && let Some(key) = self.usable_key(now, provider)
            {
                let (client, endpoint) = (self.attempts.client().clone(), Arc::clone(self.attempts.endpoint(key)));
                self.health_checks.start(now.mono, provider, client, endpoint);
            }
        }
    }

    /// Reports providers that are down, and changes of course that no answer shows.
    fn report_outages_and_routing_changes(&mut self, now: Now) {
        if !self.routing_changes.is_due(now.mono) || !matches!(self.phase, Phase::Running) {
            return;
        }
        for provider in self.outage_log.grouped() {
            for event in self.update_outage_log(now, provider, None) {
                self.emit_event(event);
            }
        }
        let (cooldowns, pools) = (self.scheduler.cooldowns(now), self.scheduler.pool_views(now));
        let scheduler = &self.scheduler;
        let events = self.routing_changes.check(
            now,
            &cooldowns,
            &pools,
            |route| scheduler.route_condition(now, route),
            |route| scheduler.route_name(route),
        );
        for event in events {
            self.emit_event(event);
        }
    }

    /// The first key of a provider that is neither switched off nor disabled.
    fn usable_key(&self, now: Now, provider: ProviderId) -> Option<usize> {
        let statuses = self.scheduler.key_statuses(now);
        let is_usable = |index: &usize| {
            self.keys[*index].provider == provider
                && !matches!(statuses[*index].condition, Condition::SwitchedOff { .. } | Condition::Disabled { .. })
        };
        (0..self.keys.len()).find(is_usable)
    }

    fn on_health_check(&mut self, result: HealthCheckResult) {
        let provider = result.provider;
        let name = self.providers[provider.index()].name.clone();
        if result.result.is_ok() {
            self.scheduler.on_health_response(provider, result.sent_at);
        }
        match self.health_checks.on_result(result) {
            Some(HealthChange::WentDown { reason }) => {
                self.scheduler.mark_provider_down(provider);
                self.log(EventLevel::Warn, format!("{name} does not respond to its health check: {reason}"));
            }
            Some(HealthChange::CameBack) => {
                self.scheduler.retry_provider(provider);
                self.silence.make_trial_due(provider);
                self.state_saver.mark_dirty();
                let message = "it responds to its health check".to_owned();
                self.emit_event(EventKind::Recovered { subject: name, message });
            }
            None => {}
        }
    }

    fn on_disk_fault(&mut self, fault: DiskFault) {
        match fault {
            DiskFault::OneFile(message) => self.log(EventLevel::Alert, message),
            DiskFault::Blocking(message) => {
                if self.disk_fault.on_fault(message.clone()) {
                    self.log(EventLevel::Alert, message);
                }
                self.publisher.mark_dirty();
            }
        }
    }

    fn on_attempt_joined(&mut self, done: Result<AttemptDone, tokio::task::JoinError>) {
        self.publisher.mark_dirty();
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

    /// Saves the state of the scheduler and of the keys, if it is due or wanted `at_once`.
    pub(super) fn save_state(&mut self, now: Now, at_once: bool) {
        let key_records = || key_records(now, &self.scheduler, &self.keys, &self.stats.key_budgets);
        let backoff = self.current_backoff(now);
        let max_tokens_fields = || self.attempts.client().learned_max_tokens_fields();
        for op in self.state_saver.take_ops(now, &self.scheduler, key_records, backoff, max_tokens_fields, at_once) {
            self.journal.record(op);
        }
    }

    pub(super) fn log(&mut self, level: EventLevel, message: String) {
        self.emit_event(EventKind::Run { level, message });
    }

    /// Records an event and shows it.
    pub(super) fn emit_event(&mut self, kind: EventKind) {
        let event = self.event_log.add(self.clock.now().wall, kind);
        self.journal.record(Op::RecordEvent(event));
        self.publisher.mark_dirty();
    }

    fn publish_if_due(&mut self, now: Now) {
        if self.publisher.due_at() <= Instant::now() {
            self.publish(now);
            // It may have recorded a sample.
            self.journal.flush();
        }
    }
}

/// Number of items that a replay has queued again; `None` for other replies.
fn requeued_count(reply: &OpReply) -> Option<u64> {
    match reply {
        OpReply::Requeued(items) => Some(items.len() as u64),
        OpReply::Ingested(_) | OpReply::Traits(_) => None,
    }
}

async fn next_rows(input_rows: &mut Option<mpsc::Receiver<InputRows>>) -> Option<InputRows> {
    match input_rows {
        Some(input_rows) => input_rows.recv().await,
        None => std::future::pending().await,
    }
}
