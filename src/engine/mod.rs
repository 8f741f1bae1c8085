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

mod ahead;
mod budget;
mod captions;
mod core;
mod ending;
mod flight;
#[cfg(test)]
mod golden_tests;
pub mod handle;
#[cfg(test)]
mod idle_tests;
mod intake;
mod journal;
mod landing;
mod orders;
mod probe;
mod publish;
mod sharing;
mod start;
mod stats;
#[cfg(test)]
mod tests;

pub use captions::complete_captions;
pub use handle::{Ask, Handle, Order};
pub(crate) use sharing::pool_names;
pub use start::{CheckedKey, Ending, Rows, Running, Setup, start};
