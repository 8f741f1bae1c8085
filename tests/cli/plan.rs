//! The plan of a run that has begun is about the rest of it.

use serde_json::Value;

use super::captions::EYES;
use crate::{
    RUN_ARGS,
    lab::{Machine, OPEN, Provider, png, sums},
};

/// Rows, those captioned by others, those that have ended, and those to go.
fn plan_counts(plan: &Value) -> [u64; 4] {
    [&plan["rows"], &plan["skipped"], &plan["ended"], &plan["forecast"]["items"]]
        .map(|count| count.as_u64().unwrap_or_else(|| panic!("{plan}")))
}

#[test]
fn pictures_that_the_run_has_captioned_are_taken_off_once() {
    let provider = Provider::of(EYES);
    let machine = Machine::with(&provider);
    for name in ["a", "b", "c", "d", "e"] {
        machine.write(&format!("album/{name}.png"), png(3, 3));
    }
    machine.cascadeck(&["run", "album", "--limit", "3"]).with_status(0);
    machine.write("album/d.txt", "Somebody's own.\n");
    let plan = machine.cascadeck(&["plan", "album", "--json"]).with_status(0).json();
    assert_eq!(plan_counts(&plan), [4, 1, 3, 1]);
    let table = machine.cascadeck(&["plan", "album"]).with_status(0).out;
    assert!(table.contains("4 pictures, 1 captioned already; 3 ended in runs/album, 1 to go"), "{table}");
}

#[test]
fn only_rows_of_the_input_count_as_ended_and_what_is_left_is_known_exactly() {
    let provider = Provider::of(OPEN);
    let machine = Machine::with(&provider);
    machine.write("batch.jsonl", sums(6));
    machine.cascadeck(&RUN_ARGS).with_status(0);
    let plan = || {
        let args = ["plan", "batch.jsonl", "--prompt", "{{ question }}", "--json"];
        machine.cascadeck(&args).with_status(0).json()
    };
    assert_eq!(plan_counts(&plan()), [6, 0, 6, 0]);
    // Four have gone from the input, two are new.
    machine.write("batch.jsonl", sums(2) + sums(8).strip_prefix(&sums(6)).unwrap());
    assert_eq!(plan_counts(&plan()), [4, 0, 2, 2]);
}
