//! The `cascadeck` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    cascadeck::cli::main()
}
