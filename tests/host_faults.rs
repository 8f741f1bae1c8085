//! Faults on the host: a full disk, a locked database, no file handles, closed output. The run goes on, or stops with a
//! true message and exit status, and nothing is lost.

use std::{collections::BTreeSet, fs};

use cascadeck::{domain::FinalState, store::audit};
use nix::sys::signal::Signal;

use crate::harness::{SLOW_PROFILE, SimulatedProvider, TestMachine, addition_rows, expected_answer, wait_until};

const RUN_ARGS: [&str; 5] = ["run", "batch.jsonl", "--prompt", "{{ question }}", "--no-check"];
const RUN_DIR: &str = "runs/batch";

/// Checks that every item is done once with its own answer, and that the audit passes.
#[track_caller]
fn assert_audit(machine: &TestMachine, provider: &SimulatedProvider, items: u64) {
    let audit = audit::audit(&machine.path(RUN_DIR), None).unwrap();
    assert!(audit.is_ok(), "{audit:#?}");
    assert_eq!((audit.items, audit.done), (items, items));
    let mut ids = BTreeSet::new();
    for line in machine.results(RUN_DIR) {
        assert_eq!((line.status, line.output), (FinalState::Done, Some(expected_answer(&line.id))), "{}", line.id);
        assert!(ids.insert(line.id.clone()), "{} is there twice", line.id);
    }
    assert_eq!(provider.checked_stats().prompts.distinct, items);
}

#[test]
fn a_disk_without_room_holds_the_run_and_more_room_resumes_it() {
    const ITEMS: u64 = 150;
    let provider = SimulatedProvider::from_toml(SLOW_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", addition_rows(ITEMS));
    // Files may not exceed 128 KiB and no signal is sent, which looks like a full disk.
    let mut live = machine.start_in_shell("trap '' XFSZ; ulimit -f 256", &RUN_ARGS);
    let line = live.wait_for_line("can't be recorded");
    assert!(line.contains("run.db") || line.contains("results.jsonl"), "{line}");
    let sent = provider.checked_stats().total.requests;
    live.send_signal(Signal::SIGINT);
    live.send_signal(Signal::SIGTERM);
    let ended = live.wait();
    assert!(matches!(ended.status.code(), Some(1 | 130)), "{}: {}", ended.status, ended.stderr);
    assert!(sent < ITEMS, "it was stopped in the middle");
    machine.cascadeck(&RUN_ARGS).expect_status(0);
    assert_audit(&machine, &provider, ITEMS);
    let books = provider.checked_stats();
    let answered_again: u64 = books.prompts.by_hash.values().map(|prompt| prompt.ok.saturating_sub(1)).sum();
    // Only answers that were in flight and could not be recorded are requested again.
    assert!(answered_again <= 16, "{answered_again} answered again");
}

#[test]
fn a_directory_that_can_not_be_written_to_is_1_and_named() {
    let provider = SimulatedProvider::from_toml(SLOW_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", addition_rows(2));
    let args = [&RUN_ARGS[..], &["--run-dir", "/proc/self/run"]].concat();
    machine.cascadeck(&args).expect_status(1).assert_stderr_contains(&["/proc/self/run"]);
    assert_eq!(provider.checked_stats().total.requests, 0);
}

#[test]
fn a_database_that_another_process_holds_is_waited_for_and_nothing_is_lost() {
    const ITEMS: u64 = 60;
    let provider = SimulatedProvider::from_toml(SLOW_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", addition_rows(ITEMS));
    let mut live = machine.start(&[&RUN_ARGS[..], &["--in-flight", "4"]].concat());
    provider.wait_until("it is under way", |books| books.total.ok >= 4);
    let holder = rusqlite::Connection::open(machine.path(RUN_DIR).join("run.db")).unwrap();
    wait_until("the lock is had", || holder.execute_batch("BEGIN IMMEDIATE").is_ok());
    live.wait_for_line("can't be recorded");
    let sent = provider.checked_stats().total.requests;
    holder.execute_batch("COMMIT").unwrap();
    drop(holder);
    live.wait().expect_status(0);
    assert!(sent < ITEMS, "while it was held nothing more went out");
    assert_audit(&machine, &provider, ITEMS);
    assert_eq!(provider.checked_stats().prompts.answered_more_than_once, 0);
}

#[test]
fn without_file_handles_no_item_is_blamed() {
    const ITEMS: u64 = 80;
    // A configured limit lets all of them go at once.
    let provider =
        SimulatedProvider::from_toml(&SLOW_PROFILE.replace("provider = \"g\" }]", "provider = \"g\", rpm = 60000 }]"));
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", addition_rows(ITEMS));
    // The program needs about two dozen handles, so few are left for connections.
    let live = machine.start_in_shell("ulimit -n 48", &[&RUN_ARGS[..], &["--in-flight", "200"]].concat());
    let ended = live.wait().expect_status(0);
    assert!(ended.stderr.contains("client_trouble"), "it ran out of them: {}", ended.stderr);
    assert_audit(&machine, &provider, ITEMS);
    assert_eq!(machine.status(RUN_DIR)["keys"][0]["failed"], 0, "nor is a key");
}

#[test]
fn nobody_reading_is_no_reason_to_stop() {
    for (shell, status) in [("exec >&- 2>&-", 0), ("exec > /dev/full 2> /dev/full", 1)] {
        let provider = SimulatedProvider::from_toml(SLOW_PROFILE);
        let machine = TestMachine::with_provider(&provider);
        machine.write("batch.jsonl", addition_rows(12));
        // The run finishes. Its lost summary is a failure on a full device, but not with closed output.
        machine.start_in_shell(shell, &RUN_ARGS).wait().expect_status(status);
        assert_audit(&machine, &provider, 12);
        let closed = machine.start_in_shell(shell, &["status", RUN_DIR]).wait();
        assert_eq!(closed.status.code(), Some(status), "{shell}");
        machine.start_in_shell(shell, &["audit", RUN_DIR]).wait().expect_status(status);
    }
    // Readers that close the pipes early.
    let provider = SimulatedProvider::from_toml(SLOW_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", addition_rows(12));
    assert_eq!(machine.run_with_closed_output(&RUN_ARGS), Some(0));
    assert_audit(&machine, &provider, 12);
    for command in [&["status", RUN_DIR][..], &["audit", RUN_DIR], &["export", RUN_DIR], &["check"]] {
        assert_eq!(machine.run_with_closed_output(command), Some(0), "{command:?}");
    }
}

#[test]
fn a_results_file_that_was_thrown_away_is_written_again() {
    let provider = SimulatedProvider::from_toml(SLOW_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", addition_rows(12));
    machine.cascadeck(&RUN_ARGS).expect_status(0);
    let before = machine.read("runs/batch/results.jsonl");
    for damage in ["", "rubbish", &before[..before.len() / 2]] {
        machine.write("runs/batch/results.jsonl", damage);
        machine.cascadeck(&RUN_ARGS).expect_status(0);
        assert_eq!(machine.read("runs/batch/results.jsonl"), before, "{damage:?}");
    }
    fs::remove_file(machine.path("runs/batch/results.jsonl")).unwrap();
    machine.cascadeck(&RUN_ARGS).expect_status(0);
    assert_audit(&machine, &provider, 12);
    assert_eq!(provider.checked_stats().total.requests, 12);
}

#[test]
fn too_few_file_handles_to_begin_with_are_named_and_nothing_panics() {
    let provider = SimulatedProvider::from_toml(SLOW_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", addition_rows(2));
    for limit in 4..=20 {
        for args in [&RUN_ARGS[..], &["check"], &["demo", "--headless"]] {
            let ended = machine
                .start_in_shell(&format!("exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-; ulimit -n {limit}"), args)
                .wait();
            assert_eq!(ended.status.code(), Some(1), "{limit}: {args:?}: {}", ended.stderr);
            ended.assert_stderr_contains(&["Too many open files", "ulimit -n 1024"]);
        }
    }
    assert_eq!(provider.checked_stats().total.requests, 0);
}
