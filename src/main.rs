//! The `cascadeck` command.

use std::process::ExitCode;

/// Requests and answers are many small allocations on one thread and frees on another: the system's allocator is
/// the largest single cost of a fast run.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cascadeck::cli::main()
}
