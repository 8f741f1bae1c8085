//! The log file and the log pane. It is one test because logging starts once per process.

use cascadeck::{
    domain::Snapshot,
    telemetry::{self, panics},
    tui::pane::Pane,
};
use tracing::level_filters::LevelFilter;

use crate::{fixture, tui_harness::TuiHarness};

#[test]
fn what_is_logged_and_what_panics_is_in_the_file_and_on_the_screen() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cascadeck.log");
    let guard = telemetry::init(&path, LevelFilter::INFO, true).unwrap();
    assert!(telemetry::init(&path, LevelFilter::INFO, true).is_err(), "only once");

    tracing::info!(target: "cascadeck::engine", key = "alice", "a refusal: \x1b[31mred\nand more");
    tracing::debug!(target: "cascadeck::engine", "below the level");
    let hold = panics::defer_panic_output();
    let worker = std::thread::Builder::new().name("worker".to_owned());
    assert!(worker.spawn(|| panic!("a worker's mistake")).unwrap().join().is_err());
    drop(hold);

    tui_logger::move_events();
    let screen = TuiHarness::new(120, 36, fixture::busy()).focus(Pane::Log).screen_text();
    assert!(screen.contains("a refusal") && screen.contains("a worker's mistake"), "{screen}");

    assert!(screen.contains(" 7 Log ") && !screen.contains("in real time"), "{screen}");
    let fast = Snapshot { clock_speed: 60.0, ..fixture::busy() };
    let screen = TuiHarness::new(120, 36, fast).focus(Pane::Log).screen_text();
    assert!(screen.contains(" 7 Log, in real time "), "{screen}");

    drop(guard);
    let log = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<_> = log.lines().collect();
    assert_eq!(lines.len(), 2, "{log}");
    assert!(lines[0].contains("INFO cascadeck::engine: a refusal: ") && lines[0].ends_with("key=\"alice\""), "{log}");
    assert!(!log.contains('\x1b'));
    assert!(lines[1].contains("ERROR") && lines[1].contains("thread 'worker' panicked at tests/screens/log.rs"));
}
