//! The run's directory is taken away, in part or whole, while the run is under way.

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
    RUN_ARGS,
    lab::{
        Ended, Machine,
        logging_server::{LoggingServer, Response},
        sums,
    },
};

const RUN_DIR: &str = "runs/batch";
const ITEMS: u64 = 12;

/// A run that is met in the middle, while its provider holds back further answers; `change` is done to its directory, and
/// the answers come then if they are `released`.
fn run_with_change(change: impl FnOnce(&Machine), released: bool) -> (Machine, Ended) {
    let open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&open);
    let answered = std::sync::atomic::AtomicU64::new(0);
    let server = LoggingServer::start(move |_| {
        while answered.fetch_add(1, Ordering::Relaxed) >= 5 && !gate.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(5));
        }
        Response::openai("yes")
    });
    let machine = Machine::new();
    machine.write_keys(&server.keys_toml("rpm = 100000"));
    machine.write("batch.jsonl", sums(ITEMS));
    let live = machine.start(&[&RUN_ARGS[..], &["--no-check", "--in-flight", "2"]].concat());
    crate::lab::until("five answers are recorded", || {
        fs::read_to_string(machine.path(RUN_DIR).join("results.jsonl")).is_ok_and(|text| text.lines().count() >= 5)
    });
    change(&machine);
    open.store(released, Ordering::Relaxed);
    let ended = live.end();
    open.store(true, Ordering::Relaxed);
    (machine, ended)
}

fn remove_run_file(name: &'static str) -> impl Fn(&Machine) {
    move |machine| fs::remove_file(machine.path(RUN_DIR).join(name)).unwrap()
}

#[test]
fn a_run_whose_directory_is_removed_ends_with_1_and_is_not_called_finished() {
    for released in [false, true] {
        let (_, ended) = run_with_change(|machine| fs::remove_dir_all(machine.path(RUN_DIR)).unwrap(), released);
        let ended = ended.with_status(1);
        ended.says(&["runs/batch/run.db is no longer the file", "removed, moved or replaced"]);
        assert!(!ended.err.contains("finished") && !ended.out.contains("finished"), "{}{}", ended.err, ended.out);
    }
}

#[test]
fn a_run_whose_database_or_lock_is_removed_or_replaced_ends_with_1_and_names_it() {
    let replace = |machine: &Machine| {
        let path = machine.path(RUN_DIR).join("run.db");
        fs::rename(&path, machine.path("elsewhere.db")).unwrap();
        fs::copy(machine.path("elsewhere.db"), path).unwrap();
    };
    for (name, change) in [
        ("run.db", Box::new(replace) as Box<dyn Fn(&Machine)>),
        ("run.db", Box::new(remove_run_file("run.db"))),
        ("run.db-wal", Box::new(remove_run_file("run.db-wal"))),
        ("run.lock", Box::new(remove_run_file("run.lock"))),
    ] {
        let (_, ended) = run_with_change(change, true);
        ended.with_status(1).says(&[&format!("runs/batch/{name} is no longer the file")]);
    }
}

#[test]
fn a_results_file_that_is_removed_or_replaced_under_way_is_written_anew() {
    let empty = |machine: &Machine| {
        remove_run_file("results.jsonl")(machine);
        machine.write("runs/batch/results.jsonl", "");
    };
    for change in [Box::new(remove_run_file("results.jsonl")) as Box<dyn Fn(&Machine)>, Box::new(empty)] {
        let (machine, ended) = run_with_change(change, true);
        ended.with_status(0);
        assert_eq!(machine.results(RUN_DIR).len() as u64, ITEMS);
        machine.cascadeck(&["audit", RUN_DIR]).with_status(0);
    }
}
