//! `cascadeck status`: shows a run's state, also while it runs.

use std::path::PathBuf;

use clap::Args;

use super::{
    CliError,
    print::{EXIT_DONE, print},
};
use crate::{domain::escape_json, headless::summary_table, store::report};

/// Show a run's state and its per-model report, also while it runs
#[derive(Args, Clone, Debug)]
pub(super) struct StatusArgs {
    #[arg(value_name = "RUN_DIR")]
    pub run_dir: PathBuf,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

pub(super) fn run(args: &StatusArgs) -> Result<u8, CliError> {
    let summary = report::load_summary(&args.run_dir)?;
    let text = if args.json {
        let json = serde_json::to_string(&summary).map_err(|error| CliError::internal(error.to_string()))?;
        escape_json(&json).into_owned() + "\n"
    } else {
        summary_table(&summary)
    };
    print(&text).map(|()| EXIT_DONE)
}
