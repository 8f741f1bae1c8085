//! The run's directory, or a file in it, is removed while the run goes on.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{
    cli::RUN_ARGS,
    harness::{
        ProcessOutput, TestMachine, addition_rows,
        logging_server::{LoggingServer, Response},
    },
};

const RUN_DIR: &str = "runs/batch";
const ITEMS: u64 = 12;

/// Starts a run, applies `change` to its directory after five answers, and returns the machine and the ended process.
/// The provider holds back the other answers; with `released` it sends them after the change.
fn run_with_change(change: impl FnOnce(&TestMachine), released: bool) -> (TestMachine, ProcessOutput) {
    let open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&open);
    let answered = std::sync::atomic::AtomicU64::new(0);
    let server = LoggingServer::start(move |_| {
        while answered.fetch_add(1, Ordering::Relaxed) >= 5 && !gate.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(5));
        }
        Response::openai("yes")
    });
    let machine = TestMachine::new();
    machine.write_keys_toml(&server.keys_toml("rpm = 100000"));
    machine.write("batch.jsonl", addition_rows(ITEMS));
    let live = machine.start(&[&RUN_ARGS[..], &["--no-check", "--in-flight", "2"]].concat());
    crate::harness::wait_until("five answers are recorded", || {
        fs::read_to_string(machine.path(RUN_DIR).join("results.jsonl")).is_ok_and(|text| text.lines().count() >= 5)
    });
    change(&machine);
    open.store(released, Ordering::Relaxed);
    let ended = live.wait();
    open.store(true, Ordering::Relaxed);
    (machine, ended)
}

fn remove_run_file(name: &'static str) -> impl Fn(&TestMachine) {
    move |machine| fs::remove_file(machine.path(RUN_DIR).join(name)).unwrap()
}

#[test]
fn a_run_whose_directory_is_removed_ends_with_1_and_is_not_called_finished() {
    for released in [false, true] {
        let (_, ended) = run_with_change(|machine| fs::remove_dir_all(machine.path(RUN_DIR)).unwrap(), released);
        let ended = ended.expect_status(1);
        ended.assert_stderr_contains(&["runs/batch/run.db is no longer the file", "removed, moved or replaced"]);
        assert!(
            !ended.stderr.contains("finished") && !ended.stdout.contains("finished"),
            "{}{}",
            ended.stderr,
            ended.stdout
        );
    }
}

#[test]
fn a_run_whose_database_or_lock_is_removed_or_replaced_ends_with_1_and_names_it() {
    let replace = |machine: &TestMachine| {
        let path = machine.path(RUN_DIR).join("run.db");
        fs::rename(&path, machine.path("elsewhere.db")).unwrap();
        fs::copy(machine.path("elsewhere.db"), path).unwrap();
    };
    for (name, change) in [
        ("run.db", Box::new(replace) as Box<dyn Fn(&TestMachine)>),
        ("run.db", Box::new(remove_run_file("run.db"))),
        ("run.db-wal", Box::new(remove_run_file("run.db-wal"))),
        ("run.lock", Box::new(remove_run_file("run.lock"))),
    ] {
        let (_, ended) = run_with_change(change, true);
        ended.expect_status(1).assert_stderr_contains(&[&format!("runs/batch/{name} is no longer the file")]);
    }
}

#[test]
fn a_results_file_that_is_removed_or_replaced_under_way_is_written_anew() {
    let empty = |machine: &TestMachine| {
        remove_run_file("results.jsonl")(machine);
        machine.write("runs/batch/results.jsonl", "");
    };
    for change in [Box::new(remove_run_file("results.jsonl")) as Box<dyn Fn(&TestMachine)>, Box::new(empty)] {
        let (machine, ended) = run_with_change(change, true);
        ended.expect_status(0);
        assert_eq!(machine.results(RUN_DIR).len() as u64, ITEMS);
        machine.cascadeck(&["audit", RUN_DIR]).expect_status(0);
    }
}
