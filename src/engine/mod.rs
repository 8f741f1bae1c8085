//! The one owner of everything that changes while a run is under way.
//!
//! A single task. It asks the scheduler what to send, records each intent before the request and each outcome
//! before anything follows from it, and publishes snapshots. Requests run as tasks of their own and know
//! nothing of it; the database has a thread of its own that is handed groups of transitions.
//!
//! ```text
//! start    a run is opened or resumed     core     the loop, and what a tick does
//! intake   rows in, payloads loaded       landing  a verdict's consequences, recorded
//! captions answers to files, once committed
//! flight   one attempt                    journal  groups of transitions, one at the writer at a time
//! orders   the operator's commands        publish  snapshots          stats  counts over the run
//! ahead    the forecast                       sharing  days shared with other processes
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
