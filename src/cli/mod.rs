//! The commands. Each takes parsed arguments and returns an exit status. One file per command; shared parts have their
//! own files, and no file imports from this one.

mod audit;
mod batch;
mod caption_args;
mod check;
mod cleanup_guard;
mod completions;
mod demo;
mod error;
mod explain;
mod export;
mod export_target;
mod gallery;
mod metrics;
mod metrics_flag;
mod options;
mod plan;
mod print;
mod provider_choice;
mod reconcile;
mod replay;
mod row_reader;
mod run;
mod status;
mod supervise;
mod system_limits;

use std::{process::ExitCode, time::Duration};

use clap::{
    CommandFactory as _, Parser, Subcommand,
    error::{ContextKind, ContextValue, ErrorKind},
};

use self::print::{EXIT_DONE, finish_stdout, print, print_stderr};
use crate::sim;

pub use self::error::CliError;

/// Run long batches of prompts and image captions through a cascade of API keys and models.
///
/// Only use keys you are entitled to use: quotas are counted per project, as the providers count them, and cascadeck
/// never tries to get round them.
#[derive(Parser, Debug)]
#[command(version, max_term_width = 100, after_help = EXIT_STATUSES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_STATUSES: &str = "\
Exit status:
  0    all items done
  1    an error on this machine
  2    an error in usage, configuration or input
  3    finished, some items failed
  4    stopped with work left (quota, budget, operator): the same command resumes
  130  interrupted: the same command resumes";

#[derive(Subcommand, Debug)]
enum Command {
    Run(Box<run::RunArgs>),
    Demo(demo::DemoArgs),
    Plan(Box<plan::PlanArgs>),
    Check(check::CheckArgs),
    Status(status::StatusArgs),
    Replay(Box<replay::ReplayArgs>),
    Export(export::ExportArgs),
    Gallery(gallery::GalleryArgs),
    Audit(audit::AuditArgs),
    Explain(explain::ExplainArgs),
    Sim(sim::command::SimArgs),
    Completions(completions::CompletionsArgs),
}

/// Parses the command line, runs the command, and returns its exit status.
pub fn main() -> ExitCode {
    let result = match Cli::try_parse() {
        Ok(cli) => execute(cli.command),
        // Wrong usage exits here. Help and the version are results, and are printed like any other.
        Err(error) if error.use_stderr() => with_pattern_hint(error).exit(),
        Err(error) => finish_stdout(error.print()).map(|()| EXIT_DONE),
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            print_stderr(&format!("cascadeck: {error}"));
            ExitCode::from(error.exit_status())
        }
    }
}

/// Adds a hint to the error for a second INPUT. The usual cause is an unquoted pattern that the shell has replaced by
/// file names.
fn with_pattern_hint(mut error: clap::Error) -> clap::Error {
    let is_name = match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(argument))) => !argument.starts_with('-'),
        _ => false,
    };
    let takes_input = error.get(ContextKind::Usage).is_some_and(|usage| usage.to_string().contains("<INPUT>"));
    if is_name && takes_input {
        let hint = "only one INPUT is accepted: if you meant a pattern, quote it ('photos/*.png'), or give the folder";
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![hint.into()]));
    }
    error
}

fn execute(command: Command) -> Result<u8, CliError> {
    match command {
        Command::Run(args) => run_on_runtime(run::run(*args)),
        Command::Demo(args) => run_on_runtime(demo::run(args)),
        Command::Plan(args) => plan::run(&args),
        Command::Check(args) => run_on_runtime(check::run(args)),
        Command::Status(args) => status::run(&args),
        Command::Replay(args) => run_on_runtime(replay::run(*args)),
        Command::Export(args) => export::run(&args),
        Command::Gallery(args) => run_on_runtime(gallery::run(args)),
        Command::Audit(args) => audit::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Sim(args) => {
            let to_cli_error = |error: anyhow::Error| match error.downcast::<sim::command::SimUsageError>() {
                Ok(usage) => CliError::usage(usage.to_string()),
                Err(error) => CliError::Internal(error),
            };
            run_on_runtime(async { print(&sim::command::run(args).await.map_err(to_cli_error)?).map(|()| EXIT_DONE) })
        }
        Command::Completions(args) => completions::run(&args, &mut Cli::command()),
    }
}

/// Maximum number of threads for blocking work other than reading pictures: caption files, host names, forecasts. The
/// runtime starts a thread for each such task if none is idle, and the allocator reserves memory for each thread.
const MAX_BLOCKING_THREADS: usize = 16;
/// How long an idle blocking thread is kept: longer than any run.
const THREAD_KEEP_ALIVE: Duration = Duration::from_hours(10 * 366 * 24);

fn run_on_runtime(command: impl Future<Output = Result<u8, CliError>>) -> Result<u8, CliError> {
    system_limits::check()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        // A blocking task panics if no thread is idle and none can be started, so the first thread is kept alive.
        .thread_keep_alive(THREAD_KEEP_ALIVE)
        .build()
        .map_err(|error| CliError::internal(format!("can't start the asynchronous runtime: {error}")))?;
    runtime.block_on(async {
        // Starts the first blocking thread. This panics only if the limit on threads was lowered after the check above.
        let _ = tokio::task::spawn_blocking(|| ()).await;
        command.await
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
