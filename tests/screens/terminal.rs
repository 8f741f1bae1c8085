//! The real dashboard in a pseudo-terminal, and the state in which it leaves the terminal.
//!
//! The program in the terminal is this test binary, running [`crate::look`].

use portable_pty::CommandBuilder;

use crate::pty::PtySession;

fn open_dashboard(environment: &[(&str, &str)]) -> PtySession {
    let mut command = CommandBuilder::new(std::env::current_exe().unwrap());
    command.args(["--exact", "look::look", "--ignored", "--nocapture"]);
    command.env("RUST_BACKTRACE", "0");
    command.env_remove("NO_COLOR");
    for (name, value) in environment {
        command.env(name, value);
    }
    PtySession::spawn(command)
}

/// Checks how the program was left, and that the terminal is restored.
#[track_caller]
fn assert_left_clean(mut session: PtySession, exit: &str) {
    session.wait_for_text(&format!("left with {exit}"));
    assert!(session.wait_for_exit().success());
}

#[test]
fn the_terminal_is_restored_on_quit() {
    let mut session = open_dashboard(&[]);
    session.wait_for_text("RUNNING");
    assert!(session.parser.screen().alternate_screen());
    session.type_keys("q");
    session.wait_for_text("The run is under way");
    session.type_keys("p");
    assert_left_clean(session, "Ok(Detached)");
}

#[test]
fn the_terminal_is_restored_on_sigterm() {
    let mut session = open_dashboard(&[]);
    session.wait_for_text("RUNNING");
    session.send_signal(nix::sys::signal::Signal::SIGTERM);
    assert_left_clean(session, "Ok(Drained)");
}

#[test]
fn a_worker_that_panics_does_not_tear_the_screen() {
    let mut session = open_dashboard(&[]);
    session.wait_for_text("RUNNING");
    session.type_keys("c");
    session.wait_for_text("the worker has panicked: true");
    assert!(session.parser.screen().alternate_screen());
    session.type_keys("?");
    session.wait_for_text("Help");
    assert!(!session.parser.screen().contents().contains("a worker's mistake"));
    session.type_keys("\x03\x03");
    session.wait_for_text("a worker's mistake");
    assert_left_clean(session, "Ok(Stopped)");
}

#[test]
fn a_terminal_that_goes_away_does_not_take_the_run_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("exit");
    let mut session = open_dashboard(&[("EXIT_TO", path.to_str().unwrap())]);
    session.wait_for_text("RUNNING");
    session.close_terminal();
    // Standard input is a pipe by now, so no thread can read the closed terminal in a loop.
    assert_eq!(std::fs::read_to_string(path).unwrap(), "Ok(Detached), its input is a pipe");
}

#[test]
fn nothing_reads_a_terminal_that_was_left() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("exit");
    let mut session = open_dashboard(&[("EXIT_TO", path.to_str().unwrap())]);
    session.wait_for_text("RUNNING");
    session.type_keys("q");
    session.wait_for_text("The run is under way");
    // Half an escape sequence follows the key. A thread that still reads the terminal would wait for the rest for ever.
    session.type_keys("p");
    session.type_keys("\x1b[");
    assert_left_clean(session, "Ok(Detached)");
    assert_eq!(std::fs::read_to_string(path).unwrap(), "Ok(Detached), its input is a pipe");
}

#[test]
#[cfg(debug_assertions)] // The panic is an overflow, which release builds don't check.
fn a_panic_while_drawing_restores_the_terminal_and_leaves_the_run_alone() {
    let mut session = open_dashboard(&[]);
    session.wait_for_text("RUNNING");
    session.type_keys(":strategy fastest\r");
    assert_left_clean(
        session,
        "Err(the dashboard failed (attempt to add with overflow); the run itself is not affected",
    );
}

#[test]
fn a_resized_window_is_drawn_anew() {
    let mut session = open_dashboard(&[]);
    session.wait_for_text("Cooldowns");
    session.resize(14, 59);
    session.wait_for_text("59x14 is too small");
    session.type_keys("qs");
    session.wait_for_text("left with Ok(Stopped)");
}

#[test]
fn without_colour_bold_and_reverse_survive() {
    let mut session = open_dashboard(&[("NO_COLOR", "1")]);
    session.wait_for_text("RUNNING");
    let screen = session.parser.screen();
    let cell = |row, column| screen.cell(row, column).unwrap();
    assert!(cell(4, 3).bold(), "the focused pane's title");
    assert!(cell(6, 4).inverse(), "the selected key");
    let coloured = |row, column| cell(row, column).fgcolor() != vt100::Color::Default;
    assert!(!(0..36).any(|row| (0..120).any(|column| coloured(row, column))));
    session.type_keys("qs");
    assert_left_clean(session, "Ok(Stopped)");
}
