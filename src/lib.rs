//! cascadeck: long batches of prompts and pictures through a cascade of API keys and models.
//!
//! Dependencies go downward only:
//! `cli` → `tui`, `headless`, `notify` → `engine` → `store`, `provider`, `scheduler` → `domain`.
//! Beside them: `config`, `input`, `output` and `telemetry` serve the commands, `sim` is the simulated
//! provider, and `clock` is where real time enters. `scheduler` and `domain` are pure.

pub mod alerts;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod engine;
pub mod headless;
pub mod input;
pub mod output;
pub mod provider;
pub mod scheduler;
pub mod sim;
pub mod store;
pub mod telemetry;
pub mod tui;

// The golden traces are shared with the integration tests, which know this crate by its name.
#[cfg(test)]
extern crate self as cascadeck;
