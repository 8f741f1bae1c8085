//! The real dashboard in a real terminal (a pseudo one), and what it leaves behind.
//!
//! The program in the terminal is this very test binary, running [`crate::look`].

use std::{
    io::{Read as _, Write},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

const PATIENCE: Duration = Duration::from_secs(30);

struct Window {
    child: Box<dyn Child + Send + Sync>,
    /// `None`: closed.
    master: Option<Box<dyn MasterPty + Send>>,
    keyboard: Box<dyn Write + Send>,
    output: Receiver<Vec<u8>>,
    screen: vt100::Parser,
}

impl Window {
    fn open(environment: &[(&str, &str)]) -> Self {
        let size = PtySize { rows: 36, cols: 120, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(std::env::current_exe().unwrap());
        command.args(["--exact", "look::look", "--ignored", "--nocapture"]);
        command.env("TERM", "xterm-256color");
        command.env("RUST_BACKTRACE", "0");
        command.env_remove("NO_COLOR");
        for (name, value) in environment {
            command.env(name, value);
        }
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let keyboard = pair.master.take_writer().unwrap();
        let mut reader = pair.master.try_clone_reader().unwrap();
        let (sender, output) = channel();
        thread::spawn(move || {
            let mut bytes = [0; 8_192];
            // A terminal whose program has ended reads as end of file, or as an error.
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, master: Some(pair.master), keyboard, output, screen: vt100::Parser::new(36, 120, 0) }
    }

    fn type_keys(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self.keyboard.flush().unwrap();
    }

    /// Reads until the screen is as wanted.
    fn until(&mut self, what: &str, wanted: impl Fn(&vt100::Screen) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !wanted(self.screen.screen()) {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(bytes) = self.output.recv_timeout(left) else {
                panic!("{what} did not come; the screen was\n{}", self.screen.screen().contents());
            };
            self.screen.process(&bytes);
        }
    }

    fn sees(&mut self, text: &str) {
        self.until(text, |screen| screen.contents().contains(text));
    }

    /// The program has ended, and the terminal is as it was.
    fn is_left_clean(&mut self, exit: &str) {
        self.sees(&format!("left with {exit}"));
        let screen = self.screen.screen();
        assert!(!screen.alternate_screen() && !screen.hide_cursor() && !screen.bracketed_paste());
        assert_eq!(screen.mouse_protocol_mode(), vt100::MouseProtocolMode::None);
        assert!(self.child.wait().unwrap().success());
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        let id = self.child.process_id().unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(id.try_into().unwrap()), signal).unwrap();
    }
}

#[test]
fn the_terminal_is_given_back_on_quit() {
    let mut window = Window::open(&[]);
    window.sees("RUNNING");
    assert!(window.screen.screen().alternate_screen());
    window.type_keys("q");
    window.sees("The run is under way");
    window.type_keys("p");
    window.is_left_clean("Ok(Detach)");
}

#[test]
fn the_terminal_is_given_back_on_sigterm() {
    let mut window = Window::open(&[]);
    window.sees("RUNNING");
    window.signal(nix::sys::signal::Signal::SIGTERM);
    window.is_left_clean("Ok(Drained)");
}

#[test]
fn a_worker_that_panics_does_not_tear_the_screen() {
    let mut window = Window::open(&[]);
    window.sees("RUNNING");
    window.type_keys("c");
    window.sees("the worker has panicked: true");
    assert!(window.screen.screen().alternate_screen());
    window.type_keys("?");
    window.sees("Help");
    assert!(!window.screen.screen().contents().contains("a worker's mistake"));
    window.type_keys("\x03\x03");
    window.is_left_clean("Ok(StopNow)");
    window.sees("a worker's mistake");
}

#[test]
fn a_terminal_that_goes_away_does_not_take_the_run_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("exit");
    let mut window = Window::open(&[("EXIT_TO", path.to_str().unwrap())]);
    window.sees("RUNNING");
    let Window { mut child, master, mut keyboard, output, .. } = window;
    let deadline = Instant::now() + PATIENCE;
    // The reader holds a copy of the terminal until it finds that nobody listens to it: give it something to say.
    drop(output);
    keyboard.write_all(b"?").unwrap();
    drop((master, keyboard));
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "the program did not notice");
        thread::yield_now();
    }
    // Nothing is left that a thread could read over and over for the rest of the run.
    assert_eq!(std::fs::read_to_string(path).unwrap(), "Ok(Detach), its input is a pipe");
}

#[test]
fn nothing_reads_a_terminal_that_was_left() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("exit");
    let mut window = Window::open(&[("EXIT_TO", path.to_str().unwrap())]);
    window.sees("RUNNING");
    window.type_keys("q");
    window.sees("The run is under way");
    // Half an escape sequence behind the answer: whoever has begun to read it would wait for the rest, for ever.
    window.type_keys("p");
    window.type_keys("\x1b[");
    window.is_left_clean("Ok(Detach)");
    assert_eq!(std::fs::read_to_string(path).unwrap(), "Ok(Detach), its input is a pipe");
}

#[test]
#[cfg(debug_assertions)] // The mistake it makes is an overflow.
fn a_mistake_while_drawing_gives_the_terminal_back_and_leaves_the_run_alone() {
    let mut window = Window::open(&[]);
    window.sees("RUNNING");
    window.type_keys(":strategy fastest\r");
    window.is_left_clean("Err(the dashboard failed (attempt to add with overflow); the run itself is not affected");
}

#[test]
fn a_resized_window_is_drawn_anew() {
    let mut window = Window::open(&[]);
    window.sees("Cooldowns");
    let size = PtySize { rows: 14, cols: 59, pixel_width: 0, pixel_height: 0 };
    window.master.as_ref().unwrap().resize(size).unwrap();
    window.screen.screen_mut().set_size(14, 59);
    window.sees("59x14 is too small");
    window.type_keys("qs");
    window.sees("left with Ok(StopNow)");
}

#[test]
fn without_colour_bold_and_reverse_survive() {
    let mut window = Window::open(&[("NO_COLOR", "1")]);
    window.sees("RUNNING");
    let screen = window.screen.screen();
    let cell = |row, column| screen.cell(row, column).unwrap();
    assert!(cell(4, 3).bold(), "the focused pane's title");
    assert!(cell(6, 4).inverse(), "the selected key");
    let coloured = |row, column| cell(row, column).fgcolor() != vt100::Color::Default;
    assert!(!(0..36).any(|row| (0..120).any(|column| coloured(row, column))));
    window.type_keys("qs");
    window.is_left_clean("Ok(StopNow)");
}
