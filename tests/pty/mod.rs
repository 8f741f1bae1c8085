//! Runs a program in a pseudo-terminal: sends it keys, and parses its output into a screen.

#![allow(dead_code, reason = "each test program uses only a part of this file")]

use std::{
    io::{Read as _, Write},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use portable_pty::{Child, CommandBuilder, ExitStatus, MasterPty, PtySize, native_pty_system};

const HANG_TIMEOUT: Duration = Duration::from_secs(60);
const ROWS: u16 = 36;
const COLUMNS: u16 = 120;

/// A process that is killed when it is dropped.
struct PtyProgram(Box<dyn Child + Send + Sync>);

impl Drop for PtyProgram {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
    }
}

/// A program in a pseudo-terminal.
pub struct PtySession {
    program: PtyProgram,
    master: Box<dyn MasterPty + Send>,
    input: Box<dyn Write + Send>,
    output: Receiver<Vec<u8>>,
    raw_output: Vec<u8>,
    pub parser: vt100::Parser,
}

impl PtySession {
    pub fn spawn(mut command: CommandBuilder) -> Self {
        let size = PtySize { rows: ROWS, cols: COLUMNS, pixel_width: 0, pixel_height: 0 };
        let pty = native_pty_system().openpty(size).unwrap();
        command.env("TERM", "xterm-256color");
        let program = PtyProgram(pty.slave.spawn_command(command).unwrap());
        drop(pty.slave);
        let input = pty.master.take_writer().unwrap();
        let mut reader = pty.master.try_clone_reader().unwrap();
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
        let parser = vt100::Parser::new(ROWS, COLUMNS, 0);
        Self { program, master: pty.master, input, output, raw_output: Vec::new(), parser }
    }

    pub fn type_keys(&mut self, keys: &str) {
        self.input.write_all(keys.as_bytes()).unwrap();
        self.input.flush().unwrap();
    }

    pub fn resize(&mut self, rows: u16, columns: u16) {
        self.master.resize(PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 }).unwrap();
        self.parser.screen_mut().set_size(rows, columns);
    }

    /// All output so far, escape sequences included.
    pub fn output_text(&self) -> String {
        String::from_utf8_lossy(&self.raw_output).into_owned()
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.raw_output.extend_from_slice(bytes);
        self.parser.process(bytes);
    }

    /// Reads output until the screen meets the condition.
    #[track_caller]
    pub fn wait_until(&mut self, what: &str, condition: impl Fn(&vt100::Screen) -> bool) {
        let deadline = Instant::now() + HANG_TIMEOUT;
        while !condition(self.parser.screen()) {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(bytes) = self.output.recv_timeout(left) else {
                panic!("{what} did not come; the screen was\n{}", self.parser.screen().contents());
            };
            self.feed(&bytes);
        }
    }

    #[track_caller]
    pub fn wait_for_text(&mut self, text: &str) {
        self.wait_until(text, |screen| screen.contents().contains(text));
    }

    /// Reads until the output contains `text`, escape sequences included.
    #[track_caller]
    pub fn wait_for_output(&mut self, text: &str) {
        let deadline = Instant::now() + HANG_TIMEOUT;
        while !self.output_text().contains(text) {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(bytes) = self.output.recv_timeout(left) else { panic!("{text:?} was never written") };
            self.feed(&bytes);
        }
    }

    pub fn send_signal(&self, signal: Signal) {
        let id = self.program.0.process_id().unwrap();
        kill(Pid::from_raw(id.try_into().unwrap()), signal).unwrap();
    }

    /// Quits the program with these keys.
    #[track_caller]
    pub fn quit_with(mut self, keys: &str) {
        self.type_keys(keys);
        self.wait_for_exit();
    }

    /// Waits until the program has ended, whatever its exit status. Checks that it has restored the terminal.
    #[track_caller]
    pub fn wait_for_exit(mut self) -> ExitStatus {
        let deadline = Instant::now() + HANG_TIMEOUT;
        loop {
            match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.feed(&bytes),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("the program is still running:\n{}", self.parser.screen().contents())
                }
            }
        }
        let screen = self.parser.screen();
        assert!(!screen.alternate_screen() && !screen.hide_cursor() && !screen.bracketed_paste());
        assert_eq!(screen.mouse_protocol_mode(), vt100::MouseProtocolMode::None);
        self.program.0.wait().unwrap()
    }

    /// Closes the terminal while the program runs in it, and waits for the program to end.
    #[track_caller]
    pub fn close_terminal(self) {
        let Self { mut program, master, mut input, output, .. } = self;
        let deadline = Instant::now() + HANG_TIMEOUT;
        // The reader thread holds a copy of the terminal until it fails to send output. A key press makes the program
        // write some.
        drop(output);
        input.write_all(b"?").unwrap();
        drop((master, input));
        while program.0.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the program did not notice");
            thread::yield_now();
        }
    }
}
