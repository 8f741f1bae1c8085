//! Running the same command again: what is resumed, what must stay the same, and what is refused.

use std::{
    os::unix::fs::PermissionsExt as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{
    SLOW_PROFILE, SimulatedProvider, TestMachine, addition_rows, expected_answer,
    logging_server::{LoggingServer, Response},
    wait_until,
};

const RUN_ARGS: [&str; 7] = ["run", "batch.jsonl", "--prompt", "{{ question }}", "--in-flight", "8", "--json"];

#[test]
fn a_finished_run_is_finished() {
    let provider = SimulatedProvider::from_toml(SLOW_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", addition_rows(8));
    machine.cascadeck(&RUN_ARGS).expect_status(0);
    let record = rusqlite::Connection::open(machine.path("runs/batch/run.db")).unwrap();
    let seed = record.query_row("SELECT json FROM states WHERE name = 'seed'", [], |row| row.get::<_, String>(0));
    assert!(seed.is_ok(), "the seed of the run's jitter is recorded");
    let before = machine.read("runs/batch/results.jsonl");
    let worked = machine.status("runs/batch")["elapsed_s"].clone();
    let summary = machine.cascadeck(&RUN_ARGS).expect_status(0).stdout_json();
    assert_eq!((&summary["done"], &summary["state"]), (&8.into(), &"finished".into()));
    assert_eq!((&summary["elapsed_s"], &machine.status("runs/batch")["elapsed_s"]), (&worked, &worked), "no work");
    assert_eq!(provider.checked_stats().total.requests, 8, "nothing is sent again");
    assert_eq!(machine.read("runs/batch/results.jsonl"), before);
}

#[test]
fn settings_that_affect_answers_can_not_change() {
    let provider = SimulatedProvider::from_toml(SLOW_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", addition_rows(4));
    machine.write("other.jsonl", addition_rows(4));
    machine.cascadeck(&RUN_ARGS).expect_status(0);
    for (args, what) in [
        (&["run", "batch.jsonl", "--prompt", "Quickly: {{ question }}"][..], "--prompt was \"{{ question }}\""),
        (&["run", "batch.jsonl", "--prompt", "{{ question }}", "--system", "Be rude."], "--system was not set"),
        (&["run", "batch.jsonl", "--prompt", "{{ question }}", "--max-output-tokens", "5"], "sampling parameters"),
        (&["run", "other.jsonl", "--prompt", "{{ question }}", "--run-dir", "runs/batch"], "the input was"),
    ] {
        machine.cascadeck(args).expect_status(2).assert_stderr_contains(&[
            "started with other settings",
            what,
            "--run-dir",
        ]);
    }
    // Settings that don't affect the answers may change at any time.
    machine.cascadeck(&[&RUN_ARGS[..], &["--strategy", "cascade", "--on-exhausted", "wait"]].concat()).expect_status(0);
    assert_eq!(provider.checked_stats().total.requests, 4);
}

#[test]
fn keys_are_read_again_at_each_start() {
    let dead = SimulatedProvider::from_toml(&SLOW_PROFILE.replace("secret = ", "state = \"invalid\", secret = "));
    let machine = TestMachine::with_provider(&dead);
    machine.write("batch.jsonl", addition_rows(4));
    machine
        .cascadeck(&[&RUN_ARGS[..], &["--no-check"]].concat())
        .expect_status(4)
        .assert_stderr_contains(&["key alice disabled, invalid_key"]);
    let alive = SimulatedProvider::from_toml(&SLOW_PROFILE.replace("AIza-alice", "AIza-alice-renewed"));
    machine.write_keys_toml(&alive.keys_toml());
    assert_eq!(
        machine.cascadeck(&RUN_ARGS).expect_status(0).stdout_json()["done"],
        4,
        "a changed secret revives the key"
    );
}

#[test]
fn a_key_that_its_provider_accepts_again_is_no_longer_off() {
    let refuses = SimulatedProvider::from_toml(&SLOW_PROFILE.replace("secret = ", "state = \"invalid\", secret = "));
    let machine = TestMachine::with_provider(&refuses);
    machine.write("batch.jsonl", addition_rows(4));
    let unchecked = [&RUN_ARGS[..], &["--no-check"]].concat();
    machine.cascadeck(&unchecked).expect_status(4).assert_stderr_contains(&["key alice disabled, invalid_key"]);
    // The same secret, accepted again by the provider. Without a check nothing changes.
    let accepts = SimulatedProvider::from_toml(SLOW_PROFILE);
    machine.write_keys_toml(&accepts.keys_toml());
    machine.cascadeck(&unchecked).expect_status(4);
    assert_eq!(accepts.checked_stats().total.requests, 0);
    assert_eq!(machine.cascadeck(&RUN_ARGS).expect_status(0).stdout_json()["done"], 4);
    let log = machine.read("runs/batch/cascadeck.log");
    assert!(log.contains("key alice had been disabled since") && log.contains("its provider accepts it now"), "{log}");
}

#[test]
fn a_route_that_asked_the_operator_is_tried_anew_by_the_next_start() {
    let provider = SimulatedProvider::from_toml(SLOW_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    let refused = "{\"question\":\"[sim:400]\"}\n".repeat(5);
    machine.write("batch.jsonl", refused + &addition_rows(4));
    let args = ["run", "batch.jsonl", "--prompt", "{{ question }}", "--in-flight", "1", "--json"];
    machine.cascadeck(&args).expect_status(4).assert_stderr_contains(&["5 items got the same error, none succeeded"]);
    let summary = machine.cascadeck(&args).expect_status(3).stdout_json();
    assert_eq!((&summary["done"], &summary["failed"]), (&4.into(), &5.into()));
}

#[test]
fn new_rows_are_added_and_answered() {
    let provider = SimulatedProvider::from_toml(SLOW_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", addition_rows(3));
    machine.cascadeck(&RUN_ARGS).expect_status(0);
    machine.write("batch.jsonl", addition_rows(7));
    let ended = machine.cascadeck(&RUN_ARGS).expect_status(0);
    ended.assert_stderr_contains(&["4 rows are new"]);
    assert_eq!((&ended.stdout_json()["total"], &ended.stdout_json()["done"]), (&7.into(), &7.into()));
    assert_eq!(provider.checked_stats().total.requests, 7, "the old ones are not asked again");
    // From now on the longer input is the run's input.
    assert!(!machine.cascadeck(&RUN_ARGS).expect_status(0).stderr.contains("changed"));
}

#[test]
fn changed_rows_are_named_and_refused_unless_asked_for() {
    let provider = SimulatedProvider::from_toml(SLOW_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", addition_rows(5));
    machine.cascadeck(&RUN_ARGS).expect_status(0);
    let changed = addition_rows(5).replace("What is 2 +", "What is 20 +").replace("What is 5 +", "What is 50 +");
    machine.write("batch.jsonl", changed + "{\"id\":\"q6\",\"question\":\"What is 6 + 1000?\"}\n");
    let ended = machine.cascadeck(&RUN_ARGS).expect_status(2);
    ended.assert_stderr_contains(&[
        "2 rows of the input are different from when this run started",
        "q2 (line 2)",
        "q5 (line 5)",
        "--accept-changed",
    ]);
    assert_eq!(provider.checked_stats().total.requests, 5, "nothing was sent");

    let ended = machine.cascadeck(&[&RUN_ARGS[..], &["--accept-changed"]].concat()).expect_status(0);
    ended.assert_stderr_contains(&["1 row is new, 2 are answered again"]);
    assert_eq!(provider.checked_stats().total.requests, 8);
    assert_eq!(machine.results("runs/batch").len(), 6, "one line for every item at the end of the run");
    assert_eq!(machine.result("runs/batch", "q2").output.as_deref(), Some(expected_answer("q20").as_str()));
    assert_eq!(machine.result("runs/batch", "q1").output.as_deref(), Some(expected_answer("q1").as_str()));
    machine.cascadeck(&RUN_ARGS).expect_status(0);
    assert_eq!(provider.checked_stats().total.requests, 8);
}

#[test]
fn a_trial_of_the_first_rows_stays_a_trial() {
    let provider = SimulatedProvider::from_toml(SLOW_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", addition_rows(9));
    let summary = machine.cascadeck(&[&RUN_ARGS[..], &["--limit", "2"]].concat()).expect_status(0).stdout_json();
    assert_eq!((&summary["total"], provider.checked_stats().total.requests), (&2.into(), 2));
    let summary = machine.cascadeck(&RUN_ARGS).expect_status(0).stdout_json();
    assert_eq!((&summary["total"], provider.checked_stats().total.requests), (&9.into(), 9), "the rest follows");
}

/// A run of sixty rows that was interrupted after some, and how many were not sent.
fn interrupted_run(provider: &SimulatedProvider, machine: &TestMachine) -> u64 {
    machine.write("batch.jsonl", addition_rows(60));
    let live = machine.start(&[&crate::cli::RUN_ARGS[..], &["--in-flight", "1"]].concat());
    provider.wait_until("some answers", |books| books.total.ok >= 3);
    live.send_signal(Signal::SIGINT);
    live.wait().expect_status(130);
    machine.status("runs/batch")["waiting"].as_u64().unwrap()
}

fn plan_of(machine: &TestMachine, more: &[&str]) -> (serde_json::Value, String) {
    let args = [&["plan"], &crate::cli::RUN_ARGS[1..], more].concat();
    let table = machine.cascadeck(&args).expect_status(0).stdout;
    (machine.cascadeck(&[&args[..], &["--json"]].concat()).expect_status(0).stdout_json(), table)
}

#[test]
fn a_trial_of_an_unfinished_run_sends_only_its_rows_as_the_plan_says() {
    let provider = SimulatedProvider::from_toml(SLOW_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    let left = interrupted_run(&provider, &machine);
    let done = 60 - left;
    let limit = (done + 2).to_string();
    let others = left - 2;

    let (plan, table) = plan_of(&machine, &["--limit", &limit]);
    assert_eq!((&plan["forecast"]["items"], &plan["other_waiting"]), (&2.into(), &others.into()));
    assert!(table.contains("2 to go; ") && table.contains("will not be sent"), "{table}");
    let before = provider.checked_stats().total.requests;
    for sent in [2, 0] {
        let trial =
            machine.cascadeck(&[&crate::cli::RUN_ARGS[..], &["--limit", &limit, "--json"]].concat()).expect_status(4);
        trial.assert_stderr_contains(&[
            &format!(
                "{others} items from an earlier start are not among the first rows: they stay waiting and are not sent"
            ),
            "the same command without --limit sends them",
        ]);
        assert!(!trial.stderr.contains("no longer in the input"), "{}", trial.stderr);
        let summary = trial.stdout_json();
        assert_eq!((&summary["done"], &summary["waiting"]), (&(done + 2).into(), &others.into()));
        assert_eq!(summary["not_in_input"], serde_json::Value::Null);
        if sent == 0 {
            assert_eq!(provider.checked_stats().total.requests, before + 2);
        }
    }
    let summary = machine.cascadeck(&[&crate::cli::RUN_ARGS[..], &["--json"]].concat()).expect_status(0).stdout_json();
    assert_eq!((&summary["done"], provider.checked_stats().total.requests), (&60.into(), before + left));
    machine.cascadeck(&["audit", "runs/batch"]).expect_status(0);
}

#[test]
fn waiting_items_that_have_left_the_input_are_counted_by_the_plan_and_told_before_they_are_sent() {
    let provider = SimulatedProvider::from_toml(SLOW_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    let left = interrupted_run(&provider, &machine);
    let done = 60 - left;
    machine.write("batch.jsonl", addition_rows(done + 2));
    let (plan, table) = plan_of(&machine, &[]);
    assert_eq!((&plan["forecast"]["items"], &plan["other_waiting"]), (&left.into(), &(left - 2).into()));
    assert!(table.contains(&format!("{left} to go, {} of them from an earlier start", left - 2)), "{table}");
    let live = machine.start(&[&crate::cli::RUN_ARGS[..], &["--in-flight", "1"]].concat());
    provider.wait_until("some answers", |books| books.total.ok > done);
    live.send_signal(Signal::SIGINT);
    let told = "from an earlier start are still waiting and will be sent, though they are no longer in the input";
    live.wait().expect_status(130).assert_stderr_contains(&[&format!("{} items {told}", left - 2)]);
    // Also where the input is what it was at the last start.
    machine.cascadeck(&crate::cli::RUN_ARGS).expect_status(0).assert_stderr_contains(&[told]);
    assert_eq!(provider.checked_stats().total.requests, 60);
}

#[test]
fn one_process_owns_a_run_and_a_second_is_told_politely() {
    let provider = SimulatedProvider::from_toml(SLOW_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", addition_rows(200));
    let live = machine.start(&RUN_ARGS);
    provider.wait_until("the first is under way", |books| books.total.ok > 0);
    let owner = format!("is in use by process {}", live.process_id());
    machine.cascadeck(&RUN_ARGS).expect_status(2).assert_stderr_contains(&[&owner, "cascadeck status runs/batch"]);
    live.send_signal(Signal::SIGINT);
    live.wait().expect_status(130);
    let books = provider.checked_stats();
    assert_eq!(books.prompts.answered_more_than_once, 0);
    assert_eq!(machine.results("runs/batch").len() as u64, books.total.ok);
}

#[test]
fn a_second_process_does_not_touch_the_pipe_that_the_first_has_kept() {
    let provider = SimulatedProvider::from_toml(SLOW_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    let run = ["run", "-", "--prompt", "{{ question }}", "--in-flight", "2"];
    let live = machine.start_with_stdin(&run, &addition_rows(40));
    provider.wait_until("the first is under way", |books| books.total.ok > 0);
    let kept = machine.read("runs/stdin/input");
    assert_eq!(kept, addition_rows(40));
    machine
        .cascadeck_with_stdin(&run, "{\"question\":\"Mine?\"}\n")
        .expect_status(2)
        .assert_stderr_contains(&["is in use by process"]);
    assert_eq!(machine.read("runs/stdin/input"), kept);
    live.kill();
    machine.cascadeck(&run).expect_status(0);
    assert_eq!(machine.results("runs/stdin").len(), 40);
    for (file, mode) in [("runs/stdin/input", 0o600), ("runs/stdin", 0o700)] {
        assert_eq!(machine.path(file).metadata().unwrap().permissions().mode() & 0o777, mode, "{file}");
    }
}

/// A run's own summary at its end and another process's `status` are the same.
#[test]
fn a_run_and_its_status_agree_also_after_a_kill_and_an_unreachable_provider() {
    let provider = SimulatedProvider::from_toml(
        &SLOW_PROFILE.replace("name = \"slow\"", "name = \"slow\"\nfaults = { server_error = 0.1 }"),
    );
    let machine = TestMachine::with_provider(&provider);
    machine.write_keys_toml(&(provider.keys_toml() + "[policy]\nretry_delays = [\"20ms\"]\n"));
    machine.write("batch.jsonl", addition_rows(60));
    let live = machine.start(&RUN_ARGS);
    provider.wait_until("some answers, some in flight", |books| books.total.ok >= 10 && books.total.in_flight > 0);
    live.kill();
    let worked = machine.status("runs/batch")["elapsed_s"].as_f64().unwrap();
    assert!(worked > 0.0);
    // No provider for a moment: these attempts don't count as failures of a key.
    machine.write_keys_toml("[[provider]]\nname = \"g\"\napi = \"gemini\"\nbase_url = \"http://127.0.0.1:9\"\n\
        [[model]]\nname = \"m\"\nprovider = \"g\"\n[[key]]\nname = \"alice\"\nprovider = \"g\"\nsecret = \"AIza-alice\"\n");
    let before = machine.status("runs/batch");
    let mut live = machine.start(&[&RUN_ARGS[..], &["--no-check"]].concat());
    live.wait_for_line("client_trouble");
    live.send_signal(Signal::SIGINT);
    live.wait().expect_status(130);
    let after = machine.status("runs/batch");
    assert_eq!(after["keys"][0]["failed"], before["keys"][0]["failed"]);
    assert_eq!(after["attempts"], before["attempts"], "what never left this machine is no request");

    machine.write_keys_toml(&(provider.keys_toml() + "[policy]\nretry_delays = [\"20ms\"]\n"));
    let mut run_summary = machine.cascadeck(&RUN_ARGS).expect_status(0).stdout_json();
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
    let provider = SimulatedProvider::from_toml(SLOW_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", addition_rows(40));
    let live = machine.start(&RUN_ARGS);
    provider.wait_until("the first is under way", |books| books.total.ok > 0);
    live.kill();
    let record = rusqlite::Connection::open(machine.path("runs/batch/run.db")).unwrap();
    let damage = "UPDATE payload SET body = substr(body, 1, 20)
                  WHERE seq = (SELECT max(seq) FROM progress WHERE state = 0)";
    assert_eq!(record.execute(damage, []).unwrap(), 1);
    drop(record);
    let ended = machine.cascadeck(&RUN_ARGS).expect_status(3);
    ended.assert_stderr_contains(&["#q40 failed", "unreadable_input"]);
    assert_eq!((&ended.stdout_json()["done"], &ended.stdout_json()["failed"]), (&39.into(), &1.into()));
    let error = machine.result("runs/batch", "q40").error.unwrap();
    assert!(error.message.contains("can't be read"), "{}", error.message);
}

#[test]
fn attempts_that_a_kill_left_unanswered_are_named_in_the_log() {
    let provider = SimulatedProvider::from_toml(SLOW_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", "{\"id\":\"stuck\",\"question\":\"[sim:stall]\"}\n");
    let live = machine.start(&RUN_ARGS);
    provider.wait_until("it is in flight", |books| books.total.requests == 1);
    live.kill();
    let mut live = machine.start(&RUN_ARGS);
    live.wait_for_line(
        "1 request was in flight when the last process ended and will be sent again; may have been billed (price \
         unknown)",
    );
    // The log is written asynchronously.
    wait_until("the log names it", || {
        let log = machine.read("runs/batch/cascadeck.log");
        log.lines().any(|line| {
            line.contains("may have been billed: item stuck, attempt 1, m@alice") && line.ends_with(", price unknown")
        })
    });
    live.kill();
    let audit = machine.cascadeck(&["audit", "runs/batch"]).expect_status(0).stdout;
    assert!(audit.contains("at most $0, without those whose price is unknown or zero"), "{audit}");
    assert!(audit.contains(", price unknown or zero"), "{audit}");
}

/// Retries are counted over all processes, and start anew when the operator queues the item again.
#[test]
fn a_restart_does_not_give_an_item_more_tries() {
    let blocks = Arc::new(AtomicBool::new(false));
    let (completions, is_blocked) = (AtomicUsize::new(0), Arc::clone(&blocks));
    let server = LoggingServer::start(move |request| {
        if !request.is_completion() {
            return Response::json(200, &json!({"data": [{"id": "m"}]}));
        }
        if completions.fetch_add(1, Ordering::SeqCst) == 2 {
            is_blocked.store(true, Ordering::SeqCst);
            loop {
                std::thread::park();
            }
        }
        Response::json(500, &json!({"error": {"message": "internal error"}}))
    });
    let machine = TestMachine::new();
    let policy = "[policy]\nmax_attempts = 3\nretry_delays = [\"1ms\"]\nbreaker_after = 100\n";
    machine.write_keys_toml(&(server.keys_toml("") + policy));
    machine.write("batch.jsonl", addition_rows(1));
    let live = machine.start(&RUN_ARGS);
    wait_until("two errors, and a third request in flight", || blocks.load(Ordering::SeqCst));
    live.kill();
    assert_eq!(server.completions().len(), 3);
    machine.cascadeck(&RUN_ARGS).expect_status(3);
    assert_eq!(server.completions().len(), 4, "one try was left: the killed process has no third error");
    machine.cascadeck(&["replay", "runs/batch", "--failed"]).expect_status(3);
    assert_eq!(server.completions().len(), 7, "a replayed item has all of its tries");
}

#[test]
fn events_printed_by_an_earlier_process_are_not_printed_again() {
    let provider = SimulatedProvider::from_toml(SLOW_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", "{\"id\":\"bad\",\"question\":\"[sim:400]\"}\n".to_owned() + &addition_rows(2));
    machine
        .cascadeck(&RUN_ARGS)
        .expect_status(3)
        .assert_stderr_contains(&["#bad failed", "finished: 2 done, 1 failed"]);
    let again = machine.cascadeck(&RUN_ARGS).expect_status(3);
    assert!(!again.stderr.contains("#bad failed"), "{}", again.stderr);
    assert_eq!(again.stderr.matches("finished: 2 done, 1 failed").count(), 1, "{}", again.stderr);
}

#[test]
fn an_unchanged_input_is_not_read_again() {
    let provider = SimulatedProvider::from_toml(SLOW_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", addition_rows(8));
    // A file that has just changed may change again without another time.
    std::thread::sleep(std::time::Duration::from_millis(2_100));
    machine.cascadeck(&RUN_ARGS).expect_status(0).assert_stderr_contains(&["8 JSONL rows"]);
    let record = rusqlite::Connection::open(machine.path("runs/batch/run.db")).unwrap();
    let forge = "UPDATE meta SET value = json_replace(value, '$.checked.rows', 7) WHERE key = 'pins'";
    assert_eq!(record.execute(forge, []).unwrap(), 1);
    drop(record);
    machine.cascadeck(&RUN_ARGS).expect_status(0).assert_stderr_contains(&["7 JSONL rows"]);
    // It is read if it is checked with other options.
    let other_limit = [&RUN_ARGS[..], &["--limit", "8"]].concat();
    machine.cascadeck(&other_limit).expect_status(0).assert_stderr_contains(&["8 JSONL rows"]);
    assert_eq!(provider.checked_stats().total.requests, 8);
}
