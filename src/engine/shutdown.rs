//! The end of a run: when it is done or goes idle, and how its outcome is recorded.

use std::time::Instant;

use super::{
    event_loop::{Attendance, Engine, Phase},
    journal::WRITER_GONE_MESSAGE,
    messages::RunOutcome,
    provider_contact::ProviderContact,
};
use crate::{
    domain::{
        EventLevel, MonoTime, Now, OnExhausted, Snapshot, WallTime,
        event::format_duration,
        pluralize,
        snapshot::{RunState, Totals},
        truncated_suffix,
    },
    scheduler::StallReason,
    store::Op,
};

impl Engine {
    /// When an unattended run gives up, because no provider has responded to any request. `None` if it does not.
    pub(super) fn gives_up_at(&self) -> Option<MonoTime> {
        let limit = self.scheduler.policy().give_up_after;
        let may_give_up = self.is_unattended() && !limit.is_zero() && matches!(self.phase, Phase::Running);
        self.provider_contact.failing_since().filter(|_| may_give_up).map(|since| since + limit)
    }

    /// Ends an unattended run if no provider has responded for too long. The beginning of a response is enough.
    fn stop_if_unanswered(&mut self, now: Now) {
        if self.gives_up_at().is_none_or(|at| now.mono < at) {
            return;
        }
        if self.attempts.client().has_received_response() {
            self.provider_contact = ProviderContact::Reached;
            return;
        }
        let ProviderContact::Failing { requests, message, .. } = &self.provider_contact else { return };
        let mut details = Vec::new();
        if *requests > 0 {
            details.push(format!("{}, the last to {message}", pluralize(*requests, "request")));
        }
        if self.items.in_flight_count() > 0 {
            let aborted = pluralize(self.items.in_flight_count() as u64, "request");
            details.push(format!("{aborted} in flight aborted, which may have been billed"));
        }
        let limit = format_duration(self.scheduler.policy().give_up_after);
        let reason = format!("no provider has answered within {limit} ({})", details.join("; "));
        self.abort_in_flight(now);
        self.begin_closing(RunOutcome::Stopped { reason });
    }

    /// Checks whether the run should end or go idle, for any reason, and starts that.
    pub(super) fn check_done(&mut self, now: Now) {
        if self.disk_fault.end_if_over() {
            self.publisher.mark_dirty();
        }
        let is_quiet = !self.has_open_attempts() && !self.captions.is_writing();
        if self.journal.is_closed() {
            let reason = self.journal.write_fault().unwrap_or(WRITER_GONE_MESSAGE).to_owned();
            self.begin_closing(RunOutcome::Failed { reason });
        }
        if !matches!(self.phase, Phase::Closing { .. })
            && let Some(reason) = self.file_check.find_fault_if_due()
        {
            self.begin_closing(RunOutcome::Failed { reason });
        }
        self.stop_if_unanswered(now);
        match &self.phase {
            Phase::Closing { .. } | Phase::Idle { .. } => {}
            Phase::Draining { run_outcome, deadline } => {
                let (ending, is_late) = (run_outcome.clone(), Instant::now() >= *deadline);
                let is_settled = is_quiet && self.is_intake_idle();
                let nothing_left = self.scheduler.unfinished_items() == 0 && !self.intake.is_reading;
                // Captions that the disk does not accept are written by the next start, so the drain does not wait for
                // them.
                let only_captions_left =
                    self.disk_fault.is_blocked() && !self.has_open_attempts() && self.is_intake_idle();
                if is_settled && nothing_left {
                    self.begin_closing(self.outcome_when_done());
                } else if is_settled {
                    self.begin_closing(ending);
                } else if only_captions_left {
                    self.begin_closing(
                        ending.with_note("captions that could not be written will be written by the next start"),
                    );
                } else if is_late {
                    let late = if self.scheduler.in_flight_count() > 0 {
                        "the last requests were not answered in time"
                    } else {
                        "the last answers or captions could not be written in time"
                    };
                    self.abort_in_flight(now);
                    self.begin_closing(ending.with_note(late));
                }
            }
            Phase::Running if !is_quiet || self.is_paused || !self.is_intake_idle() => {}
            Phase::Running => match self.scheduler.stall_reason(now) {
                // Rows that are still being read may have a usable route.
                _ if self.intake.is_reading => {}
                StallReason::NothingToDo => self.go_idle(self.outcome_when_done()),
                StallReason::Exhausted { resumes_at, reason } => self.on_exhausted(resumes_at, reason),
                StallReason::Budget { min_cost } if self.is_unattended() => {
                    self.begin_closing(RunOutcome::BudgetSpent { reason: self.budget_message(min_cost) });
                }
                _ => {}
            },
        }
    }

    pub(super) fn is_unattended(&self) -> bool {
        self.attendance == Attendance::Unattended
    }

    /// Whether attempts are reserved, in flight, or ended without being on disk.
    fn has_open_attempts(&self) -> bool {
        self.items.in_flight_count() > 0 || self.uncommitted > 0 || self.scheduler.in_flight_count() > 0
    }

    /// Whether no rows are being ingested and everything recorded is on disk.
    fn is_intake_idle(&self) -> bool {
        !self.intake.is_ingest_pending && self.journal.is_flushed()
    }

    fn on_exhausted(&mut self, resumes_at: Option<WallTime>, reason: String) {
        let needs_operator = self.scheduler.needs_operator();
        if needs_operator && !self.is_unattended() {
            return;
        }
        let waits_for_quota = self.scheduler.policy().on_exhausted == OnExhausted::Wait;
        match resumes_at {
            Some(_) if waits_for_quota => {}
            Some(resumes_at) => {
                self.go_idle(RunOutcome::Stopped { reason: format!("{reason}; quota returns at {resumes_at}") });
            }
            None => self.go_idle(RunOutcome::Stopped { reason }),
        }
    }

    /// Ends the run, or goes idle if an operator is present, who may give a new command.
    fn go_idle(&mut self, run_outcome: RunOutcome) {
        let run_outcome = self.file_check.apply_to(run_outcome);
        if self.is_unattended() || matches!(run_outcome, RunOutcome::Failed { .. }) {
            return self.begin_closing(run_outcome);
        }
        self.record_run_outcome(&run_outcome);
        self.phase = Phase::Idle { run_outcome };
    }

    /// Leaves the idle phase after a command of the operator.
    pub(super) fn leave_idle(&mut self) {
        if matches!(self.phase, Phase::Idle { .. }) {
            self.phase = Phase::Running;
            self.stats.active_time.start(self.clock.now().mono);
            self.journal.record(Op::SetRunState(RunState::Running));
        }
    }

    /// Records the run's outcome; the loop ends once it is on disk.
    pub(super) fn begin_closing(&mut self, run_outcome: RunOutcome) {
        let run_outcome = self.file_check.apply_to(run_outcome);
        let run_outcome = match std::mem::replace(&mut self.phase, Phase::Running) {
            ended @ Phase::Closing { .. } => {
                self.phase = ended;
                return;
            }
            // The outcome was already recorded; leaving does not change it.
            Phase::Idle { run_outcome: announced } if !matches!(run_outcome, RunOutcome::Failed { .. }) => announced,
            Phase::Idle { .. } | Phase::Running | Phase::Draining { .. } => {
                self.record_run_outcome(&run_outcome);
                run_outcome
            }
        };
        self.phase = Phase::Closing { run_outcome, since: Instant::now() };
        self.publisher.mark_dirty();
    }

    fn record_run_outcome(&mut self, run_outcome: &RunOutcome) {
        let now = self.clock.now();
        for total in self.row_model_departures.take_totals() {
            self.log(EventLevel::Info, total);
        }
        match run_outcome {
            RunOutcome::Finished => {
                let Totals { done, failed, truncated, .. } = self.stats.totals;
                let message = format!("finished: {done} done{}, {failed} failed", truncated_suffix(truncated));
                self.log(if failed > 0 { EventLevel::Warn } else { EventLevel::Info }, message);
            }
            RunOutcome::Stopped { reason } | RunOutcome::BudgetSpent { reason } => {
                self.log(EventLevel::Alert, format!("stopped with work left: {reason}"));
            }
            RunOutcome::HeldBack { reason } => {
                self.log(EventLevel::Info, format!("stopped with work left: {reason}"));
            }
            RunOutcome::Failed { reason } => self.log(EventLevel::Alert, format!("stopped by an error: {reason}")),
        }
        self.state_saver.mark_dirty();
        self.stats.active_time.stop(now.mono);
        self.save_state(now, true);
        let snapshot = Snapshot { state: run_outcome.run_state(), ..self.build_snapshot(now) };
        if let Some(op) = self.sampler.take_op(&snapshot, true) {
            self.journal.record(op);
        }
        self.journal.record(Op::SetRunState(run_outcome.run_state()));
        self.publisher.mark_dirty();
    }

    /// The outcome of a run that has nothing left to do.
    fn outcome_when_done(&self) -> RunOutcome {
        match &self.intake.input_error {
            Some(reason) => RunOutcome::Failed { reason: reason.clone() },
            None if self.captions.pending_count() > 0 => RunOutcome::Failed {
                reason: format!(
                    "every item has ended, but {} could not be written (their answers are recorded); fix the files or \
                     folders, then run the same command again to write them",
                    pluralize(self.captions.pending_count() as u64, "caption")
                ),
            },
            None if self.intake.held_back_items > 0 => RunOutcome::HeldBack {
                reason: format!(
                    "the first rows are finished, but {} from an earlier start {} beyond this start's limit",
                    pluralize(self.intake.held_back_items, "item"),
                    if self.intake.held_back_items == 1 { "waits" } else { "wait" },
                ),
            },
            None => RunOutcome::Finished,
        }
    }

    /// Ends everything that is still open: aborts requests, returns leases, stops captions, publishes the last snapshot
    /// and closes the store.
    pub(super) async fn close(mut self, run_outcome: RunOutcome) -> RunOutcome {
        let run_outcome = self.file_check.apply_to(run_outcome);
        self.attempts.shutdown().await;
        let now = self.clock.now();
        let unused = self.scheduler.take_unused_leases(now);
        self.leases.close(now.wall, unused).await;
        self.captions.shutdown().await;
        let now = self.clock.now();
        // The outcome may have changed because it could not be recorded.
        self.phase = Phase::Closing { run_outcome: run_outcome.clone(), since: Instant::now() };
        self.publish(now);
        let Self { journal, publisher, .. } = self;
        // Who waits for the last snapshot need not wait for the disk.
        drop(publisher);
        let closed = tokio::task::spawn_blocking(move || {
            let mut store = journal.into_writer().close()?;
            store.compact_results()
        })
        .await;
        match (closed, run_outcome) {
            // The first failure is the one to report.
            (Ok(Ok(_)), ending) | (_, ending @ RunOutcome::Failed { .. }) => ending,
            (Ok(Err(error)), _) => {
                RunOutcome::Failed { reason: format!("the run's database could not be closed: {error}") }
            }
            (Err(_), _) => RunOutcome::Failed { reason: "the writer of the run's database panicked".to_owned() },
        }
    }
}
