//! Ends the program if it is interrupted before the run starts: with the status of an interrupt, and after a clean-up,
//! such as the removal of the unfinished copy of a pipe.

use std::{
    fmt, io, process,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

use super::{CliError, print::EXIT_INTERRUPTED};

type CleanUp = Box<dyn FnOnce() + Send>;

/// As long as it lives, an interrupt or termination signal runs the clean-up, if there is one, and ends the process.
pub(super) struct CleanupGuard {
    clean_up: Arc<Mutex<Option<CleanUp>>>,
    _dropped: oneshot::Sender<()>,
}

impl fmt::Debug for CleanupGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CleanupGuard").finish_non_exhaustive()
    }
}

impl CleanupGuard {
    /// Starts a thread that listens for signals: the caller's thread may be blocked while it copies a pipe. Returns
    /// when the thread is listening. A hang-up also ends the process if `ends_on_hangup`.
    ///
    /// # Errors
    /// If the thread can't be started or can't listen for signals.
    pub fn new(ends_on_hangup: bool) -> Result<Self, CliError> {
        Self::listen(ends_on_hangup).map_err(|error| signal_error(&error))
    }

    /// Sets what is done before the process ends.
    pub fn set_clean_up(&self, clean_up: impl FnOnce() + Send + 'static) {
        *self.clean_up.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(clean_up));
    }

    fn listen(ends_on_hangup: bool) -> io::Result<Self> {
        let clean_up: Arc<Mutex<Option<CleanUp>>> = Arc::default();
        let clean_up_on_signal = Arc::clone(&clean_up);
        let (sender, dropped) = oneshot::channel::<()>();
        let (ready_sender, ready_receiver) = mpsc::sync_channel(1);
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_io().build() {
                Ok(runtime) => runtime,
                // Sending, here and below, fails only if the caller no longer waits.
                Err(error) => return drop(ready_sender.send(Err(error))),
            };
            runtime.block_on(async {
                let [mut interrupt, mut terminate] =
                    match [SignalKind::interrupt(), SignalKind::terminate()].map(signal) {
                        [Ok(interrupt), Ok(terminate)] => [interrupt, terminate],
                        [Err(error), _] | [_, Err(error)] => return drop(ready_sender.send(Err(error))),
                    };
                // Otherwise a hang-up has its usual effect, which `nohup` may have changed.
                let mut hangup = match ends_on_hangup.then(|| signal(SignalKind::hangup())).transpose() {
                    Ok(hangup) => hangup,
                    Err(error) => return drop(ready_sender.send(Err(error))),
                };
                let hung_up = async {
                    match &mut hangup {
                        Some(hangup) => hangup.recv().await,
                        None => std::future::pending().await,
                    }
                };
                drop(ready_sender.send(Ok(())));
                tokio::select! {
                    _ = dropped => return,
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hung_up => {}
                }
                if let Some(clean_up) = clean_up_on_signal.lock().unwrap_or_else(PoisonError::into_inner).take() {
                    clean_up();
                }
                process::exit(EXIT_INTERRUPTED.into());
            });
        })?;
        ready_receiver.recv().map_err(io::Error::other)??;
        Ok(Self { clean_up, _dropped: sender })
    }
}

fn signal_error(error: &io::Error) -> CliError {
    CliError::internal(format!("can't install signal handlers: {error}"))
}
