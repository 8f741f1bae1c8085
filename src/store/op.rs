//! The operations that the engine submits to the writer, and the writer's replies.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{error::StoreError, ingest::IngestReport, report::KeyRecord};
use crate::domain::{
    AttemptId, Command, Event, ItemSpec, Money, Outcome, ReplayFilter, ResultLine, RouteId, RouteTarget, RoutingTraits,
    Seq, Usage, WallTime, snapshot::RunState,
};

/// One change of the database. A group of ops is committed as a whole or not at all, in order.
#[derive(Clone, Debug)]
pub enum Op {
    /// Adds rows of the input as items; known rows are skipped. Answered with [`OpReply::Ingested`].
    IngestItems(Vec<ItemSpec>),
    /// The input was read to its end.
    FinishIngest {
        rows: u64,
    },
    /// Records that a request is about to be sent. It must be acknowledged before the request is sent.
    RecordIntent(Intent),
    /// Removes the intent of a request that was never sent.
    CancelIntent {
        attempt: AttemptId,
    },
    CompleteAttempt(Box<CompletedAttempt>),
    /// Ends an item without sending a request.
    EndLocally(Box<LocalEnd>),
    RecordEvent(Arc<Event>),
    RecordDecision(Box<OperatorDecision>),
    /// Removes an operator's decision that a changed command-line flag overrides.
    ForgetDecision {
        target: String,
    },
    /// Saves the run's state, for `status` in another process.
    SetRunState(RunState),
    /// Saves the state of the keys, for `status` in another process.
    SetKeys(Vec<KeyRecord>),
    /// Saves the total time that processes have worked on the run, this one included.
    SetActiveTime(Duration),
    /// Saves a value under a name, for the engine's next start.
    SetState {
        name: String,
        json: String,
    },
    /// Makes failed items wait again. Answered with [`OpReply::Requeued`].
    Requeue(ReplayFilter),
    /// Makes failed items wait again, for one model or route only.
    RequeueTo(ReplayFilter, RouteTarget),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Intent {
    pub attempt: AttemptId,
    pub seq: Seq,
    /// Index into the routes that were passed to [`super::Store::into_writer`].
    pub route: RouteId,
    pub sent_at: WallTime,
    /// Worst-case cost, which is at risk if the process dies.
    pub reserved: Money,
    pub est_tokens: u64,
}

/// The result of an attempt.
#[derive(Clone, PartialEq, Debug)]
pub struct CompletedAttempt {
    pub attempt: AttemptId,
    pub completed_at: WallTime,
    pub outcome: Outcome,
    pub status: Option<u16>,
    pub latency_ms: u64,
    /// The provider's message, redacted; empty on success.
    pub message: String,
    pub usage: Usage,
    pub cost: Money,
    pub at_risk: Money,
    /// The item's result line, if this attempt ended the item.
    pub final_line: Option<ResultLine>,
}

/// The end of an item without a further request: `unreadable_input`, `over_budget` or `no_route`.
#[derive(Clone, PartialEq, Debug)]
pub struct LocalEnd {
    pub seq: Seq,
    pub outcome: Outcome,
    pub line: ResultLine,
}

/// An operator's decision about one subject. The latest one applies, also after a restart.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct OperatorDecision {
    /// The subject (`key alice`, `strategy`). A later decision about the same subject replaces this one.
    pub target: String,
    pub command: Command,
    pub at: WallTime,
    pub reason: String,
}

/// A route by names, which stay valid when the configuration's indices change.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct RouteName {
    pub key: String,
    pub model: String,
    pub provider: String,
}

/// A waiting item and the id of its routing traits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WaitingItem {
    pub seq: Seq,
    pub traits_id: u32,
}

/// The writer's answer to a group: committed or rejected.
#[derive(Debug)]
pub struct Ack {
    /// The submitted number. 0 if a sync failed between two groups, which ends the writer; `result` has the error then.
    pub number: u64,
    /// The replies of the ops that have one, in order. Or the error and the rejected ops, unchanged, to be submitted
    /// again.
    pub result: Result<Vec<OpReply>, Box<RejectedGroup>>,
    /// Set if the group is committed, but writing the results file or syncing failed. The engine must send no new
    /// requests until a later group succeeds. The next group, which may be empty, first tries again and is rejected if
    /// that fails.
    pub after_commit_error: Option<StoreError>,
}

impl Ack {
    pub(super) fn rejected(number: u64, error: StoreError, ops: Vec<Op>) -> Self {
        Self { number, result: Err(Box::new(RejectedGroup { error, ops })), after_commit_error: None }
    }
}

#[derive(Debug)]
pub enum OpReply {
    Ingested(IngestReport),
    /// Traits that a replay created. This reply comes before the one with the items that have them.
    Traits(Vec<(u32, RoutingTraits)>),
    /// Requeued items in input order.
    Requeued(Vec<WaitingItem>),
}

#[derive(Debug)]
pub struct RejectedGroup {
    pub error: StoreError,
    pub ops: Vec<Op>,
}
