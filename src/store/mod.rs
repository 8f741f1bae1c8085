//! The durable record of a run: `run.db` is the source of truth, and `results.jsonl` contains its results.
//!
//! Owns the run's directory, its lock, the database and the results file. It uses the types of `domain` and knows
//! nothing of the engine, providers or screens. Times and decisions come from the caller.
//!
//! A run has two phases. [`Store`] is synchronous: it opens or creates a run, recovers from a crash, and returns what
//! is needed to resume. [`Store::into_writer`] then moves it to the writing thread, which commits each group of [`Op`]s
//! as one transaction and answers with an [`Ack`]. Everything else reads through connections of its own: [`ItemLoader`]
//! for the engine, [`spawn_reader`] for screens, [`report`] and [`mod@audit`] for other processes.
//!
//! [`quota_ledger`] is separate from the runs: it records how much of each provider's daily quota all runs of a user
//! have used.

mod apply;
pub mod audit;
mod billing;
mod commit;
mod connect;
mod counters;
mod detail;
mod durability;
mod error;
mod failed_items;
mod failure_export;
mod failure_groups;
mod ingest;
mod intents;
mod items;
mod loader;
mod op;
mod open;
mod pinned_settings;
mod place;
mod prepare;
mod prompt;
mod query_cache;
pub mod quota_ledger;
mod reader;
pub mod report;
mod requeue;
mod result_line;
mod results_check;
mod results_file;
mod resume;
mod route_sums;
mod row;
mod rules;
mod run_dir;
mod samples;
mod saved_state;
mod schema;
mod search;
mod txn;
mod writer;

pub use commit::StoreWriter;
pub use error::StoreError;
pub use ingest::{ChangedRowPolicy, InputDiff};
pub use loader::{EarlierAttempts, ItemLoader, LoadedItem, LoadedItems, UnreadableItem};
pub use op::{
    Ack, BACKOFF_STATE, ChangedItem, CompletedAttempt, IngestReport, Intent, KeyRecord, LocalEnd, Op, OpReply,
    OperatorDecision, RejectedGroup,
};
pub use open::{IngestProgress, LostAttempt, OpenedRun, Store};
pub use pinned_settings::{CheckedInput, PinnedSettings, SettingChange};
pub use prepare::REPLACED_ANSWERS_STATE;
pub use quota_ledger::QuotaLedger;
pub use reader::{PageRequest, spawn_reader};
pub use result_line::add_result_line_function;
pub use results_file::Repair;
pub use row::{RouteName, WaitingItem, WaitingRange};
pub use rules::Reclassification;
pub use run_dir::{RunDir, RunFiles, RunLock};
pub use samples::RecordedSamples;
pub use writer::{MAX_PENDING_GROUPS, SubmitError};
