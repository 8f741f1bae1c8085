//! Cleans up if the program is interrupted before the run starts: removes the unfinished copy of a pipe.

use std::{io, process, sync::mpsc, thread};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

use super::{CliError, print::EXIT_INTERRUPTED};

/// As long as it lives, an interrupt, termination or hang-up signal runs the clean-up and ends the process.
pub(super) struct CleanupGuard {
    _dropped: oneshot::Sender<()>,
}

impl CleanupGuard {
    /// Starts a thread that listens for signals: the caller's thread may be blocked while it copies a pipe. Returns
    /// when the thread is listening.
    ///
    /// # Errors
    /// If the thread can't be started or can't listen for signals.
    pub fn new(clean_up: impl FnOnce() + Send + 'static) -> Result<Self, CliError> {
        Self::listen(clean_up).map_err(|error| signal_error(&error))
    }

    fn listen(clean_up: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let (sender, dropped) = oneshot::channel::<()>();
        let (ready_sender, ready_receiver) = mpsc::sync_channel(1);
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_io().build() {
                Ok(runtime) => runtime,
                // Sending, here and below, fails only if the caller no longer waits.
                Err(error) => return drop(ready_sender.send(Err(error))),
            };
            runtime.block_on(async {
                let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
                let [mut interrupt, mut terminate, mut hangup] = match kinds.map(signal) {
                    [Ok(interrupt), Ok(terminate), Ok(hangup)] => [interrupt, terminate, hangup],
                    [Err(error), ..] | [_, Err(error), _] | [.., Err(error)] => {
                        return drop(ready_sender.send(Err(error)));
                    }
                };
                drop(ready_sender.send(Ok(())));
                tokio::select! {
                    _ = dropped => return,
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                clean_up();
                process::exit(EXIT_INTERRUPTED.into());
            });
        })?;
        ready_receiver.recv().map_err(io::Error::other)??;
        Ok(Self { _dropped: sender })
    }
}

fn signal_error(error: &io::Error) -> CliError {
    CliError::internal(format!("can't install signal handlers: {error}"))
}
