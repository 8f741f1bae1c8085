//! Webhooks: which messages are sent when, how failures are reported, and that they never disturb the run.

use std::net::{Ipv4Addr, TcpListener};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{
    cli::RUN_ARGS,
    harness::{
        SLOW_PROFILE, SimulatedProvider, TestMachine, UNLIMITED_PROFILE, addition_rows,
        webhook_server::{WebhookReply, WebhookServer},
    },
};

/// A machine whose keys.toml has `provider` and the tables of `webhooks`.
fn machine_with_webhooks(provider: &SimulatedProvider, webhooks: &str) -> TestMachine {
    let machine = TestMachine::new();
    machine.write_keys_toml(&(provider.keys_toml() + webhooks));
    machine
}

/// [`RUN_ARGS`] with `more` arguments.
fn run_args<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&RUN_ARGS[..], more].concat()
}

#[test]
fn a_finished_run_sends_one_message_with_the_numbers_of_its_summary() {
    let (provider, hooks) = (SimulatedProvider::from_toml(UNLIMITED_PROFILE), WebhookServer::accepting_all());
    let machine = machine_with_webhooks(&provider, &hooks.webhook_toml("team", ""));
    machine.write("batch.jsonl", addition_rows(3) + "{\"id\":\"x\",\"question\":\"[sim:400]\"}\n");
    let summary = machine.cascadeck(&run_args(&["--json"])).expect_status(3).stdout_json();
    let sent = hooks.received();
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert!(sent[0].content_type.starts_with("application/json"), "{sent:?}");
    let message = &hooks.messages()[0];
    assert_eq!((&message["event"], &message["webhook"]), (&"finished".into(), &"team".into()));
    for figure in ["run", "state", "total", "waiting", "in_flight", "done", "failed", "cost_usd", "elapsed_s"] {
        assert_eq!(message[figure], summary[figure], "{figure}");
    }
    assert_eq!((&message["why"], &message["until"], &message["alarms"]), (&Value::Null, &Value::Null, &json!([])));
    let text = message["text"].as_str().unwrap();
    assert!(text.starts_with("batch is finished: 3 of 4 done, 1 failed"), "{text}");
    assert_eq!(message["content"], message["text"]);
    let at: jiff::Timestamp = message["at"].as_str().unwrap().parse().unwrap();
    assert!(at > "2026-01-01T00:00:00Z".parse().unwrap());
    // The message holds neither prompts nor answers.
    assert!(!sent[0].body.contains("1000") && !sent[0].body.contains("[sim"), "{sent:?}");

    machine.cascadeck(&["replay", "runs/batch", "--failed", "--yes"]).expect_status(3);
    assert_eq!(hooks.events(), ["finished", "finished"], "a replay is a run too");
}

#[test]
fn each_service_is_sent_its_own_format() {
    let (provider, hooks) = (SimulatedProvider::from_toml(UNLIMITED_PROFILE), WebhookServer::accepting_all());
    let formats = ["slack", "discord", "teams", "text"];
    let tables = formats.map(|format| hooks.webhook_toml(format, &format!("format = \"{format}\"")));
    let machine = machine_with_webhooks(&provider, &tables.concat());
    machine.write("batch.jsonl", addition_rows(2));
    machine.cascadeck(&RUN_ARGS).expect_status(0);
    let sent = hooks.received();
    let body = |name: &str| sent.iter().find(|sent| sent.path == format!("/{name}")).unwrap().body.clone();
    let text = body("text");
    assert!(text.starts_with("batch is finished: 2 of 2 done"), "{text}");
    let json = |name: &str| serde_json::from_str::<Value>(&body(name)).unwrap();
    assert_eq!(json("slack"), json!({ "text": text }));
    assert_eq!(json("discord"), json!({ "content": text, "allowed_mentions": { "parse": [] } }));
    assert_eq!(json("teams")["attachments"][0]["content"]["body"][0]["text"], text);
    assert_eq!(sent.len(), formats.len());
}

#[test]
fn a_run_that_a_signal_stops_says_that_and_only_to_those_who_want_to_hear_it() {
    let (provider, hooks) = (SimulatedProvider::from_toml(SLOW_PROFILE), WebhookServer::accepting_all());
    let (stopped, finished) = ("on = [\"stopped\"]", "on = [\"finished\", \"attention\"]");
    let machine = machine_with_webhooks(
        &provider,
        &(hooks.webhook_toml("one", stopped) + &hooks.webhook_toml("other", finished)),
    );
    machine.write("batch.jsonl", addition_rows(60));
    let live = machine.start(&run_args(&["--in-flight", "4"]));
    provider.wait_until("some answers", |books| books.total.ok >= 4);
    live.send_signal(Signal::SIGTERM);
    live.wait().expect_status(130);
    let [message] = hooks.messages().try_into().unwrap();
    assert_eq!((&message["event"], &message["state"]), (&"stopped".into(), &"stopped".into()));
    assert_eq!((&message["why"], &message["webhook"]), (&"interrupted by a signal".into(), &"one".into()));
    assert_eq!(message["done"].as_u64().unwrap() + message["waiting"].as_u64().unwrap(), 60);
}

#[test]
fn a_run_that_can_not_go_on_says_why() {
    let provider =
        SimulatedProvider::from_toml(&UNLIMITED_PROFILE.replace("secret = ", "state = \"invalid\", secret = "));
    let hooks = WebhookServer::accepting_all();
    let machine = machine_with_webhooks(&provider, &hooks.webhook_toml("team", ""));
    machine.write("batch.jsonl", addition_rows(3));
    machine.cascadeck(&run_args(&["--no-check"])).expect_status(4);
    let [message] = hooks.messages().try_into().unwrap();
    assert_eq!(message["event"], "stopped");
    assert!(message["why"].as_str().unwrap().starts_with("no route is left"), "{message}");
    let text = message["text"].as_str().unwrap();
    assert!(text.ends_with("a valid API key.") && !text.ends_with(".."), "{text}");
    let alarm = message["alarms"][0].as_str().unwrap();
    assert!(alarm.starts_with("key alice disabled, invalid_key"), "the dead key is in the same message: {message}");
}

#[test]
fn a_run_that_can_not_start_is_reported_as_stopped() {
    let provider =
        SimulatedProvider::from_toml(&UNLIMITED_PROFILE.replace("secret = ", "state = \"invalid\", secret = "));
    let hooks = WebhookServer::accepting_all();
    let machine = machine_with_webhooks(
        &provider,
        &(hooks.webhook_toml("team", "") + &hooks.webhook_toml("glad", "on = [\"finished\"]")),
    );
    machine.write("batch.jsonl", addition_rows(3));
    machine.cascadeck(&RUN_ARGS).expect_status(2);
    machine.write("bad.jsonl", "{\"question\": ");
    machine.cascadeck(&["run", "bad.jsonl"]).expect_status(2);
    machine.cascadeck(&["run", "gone.jsonl"]).expect_status(2);
    let told: Vec<_> = hooks.messages();
    let told: Vec<_> =
        told.iter().map(|message| ["event", "state", "webhook", "run"].map(|name| &message[name])).collect();
    let stopped = |run| ["stopped", "stopped", "team", run];
    assert_eq!(told, [stopped("batch"), stopped("bad"), stopped("gone")]);
    let first = &hooks.messages()[0];
    let (why, text) = (first["why"].as_str().unwrap(), first["text"].as_str().unwrap());
    assert!(why.starts_with("no key was accepted"), "{first}");
    for figure in ["total", "waiting", "in_flight", "done", "failed", "cost_usd", "elapsed_s"] {
        assert_eq!(first.get(figure), None, "{figure} of a run that is not there");
    }
    assert!(text.starts_with("batch could not start: no key was accepted"), "{text}");
    // A run that another process owns goes on; the second process reports nothing.
    let alive = SimulatedProvider::from_toml(SLOW_PROFILE);
    machine.write_keys_toml(&(alive.keys_toml() + &hooks.webhook_toml("team", "")));
    machine.write("batch.jsonl", addition_rows(60));
    let live = machine.start(&run_args(&["--in-flight", "4", "--run-dir", "runs/long"]));
    alive.wait_until("some answers", |books| books.total.ok >= 1);
    machine.cascadeck(&run_args(&["--run-dir", "runs/long"])).expect_status(2).assert_stderr_contains(&["is in use"]);
    live.send_signal(Signal::SIGTERM);
    live.wait().expect_status(130);
    assert_eq!(hooks.messages().iter().filter(|message| message["run"] == "long").count(), 1);
}

#[test]
fn a_key_that_dies_wants_attention_while_the_run_goes_on() {
    let dead = r#"{ name = "dave", provider = "g", project = "two", secret = "AIza-dave", state = "suspended" },"#;
    let provider = SimulatedProvider::from_toml(&SLOW_PROFILE.replace("key = [", &format!("key = [{dead}")));
    let hooks = WebhookServer::accepting_all();
    let machine = machine_with_webhooks(&provider, &hooks.webhook_toml("team", ""));
    machine.write("batch.jsonl", addition_rows(80));
    let live = machine.start(&run_args(&["--no-check", "--in-flight", "2"]));
    let message = hooks.wait_for_event("attention");
    assert!(message["alarms"][0].as_str().unwrap().starts_with("key dave disabled, key_forbidden"), "{message}");
    assert_eq!((&message["state"], &message["more_alarms"]), (&"running".into(), &0.into()));
    let text = message["text"].as_str().unwrap();
    assert!(text.starts_with("batch needs attention: key dave disabled"), "{text}");
    live.wait().expect_status(0);
    assert_eq!(hooks.events(), ["attention", "finished"]);
    assert!(hooks.received().iter().all(|sent| !sent.body.contains("AIza")), "the provider repeats the key");
}

#[test]
fn many_alarms_are_one_message_that_counts_them() {
    let dead = |n| {
        format!(r#"{{ name = "d{n}", provider = "g", project = "p{n}", secret = "AIza-d{n}", state = "leaked" }},"#)
    };
    let dead: String = (0..20).map(dead).collect();
    let provider = SimulatedProvider::from_toml(&SLOW_PROFILE.replace("key = [", &format!("key = [{dead}")));
    let hooks = WebhookServer::accepting_all();
    let machine = machine_with_webhooks(&provider, &hooks.webhook_toml("team", ""));
    machine.write("batch.jsonl", addition_rows(60));
    machine.cascadeck(&run_args(&["--no-check", "--in-flight", "2"])).expect_status(0);
    let messages = hooks.messages();
    assert!(messages.len() <= 2, "{:?}", hooks.events());
    let told =
        |message: &Value| message["alarms"].as_array().unwrap().len() as u64 + message["more_alarms"].as_u64().unwrap();
    assert_eq!(messages.iter().map(told).sum::<u64>(), 21, "20 keys, and that one is left: {messages:?}");
}

#[test]
fn a_day_that_is_spent_is_told_with_its_end_where_the_run_waits_for_it() {
    // A rolling day ends 24 hours later, at whatever time this test runs.
    let profile =
        UNLIMITED_PROFILE.replace("gemini", "openai").replace(r#"provider = "g" }]"#, r#"provider = "g", rpd = 7 }]"#);
    let (provider, hooks) = (SimulatedProvider::from_toml(&profile), WebhookServer::accepting_all());
    let machine = machine_with_webhooks(&provider, &hooks.webhook_toml("team", ""));
    machine.write("batch.jsonl", addition_rows(10));
    let live = machine.start(&run_args(&["--on-exhausted", "wait"]));
    let message = hooks.wait_for_event("attention");
    assert_eq!((&message["state"], &message["done"], &message["waiting"]), (&"waiting".into(), &7.into(), &3.into()));
    let until: jiff::Timestamp = message["until"].as_str().unwrap().parse().unwrap();
    let at: jiff::Timestamp = message["at"].as_str().unwrap().parse().unwrap();
    assert!((until - at).get_seconds() > 3_600, "{message}");
    assert!(message["text"].as_str().unwrap().contains("it is waiting until "), "{message}");
    live.send_signal(Signal::SIGINT);
    live.wait().expect_status(130);
    assert_eq!(hooks.events(), ["attention", "stopped"]);
}

#[test]
fn the_last_usable_key_is_an_alarm_whatever_took_the_others() {
    // Alice's project has only three requests a day, and no key is dead.
    let provider = SimulatedProvider::from_toml(
        r#"
        name = "two"
        latency = { median_ms = 150 }
        provider = [{ name = "g", api = "openai" }, { name = "h", api = "openai" }]
        model = [{ name = "m", provider = "g", rpd = 3 }, { name = "n", provider = "h" }]
        key = [
            { name = "alice", provider = "g", project = "one", secret = "sk-alice" },
            { name = "bruno", provider = "h", project = "two", secret = "sk-bruno" },
        ]
        "#,
    );
    let hooks = WebhookServer::accepting_all();
    let machine = machine_with_webhooks(&provider, &hooks.webhook_toml("team", ""));
    machine.write("batch.jsonl", addition_rows(80));
    machine.cascadeck(&run_args(&["--in-flight", "2"])).expect_status(0);
    assert_eq!(hooks.events(), ["attention", "finished"]);
    let message = &hooks.messages()[0];
    assert_eq!(message["alarms"], json!(["one usable key of 2 is left, bruno (1 day quota spent)"]));
    let text = message["text"].as_str().unwrap();
    assert!(text.starts_with("batch needs attention: one usable key of 2 is left, bruno"), "{text}");
}

#[test]
fn a_temporary_failure_is_retried() {
    for first in [WebhookReply::Status(503), WebhookReply::StatusWithHeader(429, "retry-after", "1".to_owned())] {
        let (provider, hooks) =
            (SimulatedProvider::from_toml(UNLIMITED_PROFILE), WebhookServer::with_replies([first.clone()]));
        let machine = machine_with_webhooks(&provider, &hooks.webhook_toml("team", ""));
        machine.write("batch.jsonl", addition_rows(2));
        let ended = machine.cascadeck(&RUN_ARGS).expect_status(0);
        assert_eq!(hooks.events(), ["finished", "finished"], "{first:?}");
        assert!(!ended.stderr.contains("webhook"), "it was delivered in the end: {}", ended.stderr);
    }
}

#[test]
fn a_failing_webhook_is_reported_and_changes_nothing_of_the_run() {
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let dead = format!("\n[[webhook]]\nname = \"dead\"\nurl = \"http://{}/x\"\n", closed.local_addr().unwrap());
    drop(closed);
    let provider = SimulatedProvider::from_toml(UNLIMITED_PROFILE);
    let (hanging, gone, moved) = (
        WebhookServer::with_replies([WebhookReply::Hang, WebhookReply::Hang]),
        WebhookServer::with_replies([WebhookReply::Status(410)]),
        WebhookServer::with_replies([WebhookReply::StatusWithHeader(
            302,
            "location",
            "http://127.0.0.1:9/".to_owned(),
        )]),
    );
    let well = WebhookServer::accepting_all();
    let all = [
        &dead,
        &hanging.webhook_toml("silent", ""),
        &gone.webhook_toml("gone", ""),
        &moved.webhook_toml("moved", ""),
        &well.webhook_toml("well", ""),
    ];
    let machine = machine_with_webhooks(&provider, &all.map(String::as_str).concat());
    machine.write("batch.jsonl", addition_rows(2));
    let ended = machine.cascadeck(&run_args(&["--json"])).expect_status(0);
    assert_eq!(ended.stdout_json()["done"], 2, "standard output is the summary and nothing else");
    ended.assert_stderr_contains(&[
        "warning: webhook dead can't be reached",
        "warning: webhook silent did not accept the last message within 5s",
        "warning: webhook gone answered 410",
        "warning: webhook moved redirects (302), which is not followed",
        "the message that the run is finished was not delivered",
        "cascadeck check --webhooks",
    ]);
    assert!(!ended.stderr.contains("webhook well"), "{}", ended.stderr);
    assert_eq!((gone.events().len(), moved.events().len(), well.events().len()), (1, 1, 1), "a refusal is final");
    let log = machine.read("runs/batch/cascadeck.log");
    for name in ["dead", "silent", "gone", "moved"] {
        assert!(log.contains(&format!("webhook {name}")), "{name} is not in the log:\n{log}");
    }
}

#[test]
fn the_address_is_in_no_output_and_no_file_even_where_its_server_repeats_it() {
    const SECRET: &str = "swordfish-T0001-B0002";
    let hooks =
        WebhookServer::with_replies((0..8).map(|_| WebhookReply::StatusWithHeader(404, "x-path", SECRET.to_owned())));
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let dead = format!("http://{}/{SECRET}?token={SECRET}", closed.local_addr().unwrap());
    drop(closed);
    let provider = SimulatedProvider::from_toml(UNLIMITED_PROFILE);
    let tables =
        "\n[[webhook]]\nname = \"team\"\nurl = \"env:HOOK\"\n[[webhook]]\nname = \"dead\"\nurl = \"env:DEAD\"\n";
    let machine = machine_with_webhooks(&provider, tables)
        .with_env("HOOK", &hooks.url(SECRET))
        .with_env("DEAD", &dead)
        .with_env("CASCADECK_LOG", "trace");
    machine.write("batch.jsonl", addition_rows(2));
    let mut said = String::new();
    for (args, status) in
        [(&["check", "--webhooks", "--offline"][..], 2), (&RUN_ARGS, 0), (&["status", "runs/batch"], 0)]
    {
        let ended = machine.cascadeck(args).expect_status(status);
        said += &(ended.stdout + &ended.stderr);
    }
    assert_eq!(hooks.received()[0].path, format!("/{SECRET}"), "it was used");
    assert!(said.contains("webhook team answered 404: Cannot POST"), "the server's words are told: {said}");
    assert!(!said.contains("swordfish"), "{said}");
    assert_eq!(machine.files_containing("swordfish"), [""; 0].map(std::path::PathBuf::from));
}

#[test]
fn check_lists_webhooks_and_tries_them_where_asked() {
    let (provider, hooks) = (SimulatedProvider::from_toml(UNLIMITED_PROFILE), WebhookServer::accepting_all());
    let tables = hooks.webhook_toml("team", "on = [\"stopped\", \"finished\"]")
        + &hooks.webhook_toml("phone", "format = \"text\"");
    let machine = machine_with_webhooks(&provider, &tables);
    let ended = machine.cascadeck(&["check"]).expect_status(0);
    for words in [
        "team             webhook: json, on finished, stopped",
        "phone            webhook: text, on finished, stopped, attention",
    ] {
        assert!(ended.stdout.contains(words), "{words:?} is not in:\n{}", ended.stdout);
    }
    assert_eq!(hooks.received().len(), 0, "nothing is sent unasked");
    let ended = machine.cascadeck(&["check", "--offline", "--webhooks"]).expect_status(0);
    assert!(ended.stdout.contains("team             webhook: accepted the test message; json"), "{}", ended.stdout);
    let sent = hooks.received();
    assert_eq!(serde_json::from_str::<Value>(&sent[0].body).unwrap()["event"], "test");
    assert!(sent[1].body.starts_with("cascadeck: this is a test of the webhook phone"), "{sent:?}");

    let hooks = WebhookServer::with_replies([WebhookReply::Status(404)]);
    machine.write_keys_toml(&(provider.keys_toml() + &hooks.webhook_toml("team", "")));
    let ended = machine.cascadeck(&["check", "--webhooks"]).expect_status(2);
    assert!(ended.stdout.contains("NOT DELIVERED: it answered 404"), "{}", ended.stdout);
    ended.assert_stderr_contains(&["1 of 1 webhook did not accept the test message", "keys.toml"]);
    machine.write_keys_toml(&provider.keys_toml());
    let ended = machine.cascadeck(&["check", "--webhooks"]).expect_status(0);
    assert!(ended.stdout.contains("there is no [[webhook]] to test"), "{}", ended.stdout);
}
