//! The file handles and threads that a run needs, asked for before anything begins: the asynchronous runtime panics where it
//! can't have its own.

use std::{io, num::NonZero, os::unix::net::UnixStream, sync::RwLock, thread};

use super::CliError;

/// Pairs of file handles that must be free: a run needs about two dozen handles, its first connection included.
const MIN_HANDLE_PAIRS: usize = 12;

/// Threads beside the runtime's workers: of the input, the log, the ledger, three of the record, and one for what blocks.
const EXTRA_THREADS: usize = 7;

/// Takes what a run needs and gives it back.
pub(super) fn check() -> Result<(), CliError> {
    check_handles(MIN_HANDLE_PAIRS).map_err(|error| {
        CliError::internal(format!(
            "there are too few file handles: {error}. Raise the limit (`ulimit -n 1024`) and run the same command again"
        ))
    })?;
    // As many as the runtime starts.
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    check_threads(workers + EXTRA_THREADS).map_err(|error| {
        CliError::internal(format!(
            "the system gives too few threads, {} are needed: {error}. Raise the limit (`ulimit -u`, or a container's limit \
             of processes) and run the same command again",
            workers + EXTRA_THREADS
        ))
    })
}

fn check_handles(pairs: usize) -> io::Result<()> {
    (0..pairs).map(|_| UnixStream::pair()).collect::<io::Result<Vec<_>>>().map(drop)
}

/// Starts so many threads that all live at once, and ends them.
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
    fn what_a_run_needs_is_there_and_what_no_machine_has_is_refused() {
        check().unwrap();
        check_handles(1 << 24).unwrap_err();
    }
}
