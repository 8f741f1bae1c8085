//! The terminal as the event loop sees it: a [`Screen`] to draw on, and the signals of the process.

use std::io;

use super::{picture::CellPixels, state::State};
use crate::domain::Snapshot;

/// The terminal as the loop uses it: draws frames and sends control sequences.
pub trait Screen {
    fn draw(&mut self, state: &State, snapshot: &Snapshot) -> io::Result<()>;
    /// Discards what is on the terminal; the next frame is drawn completely.
    fn repaint(&mut self) -> io::Result<()>;
    /// Releases the terminal, stops the process until it is continued, and acquires the terminal again.
    fn suspend(&mut self) -> io::Result<()>;
    fn capture_mouse(&mut self, on: bool) -> io::Result<()>;
    fn set_title(&mut self, title: &str) -> io::Result<()>;
    fn notify(&mut self, message: &str) -> io::Result<()>;
    /// The size of a cell in pixels, if the terminal reports it.
    fn cell_size(&self) -> Option<CellPixels> {
        None
    }
    /// Sends text to the terminal's clipboard. The terminal does not confirm it.
    fn copy(&mut self, text: &str) -> io::Result<()>;
}

/// A Unix signal that the dashboard handles.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// SIGTERM: drain and end; the second one stops at once.
    Terminate,
    /// SIGINT from another process: handled like Ctrl-C.
    Interrupt,
    /// SIGHUP: the terminal is gone.
    HangUp,
}
