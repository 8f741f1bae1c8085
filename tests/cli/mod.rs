//! The real program, run from the command line against the simulated provider on a real socket.
//!
//! The tests check its output, its files, its exit status, and that the provider's own statistics agree.

mod audit;
mod caption_texts;
mod captions;
mod cascade;
mod checks;
mod costs;
mod demo;
mod exit_statuses;
mod export;
mod files;
mod formats;
mod full_device;
mod health_checks;
mod inputs;
mod malformed_bodies;
mod metrics;
mod migration;
mod minute_limits;
mod misc_commands;
mod numbers;
mod outages;
mod picture_folders;
mod pictures;
mod plan;
mod public_model_lists;
mod replay;
mod request_bodies;
mod resume;
mod rows;
mod run_directory;
mod secrets;
mod shared_captions;
mod slow_start;
mod status;
mod tls;
mod two_models;
mod webhooks;

/// Arguments of a run over the rows of [`crate::harness::addition_rows`].
const RUN_ARGS: [&str; 4] = ["run", "batch.jsonl", "--prompt", "{{ question }}"];
