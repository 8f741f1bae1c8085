//! The messages between the engine's parts. Parts hand them to the event loop, which is the only one to know all parts.

use std::{path::PathBuf, time::Duration};

use tokio::sync::oneshot;

use crate::{
    domain::{
        AttemptId, AttemptResult, Command, CostByKind, FinalState, Forecast, ItemSpec, Money, MonoTime, Outcome,
        ProviderId, RouteId, Seq, Usage, lease::LeaseGrant, snapshot::RunState,
    },
    provider::ModelListAccess,
    scheduler::PlannedAttempt,
    store::LoadedItems,
};

/// A command and the channel for its reply. The reply is a message for the operator: what was done, or why it was not.
#[derive(Debug)]
pub struct CommandRequest {
    pub command: Command,
    /// For commands that end the run: why, if the operator didn't say so.
    pub stop_reason: Option<String>,
    pub reply: oneshot::Sender<Result<String, String>>,
}

/// A message from the reader of the input.
#[derive(Debug)]
pub enum InputRows {
    Batch(Vec<ItemSpec>),
    /// The input has been read to its end.
    End,
    Failed(String),
}

/// How a run's process ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RunOutcome {
    /// Every item is done or failed.
    Finished,
    /// Work is left; the same command resumes it.
    Stopped { reason: String },
    /// Work is left; a larger budget resumes it, but the same command stops again.
    BudgetSpent { reason: String },
    /// This start was limited to the first rows, and they have ended. Items of an earlier start wait; a start without a
    /// limit sends them.
    HeldBack { reason: String },
    /// Something failed on this machine. The record is kept, and the same command resumes the run.
    Failed { reason: String },
}

impl RunOutcome {
    /// The same outcome with a note appended to its reason.
    pub(super) fn with_note(mut self, note: &str) -> Self {
        if let Some(reason) = self.reason_mut() {
            *reason = format!("{reason}; {note}");
        }
        self
    }

    pub(super) fn run_state(&self) -> RunState {
        match self.clone().reason_mut() {
            None => RunState::Finished,
            Some(reason) => RunState::Stopped { reason: std::mem::take(reason) },
        }
    }

    const fn reason_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::Finished => None,
            Self::Stopped { reason }
            | Self::BudgetSpent { reason }
            | Self::HeldBack { reason }
            | Self::Failed { reason } => Some(reason),
        }
    }
}

/// The result of a provider's health check: an error says why the provider counts as down.
#[derive(Debug)]
pub(super) struct HealthCheckResult {
    pub provider: ProviderId,
    /// When the check was sent.
    pub sent_at: MonoTime,
    pub result: Result<(), String>,
}

/// Name of the run's saved state for the scheduler.
pub(super) const SCHEDULER_STATE: &str = "scheduler";

/// Name of the run's saved state for the names of the output limit that providers asked for.
pub(super) const MAX_TOKENS_FIELDS_STATE: &str = "max_tokens_fields";

/// The effect of a transition, carried out once its group is on disk.
#[derive(Debug)]
pub(super) enum AfterCommit {
    Send(PlannedAttempt),
    CountEffects(Box<CommittedEffects>),
    Reply(oneshot::Sender<Result<String, String>>, String),
    /// The reply to a replay, with the number of items that were queued again.
    ReplyRequeued(oneshot::Sender<Result<String, String>>),
}

/// The report of a finished attempt.
#[derive(Debug)]
pub(super) struct AttemptDone {
    pub attempt: AttemptId,
    pub seq: Seq,
    pub result: AttemptResult,
    /// From the request to the end of its response.
    pub latency: Duration,
    /// How long the answer was checked after that.
    pub check_time: Duration,
}

/// The numbers of an ended attempt or item, counted once the outcome is on disk, and the caption to write then.
#[derive(Debug)]
pub(super) struct CommittedEffects {
    /// `None` for items that ended without a request.
    pub stats: Option<AttemptStats>,
    pub item_end: Option<ItemEnd>,
    pub caption: Option<Caption>,
}

#[derive(Debug)]
pub(super) struct AttemptStats {
    pub route: RouteId,
    pub outcome: Outcome,
    /// HTTP status; `None` if no response came.
    pub status: Option<u16>,
    /// The answer could not be checked.
    pub is_unchecked: bool,
    pub usage: Usage,
    pub cost: Money,
    pub cost_by_kind: CostByKind,
    pub at_risk: Money,
    pub latency: Duration,
    /// How long the answer was checked after that; zero for attempts of earlier processes.
    pub check_time: Duration,
    pub message: String,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct ItemEnd {
    pub state: FinalState,
    pub outcome: Outcome,
    pub is_truncated: bool,
}

/// A committed answer and the file that it goes to.
#[derive(Clone, Debug)]
pub(super) struct Caption {
    pub seq: Seq,
    pub path: PathBuf,
    pub text: String,
    /// The answer to the item's earlier request, whose caption this one replaces.
    pub previous_text: Option<String>,
}

/// A failed disk access, with its message.
#[derive(Debug)]
pub(super) enum DiskFault {
    /// Only this file is affected.
    OneFile(String),
    /// No new request is sent while it lasts: the next access would fail as well.
    Blocking(String),
}

/// A class index with the items that were loaded for it, or with the numbers of the items if loading failed.
pub(super) type LoadedBatch = (usize, Result<LoadedItems, Vec<Seq>>);

/// A forecast and how long it took to compute.
pub(super) type TimedForecast = (Forecast, Duration);

/// The result of a key check.
#[derive(Debug)]
pub(super) struct ProbeResult {
    pub key: usize,
    pub response: Result<ModelList, AttemptResult>,
}

#[derive(Debug)]
pub(super) struct ModelList {
    pub model_count: u64,
    /// Whether the provider lists its models without a key too. The list proves the key only if it does not.
    pub access: ModelListAccess,
}

/// A reply of the ledger's thread.
#[derive(Debug)]
pub(super) enum LedgerReply {
    Granted(Vec<LeaseGrant>),
    Failed(String),
}
