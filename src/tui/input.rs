//! Reads keys, clicks and pastes on a separate thread.
//!
//! When the terminal is gone, reading it returns "empty" forever, and crossterm then loops inside one call that never
//! returns. So a thread that owns nothing else makes that call. The dashboard learns of the loss by a signal or when it
//! draws, and leaves normally.

use std::{io, thread, time::Duration};

use crossterm::event::{self, Event};
use futures_util::{Stream, stream};
use tokio::sync::mpsc;

/// How often the thread checks whether the stream is still held.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Capacity of the channel in events; further input waits in the terminal.
const EVENT_BUFFER: usize = 256;

/// The events of the terminal, as long as the stream is held.
///
/// # Errors
/// If the thread can't be started.
pub fn event_stream() -> io::Result<impl Stream<Item = io::Result<Event>>> {
    let (sender, receiver) = mpsc::channel(EVENT_BUFFER);
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
/// Nothing but the thread reads the terminal from then on, and half an escape sequence can keep the thread inside a
/// read call. If the terminal is gone, now or later in the run, that call would loop forever; on a pipe without data it
/// sleeps.
pub fn stop_input() {
    let empty_pipe = nix::unistd::pipe().and_then(|(read, write)| nix::unistd::dup2_stdin(read).map(|()| write));
    match empty_pipe {
        // Kept open until the process ends: a closed pipe reads as empty too.
        Ok(write) => std::mem::forget(write),
        Err(error) => tracing::warn!("the terminal can't be let go of: {error}"),
    }
}
