//! `status` from another process, during the run and after it.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{
    SimulatedProvider, TestMachine, UNLIMITED_PROFILE, addition_rows, wait_until, webhook_server::WebhookServer,
};

#[test]
fn status_tells_the_state_while_it_runs_and_after() {
    let provider = SimulatedProvider::from_toml(
        r#"
        name = "slow"
        latency = { median_ms = 80 }
        provider = [{ name = "g", api = "gemini" }]
        model = [{ name = "m", provider = "g" }]
        key = [{ name = "alice", provider = "g", project = "one", secret = "AIza-alice" }]
        "#,
    );
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", addition_rows(400));
    let args = ["run", "batch.jsonl", "--prompt", "{{ question }}", "--in-flight", "4", "--json"];
    let live = machine.start(&args);
    provider.wait_until("the run is under way", |books| books.total.ok >= 8);

    let status = machine.status("runs/batch");
    let count = |name: &str| status[name].as_u64().unwrap();
    assert_eq!(status["state"], "running");
    assert_eq!(count("total"), 400);
    assert_eq!(count("waiting") + count("in_flight") + count("done") + count("failed"), 400, "{status}");
    assert!(count("done") > 0, "{status}");
    let table = machine.cascadeck(&["status", "runs/batch"]).expect_status(0).stdout;
    assert!(table.contains("batch: running") && table.contains("alice"), "{table}");

    live.send_signal(Signal::SIGINT);
    let ended = live.wait().expect_status(130);
    let (summary, status) = (ended.stdout_json(), machine.status("runs/batch"));
    assert_eq!(status["state"], "stopped");
    for field in ["run", "total", "waiting", "in_flight", "done", "failed", "attempts", "rate_limited", "input_tokens"]
    {
        assert_eq!(summary[field], status[field], "{field}: the run and its record say the same");
    }
    assert_eq!(summary["models"][0]["ok"], status["models"][0]["ok"]);
    assert_eq!(summary["keys"][0]["ok"], status["keys"][0]["ok"]);
}

#[test]
fn truncated_answers_are_counted_everywhere_and_over_a_resume() {
    let provider = SimulatedProvider::from_toml(UNLIMITED_PROFILE);
    let hooks = WebhookServer::accepting_all();
    let machine = TestMachine::new();
    machine.write_keys_toml(&(provider.keys_toml() + &hooks.webhook_toml("team", "")));
    machine.write("batch.jsonl", addition_rows(12));
    let args = ["run", "batch.jsonl", "--prompt", "{{ question }}", "--max-output-tokens", "1", "--json"];
    let first = machine.cascadeck(&[&args[..], &["--limit", "5"]].concat()).expect_status(0);
    assert_eq!(first.stdout_json()["truncated"], 5);
    first.assert_stderr_contains(&["100% of 5: 5 done (5 truncated), 0 failed", "hint: most answers are truncated"]);

    let plan = machine.cascadeck(&["plan", "batch.jsonl", "--prompt", "{{ question }}"]).expect_status(0).stdout;
    assert!(plan.contains("5 ended (5 truncated) in runs/batch"), "{plan}");
    assert!(plan.contains("hint        most answers are truncated: raise --max-output-tokens"), "{plan}");

    let ended = machine.cascadeck(&args).expect_status(0);
    assert_eq!((&ended.stdout_json()["done"], &ended.stdout_json()["truncated"]), (&12.into(), &12.into()));
    ended.assert_stderr_contains(&["12 done (12 truncated), 0 failed"]);
    assert_eq!(machine.status("runs/batch")["truncated"], 12);
    let table = machine.cascadeck(&["status", "runs/batch"]).expect_status(0).stdout;
    assert!(table.contains("12 of 12 done (12 truncated), 0 failed"), "{table}");
    assert!(table.contains("hint      most answers are truncated"), "{table}");
    let message = hooks.messages().pop().unwrap();
    assert_eq!(message["truncated"], 12);
    assert!(message["text"].as_str().unwrap().contains("12 of 12 done (12 truncated), 0 failed"), "{message}");
}

#[test]
fn the_final_states_of_the_keys_are_true_and_the_same_in_summary_and_status() {
    // A request costs at most $0.01, and an answer much less: alice's cap is reached with her first answer.
    let provider = SimulatedProvider::from_toml(
        r#"
        name = "capped"
        provider = [{ name = "g", api = "gemini" }]
        model = [
            { name = "m", provider = "g", rpm = 9, rpd = 1000, max_output = 100, usd_per_mtok = { input = 1.0, output = 100.0 } },
        ]
        key = [
            { name = "alice", provider = "g", project = "one", secret = "AIza-alice" },
            { name = "bruno", provider = "g", project = "two", secret = "AIza-bruno" },
            { name = "carla", provider = "g", project = "three", secret = "AIza-carla" },
        ]
        "#,
    );
    let machine = TestMachine::new();
    let keys_toml = provider.keys_toml();
    let keys_toml = keys_toml.replace("project = \"one\"", "project = \"one\"\nmax_usd = 0.0102");
    machine.write_keys_toml(&keys_toml.replace("project = \"three\"", "project = \"three\"\nrole = \"backup\""));
    // Bruno's minute is full at the end.
    machine.write("batch.jsonl", addition_rows(10));
    let args = ["run", "batch.jsonl", "--prompt", "{{ question }}", "--json"];
    let without_time = |mut summary: Value| {
        summary.as_object_mut().unwrap().remove("elapsed_s");
        summary
    };
    let summary = without_time(machine.cascadeck(&args).expect_status(0).stdout_json());
    let states = |summary: &Value| {
        let keys = summary["keys"].as_array().unwrap();
        keys.iter()
            .map(|key| [&key["name"], &key["state"]].map(|text| text.as_str().unwrap().to_owned()))
            .collect::<Vec<_>>()
    };
    assert_eq!(states(&summary), [["alice", "budget reached"], ["bruno", "ready"], ["carla", "ready"]]);
    assert_eq!(summary["keys"][2]["ok"], 0, "never used");
    assert_eq!(summary, without_time(machine.status("runs/batch")));
    let table = machine.cascadeck(&["status", "runs/batch"]).expect_status(0).stdout;
    assert!(table.contains("budget reached"), "{table}");

    let place = &summary["place"];
    let last = machine.results("runs/batch").into_iter().map(|line| line.id).collect::<Vec<_>>();
    assert!(last.iter().any(|id| place["item"] == id.as_str()), "{place}");
    for (field, want) in [("item_count", 10), ("key_count", 3), ("model_number", 1), ("model_count", 1), ("retry", 0)] {
        assert_eq!(place[field], want, "{field}: {place}");
    }
    assert!(place["at"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{place}");

    let again = without_time(machine.cascadeck(&args).expect_status(0).stdout_json());
    assert_eq!(states(&again), states(&summary), "a later process knows it too");
    assert_eq!(again, without_time(machine.status("runs/batch")));
}

#[test]
fn a_killed_run_is_not_called_running() {
    let provider = SimulatedProvider::from_toml(UNLIMITED_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", "{\"id\":\"a\",\"prompt\":\"[sim:stall]\"}\n");
    let live = machine.start(&["run", "batch.jsonl"]);
    provider.wait_until("it hangs", |books| books.total.requests == 1);
    assert!(live.kill().was_killed());
    assert_ne!(machine.status("runs/batch")["state"], "running");
}

#[test]
fn progress_names_the_place_in_the_cascade_on_standard_error_alone() {
    let provider = SimulatedProvider::from_toml(
        r#"
        name = "slow"
        latency = { median_ms = 400 }
        provider = [{ name = "g", api = "gemini" }]
        model = [{ name = "m", provider = "g", rpm = 6000 }, { name = "n", provider = "g" }]
        key = [
            { name = "alice", provider = "g", project = "one", secret = "AIza-alice" },
            { name = "bruno", provider = "g", project = "two", secret = "AIza-bruno" },
        ]
        "#,
    );
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", addition_rows(60));
    let args = ["run", "batch.jsonl", "--prompt", "{{ question }}", "--in-flight", "4", "--json"];
    let ended = machine.cascadeck(&args).expect_status(0);
    ended.assert_stderr_contains(&["key 1/2 alice, model 1/2 m, retry 0/5", "100% of 60: 60 done, 0 failed"]);
    assert_eq!(ended.stdout_json()["done"], 60, "and standard output is the summary alone");
}

#[test]
fn the_status_of_a_live_run_says_how_its_keys_stand_now() {
    let provider = SimulatedProvider::from_toml(
        "name = \"narrow\"\nprovider = [{ name = \"g\", api = \"gemini\" }]\n\
         model = [{ name = \"m\", provider = \"g\", rpm = 2 }]\n\
         key = [{ name = \"alice\", provider = \"g\", project = \"one\", secret = \"AIza-alice\" }]\n",
    );
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", addition_rows(5));
    let live = machine.start(&["run", "batch.jsonl", "--prompt", "{{ question }}"]);
    provider.wait_until("its minute is full", |books| books.total.ok == 2);
    let state = || machine.status("runs/batch")["keys"][0]["state"].clone();
    wait_until("status says so", || state() == "full");
    live.kill();
    assert_eq!(state(), "ready", "nobody has counted since");
}
