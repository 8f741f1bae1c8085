//! `cascadeck completions`: for the shell.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::Cli;

/// Print a completion script for a shell
#[derive(Args, Clone, Debug)]
pub(super) struct CompletionsArgs {
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "cascadeck", &mut script);
    // A closed pipe has heard enough.
    let _ = std::io::Write::write_all(&mut std::io::stdout().lock(), &script);
    super::DONE
}
