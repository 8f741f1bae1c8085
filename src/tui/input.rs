//! Keys, clicks and pastes, read by a thread of their own.
//!
//! A terminal that is gone reads as empty for ever, and crossterm reads it over and over within a single call: whoever
//! made that call never comes back from it. So it is made by a thread that owns nothing else, and the dashboard, which
//! hears of the loss by a signal or when it draws, leaves as it should.

use std::{io, thread, time::Duration};

use crossterm::event::{self, Event};
use futures_util::{Stream, stream};
use tokio::sync::mpsc;

/// How soon the thread notices that nobody listens any more.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Events that wait to be looked at; a flood waits in the terminal.
const EVENT_BUFFER: usize = 256;

/// What the terminal sends, as long as the stream is held.
///
/// # Errors
/// Where no thread can be started.
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

/// To be called when the dashboard is left: nobody reads the terminal any more, except for the thread, where half an escape
/// sequence keeps it within a call. A terminal that is gone, now or later in the run, it would read over and over; a pipe
/// that nobody writes to lets it sleep.
pub fn stop_input() {
    let empty_pipe = nix::unistd::pipe().and_then(|(read, write)| nix::unistd::dup2_stdin(read).map(|()| write));
    match empty_pipe {
        // Open as long as the process: closed, it would read as empty too.
        Ok(write) => std::mem::forget(write),
        Err(error) => tracing::warn!("the terminal can't be let go of: {error}"),
    }
}
