//! Results that can't be written: a device without room fails the command, a reader that has gone does not.

use crate::{
    RUN_ARGS,
    lab::{Machine, Provider, SLOW, sums},
};

const STDOUT_TO_FULL_DEVICE: &str = "exec > /dev/full";
const FULL_DEVICE_ERROR: &str = "standard output could not be written to: No space left on device";

/// A finished run of four items, and the file that a command reads.
fn finished_run() -> (Machine, Provider) {
    let provider = Provider::of(SLOW);
    let machine = Machine::with(&provider);
    machine.write("batch.jsonl", sums(4));
    machine.cascadeck(&RUN_ARGS).with_status(0);
    machine.write("answer.json", r#"{"status":429,"headers":{},"body":{"error":{"message":"slow down"}}}"#);
    (machine, provider)
}

/// Every command that prints what it was asked for.
const PRINTING_COMMANDS: [&[&str]; 18] = [
    &["status", "runs/batch"],
    &["status", "runs/batch", "--json"],
    &["audit", "runs/batch"],
    &["audit", "runs/batch", "--json"],
    &["plan", "batch.jsonl", "--prompt", "{{ question }}"],
    &["plan", "batch.jsonl", "--prompt", "{{ question }}", "--json"],
    &["check"],
    &["check", "--offline"],
    &["export", "runs/batch"],
    &["export", "runs/batch", "--format", "csv"],
    &["export", "runs/batch", "--format", "openai-batch"],
    &["explain", "--api", "openai", "answer.json"],
    &["completions", "bash"],
    &["sim", "--profile", "open", "--listen", "127.0.0.1:9", "--print-keys"],
    &["--help"],
    &["run", "--help"],
    &["help", "replay"],
    &["--version"],
];

#[test]
fn results_that_a_full_device_does_not_take_fail_the_command() {
    let (machine, _provider) = finished_run();
    for command in PRINTING_COMMANDS {
        let ended = machine.start_after(STDOUT_TO_FULL_DEVICE, command).end();
        assert_eq!(ended.status.code(), Some(1), "{command:?}: {}", ended.err);
        assert!(ended.err.contains("No space left on device"), "{command:?}: {}", ended.err);
        assert!(!ended.err.contains("panicked"), "{command:?}: {}", ended.err);
    }
    machine.start_after(STDOUT_TO_FULL_DEVICE, &["export", "runs/batch", "-o", "/dev/full"]).end().with_status(1);
}

#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let (machine, _provider) = finished_run();
    for command in PRINTING_COMMANDS {
        assert_eq!(machine.unheard(command), Some(0), "{command:?}");
    }
}

#[test]
fn a_run_whose_summary_could_not_be_written_has_run_and_says_so() {
    for more in [&[][..], &["--json"], &["--headless"]] {
        let provider = Provider::of(SLOW);
        let machine = Machine::with(&provider);
        machine.write("batch.jsonl", sums(4));
        let ended = machine.start_after(STDOUT_TO_FULL_DEVICE, &[&RUN_ARGS[..], more].concat()).end().with_status(1);
        ended.says(&["the run's summary", FULL_DEVICE_ERROR, "cascadeck status"]);
        assert_eq!(machine.results("runs/batch").len(), 4);
        assert_eq!(machine.status("runs/batch")["done"], 4);
        // With room again, the same command has nothing to do.
        machine.cascadeck(&[&RUN_ARGS[..], more].concat()).with_status(0);
        assert_eq!(provider.books().total.requests, 4);
    }
}

#[test]
fn simulator_stats_that_a_full_device_does_not_take_fail_it() {
    let machine = Machine::new();
    let mut sim = machine.start_after(STDOUT_TO_FULL_DEVICE, &["sim", "--listen", "127.0.0.1:0", "--profile", "open"]);
    sim.line_with("books: http://");
    sim.signal(nix::sys::signal::Signal::SIGTERM);
    let ended = sim.end().with_status(1);
    ended.says(&[FULL_DEVICE_ERROR]);
    assert!(!ended.err.contains("panicked"), "{}", ended.err);
}
