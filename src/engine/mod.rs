//! The engine owns all state that changes while a run is under way.
//!
//! It is a single task. It asks the scheduler what to send, records each intent before the request and each outcome
//! before acting on it, and publishes snapshots. Each request runs as a task of its own, without access to the
//! engine's state. The database has its own thread, which commits groups of transitions.
//!
//! ```text
//! startup         opens or resumes a run           event_loop   the loop, and the work of a tick
//! intake          rows in, items loaded            completion   applies and records an attempt's result
//! caption_writer  answers to files, after commit   attempt      one attempt
//! journal         groups of transitions to commit  commands     the operator's commands
//! key_probe       checks a key at its provider     snapshot     builds snapshots
//! stats           counts over the run              forecasting  the forecast task
//! lease_client    quotas shared by processes       shutdown     the end of a run
//! budget_message  why the budget blocks the run    handle       what front ends hold
//! ```

mod attempt;
mod budget_message;
mod caption_writer;
mod commands;
mod completion;
mod event_loop;
mod forecasting;
#[cfg(test)]
mod golden_tests;
pub mod handle;
#[cfg(test)]
mod idle_tests;
mod intake;
mod journal;
mod key_probe;
mod lease_client;
mod shutdown;
mod snapshot;
mod startup;
mod stats;
#[cfg(test)]
mod tests;

pub use caption_writer::write_missing_captions;
pub use handle::{CommandRequest, EngineHandle, PageRequest};
pub(crate) use lease_client::pool_names;
pub use startup::{EngineSetup, InputRows, KeyCheck, RunOutcome, RunningEngine, start};
