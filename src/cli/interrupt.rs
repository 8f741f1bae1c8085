//! An interrupt before there is a run: what was copied of a pipe so far goes with the process.

use std::{io, process, sync::mpsc, thread};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

use super::Failure;

/// The exit status of an interrupted process.
const INTERRUPTED: i32 = 130;

/// Cleans up and ends the process on an interrupt, a termination or a hang-up, until it is dropped.
pub(super) struct CleanUpOnSignal {
    _dropped: oneshot::Sender<()>,
}

impl CleanUpOnSignal {
    /// On a thread of its own: whoever copies a pipe blocks the thread that it is on. Returns once signals are heeded.
    pub fn new(clean_up: impl FnOnce() + Send + 'static) -> Result<Self, Failure> {
        Self::listen(clean_up).map_err(|error| no_signals(&error))
    }

    fn listen(clean_up: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let (sender, dropped) = oneshot::channel::<()>();
        let (ready, is_ready) = mpsc::sync_channel(1);
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_io().build() {
                Ok(runtime) => runtime,
                // Nobody waits for it any more where this fails, here and below.
                Err(error) => return drop(ready.send(Err(error))),
            };
            runtime.block_on(async {
                let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
                let [mut interrupt, mut terminate, mut hangup] = match kinds.map(signal) {
                    [Ok(interrupt), Ok(terminate), Ok(hangup)] => [interrupt, terminate, hangup],
                    [Err(error), ..] | [_, Err(error), _] | [.., Err(error)] => return drop(ready.send(Err(error))),
                };
                drop(ready.send(Ok(())));
                tokio::select! {
                    _ = dropped => return,
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                clean_up();
                process::exit(INTERRUPTED);
            });
        })?;
        is_ready.recv().map_err(io::Error::other)??;
        Ok(Self { _dropped: sender })
    }
}

fn no_signals(error: &io::Error) -> Failure {
    Failure::broken(format!("signals can't be listened to: {error}"))
}
