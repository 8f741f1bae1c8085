//! The real program, run as people run it, against the simulated provider on a real socket.
//!
//! What it says, what it leaves on disk, how it exits, and whether the provider's own books agree.

#![expect(clippy::unwrap_used, reason = "a test whose stage can't be set has failed")]

#[path = "../lab/mod.rs"]
mod lab;

mod asides;
mod auditing;
mod captions;
mod cascade;
mod demo;
mod endings;
mod exporting;
mod files;
mod formats;
mod full_device;
mod inputs;
mod migrating;
mod minutes;
mod odd_bodies;
mod pictures;
mod planning;
mod public_lists;
mod replaying;
mod resuming;
mod rows;
mod run_directory;
mod secrets;
mod shared_captions;
mod tls;
mod watching;
mod webhooks;

/// A run of the rows that [`lab::sums`] writes.
const RUN: [&str; 4] = ["run", "batch.jsonl", "--prompt", "{{ question }}"];
