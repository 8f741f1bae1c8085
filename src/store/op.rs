//! The seam between the engine and a database: the operations that the engine submits in groups, and the
//! acknowledgement of a group.
//!
//! Nothing here depends on how a database stores them. A group is one transaction: all of its ops are committed in
//! order, or none. An [`Ack`] answers each group and carries the replies of its ops.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{error::StoreError, row::WaitingItem};
use crate::domain::{
    AttemptId, Command, CostByKind, Event, ItemSpec, Money, Outcome, ReplayFilter, ResultLine, RouteId, RouteTarget,
    RoutingTraits, Sample, Seq, Usage, WallTime, snapshot::RunState,
};

/// Names of the states that [`Op::SetRunState`] and [`Op::SetKeys`] save.
pub(super) const RUN_STATE: &str = "run";
pub(super) const KEY_RECORDS: &str = "keys";
/// The name under which earlier versions saved what [`Op::SetActiveTime`] has.
pub(super) const ACTIVE_TIME: &str = "worked";
/// The names of the models that have no price, as of the last start.
pub(super) const UNPRICED_MODELS: &str = "unpriced_models";
/// Name of the state that the engine saves with [`Op::SetState`]: the current route while it backs off, or `null`.
pub const BACKOFF_STATE: &str = "backoff";

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
    /// Records a sample for charts, and removes the samples of these times.
    RecordSample {
        sample: Box<Sample>,
        dropped: Vec<WallTime>,
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
    /// `None` if the process died before the answer.
    pub completed_at: Option<WallTime>,
    pub outcome: Outcome,
    pub status: Option<u16>,
    pub latency_ms: u64,
    /// The provider's message, redacted; empty on success.
    pub message: String,
    pub usage: Usage,
    pub cost: Money,
    /// `cost` by kind.
    pub cost_by_kind: CostByKind,
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

/// The last saved state of a key, for reports of other processes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct KeyRecord {
    pub name: String,
    /// The label of its condition.
    pub state: String,
    /// When that condition ends by itself, rounded up to seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<WallTime>,
    /// Health from 0 to 100.
    pub health: u8,
    /// The lowest worst-case cost of a request that was sent with it; `None` before the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_cost: Option<Money>,
}

impl KeyRecord {
    /// The keys recorded by earlier processes, from the run's saved states. Empty if there are none, or if they can't
    /// be read.
    pub fn all_from(saved_states: &BTreeMap<String, String>) -> Vec<Self> {
        saved_states.get(KEY_RECORDS).and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
    }
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

/// The ops of a group that was not committed, and why.
#[derive(Debug)]
pub struct RejectedGroup {
    pub error: StoreError,
    pub ops: Vec<Op>,
}

/// The result of an op.
#[derive(Debug)]
pub enum OpReply {
    Ingested(IngestReport),
    /// Traits that a replay created. This reply comes before the one with the items that have them.
    Traits(Vec<(u32, RoutingTraits)>),
    /// Requeued items in input order.
    Requeued(Vec<WaitingItem>),
}

/// The result of an ingestion.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct IngestReport {
    /// New and replaced items, in the order of the rows.
    pub added: Vec<WaitingItem>,
    /// Number of rows that were recorded already and have not changed.
    pub unchanged: u64,
    pub changed: Vec<ChangedItem>,
    /// Traits seen for the first time in the run, with their ids.
    pub new_traits: Vec<(u32, RoutingTraits)>,
}

/// A row of the input whose id is known but whose request has changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChangedItem {
    pub seq: Seq,
    pub id: String,
    /// The row's line number in the input now.
    pub line: u64,
    /// True if an answer to the old request is recorded.
    pub is_done: bool,
}

#[cfg(test)]
impl Op {
    /// Adds items with these lines.
    pub fn ingest_numbered(lines: std::ops::RangeInclusive<u64>) -> Self {
        let spec = |line| ItemSpec {
            id: format!("item {line}"),
            request: crate::domain::Request::from_prompt("A question. ".repeat(50)),
            request_hash: format!("{line:032x}"),
            line,
            ..ItemSpec::default()
        };
        Self::IngestItems(lines.map(spec).collect())
    }
}
