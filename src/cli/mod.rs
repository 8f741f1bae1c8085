//! The commands: arguments in, exit status out. One file per command; what several share stands beside them.

mod audit;
mod check;
mod completions;
mod conduct;
mod demo;
mod destination;
mod explain;
mod export;
mod failure;
mod feed;
mod options;
mod plan;
mod replay;
mod run;
mod status;
mod system_limits;

use std::{io::Write as _, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};

pub use failure::Failure;

use crate::{domain::plain_text::neutralise, sim};

/// Everything went as it was meant to.
const DONE: u8 = 0;

/// Run long batches of prompts and image captions through a cascade of API keys and models.
///
/// Only use keys you are entitled to use: quotas are counted per project, as the providers count them, and
/// cascadeck never tries to get round them.
#[derive(Parser, Debug)]
#[command(version, max_term_width = 100, after_help = EXIT_STATUSES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_STATUSES: &str = "\
Exit status:
  0    all items done
  1    something broke here
  2    wrong usage, configuration or input
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
    Audit(audit::AuditArgs),
    Explain(explain::ExplainArgs),
    Sim(sim::command::SimArgs),
    Completions(completions::CompletionsArgs),
}

/// Parses the command line, does it, and says how it went.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Run(args) => on_runtime(run::run(*args)),
        Command::Demo(args) => on_runtime(demo::run(args)),
        Command::Plan(args) => plan::run(&args),
        Command::Check(args) => on_runtime(check::run(args)),
        Command::Status(args) => status::run(&args),
        Command::Replay(args) => on_runtime(replay::run(*args)),
        Command::Export(args) => export::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Sim(args) => {
            let refused = |error: anyhow::Error| match error.downcast::<sim::command::Usage>() {
                Ok(usage) => Failure::usage(usage.to_string()),
                Err(error) => Failure::Broken(error),
            };
            on_runtime(async { sim::command::run(args).await.map(|()| DONE).map_err(refused) })
        }
        Command::Completions(args) => Ok(completions::run(&args)),
    };
    match outcome {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            // Nobody reading is no reason to fail in another way.
            let _ = writeln!(std::io::stderr().lock(), "cascadeck: {}", shown(&failure.to_string()));
            ExitCode::from(failure.status())
        }
    }
}

/// A line for the operator on stderr.
fn say(words: &str) {
    // Nobody reading is no reason to stop.
    let _ = writeln!(std::io::stderr().lock(), "{}", shown(words));
}

/// Lines stay lines; what is inside them can't move the cursor.
fn shown(text: &str) -> String {
    text.lines().map(neutralise).collect::<Vec<_>>().join("\n")
}

/// How long the runtime's threads for what blocks wait for work: longer than any run.
const KEEP_ALIVE: Duration = Duration::from_hours(10 * 366 * 24);

fn on_runtime(command: impl Future<Output = Result<u8, Failure>>) -> Result<u8, Failure> {
    system_limits::check()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // A job that blocks panics where no thread is there for it and none can be started: the first one stays.
        .thread_keep_alive(KEEP_ALIVE)
        .build()
        .map_err(|error| Failure::broken(format!("can't start the asynchronous runtime: {error}")))?;
    runtime.block_on(async {
        // A thread that could not be started is told by the check above, and by a panic if the limit fell since.
        let _ = tokio::task::spawn_blocking(|| ()).await;
        command.await
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
