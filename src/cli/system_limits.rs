//! Checks before a run starts that enough file handles and threads are available, since the asynchronous runtime panics
//! without them.

use std::{io, num::NonZero, os::unix::net::UnixStream, sync::RwLock, thread};

use super::CliError;

/// Number of pairs of file handles that must be available. A run needs about 24 handles, including its first
/// connection.
const MIN_HANDLE_PAIRS: usize = 12;

/// Number of threads needed besides the runtime's workers: one each for the input, the log, the ledger and blocking
/// work, and three for the record.
const EXTRA_THREADS: usize = 7;

/// Acquires the resources that a run needs and releases them again.
pub(super) fn check() -> Result<(), CliError> {
    check_handles(MIN_HANDLE_PAIRS).map_err(|error| {
        CliError::internal(format!(
            "too few file handles are available: {error}. Raise the limit (`ulimit -n 1024`) and run the same command again"
        ))
    })?;
    // The runtime starts this many worker threads.
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    check_threads(workers + EXTRA_THREADS).map_err(|error| {
        CliError::internal(format!(
            "too few threads are available, {} are needed: {error}. Raise the limit (`ulimit -u`, or the process limit of \
             the container) and run the same command again",
            workers + EXTRA_THREADS
        ))
    })
}

fn check_handles(pairs: usize) -> io::Result<()> {
    (0..pairs).map(|_| UnixStream::pair()).collect::<io::Result<Vec<_>>>().map(drop)
}

/// Starts `count` threads that live at the same time, and ends them.
fn check_threads(count: usize) -> io::Result<()> {
    let gate = RwLock::new(());
    thread::scope(|scope| {
        let write_lock = gate.write();
        let started =
            (0..count).try_for_each(|_| thread::Builder::new().spawn_scoped(scope, || drop(gate.read())).map(drop));
        drop(write_lock);
        started
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_resources_pass_and_impossible_ones_fail() {
        check().unwrap();
        check_handles(1 << 24).unwrap_err();
    }
}
