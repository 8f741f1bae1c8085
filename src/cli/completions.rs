//! `cascadeck completions`: prints a completion script for a shell.

use clap::Args;
use clap_complete::Shell;

use super::{
    CliError,
    print::{EXIT_DONE, print},
};

/// Print a completion script for a shell
#[derive(Args, Clone, Debug)]
pub(super) struct CompletionsArgs {
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// `command` is the whole command line.
pub(super) fn run(args: &CompletionsArgs, command: &mut clap::Command) -> Result<u8, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "cascadeck", &mut script);
    print(&String::from_utf8_lossy(&script)).map(|()| EXIT_DONE)
}
