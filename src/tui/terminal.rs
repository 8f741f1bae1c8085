//! The real terminal: taken, drawn on, and always given back.

use std::{
    fmt,
    io::{self, BufWriter, Stdout, Write as _},
    mem::ManuallyDrop,
};

use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use crossterm::{
    Command, cursor,
    event::{DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture},
    execute, queue,
    style::Print,
    terminal::{
        BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen, SetTitle,
        disable_raw_mode, enable_raw_mode, window_size,
    },
};
use futures_util::Stream;
use ratatui::{
    Terminal as Canvas,
    backend::{Backend as _, ClearType, CrosstermBackend},
};
use tokio::sync::mpsc;

use super::{
    DashboardOptions, draw,
    event_loop::{Screen, Signal},
    picture::CellPixels,
    state::State,
    text::one_line,
};
use crate::domain::Snapshot;

/// A frame is written in one go.
const OUTPUT_BUFFER_BYTES: usize = 64 * 1024;

/// The terminal while it is ours; dropping it gives it back.
pub struct Terminal {
    /// Never dropped: ratatui's drop prints to stderr when it can't show the cursor, which panics when stderr was
    /// the terminal that is gone. Two buffers are lost with it, and a frame left half written, as it should be.
    ratatui: ManuallyDrop<Canvas<CrosstermBackend<BufWriter<Stdout>>>>,
    mouse_captured: bool,
    notifications: bool,
    /// What to tell it when it is given back: to forget the pictures that it keeps.
    cleanup_sequence: String,
    is_acquired: bool,
}

impl Terminal {
    pub fn enter(options: &DashboardOptions, cleanup_sequence: String) -> io::Result<Self> {
        let backend = CrosstermBackend::new(BufWriter::with_capacity(OUTPUT_BUFFER_BYTES, io::stdout()));
        let mut terminal = Self {
            ratatui: ManuallyDrop::new(Canvas::new(backend)?),
            mouse_captured: options.capture_mouse,
            notifications: options.notifications,
            cleanup_sequence,
            is_acquired: false,
        };
        terminal.acquire()?;
        Ok(terminal)
    }

    fn acquire(&mut self) -> io::Result<()> {
        self.is_acquired = true;
        enable_raw_mode()?;
        execute!(io::stdout(), PushTitle, EnterAlternateScreen, EnableBracketedPaste, cursor::Hide)?;
        if self.mouse_captured {
            execute!(io::stdout(), EnableMouseCapture)?;
        }
        self.clear()
    }

    /// Clears the terminal; the next frame is written whole. `Terminal::clear` would ask the terminal where its
    /// cursor is, and the answer would be read as input.
    fn clear(&mut self) -> io::Result<()> {
        self.ratatui.backend_mut().clear_region(ClearType::All)?;
        self.ratatui.swap_buffers();
        Ok(())
    }

    /// Every step is tried, whatever becomes of the others: a terminal that is gone can't be restored, and
    /// one that isn't must be.
    fn release(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.is_acquired) {
            return Ok(());
        }
        let mouse = if self.mouse_captured { execute!(io::stdout(), DisableMouseCapture) } else { Ok(()) };
        let screen = execute!(
            io::stdout(),
            Print(&self.cleanup_sequence),
            DisableBracketedPaste,
            LeaveAlternateScreen,
            cursor::Show,
            PopTitle
        );
        let raw = disable_raw_mode();
        mouse.and(screen).and(raw)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.release();
    }
}

impl Screen for Terminal {
    fn draw(&mut self, state: &State, snapshot: &Snapshot) -> io::Result<()> {
        // Ended even when drawing fails, or the terminal would wait for the end of a frame.
        queue!(self.ratatui.backend_mut(), BeginSynchronizedUpdate)?;
        let drawn = self.ratatui.draw(|frame| draw(frame, state, snapshot)).map(|_| ());
        let ended = execute!(self.ratatui.backend_mut(), EndSynchronizedUpdate);
        drawn.and(ended)
    }

    fn repaint(&mut self) -> io::Result<()> {
        self.clear()
    }

    fn suspend(&mut self) -> io::Result<()> {
        self.release()?;
        suspend_process()?;
        self.acquire()
    }

    fn capture_mouse(&mut self, on: bool) -> io::Result<()> {
        self.mouse_captured = on;
        if on { execute!(io::stdout(), EnableMouseCapture) } else { execute!(io::stdout(), DisableMouseCapture) }
    }

    fn cell_size(&self) -> Option<CellPixels> {
        // Asked of the system, not of the terminal: nothing comes back as input.
        let size = window_size().ok()?;
        CellPixels::from_window_size(size.columns, size.rows, size.width, size.height)
    }

    fn set_title(&mut self, title: &str) -> io::Result<()> {
        execute!(io::stdout(), SetTitle(one_line(title)))
    }

    fn notify(&mut self, words: &str) -> io::Result<()> {
        if !self.notifications {
            return Ok(());
        }
        // Terminals that know OSC 9 show a notification; all ring the bell.
        let mut out = io::stdout().lock();
        write!(out, "\x1b]9;{}\x1b\\\x07", one_line(words))?;
        out.flush()
    }

    fn copy(&mut self, text: &str) -> io::Result<()> {
        // OSC 52 reaches the clipboard of the terminal in front of the operator, also over ssh and (where it is
        // allowed to) through tmux. Base64 keeps every other character out of the sequence.
        let mut out = io::stdout().lock();
        write!(out, "\x1b]52;c;{}\x1b\\", BASE64.encode(text))?;
        out.flush()
    }
}

/// As the terminal does for Ctrl-Z. Raised in this very thread, so that it has taken effect when this goes on:
/// a signal sent to the process may reach another thread a moment later, and then the terminal would be taken
/// again before the shell puts it into its own mode.
fn suspend_process() -> io::Result<()> {
    nix::sys::signal::raise(nix::sys::signal::Signal::SIGTSTP).map_err(io::Error::from)
}

/// Terminate, interrupt and hang-up, as long as the stream is held.
pub fn signal_stream() -> io::Result<impl Stream<Item = Signal>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (sender, receiver) = mpsc::channel(4);
    for (kind, meaning) in [
        (SignalKind::terminate(), Signal::Terminate),
        (SignalKind::interrupt(), Signal::Interrupt),
        (SignalKind::hangup(), Signal::HangUp),
    ] {
        let mut arrivals = signal(kind)?;
        let sender = sender.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = sender.closed() => return,
                    arrived = arrivals.recv() => {
                        if arrived.is_none() || sender.send(meaning).await.is_err() {
                            return;
                        }
                    }
                }
            }
        });
    }
    Ok(futures_util::stream::unfold(receiver, |mut receiver| async move {
        let signal = receiver.recv().await?;
        Some((signal, receiver))
    }))
}

/// xterm's title stack: the shell's title comes back with [`PopTitle`].
struct PushTitle;
struct PopTitle;

impl Command for PushTitle {
    fn write_ansi(&self, f: &mut impl fmt::Write) -> fmt::Result {
        f.write_str("\x1b[22;0t")
    }
}

impl Command for PopTitle {
    fn write_ansi(&self, f: &mut impl fmt::Write) -> fmt::Result {
        f.write_str("\x1b[23;0t")
    }
}
