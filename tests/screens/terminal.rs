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
    PtySession::open(command)
}

/// Checks how the program was left, and that the terminal is restored.
#[track_caller]
fn assert_left_clean(mut window: PtySession, exit: &str) {
    window.wait_for_text(&format!("left with {exit}"));
    assert!(window.assert_clean_exit().success());
}

#[test]
fn the_terminal_is_restored_on_quit() {
    let mut window = open_dashboard(&[]);
    window.wait_for_text("RUNNING");
    assert!(window.screen.screen().alternate_screen());
    window.type_keys("q");
    window.wait_for_text("The run is under way");
    window.type_keys("p");
    assert_left_clean(window, "Ok(Detached)");
}

#[test]
fn the_terminal_is_restored_on_sigterm() {
    let mut window = open_dashboard(&[]);
    window.wait_for_text("RUNNING");
    window.send_signal(nix::sys::signal::Signal::SIGTERM);
    assert_left_clean(window, "Ok(Drained)");
}

#[test]
fn a_worker_that_panics_does_not_tear_the_screen() {
    let mut window = open_dashboard(&[]);
    window.wait_for_text("RUNNING");
    window.type_keys("c");
    window.wait_for_text("the worker has panicked: true");
    assert!(window.screen.screen().alternate_screen());
    window.type_keys("?");
    window.wait_for_text("Help");
    assert!(!window.screen.screen().contents().contains("a worker's mistake"));
    window.type_keys("\x03\x03");
    window.wait_for_text("a worker's mistake");
    assert_left_clean(window, "Ok(Stopped)");
}

#[test]
fn a_terminal_that_goes_away_does_not_take_the_run_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("exit");
    let mut window = open_dashboard(&[("EXIT_TO", path.to_str().unwrap())]);
    window.wait_for_text("RUNNING");
    window.close_terminal();
    // Standard input is a pipe by now, so no thread can read the closed terminal in a loop.
    assert_eq!(std::fs::read_to_string(path).unwrap(), "Ok(Detached), its input is a pipe");
}

#[test]
fn nothing_reads_a_terminal_that_was_left() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("exit");
    let mut window = open_dashboard(&[("EXIT_TO", path.to_str().unwrap())]);
    window.wait_for_text("RUNNING");
    window.type_keys("q");
    window.wait_for_text("The run is under way");
    // Half an escape sequence follows the key. A thread that still reads the terminal would wait for the rest for ever.
    window.type_keys("p");
    window.type_keys("\x1b[");
    assert_left_clean(window, "Ok(Detached)");
    assert_eq!(std::fs::read_to_string(path).unwrap(), "Ok(Detached), its input is a pipe");
}

#[test]
#[cfg(debug_assertions)] // The panic is an overflow, which release builds don't check.
fn a_panic_while_drawing_restores_the_terminal_and_leaves_the_run_alone() {
    let mut window = open_dashboard(&[]);
    window.wait_for_text("RUNNING");
    window.type_keys(":strategy fastest\r");
    assert_left_clean(
        window,
        "Err(the dashboard failed (attempt to add with overflow); the run itself is not affected",
    );
}

#[test]
fn a_resized_window_is_drawn_anew() {
    let mut window = open_dashboard(&[]);
    window.wait_for_text("Cooldowns");
    window.resize(14, 59);
    window.wait_for_text("59x14 is too small");
    window.type_keys("qs");
    window.wait_for_text("left with Ok(Stopped)");
}

#[test]
fn without_colour_bold_and_reverse_survive() {
    let mut window = open_dashboard(&[("NO_COLOR", "1")]);
    window.wait_for_text("RUNNING");
    let screen = window.screen.screen();
    let cell = |row, column| screen.cell(row, column).unwrap();
    assert!(cell(4, 3).bold(), "the focused pane's title");
    assert!(cell(6, 4).inverse(), "the selected key");
    let coloured = |row, column| cell(row, column).fgcolor() != vt100::Color::Default;
    assert!(!(0..36).any(|row| (0..120).any(|column| coloured(row, column))));
    window.type_keys("qs");
    assert_left_clean(window, "Ok(Stopped)");
}
