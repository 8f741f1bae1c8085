//! `audit`: checks the record, and says with its exit status whether all invariants hold.

use nix::sys::signal::Signal;

use crate::harness::{SimulatedProvider, TestMachine, addition_rows, png, wait_until};

const PRICED_PROFILE: &str = r#"
name = "open"
provider = [{ name = "g", api = "gemini" }]
model = [{ name = "m", provider = "g", max_output = 100, usd_per_mtok = { input = 1.0, output = 10.0 } }]
key = [{ name = "alice", provider = "g", project = "one", secret = "AIza-alice" }]
"#;

const RUN_ARGS: [&str; 5] = ["run", "batch.jsonl", "--prompt", "{{ question }}", "--json"];

fn damage_record(machine: &TestMachine, sql: &str) {
    let record = rusqlite::Connection::open(machine.path("runs/batch/run.db")).unwrap();
    record.execute_batch(sql).unwrap();
}

#[test]
fn a_sound_run_passes_the_audit_and_names_what_may_have_been_billed() {
    let provider = SimulatedProvider::from_toml(PRICED_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", addition_rows(5) + "{\"id\":\"stuck\",\"question\":\"[sim:stall]\"}\n");
    let live = machine.start(&RUN_ARGS);
    provider.wait_until("all but one are answered", |books| books.total.ok == 5 && books.total.requests == 6);
    wait_until("they are recorded", || machine.complete_results("runs/batch").len() == 5);
    // Attempts without an answer are named both while the run goes on and after it was killed.
    let during = machine.cascadeck(&["audit", "runs/batch", "--json"]).expect_status(0).stdout_json();
    live.kill();
    let after = machine.cascadeck(&["audit", "runs/batch", "--json"]).expect_status(0).stdout_json();
    for audit in [&during, &after] {
        assert_eq!((&audit["holds"], &audit["total"], &audit["done"]), (&true.into(), &6.into(), &5.into()), "{audit}");
        assert_eq!((&audit["waiting"], &audit["failed"], &audit["in_flight"]), (&1.into(), &0.into(), &1.into()));
        let call = &audit["may_have_been_billed"][0];
        assert_eq!((&call["id"], &call["key"], &call["model"]), (&"stuck".into(), &"alice".into(), &"m".into()));
        assert!(audit["at_risk_usd"].as_f64().unwrap() > 0.0, "{audit}");
        assert!(audit["cost_usd"].as_f64().unwrap() > 0.0, "{audit}");
    }
    let status = machine.status("runs/batch");
    for figure in ["in_flight", "at_risk_usd", "cost_usd", "done"] {
        assert_eq!(status[figure], after[figure], "{figure}: what status says of a killed run is what can be proved");
    }
    let ended = machine.cascadeck(&["audit", "runs/batch"]).expect_status(0);
    for words in
        ["6 items: 5 done, 0 failed, 1 waiting", "1 attempt may have been billed", "item stuck", "ok      no item"]
    {
        assert!(ended.stdout.contains(words), "{words:?} is not in:\n{}", ended.stdout);
    }
}

#[test]
fn a_broken_invariant_is_named_and_exits_with_1() {
    let provider = SimulatedProvider::from_toml(PRICED_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", addition_rows(4));
    machine.cascadeck(&RUN_ARGS).expect_status(0);
    machine.cascadeck(&["audit", "runs/batch"]).expect_status(0);

    let results = machine.read("runs/batch/results.jsonl");
    machine.write("runs/batch/results.jsonl", results.replace("1001", "1002"));
    let ended = machine.cascadeck(&["audit", "runs/batch"]).expect_status(1);
    ended.assert_stderr_contains(&["1 of", "checks failed in runs/batch"]);
    assert!(ended.stdout.contains("FAILED  results.jsonl matches the record"), "{}", ended.stdout);
    machine.write("runs/batch/results.jsonl", results);

    damage_record(&machine, "UPDATE progress SET state = 0 WHERE seq = 2");
    let ended = machine.cascadeck(&["audit", "runs/batch", "--json"]).expect_status(1);
    assert_eq!(ended.stdout_json()["holds"], false);
    assert!(ended.stdout.contains("item q2 is waiting, but has a line"), "{}", ended.stdout);
    machine.cascadeck(&["audit", "runs/none"]).expect_status(2).assert_stderr_contains(&["runs/none contains no run"]);
}

#[test]
fn a_cap_that_was_broken_is_found() {
    let provider = SimulatedProvider::from_toml(PRICED_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", addition_rows(4));
    machine.cascadeck(&[&RUN_ARGS[..], &["--max-usd", "1"]].concat()).expect_status(0);
    machine.cascadeck(&["audit", "runs/batch"]).expect_status(0);
    damage_record(
        &machine,
        "UPDATE attempts SET cost = cost + 2000000000000 WHERE attempt = 1;
         UPDATE meta SET value = json_set(value, '$.cost', (SELECT sum(cost) FROM attempts)) WHERE key = 'tallies'",
    );
    let ended = machine.cascadeck(&["audit", "runs/batch"]).expect_status(1);
    assert!(ended.stdout.contains("of $1"), "{}", ended.stdout);
}

#[test]
fn a_caption_that_is_gone_is_found() {
    let provider = SimulatedProvider::from_toml(PRICED_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("album/dot.png", png(2, 3));
    machine.cascadeck(&["run", "album"]).expect_status(0);
    machine.cascadeck(&["audit", "runs/album"]).expect_status(0);
    std::fs::remove_file(machine.path("album/dot.txt")).unwrap();
    let ended = machine.cascadeck(&["audit", "runs/album"]).expect_status(1);
    assert!(ended.stdout.contains("item dot.png is done, but"), "{}", ended.stdout);
}

#[test]
fn a_caption_that_went_with_its_picture_breaks_no_promise() {
    let provider = SimulatedProvider::from_toml(PRICED_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("album/dot.png", png(2, 3));
    machine.write("album/line.png", png(9, 1));
    machine.cascadeck(&["run", "album"]).expect_status(0);
    for file in ["album/dot.png", "album/dot.txt"] {
        std::fs::remove_file(machine.path(file)).unwrap();
    }
    let ended = machine.cascadeck(&["audit", "runs/album"]).expect_status(0);
    assert!(ended.stdout.contains("note    1 caption deleted along with the pictures"), "{}", ended.stdout);
    let audit = machine.cascadeck(&["audit", "runs/album", "--json"]).expect_status(0).stdout_json();
    assert_eq!((&audit["holds"], &audit["captions_deleted_with_their_pictures"]), (&true.into(), &1.into()));
    // One that is empty beside its missing picture was not deleted with it.
    machine.write("album/dot.txt", "");
    machine.cascadeck(&["audit", "runs/album"]).expect_status(1);
}

#[test]
fn the_last_line_of_progress_knows_what_was_given_up_at_the_end() {
    let provider = SimulatedProvider::from_toml(PRICED_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write_keys_toml(&(provider.keys_toml() + "[policy]\ndrain_timeout = \"100ms\"\n"));
    machine.write("batch.jsonl", "{\"id\":\"stuck\",\"question\":\"[sim:stall]\"}\n");
    let live = machine.start(&RUN_ARGS);
    provider.wait_until("it hangs", |books| books.total.requests == 1);
    live.send_signal(Signal::SIGINT);
    let ended = live.wait().expect_status(130);
    let last = ended.stderr.lines().rfind(|line| line.contains("% of 1: 0 done")).unwrap();
    assert!(last.contains("possibly billed"), "{}", ended.stderr);
}
