//! The real terminal: acquired, drawn on, and always released.

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
use ratatui::backend::{Backend as _, ClearType, CrosstermBackend};
use tokio::sync::mpsc;

use super::{
    draw::draw,
    options::DashboardOptions,
    picture::CellPixels,
    screen::{Screen, Signal},
    state::State,
    text::one_line,
};
use crate::domain::Snapshot;

/// Large enough to write a frame in one piece.
const OUTPUT_BUFFER_BYTES: usize = 64 * 1024;

/// The terminal while the dashboard uses it. Dropping it releases the terminal.
pub struct Terminal {
    /// Never dropped: ratatui's drop prints to stderr if it can't show the cursor, which panics if stderr was the
    /// terminal that is gone. Its two buffers leak, and a half-written frame is discarded, which is intended.
    ratatui: ManuallyDrop<ratatui::Terminal<CrosstermBackend<BufWriter<Stdout>>>>,
    mouse_captured: bool,
    notifications: bool,
    /// Sent on release: deletes the pictures that the terminal stores.
    cleanup_sequence: String,
    is_acquired: bool,
}

impl Terminal {
    /// Acquires the terminal. `cleanup_sequence` is sent when it is released.
    pub fn enter(options: &DashboardOptions, cleanup_sequence: String) -> io::Result<Self> {
        let backend = CrosstermBackend::new(BufWriter::with_capacity(OUTPUT_BUFFER_BYTES, io::stdout()));
        let mut terminal = Self {
            ratatui: ManuallyDrop::new(ratatui::Terminal::new(backend)?),
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

    /// Clears the terminal; the next frame is written completely. `Terminal::clear` would query the cursor position,
    /// and the response would be read as input.
    fn clear(&mut self) -> io::Result<()> {
        self.ratatui.backend_mut().clear_region(ClearType::All)?;
        self.ratatui.swap_buffers();
        Ok(())
    }

    /// Restores the terminal. Tries every step even if others fail, so that as much as possible is restored.
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
        // The synchronized update is ended even if drawing fails; otherwise the terminal would wait for its end.
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
        // Asks the operating system and not the terminal, so that no response comes as input.
        let size = window_size().ok()?;
        CellPixels::from_window_size(size.columns, size.rows, size.width, size.height)
    }

    fn set_title(&mut self, title: &str) -> io::Result<()> {
        execute!(io::stdout(), SetTitle(one_line(title)))
    }

    fn notify(&mut self, message: &str) -> io::Result<()> {
        if !self.notifications {
            return Ok(());
        }
        // Terminals that support OSC 9 show a notification; all ring the bell.
        let mut out = io::stdout().lock();
        write!(out, "\x1b]9;{}\x1b\\\x07", one_line(message))?;
        out.flush()
    }

    fn copy(&mut self, text: &str) -> io::Result<()> {
        // OSC 52 sets the clipboard of the operator's terminal, also over ssh and, if it is allowed, through tmux.
        // Base64 keeps all other characters out of the sequence.
        let mut out = io::stdout().lock();
        write!(out, "\x1b]52;c;{}\x1b\\", BASE64.encode(text))?;
        out.flush()
    }
}

/// Suspends the process, as the terminal does for Ctrl-Z. The signal is raised in this thread, so that it has taken
/// effect before this function continues. A signal to the process could reach another thread a moment later; then the
/// terminal would be acquired again before the shell sets its own mode.
fn suspend_process() -> io::Result<()> {
    nix::sys::signal::raise(nix::sys::signal::Signal::SIGTSTP).map_err(io::Error::from)
}

/// The signals SIGTERM, SIGINT and SIGHUP as a stream. Dropping it ends the tasks that wait for them.
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

/// Saves the title on xterm's title stack; [`PopTitle`] restores the shell's title.
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
