//! cascadeck: runs long batches of prompts and pictures through a cascade of API keys and models.
//!
//! Dependencies go downward only:
//! `cli` → `tui`, `headless`, `alerts` → `engine` → `store`, `provider`, `scheduler` → `forecast` → `domain`.
//!
//! `config`, `input`, `output`, `metrics` and `telemetry` serve the commands. `checks` tests answers. `sim` is the simulated
//! provider. `clock` is the only module that reads real time. `atomic_file` replaces files as a whole. `scheduler`,
//! `forecast` and `domain` are pure: no I/O and no clock.

pub mod alerts;
pub mod atomic_file;
pub mod checks;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod engine;
pub mod forecast;
#[cfg(test)]
mod golden;
pub mod headless;
pub mod input;
pub mod metrics;
pub mod output;
pub mod provider;
pub mod scheduler;
pub mod sim;
pub mod store;
pub mod telemetry;
pub mod tui;

// The unit tests share files with the integration tests, which import this crate by its name.
#[cfg(test)]
extern crate self as cascadeck;
