//! `cascadeck explain`: shows how a provider's answer is classified.

use std::path::PathBuf;

use clap::Args;

use super::{
    CliError,
    options::named_value,
    print::{EXIT_DONE, print},
};
use crate::{config::read_at_most, domain::Api, provider};

/// Maximum size in bytes of the answer: larger than the limit for a provider's answers.
const MAX_ANSWER_BYTES: u64 = 64 << 20;

/// Show how a provider's answer is classified: outcome and action
///
/// Reads one JSON object {"status":429,"headers":{...},"body":...}; a status of null means that the transport failed.
#[derive(Args, Clone, Debug)]
pub(super) struct ExplainArgs {
    /// The API that the answer came from
    #[arg(long, value_name = "API", value_parser = named_value::<Api>())]
    pub api: Api,

    /// The answer; default: standard input
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
}

pub(super) fn run(args: &ExplainArgs) -> Result<u8, CliError> {
    let (name, bytes) = match &args.file {
        Some(path) if path.as_os_str() != "-" => {
            let read = std::fs::File::open(path).and_then(|file| read_at_most(file, MAX_ANSWER_BYTES));
            (path.display().to_string(), read)
        }
        _ => ("standard input".to_owned(), read_at_most(std::io::stdin().lock(), MAX_ANSWER_BYTES)),
    };
    let bytes = bytes.map_err(|error| CliError::usage(format!("{name} can't be read: {error}")))?;
    let example = serde_json::from_slice(&bytes).map_err(|error| {
        CliError::usage(format!("{name} is not a JSON object with status, headers and body: {error}"))
    })?;
    let explanation =
        provider::explain(args.api, &example).map_err(|reason| CliError::usage(format!("{name}: {reason}")))?;
    print(&format!("{explanation}\n")).map(|()| EXIT_DONE)
}
