//! Results that can't be written: a full device fails the command, a reader that has closed the pipe doesn't.

use crate::{
    cli::RUN_ARGS,
    harness::{SLOW_PROFILE, SimulatedProvider, TestMachine, addition_rows},
};

const STDOUT_TO_FULL_DEVICE: &str = "exec > /dev/full";
const FULL_DEVICE_ERROR: &str = "can't write to standard output: No space left on device";

/// A finished run of four items, and the response file that `explain` reads.
fn finished_run() -> (TestMachine, SimulatedProvider) {
    let provider = SimulatedProvider::from_toml(SLOW_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", addition_rows(4));
    machine.cascadeck(&RUN_ARGS).expect_status(0);
    machine.write("answer.json", r#"{"status":429,"headers":{},"body":{"error":{"message":"slow down"}}}"#);
    (machine, provider)
}

/// Every command that prints its result on standard output.
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
        let ended = machine.start_in_shell(STDOUT_TO_FULL_DEVICE, command).wait();
        assert_eq!(ended.status.code(), Some(1), "{command:?}: {}", ended.stderr);
        assert!(ended.stderr.contains("No space left on device"), "{command:?}: {}", ended.stderr);
        assert!(!ended.stderr.contains("panicked"), "{command:?}: {}", ended.stderr);
    }
    machine.start_in_shell(STDOUT_TO_FULL_DEVICE, &["export", "runs/batch", "-o", "/dev/full"]).wait().expect_status(1);
}

#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let (machine, _provider) = finished_run();
    for command in PRINTING_COMMANDS {
        assert_eq!(machine.run_with_closed_output(command), Some(0), "{command:?}");
    }
}

#[test]
fn a_run_whose_summary_could_not_be_written_has_run_and_says_so() {
    for more in [&[][..], &["--json"], &["--headless"]] {
        let provider = SimulatedProvider::from_toml(SLOW_PROFILE);
        let machine = TestMachine::with_provider(&provider);
        machine.write("batch.jsonl", addition_rows(4));
        let ended =
            machine.start_in_shell(STDOUT_TO_FULL_DEVICE, &[&RUN_ARGS[..], more].concat()).wait().expect_status(1);
        ended.assert_stderr_contains(&["the run's summary", FULL_DEVICE_ERROR, "cascadeck status"]);
        assert_eq!(machine.results("runs/batch").len(), 4);
        assert_eq!(machine.status("runs/batch")["done"], 4);
        // With space again, the same command has nothing to do.
        machine.cascadeck(&[&RUN_ARGS[..], more].concat()).expect_status(0);
        assert_eq!(provider.checked_stats().total.requests, 4);
    }
}

#[test]
fn simulator_stats_that_a_full_device_does_not_take_fail_it() {
    let machine = TestMachine::new();
    let mut sim =
        machine.start_in_shell(STDOUT_TO_FULL_DEVICE, &["sim", "--listen", "127.0.0.1:0", "--profile", "open"]);
    sim.wait_for_line("statistics: http://");
    sim.send_signal(nix::sys::signal::Signal::SIGTERM);
    let ended = sim.wait().expect_status(1);
    ended.assert_stderr_contains(&[FULL_DEVICE_ERROR]);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}
