//! Long inputs: sending starts while the input is still read, and memory doesn't grow with it.
//!
//! The full million rows need a release build: `cargo test --release --test main scale -- --ignored --nocapture`.

use std::{fs, thread, time::Duration};

use nix::sys::signal::Signal;

use crate::harness::{RunningProcess, SimulatedProvider, TestMachine, UNLIMITED_PROFILE, addition_rows};

const MAX_MEMORY_MB: u64 = 200;

fn rows_read(machine: &TestMachine) -> u64 {
    let record = rusqlite::Connection::open(machine.path("runs/batch/run.db")).unwrap();
    record.query_row("SELECT count(*) FROM items", [], |row| row.get::<_, i64>(0)).unwrap() as u64
}

/// The process's peak memory in MiB.
fn peak_mb(live: &RunningProcess) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", live.process_id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1_024
}

fn assert_streams_input(rows: u64) {
    let provider = SimulatedProvider::from_toml(UNLIMITED_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", addition_rows(rows));
    let started = std::time::Instant::now();
    let mut live = machine.start(&["run", "batch.jsonl", "--prompt", "{{ question }}"]);
    provider.wait_until("the first request", |books| books.total.requests > 0);
    let (after, read) = (started.elapsed(), rows_read(&machine));
    assert!(read < rows, "all {rows} rows were read before the first was sent");
    while rows_read(&machine) < rows {
        assert!(!live.has_exited(), "it ended before it had read everything");
        thread::sleep(Duration::from_millis(20));
    }
    let peak = peak_mb(&live);
    println!("{rows} rows: first request after {:.1} s with {read} rows read; at most {peak} MB", after.as_secs_f64());
    assert!(peak < MAX_MEMORY_MB, "{peak} MB for {rows} rows");
    live.send_signal(Signal::SIGINT);
    live.wait().expect_status(130);
}

#[test]
fn a_long_input_is_sent_while_it_is_read() {
    assert_streams_input(12_000);
}

#[test]
#[ignore = "minutes in a debug build"]
fn a_million_rows_begin_early_and_stay_small() {
    assert_streams_input(1_000_000);
}
