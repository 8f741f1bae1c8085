//! Reads keys, clicks and pastes on a separate thread.
//!
//! When the terminal is gone, each read returns zero bytes at once, and crossterm loops inside one call that never
//! returns. So only this thread makes that call, and nothing else depends on it. The dashboard notices the loss by a
//! signal or when it draws, and leaves normally.

use std::{io, thread, time::Duration};

use crossterm::event::{self, Event};
use futures_util::{Stream, stream};
use tokio::sync::mpsc;

/// Maximum time between two checks of the thread whether the stream has been dropped.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Capacity of the channel in events; further input waits in the terminal.
const EVENT_CHANNEL_CAPACITY: usize = 256;

/// Starts the thread and returns the stream of the terminal's events. The thread ends after the stream is dropped.
///
/// # Errors
/// If the thread can't be started.
pub fn event_stream() -> io::Result<impl Stream<Item = io::Result<Event>>> {
    let (sender, receiver) = mpsc::channel(EVENT_CHANNEL_CAPACITY);
    thread::Builder::new().name("terminal".to_owned()).spawn(move || read_events(&sender))?;
    Ok(stream::unfold(receiver, |mut receiver| async move {
        let event = receiver.recv().await?;
        Some((event, receiver))
    }))
}

fn read_events(sender: &mpsc::Sender<io::Result<Event>>) {
    while !sender.is_closed() {
        let event = match event::poll(POLL_INTERVAL) {
            Ok(false) => continue,
            Ok(true) => event::read(),
            Err(error) => Err(error),
        };
        let is_last = event.is_err();
        if sender.blocking_send(event).is_err() || is_last {
            return;
        }
    }
}

/// Replaces stdin by an empty pipe; called when the dashboard is left.
///
/// The thread may still be inside a read call, for example after half of an escape sequence. If the terminal is gone,
/// now or later in the run, that call would loop forever. On a pipe without data it sleeps.
pub fn stop_input() {
    let empty_pipe = nix::unistd::pipe().and_then(|(read, write)| nix::unistd::dup2_stdin(read).map(|()| write));
    match empty_pipe {
        // The write end stays open until the process ends: otherwise reads would return zero bytes at once.
        Ok(write) => std::mem::forget(write),
        Err(error) => tracing::warn!("can't release the terminal: {error}"),
    }
}
