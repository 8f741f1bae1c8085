//! Which input belongs to a run: however its path is written, whatever was removed from it, and never another batch.

use serde_json::Value;

use super::captions::EYES;
use crate::harness::{SimulatedProvider, TestMachine, UNLIMITED_PROFILE, addition_rows, png};

const PIPED_RUN_ARGS: [&str; 4] = ["run", "-", "--prompt", "{{ question }}"];

/// Rows whose ids differ from all of [`addition_rows`].
fn other_rows(count: u64) -> String {
    addition_rows(count).replace("\"id\":\"q", "\"id\":\"other")
}

#[test]
fn rows_that_are_gone_from_the_input_stay_in_the_run_and_are_counted() {
    let provider = SimulatedProvider::from_toml(UNLIMITED_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    let run = ["run", "batch.jsonl", "--prompt", "{{ question }}", "--json"];
    machine.write("batch.jsonl", addition_rows(5));
    machine.cascadeck(&run).expect_status(0);
    machine.write("batch.jsonl", addition_rows(5).lines().skip(2).collect::<Vec<_>>().join("\n"));
    let ended = machine.cascadeck(&run).expect_status(0);
    ended.assert_stderr_contains(&[
        "the input has changed: 0 rows are new, 0 are answered again, 2 are no longer in it",
        "2 items of this run are no longer in the input; they stay in the run, its results and its exports",
    ]);
    assert_eq!((&ended.stdout_json()["total"], &ended.stdout_json()["not_in_input"]), (&5.into(), &2.into()));
    // The message comes at every start while rows are missing, and `status` reports it too.
    machine
        .cascadeck(&run)
        .expect_status(0)
        .assert_stderr_contains(&["2 items of this run are no longer in the input"]);
    assert_eq!(machine.status("runs/batch")["not_in_input"], 2);
    let table = machine.cascadeck(&["status", "runs/batch"]).expect_status(0).stdout;
    assert!(table.contains("5 of 5 done, 0 failed; 2 no longer in the input"), "{table}");
    assert_eq!(machine.cascadeck(&["export", "runs/batch"]).expect_status(0).stdout.lines().count(), 5);
    // The rows come back.
    machine.write("batch.jsonl", addition_rows(5));
    let ended = machine.cascadeck(&run).expect_status(0);
    assert!(!ended.stderr.contains("of this run"), "{}", ended.stderr);
    assert_eq!((&ended.stdout_json()["not_in_input"], provider.checked_stats().total.requests), (&Value::Null, 5));
}

#[test]
fn another_batch_through_the_same_pipe_is_another_run() {
    let provider = SimulatedProvider::from_toml(UNLIMITED_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.cascadeck_with_stdin(&PIPED_RUN_ARGS, &addition_rows(4)).expect_status(0);
    for (batch, which) in
        [(other_rows(6), "it has none of its 4 rows"), (addition_rows(3), "it has only 3 of its 4 rows")]
    {
        let refused = machine.cascadeck_with_stdin(&PIPED_RUN_ARGS, &batch).expect_status(2);
        refused.assert_stderr_contains(&[
            "another batch than that of the run in runs/stdin",
            which,
            "--run-dir",
            "--accept-changed",
        ]);
    }
    // The run keeps the input that it was started with.
    assert_eq!(machine.read("runs/stdin/input"), addition_rows(4));
    assert!(!machine.path("runs/stdin/input.new").exists());
    machine.cascadeck(&PIPED_RUN_ARGS).expect_status(0);
    assert_eq!((provider.checked_stats().total.requests, machine.results("runs/stdin").len()), (4, 4));

    machine
        .cascadeck_with_stdin(&[&PIPED_RUN_ARGS[..], &["--run-dir", "runs/mine"]].concat(), &other_rows(6))
        .expect_status(0);
    assert_eq!(machine.results("runs/mine").len(), 6);
    let both = [&PIPED_RUN_ARGS[..], &["--accept-changed"]].concat();
    let ended = machine.cascadeck_with_stdin(&both, &other_rows(6)).expect_status(0);
    ended.assert_stderr_contains(&[
        "6 rows are new, 0 are answered again, 4 are no longer in it",
        "4 items of this run are no longer",
    ]);
    assert_eq!(machine.results("runs/stdin").len(), 10);
    assert_eq!(machine.read("runs/stdin/input"), other_rows(6));
}

#[test]
fn the_beginning_of_a_pipe_is_no_other_batch() {
    let provider = SimulatedProvider::from_toml(UNLIMITED_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.cascadeck_with_stdin(&PIPED_RUN_ARGS, &addition_rows(4)).expect_status(0);
    let trial = [&PIPED_RUN_ARGS[..], &["--limit", "2"]].concat();
    machine.cascadeck_with_stdin(&trial, &addition_rows(4)).expect_status(0);
    machine
        .cascadeck_with_stdin(&trial, &other_rows(4))
        .expect_status(2)
        .assert_stderr_contains(&["another batch", "none of its"]);
    assert_eq!(provider.checked_stats().total.requests, 4);
}

#[test]
fn the_beginning_of_a_pipe_takes_nothing_from_what_is_kept() {
    let provider = SimulatedProvider::from_toml(UNLIMITED_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.cascadeck_with_stdin(&PIPED_RUN_ARGS, &addition_rows(4)).expect_status(0);
    let trial = [&PIPED_RUN_ARGS[..], &["--limit", "2", "--json"]].concat();
    let ended = machine.cascadeck_with_stdin(&trial, &addition_rows(2)).expect_status(0);
    ended.assert_stderr_contains(&[
        "the beginning of this run's input: 2 rows, already recorded; the other 2 stay in the run",
    ]);
    assert_eq!((&ended.stdout_json()["total"], &ended.stdout_json()["not_in_input"]), (&4.into(), &Value::Null));
    assert_eq!(machine.read("runs/stdin/input"), addition_rows(4));
    machine.cascadeck_with_stdin(&PIPED_RUN_ARGS, &addition_rows(4)).expect_status(0);
    machine.cascadeck(&PIPED_RUN_ARGS).expect_status(0);
    assert_eq!(provider.checked_stats().total.requests, 4);
}

#[test]
fn a_trial_of_a_longer_pipe_leaves_its_rest_to_be_read() {
    let provider = SimulatedProvider::from_toml(UNLIMITED_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    for (limit, piped) in [("2", 6), ("2", 2), ("4", 4)] {
        let trial = [&PIPED_RUN_ARGS[..], &["--limit", limit]].concat();
        machine.cascadeck_with_stdin(&trial, &addition_rows(piped)).expect_status(0);
        assert_eq!(machine.read("runs/stdin/input"), addition_rows(6));
    }
    assert_eq!(provider.checked_stats().total.requests, 4);
    machine.cascadeck(&PIPED_RUN_ARGS).expect_status(0);
    assert_eq!(machine.results("runs/stdin").len(), 6);
}

#[test]
fn rows_that_a_kill_left_unread_are_lost_to_no_other_pipe() {
    let provider = SimulatedProvider::from_toml(UNLIMITED_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.cascadeck_with_stdin(&PIPED_RUN_ARGS, &addition_rows(2)).expect_status(0);
    // The state that a kill leaves while rows are recorded: the whole pipe is kept, the record has its first rows.
    machine.write("runs/stdin/input", addition_rows(5));
    let record = rusqlite::Connection::open(machine.path("runs/stdin/run.db")).unwrap();
    let forget = "UPDATE meta SET value = json_set(value, '$.input_rows', NULL) WHERE key = 'tallies'";
    assert_eq!(record.execute(forget, []).unwrap(), 1);
    drop(record);

    let cases: [(&[&str], u64); 5] = [
        (&["--limit", "1"], 1),
        (&["--limit", "1"], 5),
        (&["--limit", "3"], 3),
        (&["--limit", "1", "--accept-changed"], 1),
        (&[], 3),
    ];
    for (more, piped) in cases {
        let refused =
            machine.cascadeck_with_stdin(&[&PIPED_RUN_ARGS[..], more].concat(), &addition_rows(piped)).expect_status(2);
        refused.assert_stderr_contains(&[
            "has not been read to its end: 2 rows are recorded",
            "runs/stdin/input",
            "< /dev/null",
        ]);
        assert_eq!(machine.read("runs/stdin/input"), addition_rows(5), "{more:?}");
    }
    machine.cascadeck(&PIPED_RUN_ARGS).expect_status(0);
    assert_eq!((machine.results("runs/stdin").len(), provider.checked_stats().total.requests), (5, 5));
}

#[test]
fn a_picture_through_a_pipe_takes_no_batchs_place_before_it_is_accepted() {
    let provider = SimulatedProvider::from_toml(EYES);
    let machine = TestMachine::with_provider(&provider);
    machine.cascadeck_with_stdin(&PIPED_RUN_ARGS, &addition_rows(2)).expect_status(0);
    machine.cascadeck_with_stdin(&["run", "-"], &png(3, 3)).expect_status(2);
    assert_eq!(machine.read("runs/stdin/input"), addition_rows(2));
    assert!(!machine.path("runs/stdin/input.new").exists());
}

#[test]
fn a_pipe_with_other_questions_under_the_same_ids_leaves_the_first_as_it_was() {
    let provider = SimulatedProvider::from_toml(UNLIMITED_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.cascadeck_with_stdin(&PIPED_RUN_ARGS, &addition_rows(2)).expect_status(0);
    let other = addition_rows(2).replace("1000", "3000");
    machine
        .cascadeck_with_stdin(&PIPED_RUN_ARGS, &other)
        .expect_status(2)
        .assert_stderr_contains(&["2 rows of the input are different", "--run-dir"]);
    assert_eq!(machine.read("runs/stdin/input"), addition_rows(2));
}

#[test]
fn a_folder_is_one_input_however_it_is_spelt() {
    let provider = SimulatedProvider::from_toml(UNLIMITED_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("pics/one.png", png(4, 4));
    machine.cascadeck(&["run", "pics"]).expect_status(0).assert_stderr_contains(&["pics: 1 picture;"]);
    let absolute = machine.path("pics").display().to_string();
    for spelling in ["pics/", "./pics", ".//pics/.", &absolute] {
        let again = ["run", spelling, "--run-dir", "runs/pics"];
        machine.cascadeck(&again).expect_status(0);
    }
    assert_eq!(provider.checked_stats().total.requests, 1);
    let other = machine.cascadeck(&["run", "pics", "--existing", "append"]).expect_status(2);
    other.assert_stderr_contains(&["the caption setting was", "existing: skip", "existing: append"]);
}

#[test]
fn captions_of_the_runs_own_do_not_make_its_pictures_leave_the_input() {
    let provider = SimulatedProvider::from_toml(UNLIMITED_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("pics/one.png", png(4, 4));
    machine.cascadeck(&["run", "pics"]).expect_status(0);
    machine.write("pics/two.png", png(5, 5));
    let ended = machine.cascadeck(&["run", "pics", "--json"]).expect_status(0);
    ended.assert_stderr_contains(&["the input has changed: 1 row is new, 0 are answered again, 0 are no longer in it"]);
    assert_eq!((&ended.stdout_json()["done"], &ended.stdout_json()["not_in_input"]), (&2.into(), &Value::Null));
}

#[test]
fn an_empty_pipe_is_refused_whether_or_not_there_is_a_run() {
    let provider = SimulatedProvider::from_toml(UNLIMITED_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.cascadeck_with_stdin(&PIPED_RUN_ARGS, "").expect_status(2).assert_stderr_contains(&["no rows"]);
    machine.cascadeck_with_stdin(&PIPED_RUN_ARGS, &addition_rows(2)).expect_status(0);
    machine
        .cascadeck_with_stdin(&PIPED_RUN_ARGS, "")
        .expect_status(2)
        .assert_stderr_contains(&["the pipe was empty", "< /dev/null"]);
    assert_eq!(machine.read("runs/stdin/input"), addition_rows(2));
    // As it says.
    machine.cascadeck(&PIPED_RUN_ARGS).expect_status(0).assert_stderr_contains(&["-: 2 JSONL rows"]);
    assert_eq!(provider.checked_stats().total.requests, 2);
}
