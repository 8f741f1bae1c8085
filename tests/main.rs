//! The integration tests, in one program.
//!
//! Apart are the tests that need a process of their own: `scheduler` counts allocations, `screens` starts the log and
//! is its own child, `terminal` and `crash` take much of the machine, and `layers` reads only source code.

#![expect(clippy::unwrap_used, reason = "a test's helper fails the test by panicking")]

mod harness;

mod cli;
mod config;
mod former_names;
mod fuzz;
mod headless;
mod host_faults;
mod hostile;
mod input;
mod metrics;
mod output;
mod plan;
mod provider_faults;
mod provider_http;
mod quota_ledger;
mod scale;
mod sim;
mod snapshot_consistency;
mod store;
mod wire;
