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
mod detail;
mod error;
mod failures;
mod group;
mod ingest;
mod items;
pub mod ledger;
mod loader;
mod op;
mod open;
mod pins;
mod projection;
mod reader;
pub mod report;
mod requeue;
mod resume;
mod rules;
mod run_dir;
mod schema;
mod search;
mod tallies;
mod writer;

pub use error::StoreError;
pub use ingest::{ChangedItem, Compared, Ingested, OnChanged};
pub use ledger::DayLedger;
pub use loader::{Batch, Loaded, Loader, Unreadable};
pub use op::{Ack, Answer, Decision, Intent, LocalVerdict, Op, Queued, Rejected, RouteName, Settled};
pub use open::{Ingest, LostCall, Opened, Store};
pub use pins::{PinChange, Pins};
pub use projection::Repair;
pub use reader::{Ask, spawn_reader};
pub use resume::{PastAttempt, REPLACED_ANSWERS};
pub use rules::Reclassed;
pub use run_dir::{HeldFiles, RunDir, RunLock};
pub use writer::{OUTSTANDING, Unsubmitted, Writer};
