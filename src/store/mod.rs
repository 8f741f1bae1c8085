//! The durable run: `run.db` is the truth, `results.jsonl` its projection.
//!
//! Owns the run's directory, its lock, the database and the results file. It knows the domain's words and
//! nothing of engines, providers or screens; time and every decision are handed in.
//!
//! Two phases. [`Store`] is synchronous: it opens or creates a run, recovers what a crash left, and tells
//! what there is to resume. [`Store::into_writer`] then hands it to the one thread that writes, which takes
//! groups of [`Op`]s, commits each group as one transaction and answers with an [`Ack`]. Everything else
//! reads through connections of its own: [`Loader`] for the engine's payloads, [`spawn_reader`] for
//! screens, [`report`] and [`mod@audit`] for other processes.
//!
//! Beside the runs stands [`ledger`]: what all runs of a user have used of each provider's day.

mod apply;
pub mod audit;
mod commit;
mod compact;
mod connect;
mod counters;
mod detail;
mod error;
mod failures;
mod ingest;
mod items;
mod loader;
mod op;
mod open;
mod pinned_settings;
mod projection;
pub mod quota_ledger;
mod reader;
pub mod report;
mod requeue;
mod resume;
mod rules;
mod run_dir;
mod schema;
mod search;
mod txn;
mod writer;

pub use error::StoreError;
pub use ingest::{ChangedItem, ChangedRowPolicy, IngestReport, InputDiff};
pub use loader::{ItemLoader, LoadedItem, LoadedItems, UnreadableItem};
pub use op::{
    Ack, CompletedAttempt, Intent, LocalEnd, Op, OpReply, OperatorDecision, RejectedGroup, RouteName, WaitingItem,
};
pub use open::{IngestProgress, LostAttempt, OpenedRun, Store};
pub use pinned_settings::{PinnedSettings, SettingChange};
pub use projection::Repair;
pub use quota_ledger::QuotaLedger;
pub use reader::{PageRequest, spawn_reader};
pub use resume::{AttemptRecord, REPLACED_ANSWERS_STATE};
pub use rules::Reclassification;
pub use run_dir::{OpenFiles, RunDir, RunLock};
pub use writer::{MAX_PENDING_GROUPS, StoreWriter, SubmitError};
