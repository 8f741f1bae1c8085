//! The engine owns all state that changes while a run is under way.
//!
//! It is a single task. It asks the scheduler what to send, records each intent before the request and each outcome
//! before acting on it, and publishes snapshots. Each request runs as a task of its own, without access to the
//! engine's state. The database has its own thread, which commits groups of transitions.
//!
//! The engine knows all parts. A part never names the engine, and returns messages to it:
//!
//! ```text
//! event_loop   what can happen and in which order; a tick's work     messages    what parts hand to the loop
//! completion   applies and records an attempt's result               commands    the operator's commands
//! startup      opens or resumes a run                                shutdown    the end of a run
//! snapshot     builds snapshots                                      publisher   publishes them
//!
//! intake          rows in, items loaded                item_table        items in memory that have not ended
//! attempt         sends requests                       journal           ops, and what follows their commit
//! caption_writer  answers to files, after commit       run_stats         counts over the run
//! event_log       the newest events                    forecasting       forecasts in the background
//! lease_client    quotas shared by processes           key_probe         checks a key at its provider
//! state_saver     saves the scheduler's state          provider_contact  whether any provider has responded
//! file_check      the store's files are in place       budget_message    why the budget blocks the run
//! handle          what front ends hold                 health_checks     whether providers respond
//! silence         providers that do not answer         disk_fault        the disk fault that blocks requests
//! outage_log      groups the events of an outage       routing_changes   events of changed routing
//! sampler         samples for charts
//! ```

mod attempt;
mod budget_message;
mod caption_writer;
mod commands;
mod completion;
mod disk_fault;
mod event_log;
mod event_loop;
mod file_check;
mod forecasting;
#[cfg(test)]
mod golden_tests;
pub mod handle;
mod health_checks;
#[cfg(test)]
mod idle_tests;
mod intake;
mod item_table;
mod journal;
mod key_budget;
mod key_probe;
mod lease_client;
mod messages;
mod outage_log;
mod provider_contact;
mod publisher;
mod routing_changes;
mod row_model_departures;
mod run_stats;
mod sampler;
mod seq_queue;
mod shutdown;
mod silence;
mod snapshot;
mod startup;
mod state_saver;
#[cfg(test)]
mod tests;

pub use caption_writer::write_missing_captions;
pub use handle::{EngineHandle, PageRequest};
pub(crate) use lease_client::pool_names;
pub use messages::{CommandRequest, InputRows, RunOutcome};
pub use startup::{EngineSetup, KeyCheck, RunningEngine, start};
