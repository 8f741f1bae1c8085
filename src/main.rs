//! The `cascadeck` command.

use std::process::ExitCode;

/// Requests and answers allocate many small blocks on one thread and free them on another. With the system's allocator
/// that is the largest single cost of a fast run.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cascadeck::cli::main()
}
