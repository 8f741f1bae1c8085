//! The same command again: what is taken up, what is held to, and what is refused.

use nix::sys::signal::Signal;

use crate::lab::{Machine, Provider, answer_to, sums};

const SLOW: &str = r#"
name = "slow"
latency = { median_ms = 100 }
provider = [{ name = "g", api = "gemini" }]
model = [{ name = "m", provider = "g" }]
key = [{ name = "alice", provider = "g", project = "one", secret = "AIza-alice" }]
"#;

const RUN: [&str; 7] = ["run", "batch.jsonl", "--prompt", "{{ question }}", "--in-flight", "8", "--json"];

#[test]
fn a_finished_run_is_finished() {
    let provider = Provider::of(SLOW);
    let machine = Machine::with(&provider);
    machine.write("batch.jsonl", sums(8));
    machine.cascadeck(&RUN).with_status(0);
    let before = machine.read("runs/batch/results.jsonl");
    let summary = machine.cascadeck(&RUN).with_status(0).json();
    assert_eq!((&summary["done"], &summary["state"]), (&8.into(), &"finished".into()));
    assert_eq!(provider.books().total.requests, 8, "nothing is sent again");
    assert_eq!(machine.read("runs/batch/results.jsonl"), before);
}

#[test]
fn what_makes_answers_comparable_is_held_to() {
    let provider = Provider::of(SLOW);
    let machine = Machine::with(&provider);
    machine.write("batch.jsonl", sums(4));
    machine.write("other.jsonl", sums(4));
    machine.cascadeck(&RUN).with_status(0);
    for (args, what) in [
        (&["run", "batch.jsonl", "--prompt", "Quickly: {{ question }}"][..], "--prompt was \"{{ question }}\""),
        (&["run", "batch.jsonl", "--prompt", "{{ question }}", "--system", "Be rude."], "--system was not set"),
        (&["run", "batch.jsonl", "--prompt", "{{ question }}", "--max-output-tokens", "5"], "sampling parameters"),
        (&["run", "other.jsonl", "--prompt", "{{ question }}", "--run-dir", "runs/batch"], "the input was"),
    ] {
        machine.cascadeck(args).with_status(2).says(&["begun with other settings", what, "--run-dir"]);
    }
    // What does not touch the answers may change at any time.
    machine.cascadeck(&[&RUN[..], &["--strategy", "cascade", "--on-exhausted", "wait"]].concat()).with_status(0);
    assert_eq!(provider.books().total.requests, 4);
}

#[test]
fn keys_are_read_afresh() {
    let dead = Provider::of(&SLOW.replace("secret = ", "state = \"invalid\", secret = "));
    let machine = Machine::with(&dead);
    machine.write("batch.jsonl", sums(4));
    machine.cascadeck(&[&RUN[..], &["--no-check"]].concat()).with_status(4).says(&["key alice is off, invalid_key"]);
    let alive = Provider::of(&SLOW.replace("AIza-alice", "AIza-alice-renewed"));
    machine.write_keys(&alive.keys_toml());
    assert_eq!(machine.cascadeck(&RUN).with_status(0).json()["done"], 4, "a changed secret revives the key");
}

#[test]
fn new_rows_are_added_and_answered() {
    let provider = Provider::of(SLOW);
    let machine = Machine::with(&provider);
    machine.write("batch.jsonl", sums(3));
    machine.cascadeck(&RUN).with_status(0);
    machine.write("batch.jsonl", sums(7));
    let ended = machine.cascadeck(&RUN).with_status(0);
    ended.says(&["4 rows are new"]);
    assert_eq!((&ended.json()["total"], &ended.json()["done"]), (&7.into(), &7.into()));
    assert_eq!(provider.books().total.requests, 7, "the old ones are not asked again");
    // And the grown input is the run's from now on.
    assert!(!machine.cascadeck(&RUN).with_status(0).err.contains("changed"));
}

#[test]
fn changed_rows_are_named_and_refused_unless_asked_for() {
    let provider = Provider::of(SLOW);
    let machine = Machine::with(&provider);
    machine.write("batch.jsonl", sums(5));
    machine.cascadeck(&RUN).with_status(0);
    let changed = sums(5).replace("What is 2 +", "What is 20 +").replace("What is 5 +", "What is 50 +");
    machine.write("batch.jsonl", changed + "{\"id\":\"q6\",\"question\":\"What is 6 + 1000?\"}\n");
    let ended = machine.cascadeck(&RUN).with_status(2);
    ended.says(&[
        "2 rows of the input are not what this run was begun with",
        "q2 (line 2)",
        "q5 (line 5)",
        "--accept-changed",
    ]);
    assert_eq!(provider.books().total.requests, 5, "nothing was sent");

    let ended = machine.cascadeck(&[&RUN[..], &["--accept-changed"]].concat()).with_status(0);
    ended.says(&["1 rows are new, 2 are answered anew"]);
    assert_eq!(provider.books().total.requests, 8);
    assert_eq!(machine.results("runs/batch").len(), 6, "one line for every item at the end of the run");
    assert_eq!(machine.result("runs/batch", "q2").output.as_deref(), Some(answer_to("q20").as_str()));
    assert_eq!(machine.result("runs/batch", "q1").output.as_deref(), Some(answer_to("q1").as_str()));
    machine.cascadeck(&RUN).with_status(0);
    assert_eq!(provider.books().total.requests, 8);
}

#[test]
fn a_trial_of_the_first_rows_stays_a_trial() {
    let provider = Provider::of(SLOW);
    let machine = Machine::with(&provider);
    machine.write("batch.jsonl", sums(9));
    let summary = machine.cascadeck(&[&RUN[..], &["--limit", "2"]].concat()).with_status(0).json();
    assert_eq!((&summary["total"], provider.books().total.requests), (&2.into(), 2));
    let summary = machine.cascadeck(&RUN).with_status(0).json();
    assert_eq!((&summary["total"], provider.books().total.requests), (&9.into(), 9), "the rest follows");
}

#[test]
fn one_process_owns_a_run_and_a_second_is_told_politely() {
    let provider = Provider::of(SLOW);
    let machine = Machine::with(&provider);
    machine.write("batch.jsonl", sums(200));
    let live = machine.start(&RUN);
    provider.until("the first is under way", |books| books.total.ok > 0);
    let owner = format!("is in use by process {}", live.id());
    machine.cascadeck(&RUN).with_status(2).says(&[&owner, "cascadeck status runs/batch"]);
    live.signal(Signal::SIGINT);
    live.end().with_status(130);
    let books = provider.books();
    assert_eq!(books.prompts.answered_more_than_once, 0);
    assert_eq!(machine.results("runs/batch").len() as u64, books.total.ok);
}
