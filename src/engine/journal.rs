//! The engine's side of the store: collects ops into a group while the writer commits the previous group.

use std::time::Duration;

use crate::store::{Ack, Op, OpReply, StoreError, StoreWriter};

/// Collects ops, and the effects to carry out once their group is committed.
#[derive(Debug)]
pub(super) struct Journal<CommitEffect> {
    writer: StoreWriter,
    /// Ops of the next group.
    pending: Vec<Op>,
    /// Effects to carry out once those ops are committed.
    pending_effects: Vec<CommitEffect>,
    /// The number and the effects of the group that the writer is committing.
    committing: Option<(u64, Vec<CommitEffect>)>,
    /// When the last group was submitted.
    submitted_at: std::time::Instant,
    next_number: u64,
    /// Set while nothing can be recorded: the reason, and the time of the last failure. No group is submitted for
    /// [`COMMIT_RETRY_INTERVAL`] after it.
    write_fault: Option<(String, std::time::Instant)>,
    /// The writer has ended, or a sync failed: nothing can be recorded any more.
    is_closed: bool,
    /// The results file is behind the database; an empty group makes the writer try again.
    results_file_is_behind: bool,
    /// All recorded ops, in order.
    #[cfg(test)]
    pub recorded: Vec<Op>,
}

/// The reason given when the writer has ended.
pub(super) const WRITER_GONE_MESSAGE: &str =
    "the thread that writes the run's database has ended; see the log for details";

/// Delay before a group that could not be committed is submitted again.
const COMMIT_RETRY_INTERVAL: Duration = Duration::from_secs(2);

impl<CommitEffect> Journal<CommitEffect> {
    pub fn new(writer: StoreWriter) -> Self {
        Self {
            writer,
            pending: Vec::new(),
            pending_effects: Vec::new(),
            committing: None,
            submitted_at: std::time::Instant::now(),
            next_number: 1,
            write_fault: None,
            is_closed: false,
            results_file_is_behind: false,
            #[cfg(test)]
            recorded: Vec::new(),
        }
    }

    pub fn record(&mut self, op: Op) {
        #[cfg(test)]
        self.recorded.push(op.clone());
        self.pending.push(op);
    }

    /// Whether anything was recorded since the last group was submitted.
    pub const fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Records an op together with the effect that is carried out once it is committed.
    pub fn submit(&mut self, op: Op, effect: CommitEffect) {
        self.record(op);
        self.pending_effects.push(effect);
    }

    /// Adds an effect that needs no op: it is carried out once everything recorded so far is committed.
    pub fn after_recorded(&mut self, effect: CommitEffect) {
        self.pending_effects.push(effect);
    }

    /// Submits the collected group, if the writer is free.
    pub fn flush(&mut self) {
        let is_empty = self.pending.is_empty() && self.pending_effects.is_empty() && !self.results_file_is_behind;
        let is_backing_off =
            self.write_fault.as_ref().is_some_and(|(_, since)| since.elapsed() < COMMIT_RETRY_INTERVAL);
        if is_empty || is_backing_off || self.committing.is_some() {
            return;
        }
        let number = self.next_number;
        self.next_number += 1;
        self.committing = Some((number, std::mem::take(&mut self.pending_effects)));
        self.submitted_at = std::time::Instant::now();
        let ops = std::mem::take(&mut self.pending);
        if let Err(rejected) = self.writer.submit(number, ops) {
            self.is_closed = rejected.is_closed;
            let reason = if self.is_closed {
                WRITER_GONE_MESSAGE
            } else {
                "the thread that writes the run's database is falling behind"
            };
            self.restore(rejected.ops, reason.to_owned());
        }
    }

    fn restore(&mut self, mut ops: Vec<Op>, reason: String) {
        let (_, mut effects) = self.committing.take().unwrap_or_default();
        ops.append(&mut self.pending);
        effects.append(&mut self.pending_effects);
        (self.pending, self.pending_effects) = (ops, effects);
        self.write_fault = Some((reason, std::time::Instant::now()));
    }

    /// The real time since the last group was submitted.
    pub fn time_since_submission(&self) -> Duration {
        self.submitted_at.elapsed()
    }

    /// Handles the writer's acknowledgement of the submitted group. Returns the replies of its ops, and the effects to
    /// carry out now.
    pub fn on_ack(&mut self, ack: Ack) -> (Vec<OpReply>, Vec<CommitEffect>) {
        match ack.result {
            Ok(replies) => {
                let (number, effects) = self.committing.take().unwrap_or_default();
                debug_assert_eq!(number, ack.number);
                self.results_file_is_behind = ack.after_commit_error.is_some();
                self.write_fault =
                    ack.after_commit_error.map(|error| (error_message(&error), std::time::Instant::now()));
                (replies, effects)
            }
            Err(rejected) if rejected.error.is_final() => {
                self.close_with(error_message(&rejected.error));
                (Vec::new(), Vec::new())
            }
            Err(rejected) => {
                self.restore(rejected.ops, error_message(&rejected.error));
                (Vec::new(), Vec::new())
            }
        }
    }

    /// Handles the end of the writer's thread. The submitted group is lost.
    pub fn on_writer_exit(&mut self) {
        self.close_with(WRITER_GONE_MESSAGE.to_owned());
    }

    /// Closes the journal: nothing is recorded any more, and pending effects are not carried out.
    fn close_with(&mut self, reason: String) {
        self.is_closed = true;
        self.write_fault = Some((reason, std::time::Instant::now()));
    }

    /// The reason why nothing can be recorded at present; `None` if nothing prevents it.
    pub fn write_fault(&self) -> Option<&str> {
        self.write_fault.as_ref().map(|(reason, _)| reason.as_str())
    }

    pub const fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Whether everything recorded is on disk.
    pub fn is_flushed(&self) -> bool {
        self.pending.is_empty()
            && self.pending_effects.is_empty()
            && self.committing.is_none()
            && !self.results_file_is_behind
    }

    pub fn into_writer(self) -> StoreWriter {
        self.writer
    }
}

fn error_message(error: &StoreError) -> String {
    format!("the run can't be recorded: {error}")
}
