//! What the engine asks to be recorded, and what it is answered: the words of the writer.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{error::StoreError, ingest::IngestReport, report::KeyRecord};
use crate::domain::{
    AttemptId, Command, Event, ItemSpec, Money, Outcome, ReplayFilter, ResultLine, RouteId, RouteTarget, RoutingTraits,
    Seq, Usage, WallTime, snapshot::RunState,
};

/// One transition. A group of them is committed whole or not at all, in order.
#[derive(Clone, Debug)]
pub enum Op {
    /// Rows read from the input: answered with [`Answer::Ingested`]. Rows that are there already are skipped.
    IngestItems(Vec<ItemSpec>),
    /// The input was read to its end.
    FinishIngest {
        rows: u64,
    },
    /// A request is about to be sent. Must be acknowledged before it is.
    RecordIntent(Intent),
    /// The request of this intent never left the machine: as if it had not been meant.
    CancelIntent {
        attempt: AttemptId,
    },
    CompleteAttempt(Box<CompletedAttempt>),
    /// An item ends without a request.
    EndLocally(Box<LocalEnd>),
    RecordEvent(Arc<Event>),
    RecordDecision(Box<OperatorDecision>),
    /// Something stronger than the operator's decision came (a changed flag): it no longer counts.
    ForgetDecision {
        target: String,
    },
    /// The run's state, for `status` in another process.
    SetRunState(RunState),
    /// The keys as they stand, for the same.
    SetKeys(Vec<KeyRecord>),
    /// How long processes have worked on the run, this one included.
    SetActiveTime(Duration),
    /// Anything the engine wants back at the next start, under a name of its own.
    SetState {
        name: String,
        json: String,
    },
    /// Failed items wait again: answered with [`Answer::Requeued`].
    Requeue(ReplayFilter),
    /// The same, to one model or route alone.
    RequeueTo(ReplayFilter, RouteTarget),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Intent {
    pub attempt: AttemptId,
    pub seq: Seq,
    /// An index into the routes that were handed to [`super::Store::into_writer`].
    pub route: RouteId,
    pub sent_at: WallTime,
    /// Worst case in money; what is at risk should the process die.
    pub reserved: Money,
    pub est_tokens: u64,
}

/// How an attempt ended.
#[derive(Clone, PartialEq, Debug)]
pub struct CompletedAttempt {
    pub attempt: AttemptId,
    pub completed_at: WallTime,
    pub outcome: Outcome,
    pub status: Option<u16>,
    pub latency_ms: u64,
    /// The provider's own words, redacted; empty where all is well.
    pub message: String,
    pub usage: Usage,
    pub cost: Money,
    pub at_risk: Money,
    /// The item's line, where this attempt ended it.
    pub final_line: Option<ResultLine>,
}

/// `unreadable_input`, `over_budget`, `no_route`: nothing was sent.
#[derive(Clone, PartialEq, Debug)]
pub struct LocalEnd {
    pub seq: Seq,
    pub outcome: Outcome,
    pub line: ResultLine,
}

/// What the operator decided about one thing; the latest counts, across restarts.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct OperatorDecision {
    /// What it is about (`key alice`, `strategy`): a later decision about the same replaces it.
    pub target: String,
    pub command: Command,
    pub at: WallTime,
    pub reason: String,
}

/// A route by name, which outlives the configuration's indices.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct RouteName {
    pub key: String,
    pub model: String,
    pub provider: String,
}

/// An item that waits, and the id of what it can be routed by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WaitingItem {
    pub seq: Seq,
    pub traits_id: u32,
}

/// A group is on disk, or is not.
#[derive(Debug)]
pub struct Ack {
    /// The group's, as submitted; 0 where the writer ends between two groups, for the reason in `outcome`.
    pub number: u64,
    /// Answers of the ops that have one, in order; or the group, untouched, to be submitted again.
    pub outcome: Result<Vec<OpReply>, Box<RejectedGroup>>,
    /// The group is committed, but the results file or the disk's cache lags behind. Hold the run: the next
    /// group (an empty one will do) tries again before anything else, and is rejected if that fails.
    pub after_commit_error: Option<StoreError>,
}

impl Ack {
    pub(super) fn rejected(number: u64, error: StoreError, ops: Vec<Op>) -> Self {
        Self { number, outcome: Err(Box::new(RejectedGroup { error, ops })), after_commit_error: None }
    }
}

#[derive(Debug)]
pub enum OpReply {
    Ingested(IngestReport),
    /// Traits that came up for the first time by a replay, before the items that have them.
    Traits(Vec<(u32, RoutingTraits)>),
    /// In input order.
    Requeued(Vec<WaitingItem>),
}

impl OpReply {
    /// How many items wait again.
    pub const fn requeued_count(&self) -> usize {
        match self {
            Self::Requeued(items) => items.len(),
            Self::Ingested(_) | Self::Traits(_) => 0,
        }
    }
}

#[derive(Debug)]
pub struct RejectedGroup {
    pub error: StoreError,
    pub ops: Vec<Op>,
}
