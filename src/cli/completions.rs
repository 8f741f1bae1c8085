//! `cascadeck completions`: prints a completion script for a shell.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, CliError, print};

/// Print a completion script for a shell
#[derive(Args, Clone, Debug)]
pub(super) struct CompletionsArgs {
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs) -> Result<u8, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "cascadeck", &mut script);
    print(&String::from_utf8_lossy(&script)).map(|()| super::EXIT_DONE)
}
