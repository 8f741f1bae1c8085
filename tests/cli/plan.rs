//! `plan` for a run that has started counts only the rest of it.

use serde_json::Value;

use super::captions::EYES;
use crate::{
    cli::RUN_ARGS,
    harness::{SimulatedProvider, TestMachine, UNLIMITED_PROFILE, addition_rows, png},
};

/// Number of rows, of rows with captions by others, of ended rows, and of rows to go.
fn plan_counts(plan: &Value) -> [u64; 4] {
    [&plan["rows"], &plan["skipped"], &plan["ended"], &plan["forecast"]["items"]]
        .map(|count| count.as_u64().unwrap_or_else(|| panic!("{plan}")))
}

#[test]
fn pictures_that_the_run_has_captioned_are_taken_off_once() {
    let provider = SimulatedProvider::from_toml(EYES);
    let machine = TestMachine::with_provider(&provider);
    for name in ["a", "b", "c", "d", "e"] {
        machine.write(&format!("album/{name}.png"), png(3, 3));
    }
    machine.cascadeck(&["run", "album", "--limit", "3"]).expect_status(0);
    machine.write("album/d.txt", "Somebody's own.\n");
    let plan = machine.cascadeck(&["plan", "album", "--json"]).expect_status(0).stdout_json();
    assert_eq!(plan_counts(&plan), [4, 1, 3, 1]);
    let table = machine.cascadeck(&["plan", "album"]).expect_status(0).stdout;
    assert!(table.contains("4 pictures, 1 already captioned; 3 ended in runs/album, 1 to go"), "{table}");
}

#[test]
fn only_rows_of_the_input_count_as_ended_and_what_is_left_is_known_exactly() {
    let provider = SimulatedProvider::from_toml(UNLIMITED_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", addition_rows(6));
    machine.cascadeck(&RUN_ARGS).expect_status(0);
    let plan = || {
        let args = ["plan", "batch.jsonl", "--prompt", "{{ question }}", "--json"];
        machine.cascadeck(&args).expect_status(0).stdout_json()
    };
    assert_eq!(plan_counts(&plan()), [6, 0, 6, 0]);
    // Four rows have left the input, two are new.
    machine.write("batch.jsonl", addition_rows(2) + addition_rows(8).strip_prefix(&addition_rows(6)).unwrap());
    assert_eq!(plan_counts(&plan()), [4, 0, 2, 2]);
}
