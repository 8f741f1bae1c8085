//! The same command again: what is taken up, what is held to, and what is refused.

use std::os::unix::fs::PermissionsExt as _;

use nix::sys::signal::Signal;

use crate::lab::{Machine, Provider, SLOW, answer_to, sums, until};

const RUN_ARGS: [&str; 7] = ["run", "batch.jsonl", "--prompt", "{{ question }}", "--in-flight", "8", "--json"];

#[test]
fn a_finished_run_is_finished() {
    let provider = Provider::of(SLOW);
    let machine = Machine::with(&provider);
    machine.write("batch.jsonl", sums(8));
    machine.cascadeck(&RUN_ARGS).with_status(0);
    let before = machine.read("runs/batch/results.jsonl");
    let worked = machine.status("runs/batch")["elapsed_s"].clone();
    let summary = machine.cascadeck(&RUN_ARGS).with_status(0).json();
    assert_eq!((&summary["done"], &summary["state"]), (&8.into(), &"finished".into()));
    assert_eq!((&summary["elapsed_s"], &machine.status("runs/batch")["elapsed_s"]), (&worked, &worked), "no work");
    assert_eq!(provider.books().total.requests, 8, "nothing is sent again");
    assert_eq!(machine.read("runs/batch/results.jsonl"), before);
}

#[test]
fn settings_that_affect_answers_can_not_change() {
    let provider = Provider::of(SLOW);
    let machine = Machine::with(&provider);
    machine.write("batch.jsonl", sums(4));
    machine.write("other.jsonl", sums(4));
    machine.cascadeck(&RUN_ARGS).with_status(0);
    for (args, what) in [
        (&["run", "batch.jsonl", "--prompt", "Quickly: {{ question }}"][..], "--prompt was \"{{ question }}\""),
        (&["run", "batch.jsonl", "--prompt", "{{ question }}", "--system", "Be rude."], "--system was not set"),
        (&["run", "batch.jsonl", "--prompt", "{{ question }}", "--max-output-tokens", "5"], "sampling parameters"),
        (&["run", "other.jsonl", "--prompt", "{{ question }}", "--run-dir", "runs/batch"], "the input was"),
    ] {
        machine.cascadeck(args).with_status(2).says(&["begun with other settings", what, "--run-dir"]);
    }
    // What does not touch the answers may change at any time.
    machine.cascadeck(&[&RUN_ARGS[..], &["--strategy", "cascade", "--on-exhausted", "wait"]].concat()).with_status(0);
    assert_eq!(provider.books().total.requests, 4);
}

#[test]
fn keys_are_read_again_at_each_start() {
    let dead = Provider::of(&SLOW.replace("secret = ", "state = \"invalid\", secret = "));
    let machine = Machine::with(&dead);
    machine.write("batch.jsonl", sums(4));
    machine
        .cascadeck(&[&RUN_ARGS[..], &["--no-check"]].concat())
        .with_status(4)
        .says(&["key alice is off, invalid_key"]);
    let alive = Provider::of(&SLOW.replace("AIza-alice", "AIza-alice-renewed"));
    machine.write_keys(&alive.keys_toml());
    assert_eq!(machine.cascadeck(&RUN_ARGS).with_status(0).json()["done"], 4, "a changed secret revives the key");
}

#[test]
fn a_key_that_its_provider_accepts_again_is_no_longer_off() {
    let refuses = Provider::of(&SLOW.replace("secret = ", "state = \"invalid\", secret = "));
    let machine = Machine::with(&refuses);
    machine.write("batch.jsonl", sums(4));
    let unchecked = [&RUN_ARGS[..], &["--no-check"]].concat();
    machine.cascadeck(&unchecked).with_status(4).says(&["key alice is off, invalid_key"]);
    // The same secret, mended at the provider. Unless it is asked, nothing has changed.
    let accepts = Provider::of(SLOW);
    machine.write_keys(&accepts.keys_toml());
    machine.cascadeck(&unchecked).with_status(4);
    assert_eq!(accepts.books().total.requests, 0);
    assert_eq!(machine.cascadeck(&RUN_ARGS).with_status(0).json()["done"], 4);
    let log = machine.read("runs/batch/cascadeck.log");
    assert!(log.contains("key alice was off since") && log.contains("its provider accepts it now"), "{log}");
}

#[test]
fn a_route_that_asked_the_operator_is_tried_anew_by_the_next_start() {
    let provider = Provider::of(SLOW);
    let machine = Machine::with(&provider);
    let refused = "{\"question\":\"[sim:400]\"}\n".repeat(5);
    machine.write("batch.jsonl", refused + &sums(4));
    let args = ["run", "batch.jsonl", "--prompt", "{{ question }}", "--in-flight", "1", "--json"];
    machine.cascadeck(&args).with_status(4).says(&["5 items refused alike and none accepted"]);
    let summary = machine.cascadeck(&args).with_status(3).json();
    assert_eq!((&summary["done"], &summary["failed"]), (&4.into(), &5.into()));
}

#[test]
fn new_rows_are_added_and_answered() {
    let provider = Provider::of(SLOW);
    let machine = Machine::with(&provider);
    machine.write("batch.jsonl", sums(3));
    machine.cascadeck(&RUN_ARGS).with_status(0);
    machine.write("batch.jsonl", sums(7));
    let ended = machine.cascadeck(&RUN_ARGS).with_status(0);
    ended.says(&["4 rows are new"]);
    assert_eq!((&ended.json()["total"], &ended.json()["done"]), (&7.into(), &7.into()));
    assert_eq!(provider.books().total.requests, 7, "the old ones are not asked again");
    // And the grown input is the run's from now on.
    assert!(!machine.cascadeck(&RUN_ARGS).with_status(0).err.contains("changed"));
}

#[test]
fn changed_rows_are_named_and_refused_unless_asked_for() {
    let provider = Provider::of(SLOW);
    let machine = Machine::with(&provider);
    machine.write("batch.jsonl", sums(5));
    machine.cascadeck(&RUN_ARGS).with_status(0);
    let changed = sums(5).replace("What is 2 +", "What is 20 +").replace("What is 5 +", "What is 50 +");
    machine.write("batch.jsonl", changed + "{\"id\":\"q6\",\"question\":\"What is 6 + 1000?\"}\n");
    let ended = machine.cascadeck(&RUN_ARGS).with_status(2);
    ended.says(&[
        "2 rows of the input are not what this run was begun with",
        "q2 (line 2)",
        "q5 (line 5)",
        "--accept-changed",
    ]);
    assert_eq!(provider.books().total.requests, 5, "nothing was sent");

    let ended = machine.cascadeck(&[&RUN_ARGS[..], &["--accept-changed"]].concat()).with_status(0);
    ended.says(&["1 row is new, 2 are answered anew"]);
    assert_eq!(provider.books().total.requests, 8);
    assert_eq!(machine.results("runs/batch").len(), 6, "one line for every item at the end of the run");
    assert_eq!(machine.result("runs/batch", "q2").output.as_deref(), Some(answer_to("q20").as_str()));
    assert_eq!(machine.result("runs/batch", "q1").output.as_deref(), Some(answer_to("q1").as_str()));
    machine.cascadeck(&RUN_ARGS).with_status(0);
    assert_eq!(provider.books().total.requests, 8);
}

#[test]
fn a_trial_of_the_first_rows_stays_a_trial() {
    let provider = Provider::of(SLOW);
    let machine = Machine::with(&provider);
    machine.write("batch.jsonl", sums(9));
    let summary = machine.cascadeck(&[&RUN_ARGS[..], &["--limit", "2"]].concat()).with_status(0).json();
    assert_eq!((&summary["total"], provider.books().total.requests), (&2.into(), 2));
    let summary = machine.cascadeck(&RUN_ARGS).with_status(0).json();
    assert_eq!((&summary["total"], provider.books().total.requests), (&9.into(), 9), "the rest follows");
}

/// A run of sixty rows that was interrupted after some, and how many were not sent.
fn interrupted_run(provider: &Provider, machine: &Machine) -> u64 {
    machine.write("batch.jsonl", sums(60));
    let live = machine.start(&[&crate::RUN_ARGS[..], &["--in-flight", "1"]].concat());
    provider.until("some answers", |books| books.total.ok >= 3);
    live.signal(Signal::SIGINT);
    live.end().with_status(130);
    machine.status("runs/batch")["waiting"].as_u64().unwrap()
}

fn plan_of(machine: &Machine, more: &[&str]) -> (serde_json::Value, String) {
    let args = [&["plan"], &crate::RUN_ARGS[1..], more].concat();
    let table = machine.cascadeck(&args).with_status(0).out;
    (machine.cascadeck(&[&args[..], &["--json"]].concat()).with_status(0).json(), table)
}

#[test]
fn a_trial_of_an_unfinished_run_sends_only_its_rows_as_the_plan_says() {
    let provider = Provider::of(SLOW);
    let machine = Machine::with(&provider);
    let left = interrupted_run(&provider, &machine);
    let done = 60 - left;
    let limit = (done + 2).to_string();
    let others = left - 2;

    let (plan, table) = plan_of(&machine, &["--limit", &limit]);
    assert_eq!((&plan["forecast"]["items"], &plan["other_waiting"]), (&2.into(), &others.into()));
    assert!(table.contains("2 to go; ") && table.contains("waiting, and not sent"), "{table}");
    let before = provider.books().total.requests;
    for sent in [2, 0] {
        let trial = machine.cascadeck(&[&crate::RUN_ARGS[..], &["--limit", &limit, "--json"]].concat()).with_status(4);
        trial.says(&[
            &format!("{others} items of an earlier start are beyond the first rows: they wait, and are not sent"),
            "the same command without --limit sends them",
        ]);
        assert!(!trial.err.contains("no longer in the input"), "{}", trial.err);
        let summary = trial.json();
        assert_eq!((&summary["done"], &summary["waiting"]), (&(done + 2).into(), &others.into()));
        assert_eq!(summary["not_in_input"], serde_json::Value::Null);
        if sent == 0 {
            assert_eq!(provider.books().total.requests, before + 2);
        }
    }
    let summary = machine.cascadeck(&[&crate::RUN_ARGS[..], &["--json"]].concat()).with_status(0).json();
    assert_eq!((&summary["done"], provider.books().total.requests), (&60.into(), before + left));
    machine.cascadeck(&["audit", "runs/batch"]).with_status(0);
}

#[test]
fn waiting_items_that_have_left_the_input_are_counted_by_the_plan_and_told_before_they_are_sent() {
    let provider = Provider::of(SLOW);
    let machine = Machine::with(&provider);
    let left = interrupted_run(&provider, &machine);
    let done = 60 - left;
    machine.write("batch.jsonl", sums(done + 2));
    let (plan, table) = plan_of(&machine, &[]);
    assert_eq!((&plan["forecast"]["items"], &plan["other_waiting"]), (&left.into(), &(left - 2).into()));
    assert!(table.contains(&format!("{left} to go, {} of them of an earlier start", left - 2)), "{table}");
    let live = machine.start(&[&crate::RUN_ARGS[..], &["--in-flight", "1"]].concat());
    provider.until("some answers", |books| books.total.ok > done);
    live.signal(Signal::SIGINT);
    let told = "of an earlier start are waiting too, though no longer in the input, and are sent";
    live.end().with_status(130).says(&[&format!("{} items {told}", left - 2)]);
    // Also where the input is what it was at the last start.
    machine.cascadeck(&crate::RUN_ARGS).with_status(0).says(&[told]);
    assert_eq!(provider.books().total.requests, 60);
}

#[test]
fn one_process_owns_a_run_and_a_second_is_told_politely() {
    let provider = Provider::of(SLOW);
    let machine = Machine::with(&provider);
    machine.write("batch.jsonl", sums(200));
    let live = machine.start(&RUN_ARGS);
    provider.until("the first is under way", |books| books.total.ok > 0);
    let owner = format!("is in use by process {}", live.id());
    machine.cascadeck(&RUN_ARGS).with_status(2).says(&[&owner, "cascadeck status runs/batch"]);
    live.signal(Signal::SIGINT);
    live.end().with_status(130);
    let books = provider.books();
    assert_eq!(books.prompts.answered_more_than_once, 0);
    assert_eq!(machine.results("runs/batch").len() as u64, books.total.ok);
}

#[test]
fn a_second_process_does_not_touch_the_pipe_that_the_first_has_kept() {
    let provider = Provider::of(SLOW);
    let machine = Machine::with(&provider);
    let run = ["run", "-", "--prompt", "{{ question }}", "--in-flight", "2"];
    let live = machine.start_with_stdin(&run, &sums(40));
    provider.until("the first is under way", |books| books.total.ok > 0);
    let kept = machine.read("runs/stdin/input");
    assert_eq!(kept, sums(40));
    machine.cascadeck_with_stdin(&run, "{\"question\":\"Mine?\"}\n").with_status(2).says(&["is in use by process"]);
    assert_eq!(machine.read("runs/stdin/input"), kept);
    live.kill();
    machine.cascadeck(&run).with_status(0);
    assert_eq!(machine.results("runs/stdin").len(), 40);
    for (file, mode) in [("runs/stdin/input", 0o600), ("runs/stdin", 0o700)] {
        assert_eq!(machine.path(file).metadata().unwrap().permissions().mode() & 0o777, mode, "{file}");
    }
}

/// What a run says of itself when it ends, and what another process reads of it then, are one and the same.
#[test]
fn a_run_and_its_status_agree_also_after_a_kill_and_an_unreachable_provider() {
    let provider = Provider::of(&SLOW.replace("name = \"slow\"", "name = \"slow\"\nfaults = { server_error = 0.1 }"));
    let machine = Machine::with(&provider);
    machine.write_keys(&(provider.keys_toml() + "[policy]\nretry_delays = [\"20ms\"]\n"));
    machine.write("batch.jsonl", sums(60));
    let live = machine.start(&RUN_ARGS);
    provider.until("some answers, some in flight", |books| books.total.ok >= 10 && books.total.in_flight > 0);
    live.kill();
    let worked = machine.status("runs/batch")["elapsed_s"].as_f64().unwrap();
    assert!(worked > 0.0);
    // Nobody there for a moment: these attempts are no key's failures.
    machine.write_keys("[[provider]]\nname = \"g\"\napi = \"gemini\"\nbase_url = \"http://127.0.0.1:9\"\n\
        [[model]]\nname = \"m\"\nprovider = \"g\"\n[[key]]\nname = \"alice\"\nprovider = \"g\"\nsecret = \"AIza-alice\"\n");
    let before = machine.status("runs/batch");
    let mut live = machine.start(&[&RUN_ARGS[..], &["--no-check"]].concat());
    live.line_with("client_trouble");
    live.signal(Signal::SIGINT);
    live.end().with_status(130);
    let after = machine.status("runs/batch");
    assert_eq!(after["keys"][0]["failed"], before["keys"][0]["failed"]);
    assert_eq!(after["attempts"], before["attempts"], "what never left this machine is no request");

    machine.write_keys(&(provider.keys_toml() + "[policy]\nretry_delays = [\"20ms\"]\n"));
    let mut run_summary = machine.cascadeck(&RUN_ARGS).with_status(0).json();
    let mut status_summary = machine.status("runs/batch");
    assert!(run_summary["elapsed_s"].as_f64().unwrap() > worked, "the time before the kill counts");
    for summary in [&mut run_summary, &mut status_summary] {
        let elapsed = summary["elapsed_s"].as_f64().unwrap();
        summary["elapsed_s"] = ((elapsed * 1e6).round() / 1e6).into();
    }
    assert_eq!(run_summary, status_summary);
}

#[test]
fn an_item_whose_record_is_damaged_fails_alone_and_says_so() {
    let provider = Provider::of(SLOW);
    let machine = Machine::with(&provider);
    machine.write("batch.jsonl", sums(40));
    let live = machine.start(&RUN_ARGS);
    provider.until("the first is under way", |books| books.total.ok > 0);
    live.kill();
    let record = rusqlite::Connection::open(machine.path("runs/batch/run.db")).unwrap();
    let damage = "UPDATE payload SET body = substr(body, 1, 20)
                  WHERE seq = (SELECT max(seq) FROM progress WHERE state = 0)";
    assert_eq!(record.execute(damage, []).unwrap(), 1);
    drop(record);
    let ended = machine.cascadeck(&RUN_ARGS).with_status(3);
    ended.says(&["#q40 failed", "unreadable_input"]);
    assert_eq!((&ended.json()["done"], &ended.json()["failed"]), (&39.into(), &1.into()));
    let error = machine.result("runs/batch", "q40").error.unwrap();
    assert!(error.message.contains("can't be read back"), "{}", error.message);
}

#[test]
fn attempts_that_a_kill_left_unanswered_are_named_in_the_log() {
    let provider = Provider::of(SLOW);
    let machine = Machine::with(&provider);
    machine.write("batch.jsonl", "{\"id\":\"stuck\",\"question\":\"[sim:stall]\"}\n");
    let live = machine.start(&RUN_ARGS);
    provider.until("it is in flight", |books| books.total.requests == 1);
    live.kill();
    let mut live = machine.start(&RUN_ARGS);
    live.line_with("1 request was in flight when the last process ended");
    // The log is written behind the screen's back.
    let named =
        || machine.read("runs/batch/cascadeck.log").contains("may have been billed: item stuck, attempt 1, m@alice");
    until("the log names it", named);
    live.kill();
}

#[test]
fn events_printed_by_an_earlier_process_are_not_printed_again() {
    let provider = Provider::of(SLOW);
    let machine = Machine::with(&provider);
    machine.write("batch.jsonl", "{\"id\":\"bad\",\"question\":\"[sim:400]\"}\n".to_owned() + &sums(2));
    machine.cascadeck(&RUN_ARGS).with_status(3).says(&["#bad failed", "finished: 2 done, 1 failed"]);
    let again = machine.cascadeck(&RUN_ARGS).with_status(3);
    assert!(!again.err.contains("#bad failed"), "{}", again.err);
    assert_eq!(again.err.matches("finished: 2 done, 1 failed").count(), 1, "{}", again.err);
}
