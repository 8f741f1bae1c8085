//! `[[check]]`: what becomes of answers that people can't use. The server logs what arrives.

use std::{
    os::unix::fs::PermissionsExt as _,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use cascadeck::domain::{FinalState, Outcome};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{
    TestMachine,
    logging_server::{LoggingServer, Request, Response},
    png, wait_until,
};

const RUN_ARGS: [&str; 4] = ["run", "batch.jsonl", "--json", "--no-check"];

/// A server that answers the first completion with the first text, and so on; the last text repeats.
fn server(texts: &'static [&'static str]) -> LoggingServer {
    let count = AtomicUsize::new(0);
    LoggingServer::start(move |_| {
        let index = count.fetch_add(1, Ordering::Relaxed);
        Response::openai(texts[index.min(texts.len() - 1)])
    })
}

/// A machine with the models `m` and `n` at the server, and these checks.
fn machine(server: &LoggingServer, checks: &str) -> TestMachine {
    let machine = TestMachine::new();
    let second = "[[model]]\nname = \"n\"\nprovider = \"p\"\nusd_per_mtok = { input = 1.0, output = 10.0 }\n";
    let price = "usd_per_mtok = { input = 1.0, output = 10.0 }";
    machine.write_keys_toml(&format!("{}{second}{checks}", server.keys_toml(price)));
    machine.write("batch.jsonl", "{\"id\":\"a\",\"prompt\":\"Name a city.\"}\n");
    machine
}

fn prompt_of(request: &Request) -> String {
    request.json()["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap().to_owned()
}

fn model_of(request: &Request) -> String {
    request.json()["model"].as_str().unwrap().to_owned()
}

/// `field` of a model in a summary.
fn of_model<'s>(summary: &'s Value, model: &str, field: &str) -> &'s Value {
    let models = summary["models"].as_array().unwrap();
    &models.iter().find(|entry| entry["name"] == model).unwrap_or_else(|| panic!("no {model} in {summary}"))[field]
}

#[test]
fn a_bad_answer_is_asked_for_again_with_what_was_wrong() {
    let server = server(&["Paris, of course!", r#"{"city": "Paris"}"#]);
    let machine = machine(&server, "[[check]]\nname = \"shape\"\njson = true\nexplain = true\n");
    let summary = machine.cascadeck(&RUN_ARGS).expect_status(0).stdout_json();

    let prompts: Vec<String> = server.completions().iter().map(prompt_of).collect();
    assert_eq!(
        prompts,
        [
            "Name a city.",
            "Name a city.\n\nAn earlier answer to this request was not accepted (check shape: is not JSON: expected value \
             at line 1 column 1). Give a complete new answer without this fault.",
        ]
    );
    let line = machine.result("runs/batch", "a");
    assert_eq!((line.output.as_deref(), line.attempts), (Some(r#"{"city": "Paris"}"#), 2));
    for summary in [summary, machine.status("runs/batch")] {
        assert_eq!((&summary["invalid_outputs"], &summary["done"]), (&1.into(), &1.into()));
        assert_eq!((of_model(&summary, "m", "ok"), of_model(&summary, "m", "failed")), (&1.into(), &1.into()));
        assert_eq!(of_model(&summary, "m", "invalid_outputs"), &1);
        // Both answers were paid for: 10 tokens in and 5 out each.
        assert_eq!(summary["cost_usd"], 2.0 * (10.0 + 50.0) / 1e6);
        assert_eq!(summary["keys"][0]["health"], 100, "the key did its job");
    }
    machine.cascadeck(&["audit", "runs/batch"]).expect_status(0);
}

#[test]
fn without_explain_the_same_prompt_is_sent_again() {
    let server = server(&["Paris", "[]"]);
    let machine = machine(&server, "[[check]]\nname = \"shape\"\njson = true\n");
    machine.cascadeck(&RUN_ARGS).expect_status(0);
    let prompts: Vec<String> = server.completions().iter().map(prompt_of).collect();
    assert_eq!(prompts, ["Name a city.", "Name a city."]);
}

#[test]
fn after_its_retries_comes_the_next_model_then_the_item_fails_with_its_answer() {
    let server = server(&["As an AI, I can't.", "As an AI, no.", "As an AI, never.", "As an AI, still no.", "Paris"]);
    let check = "[[check]]\nname = \"refusal\"\nnot_contains = [\"as an ai\"]\nretries = 1\n";
    let machine = machine(&server, check);
    let ended = machine.cascadeck(&["run", "batch.jsonl", "--no-check", "--headless"]).expect_status(3);

    let models: Vec<String> = server.completions().iter().map(model_of).collect();
    assert_eq!(models, ["m", "m", "n", "n"]);
    let line = machine.result("runs/batch", "a");
    let error = line.error.unwrap();
    assert_eq!((line.status, line.output.as_deref()), (FinalState::Failed, Some("As an AI, still no.")));
    assert_eq!((error.outcome, error.check.as_deref()), (Outcome::InvalidOutput, Some("refusal")));
    assert_eq!((error.message.as_str(), error.status), ("check refusal: contains \"as an ai\"", Some(200)));
    assert_eq!((line.model.as_deref(), line.attempts), (Some("n"), 4));
    let summary = machine.status("runs/batch");
    for model in ["m", "n"] {
        assert_eq!(of_model(&summary, model, "invalid_outputs"), &2);
    }
    let table: Vec<&str> =
        ended.stdout.lines().filter(|line| line.starts_with("model") || line.starts_with('m')).collect();
    let columns: Vec<&str> = table[0].split_whitespace().collect();
    assert_eq!(
        (columns[..4].to_vec(), table[1].split_whitespace().nth(3)),
        (vec!["model", "ok", "errors", "invalid"], Some("2"))
    );
    assert!(ended.stdout.contains("4 answers failed a check"), "{}", ended.stdout);
    let plan = machine.cascadeck(&["plan", "batch.jsonl", "--json"]).expect_status(0).stdout_json();
    assert_eq!(plan["invalid_outputs"][0], json!({"model": "m", "invalid": 2, "answers": 2}));

    // The failed item can be replayed by its outcome; the server has come to its senses.
    machine.cascadeck(&["replay", "runs/batch", "--outcome", "invalid_output", "--no-check"]).expect_status(0);
    assert_eq!(machine.result("runs/batch", "a").output.as_deref(), Some("Paris"));
    machine.cascadeck(&["audit", "runs/batch"]).expect_status(0);
}

#[test]
fn a_truncated_answer_is_no_json() {
    let server = LoggingServer::start(|_| {
        let mut response: Value = serde_json::from_slice(&Response::openai("{\"city\": \"Par").body).unwrap();
        response["choices"][0]["finish_reason"] = "length".into();
        Response::json(200, &response)
    });
    let machine = machine(&server, "[[check]]\nname = \"shape\"\njson = true\nretries = 0\n");
    machine.cascadeck(&RUN_ARGS).expect_status(3);
    let line = machine.result("runs/batch", "a");
    assert_eq!(
        (line.error.unwrap().outcome, line.output.as_deref()),
        (Outcome::InvalidOutput, Some("{\"city\": \"Par"))
    );
    assert_eq!(machine.status("runs/batch")["truncated"], 0);
}

#[test]
fn a_call_of_a_tool_and_an_embedding_are_not_tested_as_texts() {
    let server = LoggingServer::start(|request| {
        if request.path.ends_with("/embeddings") {
            return Response::embedding(&json!([0.5, 0.25]));
        }
        let mut response: Value = serde_json::from_slice(&Response::openai("").body).unwrap();
        let call = json!({"id": "c", "type": "function", "function": {"name": "find", "arguments": "{}"}});
        response["choices"][0]["message"] = json!({"role": "assistant", "content": null, "tool_calls": [call]});
        response["choices"][0]["finish_reason"] = "tool_calls".into();
        Response::json(200, &response)
    });
    let texts = "[[check]]\nname = \"text\"\njson = true\nmin_words = 1\nregex = 'x'\n";
    let command = r#"command = ["sh", "-c", "grep -q -e '\"name\":\"find\"' -e '\"tool_calls\":null'"]"#;
    let machine = machine(&server, &format!("{texts}[[check]]\nname = \"own\"\n{command}\n"));
    let line = |id: &str, url: &str, body: Value| {
        json!({"custom_id": id, "method": "POST", "url": url, "body": body}).to_string() + "\n"
    };
    let find = json!({"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}});
    let message = json!({"role": "user", "content": "Find it."});
    let calling = json!({"model": "m", "messages": [message], "tools": [find]});
    let embedding = json!({"model": "m", "input": "a cat"});
    machine.write("batch.jsonl", line("a", "/v1/chat/completions", calling) + &line("b", "/v1/embeddings", embedding));
    machine.cascadeck(&RUN_ARGS).expect_status(0);
    assert_eq!(server.requests().len(), 2, "no answer is paid for twice");
}

#[test]
fn schemas_come_from_a_file_or_from_the_request() {
    let server = server(&[r#"{"city": 5}"#, r#"{"city": "Paris"}"#]);
    let checks =
        "[[check]]\nname = \"file\"\nschema = \"file:city.json\"\n[[check]]\nname = \"own\"\nschema = \"request\"\n";
    let machine = machine(&server, checks);
    machine.write("city.json", r#"{"type": "object", "properties": {"city": {"type": "string"}}}"#);
    machine.cascadeck(&RUN_ARGS).expect_status(0);
    assert_eq!(server.completions().len(), 2);

    let other = self::server(&[r#"{"city": "Paris"}"#]);
    let machine = self::machine(&other, checks);
    machine.write("city.json", r#"{"type": "object"}"#);
    let row = json!({"id": "a", "prompt": "?", "json": {"type": "object", "required": ["country"]}});
    machine.write("batch.jsonl", format!("{row}\n"));
    machine.cascadeck(&RUN_ARGS).expect_status(3);
    let error = machine.result("runs/batch", "a").error.unwrap();
    assert_eq!(error.message, "check own: \"country\" is a required property");
}

#[test]
fn a_schema_that_refers_elsewhere_is_refused_at_the_start() {
    let elsewhere = LoggingServer::start(|_| Response::json(200, &json!({"type": "object"})));
    let server = server(&["{}"]);
    let remote = json!({"$ref": format!("http://{}/schema.json", elsewhere.address())});
    let machine = self::machine(&server, "[[check]]\nname = \"shape\"\nschema = \"file:s.json\"\n");
    machine.write("s.json", remote.to_string());
    machine.cascadeck(&RUN_ARGS).expect_status(2).assert_stderr_contains(&["keys.toml:", "schema: it can't be used"]);

    let machine = self::machine(&server, "[[check]]\nname = \"shape\"\nschema = \"request\"\n");
    let row = json!({"id": "a", "prompt": "?", "json": remote});
    machine.write("batch.jsonl", format!("{row}\n"));
    let refused = machine.cascadeck(&RUN_ARGS).expect_status(2);
    refused.assert_stderr_contains(&["check shape: the request's JSON schema can't be used"]);
    assert_eq!((server.requests().len(), elsewhere.requests().len()), (0, 0), "nothing was sent or fetched");
}

#[test]
fn rows_name_checks_and_only_known_ones() {
    let server = server(&["Paris"]);
    let check = "[[check]]\nname = \"number\"\nregex = '^\\d+$'\nper_row = true\nretries = 0\n";
    let machine = machine(&server, check);
    machine.write(
        "batch.jsonl",
        "{\"id\":\"a\",\"prompt\":\"?\"}\n{\"id\":\"b\",\"prompt\":\"??\",\"check\":[\"number\"]}\n",
    );
    machine.cascadeck(&RUN_ARGS).expect_status(3);
    assert_eq!(machine.result("runs/batch", "a").status, FinalState::Done);
    assert_eq!(machine.result("runs/batch", "b").error.unwrap().check.as_deref(), Some("number"));

    for (value, message) in [
        ("\"numbr\"", "`check` names numbr, but rows can name only these checks: number"),
        ("{\"json\":true}", "must be the name of a check, or a list of names"),
    ] {
        machine.write("other.jsonl", format!("{{\"prompt\":\"?\"}}\n{{\"prompt\":\"?\",\"check\":{value}}}\n"));
        machine
            .cascadeck(&["run", "other.jsonl", "--no-check"])
            .expect_status(2)
            .assert_stderr_contains(&["2", message]);
    }
}

#[test]
fn a_command_decides_by_its_exit_status() {
    let server = server(&["london", "Paris"]);
    let command = r#"command = ["sh", "-c", "grep -q '\"output\":\"[A-Z]' || { echo no capital letter; exit 1; }"]"#;
    let machine = machine(&server, &format!("[[check]]\nname = \"own\"\n{command}\nexplain = true\n"));
    machine.cascadeck(&RUN_ARGS).expect_status(0);
    assert!(prompt_of(&server.completions()[1]).contains("(check own: no capital letter)"));
    assert_eq!(machine.result("runs/batch", "a").output.as_deref(), Some("Paris"));
}

#[test]
fn a_command_that_does_not_end_is_stopped() {
    let server = server(&["Paris"]);
    let command = "command = [\"sh\", \"-c\", \"sleep 3600 & wait\"]\ntimeout = \"1s\"\nretries = 0\n";
    let machine = machine(&server, &format!("[[check]]\nname = \"own\"\n{command}"));
    machine.cascadeck(&RUN_ARGS).expect_status(3);
    let line = machine.result("runs/batch", "a");
    assert_eq!(line.error.unwrap().message, "check own: the command took longer than 1s and was stopped");
    assert_eq!(line.output.as_deref(), Some("Paris"));
}

/// Makes an executable file.
fn write_program(machine: &TestMachine, name: &str, content: &str) {
    machine.write(name, content);
    std::fs::set_permissions(machine.path(name), std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_command_that_cannot_be_started_is_refused_before_anything_is_sent() {
    let server = server(&["Paris"]);
    let machine = machine(&server, "[[check]]\nname = \"own\"\ncommand = [\"./own\"]\n")
        .with_env("PATH", &std::env::var("PATH").unwrap());
    let refused = |why: &[&str]| machine.cascadeck(&RUN_ARGS).expect_status(2).assert_stderr_contains(why);
    refused(&["command: there is no program `./own` that can be run"]);
    machine.write("own", "#!/bin/sh\nexit 0\n");
    refused(&["command: there is no program `./own` that can be run"]);
    for (content, why) in [
        ("exit 0\n", "is a text without a first line that names its interpreter"),
        ("", "is a text without a first line that names its interpreter"),
        ("#!/no/such/python -u\n", "names the interpreter \"/no/such/python\" in its first line, which can't be run"),
        (
            "#!/usr/bin/env no-such-python\n",
            "names the interpreter \"no-such-python\" in its first line, which is not in PATH",
        ),
    ] {
        write_program(&machine, "own", content);
        refused(&["command: `./own` ", why]);
    }
    write_program(&machine, "own", "#! /usr/bin/env -S sh -e\nexit 0\n");
    machine.cascadeck(&RUN_ARGS).expect_status(0);
    assert_eq!(server.completions().len(), 1);
}

/// A server whose first answers remove the file of the check, and a machine with three rows that are sent one by one.
fn server_that_removes_the_check(texts: &'static str) -> (LoggingServer, TestMachine) {
    let program = Arc::new(Mutex::new(None::<std::path::PathBuf>));
    let removed = Arc::clone(&program);
    let server = LoggingServer::start(move |_| {
        if let Some(path) = removed.lock().unwrap().take() {
            std::fs::remove_file(path).unwrap();
        }
        Response::openai(texts)
    });
    let check = "[[check]]\nname = \"own\"\ncommand = [\"./own\"]\n[policy]\nin_flight = 1\n";
    let machine = machine(&server, check);
    machine.write("batch.jsonl", ["a", "b", "c"].map(|id| format!("{{\"id\":\"{id}\",\"prompt\":\"?\"}}\n")).concat());
    write_program(&machine, "own", "#!/bin/sh\nexit 0\n");
    *program.lock().unwrap() = Some(machine.path("own"));
    (server, machine)
}

#[test]
fn an_answer_waits_for_its_check_and_nothing_is_sent_until_it_can_be_made() {
    let (server, machine) = server_that_removes_the_check("Paris");
    let mut live = machine.start(&["run", "batch.jsonl", "--no-check", "--headless"]);
    live.wait_for_line("own can't be started: No such file or directory");
    assert_eq!(server.completions().len(), 1, "nothing is sent meanwhile");
    write_program(&machine, "new", "#!/bin/sh\nexit 0\n");
    std::fs::rename(machine.path("new"), machine.path("own")).unwrap();
    live.wait().expect_status(0);
    assert_eq!(server.completions().len(), 3, "each was asked once");
    assert!(machine.results("runs/batch").iter().all(|line| line.status == FinalState::Done && line.attempts == 1));
    assert!(machine.read("runs/batch/cascadeck.log").contains("checks recovered"));
}

#[test]
fn without_an_operator_the_run_ends_resumable_if_a_check_cannot_be_made() {
    let (server, machine) = server_that_removes_the_check("Paris");
    let ended = machine.cascadeck(&RUN_ARGS).expect_status(4);
    ended.assert_stderr_contains(&[
        "stopped: the command ",
        "own can't be started: ",
        "the same command resumes the run",
    ]);
    let ran = ended.stdout_json();
    assert_eq!(server.completions().len(), 1);
    let lines = machine.results("runs/batch");
    assert_eq!((lines.len(), lines[0].output.as_deref()), (1, Some("Paris")), "the answer is kept");
    let error = lines[0].error.clone().unwrap();
    assert!(error.message.starts_with("could not make the check own: "), "{}", error.message);
    // Nothing is known against the model and the key, neither in this process nor in the record.
    for summary in [&ran, &machine.status("runs/batch")] {
        let key = &summary["keys"][0];
        assert_eq!(
            (&summary["failed"], &summary["invalid_outputs"], &summary["waiting"], &key["failed"]),
            (&1.into(), &0.into(), &2.into(), &0.into())
        );
        assert_eq!(
            (of_model(summary, "m", "invalid_outputs"), of_model(summary, "m", "failed")),
            (&0.into(), &0.into())
        );
    }
    machine.cascadeck(&RUN_ARGS).expect_status(2).assert_stderr_contains(&["there is no program `./own`"]);
    write_program(&machine, "own", "#!/bin/sh\nexit 0\n");
    machine.cascadeck(&RUN_ARGS).expect_status(3);
    assert_eq!(server.completions().len(), 3);
}

#[test]
fn a_command_writes_no_key_into_the_record() {
    let server = server(&["Paris"]);
    let command = r#"command = ["sh", "-c", "echo wrote $FIRST and $SECOND; exit 1"]"#;
    let second = "[[key]]\nname = \"bob\"\nprovider = \"p\"\nsecret = \"env:SECOND\"\n";
    let check = format!("{second}[[check]]\nname = \"own\"\n{command}\nexplain = true\nretries = 1\n");
    let machine =
        machine(&server, &check).with_env("FIRST", "sk-alice-0123456789").with_env("SECOND", "correct-horse-battery");
    machine.cascadeck(&RUN_ARGS).expect_status(3);
    let message = machine.result("runs/batch", "a").error.unwrap().message;
    assert_eq!(message, "check own: wrote [redacted] and [redacted]");
    assert!(server.completions().iter().all(|request| !prompt_of(request).contains("horse")));
    assert!(machine.files_containing("correct-horse-battery").is_empty());
}

#[test]
fn the_programs_end_ends_running_commands_and_what_they_started() {
    let server = server(&["Paris"]);
    let script = "echo $$ > shell; sleep 600 & echo $! > child; wait";
    let machine = machine(&server, &format!("[[check]]\nname = \"own\"\ncommand = [\"sh\", \"-c\", \"{script}\"]\n"));
    let mut live = machine.start(&RUN_ARGS);
    wait_until("the command runs", || {
        std::fs::read_to_string(machine.path("child")).is_ok_and(|pid| pid.ends_with('\n'))
    });
    live.send_signal(Signal::SIGINT);
    live.wait_for_line("interrupt again to stop at once");
    live.send_signal(Signal::SIGINT);
    live.wait().expect_status(130);
    for name in ["shell", "child"] {
        let process = format!("/proc/{}/stat", machine.read(name).trim());
        let is_gone = || std::fs::read_to_string(&process).map_or(true, |stat| stat.contains(") Z "));
        wait_until("the process is gone", is_gone);
    }
}

#[test]
fn few_commands_run_at_a_time_for_many_answers() {
    const ITEMS: usize = 200;
    let server = server(&["Paris"]);
    let script = "cat > /dev/null; echo + >> log; echo - >> log; sleep 0.01; echo . >> log";
    let machine = machine(&server, &format!("[[check]]\nname = \"own\"\ncommand = [\"sh\", \"-c\", \"{script}\"]\n"));
    let rows: Vec<String> =
        (0..ITEMS).map(|n| format!("{{\"id\":\"r{n}\",\"prompt\":\"Name city {n}.\"}}\n")).collect();
    machine.write("batch.jsonl", rows.concat());
    let args = [&RUN_ARGS[..], &["--in-flight", "200"]].concat();
    assert_eq!(machine.cascadeck(&args).expect_status(0).stdout_json()["done"], ITEMS);
    assert_eq!(server.completions().len(), ITEMS, "each was asked once");
    let log = machine.read("log");
    let (mut running, mut most) = (0_usize, 0);
    for mark in log.lines() {
        match mark {
            "+" => running += 1,
            "." => running -= 1,
            _ => {}
        }
        most = most.max(running);
    }
    assert_eq!(log.lines().filter(|mark| *mark == ".").count(), ITEMS, "every answer was checked");
    assert!((1..=8).contains(&most), "{most} commands at a time");
}

#[test]
fn a_caption_that_fails_its_check_is_not_written() {
    let server = server(&["Sorry, I can't see it.", "Sorry, still no.", "A black square."]);
    let check = "[[check]]\nname = \"refusal\"\nnot_contains = [\"sorry\"]\nretries = 1\n";
    let machine = TestMachine::new();
    machine.write_keys_toml(&format!("{}{check}", server.keys_toml("")));
    machine.write("album/a.png", png(4, 4));
    machine.cascadeck(&["run", "album", "--no-check"]).expect_status(3);
    assert!(!machine.path("album/a.txt").exists());
    let failed = machine.results("runs/album");
    assert_eq!(failed[0].output.as_deref(), Some("Sorry, still no."));
    // A new start writes no caption from the record either.
    machine.cascadeck(&["run", "album", "--no-check"]).expect_status(3);
    assert!(!machine.path("album/a.txt").exists());
    machine.cascadeck(&["replay", "runs/album", "--failed", "--no-check"]).expect_status(0);
    assert_eq!(machine.read("album/a.txt"), "A black square.\n");
}

#[test]
fn after_a_kill_nothing_is_lost_and_the_explanation_is_still_sent() {
    let (is_blocked, unblocked) = (Arc::new((Mutex::new(true), Condvar::new())), Arc::new(AtomicUsize::new(0)));
    let (gate, count) = (Arc::clone(&is_blocked), Arc::clone(&unblocked));
    let server = LoggingServer::start(move |_| match count.fetch_add(1, Ordering::Relaxed) {
        0 => Response::openai("Paris"),
        1 => {
            // The process is killed while it waits for this one.
            let blocked = gate.0.lock().unwrap();
            drop(gate.1.wait_while(blocked, |blocked| *blocked).unwrap());
            Response::openai("never seen")
        }
        _ => Response::openai("{}"),
    });
    let machine = machine(&server, "[[check]]\nname = \"shape\"\njson = true\nexplain = true\nretries = 3\n");
    let process = machine.start(&RUN_ARGS);
    wait_until("the second request", || server.completions().len() == 2);
    assert!(process.kill().was_killed());
    *is_blocked.0.lock().unwrap() = false;
    is_blocked.1.notify_all();

    let summary = machine.cascadeck(&RUN_ARGS).expect_status(0).stdout_json();
    let requests = server.completions();
    assert_eq!(requests.len(), 3, "only the request without an answer is repeated");
    assert_eq!(prompt_of(&requests[1]), prompt_of(&requests[2]));
    assert!(prompt_of(&requests[2]).contains("(check shape: is not JSON"), "{}", prompt_of(&requests[2]));
    assert_eq!((&summary["invalid_outputs"], of_model(&summary, "m", "invalid_outputs")), (&1.into(), &1.into()));
    let lines = machine.results("runs/batch");
    assert_eq!((lines.len(), lines[0].output.as_deref(), lines[0].attempts), (1, Some("{}"), 3));
    machine.cascadeck(&["audit", "runs/batch"]).expect_status(0);
}
