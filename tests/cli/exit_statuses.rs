//! Every exit status, each in a typical situation, and the state that is left for the next start.

use nix::sys::signal::Signal;

use crate::{
    cli::RUN_ARGS,
    harness::{
        SLOW_PROFILE, SimulatedProvider, TestMachine, UNLIMITED_PROFILE, addition_rows, expected_answer,
        logging_server::{LoggingServer, Response},
        wait_until,
    },
};

#[test]
fn done_is_0_with_a_table_on_standard_output() {
    let provider = SimulatedProvider::from_toml(UNLIMITED_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", addition_rows(3));
    let ended = machine.cascadeck(&RUN_ARGS).expect_status(0);
    for words in ["batch: finished", "3 of 3 done, 0 failed", "alice", "p95"] {
        assert!(ended.stdout.contains(words), "{words:?} is not in:\n{}", ended.stdout);
    }
    ended.assert_stderr_contains(&["batch.jsonl: 3 JSONL rows; run directory runs/batch"]);
}

#[test]
fn an_uncreatable_run_directory_is_1() {
    let provider = SimulatedProvider::from_toml(UNLIMITED_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", addition_rows(3));
    machine.write("runs", "a file where the folder of runs would be");
    machine
        .cascadeck(&RUN_ARGS)
        .expect_status(1)
        .assert_stderr_contains(&["can't create the run's directory runs/batch"]);
    assert_eq!(provider.checked_stats().total.requests, 0);
}

#[test]
fn a_signal_during_the_check_of_the_keys_is_130() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        // The list of models never comes.
        let (_end, silence) = std::sync::mpsc::channel::<()>();
        let silence = std::sync::Mutex::new(silence);
        let server = LoggingServer::start(move |_| {
            let _ = silence.lock().unwrap().recv();
            Response::openai("yes")
        });
        let machine = TestMachine::with_server(&server);
        machine.write("batch.jsonl", addition_rows(3));
        let running = machine.start(&RUN_ARGS);
        wait_until("the check of the key", || !server.requests().is_empty());
        running.send_signal(signal);
        running.wait().expect_status(130);
        assert_eq!(server.completions().len(), 0);
    }
}

#[test]
fn wrong_usage_is_2() {
    let machine = TestMachine::new();
    machine.write("batch.jsonl", addition_rows(1));
    for (args, words) in [
        (&["run"][..], "<INPUT>"),
        (&["run", "batch.jsonl", "--strategy", "luck"], "one of: cascade"),
        (&["run", "batch.jsonl", "--in-flight", "0"], "--in-flight"),
        (&["run", "batch.jsonl", "--max-usd", "free"], "an amount in dollars"),
        (&["run", "a.png", "b.png", "c.png"], "quote it ('photos/*.png'), or give the folder"),
        (&["plan", "--limit", "3", "a.png", "b.png"], "quote it ('photos/*.png'), or give the folder"),
        (&["frobnicate"], "frobnicate"),
        (&["replay", "runs/batch"], "--failed"),
        (&["status", "runs/none"], "runs/none"),
        (&["export", "runs/none"], "runs/none"),
        (&["explain", "--api", "telepathy"], "telepathy"),
    ] {
        machine.cascadeck(args).expect_status(2).assert_stderr_contains(&[words]);
    }
    let other = machine.cascadeck(&["status", "runs/a", "runs/b"]).expect_status(2);
    assert!(!other.stderr.contains("quote"), "{}", other.stderr);
}

#[test]
fn a_bad_configuration_is_2_with_all_its_faults_by_file_and_line() {
    let machine = TestMachine::new();
    machine.write("batch.jsonl", addition_rows(1));
    machine.write_keys_toml(
        "[[provider]]\nname = 'far'\napi = 'openai'\nbase_url = 'http://llm.example/v1'\n\n\
         [[model]]\nname = 'm'\nprovider = 'nowhere'\nrmp = 5\n\n\
         [[key]]\nname = 'a'\nprovider = 'gemini'\nsecret = 'env:NOT_SET_ANYWHERE'\n\n\
         [[key]]\nname = 'a'\nprovider = 'far'\nsecret = 'sk-x'\n",
    );
    let ended = machine.cascadeck(&RUN_ARGS).expect_status(2);
    for at in ["keys.toml:4:", "keys.toml:8:", "keys.toml:9:", "keys.toml:14:", "keys.toml:17:"] {
        assert!(ended.stderr.contains(at), "nothing is said of {at}\n{}", ended.stderr);
    }
    ended.assert_stderr_contains(&["http", "nowhere", "rmp", "NOT_SET_ANYWHERE"]);
    assert!(!machine.path("runs").exists(), "nothing was begun");
}

#[test]
fn bad_rows_are_2_all_together_by_line_before_anything_is_sent() {
    let provider = SimulatedProvider::from_toml(UNLIMITED_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write(
        "batch.jsonl",
        "{\"id\":\"a\",\"question\":\"1 + 1\"}\n{\"id\":\"b\"\n{\"id\":\"a\",\"question\":\"2 + 2\"}\n\
         {\"id\":\"c\",\"query\":\"3 + 3\"}\n{\"id\":\"d\",\"question\":\"ok\"}\n[1]\n",
    );
    let ended = machine.cascadeck(&RUN_ARGS).expect_status(2);
    for line in ["batch.jsonl:2:", "batch.jsonl:3:", "batch.jsonl:4:", "batch.jsonl:6:"] {
        assert!(ended.stderr.contains(line), "nothing is said of {line}\n{}", ended.stderr);
    }
    ended.assert_stderr_contains(&["4 bad rows; nothing was sent"]);
    assert_eq!(provider.checked_stats().total.requests, 0);
    assert!(!machine.path("runs").exists(), "nothing was begun");
}

#[test]
fn missing_or_empty_inputs_are_2() {
    let provider = SimulatedProvider::from_toml(UNLIMITED_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("empty.jsonl", "");
    machine.write("batch.jsonl", addition_rows(1));
    for (args, words) in [
        (&["run", "missing.jsonl"][..], "missing.jsonl does not exist"),
        (&["run", "empty.jsonl"], "empty.jsonl contains no rows"),
        (&["run", "batch.jsonl", "--prompt", "{{ question"], "template"),
        (&["run", "batch.jsonl", "--prompt-file", "none.txt"], "none.txt"),
        (&["run", "batch.jsonl", "--keys", "none.toml"], "none.toml"),
    ] {
        machine.cascadeck(args).expect_status(2).assert_stderr_contains(&[words]);
    }
}

#[test]
fn no_good_key_at_all_is_2_before_anything_is_sent() {
    let provider =
        SimulatedProvider::from_toml(&UNLIMITED_PROFILE.replace("secret = ", "state = \"invalid\", secret = "));
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", addition_rows(3));
    machine.cascadeck(&RUN_ARGS).expect_status(2).assert_stderr_contains(&["key alice", "no key was accepted"]);
    assert_eq!(provider.checked_stats().total.requests, 0);
}

#[test]
fn some_items_failed_is_3_and_the_others_are_done() {
    let provider = SimulatedProvider::from_toml(UNLIMITED_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write(
        "batch.jsonl",
        addition_rows(20)
            + "{\"id\":\"x\",\"question\":\"[sim:blocked]\"}\n{\"id\":\"y\",\"question\":\"[sim:400]\"}\n",
    );
    let ended = machine.cascadeck(&RUN_ARGS).expect_status(3);
    assert!(ended.stdout.contains("20 of 22 done, 2 failed"), "{}", ended.stdout);
    ended.assert_stderr_contains(&["#x failed", "#y failed"]);
    let outcome = |id: &str| machine.result("runs/batch", id).error.unwrap().outcome.name();
    assert_eq!((outcome("x"), outcome("y")), ("content_blocked", "bad_request"));
    // The same command again sends nothing: failed items are not retried by accident.
    let before = provider.checked_stats().total.requests;
    machine.cascadeck(&RUN_ARGS).expect_status(3);
    assert_eq!(provider.checked_stats().total.requests, before);
}

#[test]
fn spent_quota_is_4_and_says_when_it_returns() {
    let provider = SimulatedProvider::from_toml(
        &UNLIMITED_PROFILE.replace(r#"provider = "g" }]"#, r#"provider = "g", rpd = 7 }]"#),
    );
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", addition_rows(10));
    let ended = machine.cascadeck(&RUN_ARGS).expect_status(4);
    assert!(ended.stdout.contains("7 of 10 done, 0 failed, 3 left"), "{}", ended.stdout);
    ended.assert_stderr_contains(&["quota returns at", "the same command resumes"]);
    assert_eq!(provider.checked_stats().total.requests, 7, "and nothing knocks at a spent day");
    // The second start knows the usage of the first.
    machine.cascadeck(&RUN_ARGS).expect_status(4);
    assert_eq!(provider.checked_stats().total.requests, 7);
}

#[test]
fn a_spent_cap_of_a_key_is_named_with_its_amounts() {
    let priced = r#"provider = "g", max_output = 100, usd_per_mtok = { input = 1.0, output = 100.0 } }]"#;
    let provider = SimulatedProvider::from_toml(&UNLIMITED_PROFILE.replace(r#"provider = "g" }]"#, priced));
    let machine = TestMachine::new();
    machine.write_keys_toml(&provider.keys_toml().replace("[[key]]", "[[key]]\nmax_usd = 0.0102"));
    machine.write("batch.jsonl", addition_rows(50));
    let ended = machine.cascadeck(&RUN_ARGS).expect_status(4);
    let line = ended.stderr.lines().rfind(|line| line.starts_with("stopped: ")).unwrap();
    assert!(line.contains(": cap $0.0102 reached ($0.0"), "{line}");
    assert!(line.contains(" spent or possibly billed); an item may cost up to $0.01"), "{line}");
    assert!(!line.contains("--max-usd"), "the run has no cap: {line}");
}

fn args_with_budget(most: &str) -> Vec<&str> {
    [&RUN_ARGS[..], &["--max-output-tokens", "100", "--json", "--max-usd", most]].concat()
}

#[test]
fn a_spent_budget_is_4_and_more_money_resumes_it() {
    let priced = r#"provider = "g", max_output = 100, usd_per_mtok = { input = 1.0, output = 100.0 } }]"#;
    let provider = SimulatedProvider::from_toml(&UNLIMITED_PROFILE.replace(r#"provider = "g" }]"#, priced));
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", addition_rows(50));
    let ended = machine.cascadeck(&args_with_budget("0.001")).expect_status(4);
    ended.assert_stderr_contains(&[
        "the budget of $0.001 is too small for any item: one may cost up to $0.01",
        "--max-usd",
    ]);
    assert!(!ended.stderr.contains("the same command resumes"), "it would stop again: {}", ended.stderr);
    assert_eq!(provider.checked_stats().total.requests, 0);
    let ended = machine.cascadeck(&args_with_budget("0.02")).expect_status(4);
    ended.assert_stderr_contains(&["the budget of $0.02 is used up", " spent", "the next item may cost up to $0.01"]);
    let summary = ended.stdout_json();
    let (done, cost) = (summary["done"].as_u64().unwrap(), summary["cost_usd"].as_f64().unwrap());
    assert!(done > 0 && done < 50 && cost <= 0.02, "{summary}");
    // The suggested budget is enough for one more item.
    let (_, asked) = ended.stderr.split_once("raise it to at least $").expect("it says to what");
    let least = asked.split_once(' ').expect("a sentence").0;
    let more = machine.cascadeck(&args_with_budget(least)).expect_status(4).stdout_json()["done"].as_u64().unwrap();
    assert!(more > done, "{more} of {done}");
    let summary = machine.cascadeck(&args_with_budget("5")).expect_status(0).stdout_json();
    assert_eq!((&summary["done"], &summary["attempts"]), (&50.into(), &50.into()));
}

#[test]
fn an_interrupt_finishes_what_is_in_flight_and_is_130_then_the_same_command_goes_on() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let provider = SimulatedProvider::from_toml(SLOW_PROFILE);
        let machine = TestMachine::with_provider(&provider);
        machine.write("batch.jsonl", addition_rows(60));
        let args = [&RUN_ARGS[..], &["--in-flight", "4", "--json"]].concat();
        let live = machine.start(&args);
        provider.wait_until("some answers", |books| books.total.ok >= 4 && books.total.in_flight > 0);
        live.send_signal(signal);
        let ended = live.wait().expect_status(130);
        let reason = if signal == Signal::SIGTERM { "stopped by SIGTERM" } else { "interrupted" };
        let last = format!("stopped: {reason}; the same command resumes the run");
        ended.assert_stderr_contains(&["interrupted: finishing the requests in flight", &last]);
        let books = provider.checked_stats();
        assert_eq!((books.total.abandoned, books.total.in_flight), (0, 0), "{signal}: nothing was broken off");
        let summary = ended.stdout_json();
        assert_eq!(summary["done"], books.total.ok);
        assert_eq!(machine.results("runs/batch").len() as u64, books.total.ok);
        assert!(books.total.ok < 60, "{signal}: it was stopped in the middle");

        let summary = machine.cascadeck(&args).expect_status(0).stdout_json();
        assert_eq!((&summary["done"], &summary["attempts"]), (&60.into(), &60.into()));
        let books = provider.checked_stats();
        assert_eq!((books.total.requests, books.prompts.answered_more_than_once), (60, 0), "{signal}: nothing twice");
    }
}

#[test]
fn a_second_interrupt_stops_at_once() {
    let provider = SimulatedProvider::from_toml(UNLIMITED_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", "{\"id\":\"stuck\",\"question\":\"[sim:stall]\"}\n".to_owned() + &addition_rows(3));
    let mut live = machine.start(&RUN_ARGS);
    provider.wait_until("one hangs, the others are answered", |books| books.total.ok == 3 && books.total.requests == 4);
    wait_until("the answers are recorded", || machine.complete_results("runs/batch").len() == 3);
    live.send_signal(Signal::SIGINT);
    live.wait_for_line("interrupted: finishing the requests in flight; interrupt again to stop at once");
    assert!(!live.has_exited(), "it waits for the one in flight");
    live.send_signal(Signal::SIGINT);
    live.wait().expect_status(130).assert_stderr_contains(&["the same command resumes"]);
    let results = machine.results("runs/batch");
    assert_eq!(results.len(), 3);
    for line in results {
        assert_eq!(line.output.as_deref(), Some(expected_answer(&line.id).as_str()));
    }
    assert_eq!(machine.status("runs/batch")["waiting"], 1, "the one that was broken off waits again");
}

#[test]
fn the_last_line_comes_once_and_has_what_may_have_been_billed() {
    let server = LoggingServer::start(|request| {
        if request.is_completion() {
            // Never answered: the test ends first.
            std::thread::park();
        }
        Response::json(200, &serde_json::json!({"data": [{"id": "m"}]}))
    });
    let machine = TestMachine::new();
    machine.write_keys_toml(&server.keys_toml("usd_per_mtok = { input = 1.0, output = 2.0 }\nmax_output = 1000"));
    machine.write("batch.jsonl", "{\"id\":\"a\",\"prompt\":\"Hello\"}\n");
    let mut live = machine.start(&["run", "batch.jsonl", "--no-check", "--headless"]);
    wait_until("the request arrives", || server.completions().len() == 1);
    live.send_signal(Signal::SIGINT);
    live.wait_for_line("interrupt again to stop at once");
    live.send_signal(Signal::SIGINT);
    let ended = live.wait().expect_status(130);
    let last: Vec<&str> = ended.stderr.lines().filter(|line| line.ends_with("stopped: interrupted")).collect();
    assert_eq!(last.len(), 1, "{}", ended.stderr);
    assert!(last[0].contains("(+ up to $0.002"), "{}", last[0]);
}

#[test]
fn a_closed_terminal_changes_nothing() {
    let provider = SimulatedProvider::from_toml(SLOW_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", addition_rows(12));
    let live = machine.start(&[&RUN_ARGS[..], &["--in-flight", "4"]].concat());
    provider.wait_until("some answers", |books| books.total.ok >= 4);
    live.send_signal(Signal::SIGHUP);
    live.wait().expect_status(0);
    assert_eq!(provider.checked_stats().total.ok, 12);
}

/// A local address on which nothing listens.
fn unused_address() -> std::net::SocketAddr {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap()
}

#[test]
fn a_provider_that_never_listened_is_given_up_and_the_run_is_resumable() {
    let machine = TestMachine::new();
    machine.write("batch.jsonl", addition_rows(5));
    let server = LoggingServer::openai("yes");
    let working = server.keys_toml("");
    let deaf = working.replace(&server.address().to_string(), &unused_address().to_string());
    let run = [&RUN_ARGS[..], &["--no-check"]].concat();
    let why = ["no provider has answered within 1s", "p: ", "the same command resumes"];

    machine.write_keys_toml(&deaf);
    machine.cascadeck(&[&run[..], &["--give-up-after", "1s"]].concat()).expect_status(4).assert_stderr_contains(&why);
    machine.write_keys_toml(&format!("{deaf}[policy]\ngive_up_after = \"1s\"\n"));
    machine.cascadeck(&run).expect_status(4).assert_stderr_contains(&why);
    assert_eq!(machine.status("runs/batch")["waiting"], 5);

    machine.write_keys_toml(&working);
    machine.cascadeck(&run).expect_status(0);
    assert_eq!(server.completions().len(), 5);
}

#[test]
fn a_provider_that_takes_requests_and_never_answers_is_given_up_in_time() {
    let machine = TestMachine::new();
    machine.write("batch.jsonl", addition_rows(5));
    // Connections are made by the system, and nobody reads them.
    let silent = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let working = LoggingServer::openai("yes");
    let address = silent.local_addr().unwrap().to_string();
    machine.write_keys_toml(&working.keys_toml("").replace(&working.address().to_string(), &address));
    let began = std::time::Instant::now();
    let ended = machine.cascadeck(&[&RUN_ARGS[..], &["--no-check", "--give-up-after", "1s"]].concat()).expect_status(4);
    ended.assert_stderr_contains(&[
        "no provider has answered within 1s",
        "in flight aborted, which may have been billed",
    ]);
    assert!(began.elapsed() < std::time::Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(machine.status("runs/batch")["waiting"], 5);
    let audit = machine.cascadeck(&["audit", "runs/batch", "--json"]).expect_status(0).stdout_json();
    assert!(!audit["may_have_been_billed"].as_array().unwrap().is_empty(), "{audit}");
}

#[test]
fn a_provider_that_has_answered_once_with_whatever_is_not_given_up() {
    let asked = std::sync::atomic::AtomicU64::new(0);
    let server = LoggingServer::start(move |_| {
        if asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 {
            Response::json(503, &serde_json::json!({"error": {"message": "later"}}))
        } else {
            Response::openai("yes")
        }
    });
    let machine = TestMachine::new();
    machine.write_keys_toml(&server.keys_toml(""));
    machine.write("batch.jsonl", addition_rows(1));
    // The program retries after two seconds.
    machine.cascadeck(&[&RUN_ARGS[..], &["--no-check", "--give-up-after", "1s"]].concat()).expect_status(0);
}
