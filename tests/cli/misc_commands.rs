//! The commands beside `run` (check, explain, sim, completions, help), and starting from the environment alone.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    thread,
};

use nix::sys::signal::Signal;

use crate::harness::{SimulatedProvider, TestMachine, UNLIMITED_PROFILE, addition_rows};

#[test]
fn check_tells_checked_keys_from_bad_ones_and_names_missing_models() {
    let profile = r#"
        name = "mixed"
        provider = [{ name = "g", api = "gemini" }, { name = "o", api = "openai" }, { name = "a", api = "anthropic" }]
        model = [{ name = "gm", provider = "g" }, { name = "om", provider = "o" }, { name = "am", provider = "a" }]
        key = [
            { name = "alice", provider = "g", project = "1", secret = "AIza-alice" },
            { name = "olga", provider = "o", project = "2", secret = "sk-olga" },
            { name = "anton", provider = "a", project = "3", secret = "sk-ant-anton" },
        ]
    "#;
    let provider = SimulatedProvider::from_toml(profile);
    let machine = TestMachine::with_provider(&provider);
    let ended = machine.cascadeck(&["check"]).expect_status(0);
    assert!(ended.stdout.contains("3 keys, 3 models, 3 providers"), "{}", ended.stdout);
    assert_eq!(ended.stdout.matches("accepted, ").count(), 3, "{}", ended.stdout);

    machine.write_keys_toml(&(provider.keys_toml() + "\n[[model]]\nname = \"gm-9\"\nprovider = \"g\"\n"));
    let ended = machine.cascadeck(&["check"]).expect_status(0);
    assert!(ended.stdout.contains("not among them: gm-9"), "{}", ended.stdout);

    let revoked = SimulatedProvider::from_toml(
        &profile.replace("secret = \"sk-olga\"", "secret = \"sk-olga\", state = \"invalid\""),
    );
    machine.write_keys_toml(&revoked.keys_toml());
    let ended = machine.cascadeck(&["check"]).expect_status(2);
    assert!(ended.stdout.contains("REJECTED: invalid_key"), "{}", ended.stdout);
    ended.assert_stderr_contains(&["1 of 3 keys is rejected"]);
    let offline = machine.cascadeck(&["check", "--offline"]).expect_status(0);
    assert!(offline.stdout.contains("no key was checked"), "{}", offline.stdout);
    assert_eq!(
        provider.checked_stats().total.requests + revoked.checked_stats().total.requests,
        0,
        "a check costs no quota"
    );
}

const SPENT_DAY_RESPONSE: &str = r#"{"status":429,"headers":{},"body":{"error":{"code":429,"status":"RESOURCE_EXHAUSTED",
    "message":"You exceeded your current quota.","details":[
    {"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaMetric":"m",
     "quotaId":"GenerateRequestsPerDayPerProjectPerModel-FreeTier","quotaValue":"20"}]},
    {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"31s"}]}}}"#;

#[test]
fn explain_classifies_a_response_from_a_file_and_from_a_pipe() {
    let machine = TestMachine::new();
    machine.write("answer.json", SPENT_DAY_RESPONSE);
    let from_file = machine.cascadeck(&["explain", "--api", "gemini", "answer.json"]).expect_status(0);
    let finding = from_file.stdout_json();
    assert_eq!((&finding["outcome"], &finding["action"]), (&"quota_exhausted_day".into(), &"next_route".into()));
    let fields: Vec<&String> = finding.as_object().unwrap().keys().collect();
    for field in ["outcome", "action", "cooldown_s", "because"] {
        assert!(fields.iter().any(|name| *name == field), "{fields:?}");
    }
    let piped = machine.cascadeck_with_stdin(&["explain", "--api", "gemini"], SPENT_DAY_RESPONSE).expect_status(0);
    assert_eq!(piped.stdout, from_file.stdout);
    for (api, answer, outcome, action) in [
        ("openai", r#"{"status":null}"#, "server_error", "retry"),
        (
            "openai",
            r#"{"status":502,"headers":{"content-type":"text/html"},"body":"<html>Bad Gateway</html>"}"#,
            "server_error",
            "retry",
        ),
        (
            "anthropic",
            r#"{"status":529,"body":{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}}"#,
            "overloaded",
            "retry",
        ),
        (
            "anthropic",
            r#"{"status":401,"body":{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}}"#,
            "invalid_key",
            "disable_key",
        ),
    ] {
        let finding =
            machine.cascadeck_with_stdin(&["explain", "--api", api, "-"], answer).expect_status(0).stdout_json();
        assert_eq!((&finding["outcome"], &finding["action"]), (&outcome.into(), &action.into()), "{answer}");
    }
    for wrong in ["", "[]", "{}", "{\"answer\":1}", "{\"status\":\"soon\"}", "not json"] {
        machine
            .cascadeck_with_stdin(&["explain", "--api", "openai"], wrong)
            .expect_status(2)
            .assert_stderr_contains(&["standard input"]);
    }
}

#[test]
fn completions_are_printed_for_each_shell() {
    let machine = TestMachine::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = machine.cascadeck(&["completions", shell]).expect_status(0).stdout;
        for word in ["cascadeck", "replay", "in-flight"] {
            assert!(script.contains(word), "{shell} knows nothing of {word}");
        }
    }
}

#[test]
fn help_names_every_command_and_every_exit_status() {
    let machine = TestMachine::new();
    let help = machine.cascadeck(&["--help"]).expect_status(0).stdout;
    for word in ["run", "demo", "check", "status", "replay", "export", "explain", "sim", "completions"] {
        assert!(help.contains(&format!("\n  {word} ")), "{word} is not in:\n{help}");
    }
    for status in ["0 ", "1 ", "2 ", "3 ", "4 ", "130 "] {
        assert!(help.contains(&format!("\n  {status}")), "{status} is not in:\n{help}");
    }
    let help = machine.cascadeck(&["run", "--help"]).expect_status(0).stdout;
    for option in [
        "keys",
        "run-dir",
        "prompt",
        "prompt-file",
        "system",
        "max-output-tokens",
        "limit",
        "in-flight",
        "strategy",
        "on-exhausted",
        "max-usd",
        "captions",
        "existing",
        "headless",
        "json",
        "no-check",
    ] {
        assert!(help.contains(&format!("--{option}")), "--{option} is not in:\n{help}");
    }
}

#[test]
fn the_simulated_provider_is_a_command_whose_printed_keys_work() {
    let machine = TestMachine::new();
    let mut sim = machine.start(&["sim", "--listen", "127.0.0.1:0", "--profile", "open"]);
    let url = sim.wait_for_line("simulating \"open\" on http://");
    let addr = url.split("http://").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let keys =
        machine.cascadeck(&["sim", "--profile", "open", "--listen", &addr, "--print-keys"]).expect_status(0).stdout;
    machine.write_keys_toml(&keys);
    machine.write("batch.jsonl", addition_rows(5));
    machine.cascadeck(&["run", "batch.jsonl", "--prompt", "{{ question }}"]).expect_status(0);
    sim.send_signal(Signal::SIGTERM);
    let ended = sim.wait().expect_status(0);
    let books: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&books["total"]["ok"], &books["prompts"]["distinct"]), (&5.into(), &5.into()));
}

#[test]
fn keys_in_the_environment_alone_lead_to_the_providers_real_address() {
    for (variable, host) in [
        ("GEMINI_API_KEYS", "generativelanguage.googleapis.com"),
        ("OPENAI_API_KEYS", "api.openai.com"),
        ("ANTHROPIC_API_KEYS", "api.anthropic.com"),
    ] {
        // A proxy that logs the request line and answers 502.
        let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", proxy.local_addr().unwrap());
        let asked = thread::spawn(move || {
            let (mut socket, _) = proxy.accept().unwrap();
            let mut line = String::new();
            BufReader::new(socket.try_clone().unwrap()).read_line(&mut line).unwrap();
            // The client may have closed the connection already.
            let _ = socket.write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n");
            line
        });
        let machine =
            TestMachine::new().with_env(variable, "sk-first-of-two,sk-second-of-two").with_env("HTTPS_PROXY", &address);
        let ended = machine.cascadeck(&["check"]).expect_status(2);
        let line = asked.join().unwrap();
        assert!(line.starts_with(&format!("CONNECT {host}:443 ")), "{line}");
        assert!(ended.stdout.contains(&format!("the environment ({variable}): 2 keys")), "{}", ended.stdout);
        assert!(ended.stdout.contains("not checked: "), "an unreachable provider convicts no key: {}", ended.stdout);
        assert!(!(ended.stdout + &ended.stderr).contains("-of-two"));
    }
}

#[test]
fn keys_of_several_providers_in_the_environment_send_nothing_until_one_is_chosen() {
    let machine = TestMachine::new()
        .with_env("GEMINI_API_KEYS", "secret-of-gemini,another-of-gemini")
        .with_env("DEEPSEEK_API_KEY", "secret-of-deepseek");
    machine.write("batch.jsonl", addition_rows(1));
    let plan = |options: &[&str]| {
        machine.cascadeck(&[&["plan", "batch.jsonl", "--prompt", "{{ question }}", "--json"], options].concat())
    };
    for args in [&["check", "--offline"][..], &["run", "batch.jsonl", "--prompt", "{{ question }}"]] {
        let ended = machine.cascadeck(args).expect_status(2);
        ended.assert_stderr_contains(&[
            "GEMINI_API_KEYS",
            "DEEPSEEK_API_KEY",
            "deepseek-flash ($0.30 in, $1.20 out)",
            "Nothing was sent",
            "--provider gemini,deepseek",
        ]);
        assert!(!(ended.stdout + &ended.stderr).contains("-of-"), "a secret is shown");
    }
    assert!(!machine.path("runs").exists());
    let ended = plan(&["--provider", "deepseek"]).expect_status(0);
    ended.assert_stderr_contains(&["deepseek: 1 key in DEEPSEEK_API_KEY", "deepseek-flash ($0.30 in, $1.20 out)"]);
    assert!(!ended.stderr.contains("gemini"), "{}", ended.stderr);
    let capacity = ended.stdout_json()["capacity"].clone();
    assert_eq!((capacity.as_array().unwrap().len(), &capacity[0]["model"]), (1, &"deepseek-flash".into()));
    assert!(!(ended.stdout + &ended.stderr).contains("-of-"), "a secret is shown");
    plan(&["--provider", "deepseek", "--keys", "keys.toml"]).expect_status(2);
}

#[test]
fn without_any_key_the_ways_to_give_one_are_named() {
    let machine = TestMachine::new();
    machine.write("batch.jsonl", addition_rows(1));
    let words = ["no keys found", "GEMINI_API_KEYS", "keys.toml", "cascadeck demo"];
    machine
        .cascadeck(&["run", "batch.jsonl", "--prompt", "{{ question }}"])
        .expect_status(2)
        .assert_stderr_contains(&words);
    machine.write(".env", "GEMINI_API_KEYS=from-a-file\n");
    let ended = machine.cascadeck(&["check", "--offline"]).expect_status(0);
    assert!(ended.stdout.contains("GEMINI_API_KEYS in .env"), "{}", ended.stdout);
}

#[test]
fn the_environments_proxy_is_asked_and_never_sees_a_key() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    let (sender, asked) = std::sync::mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            // The receiver may be dropped already.
            let _ = sender.send(head.join("\n"));
            let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let machine = TestMachine::new().with_env("https_proxy", &proxy);
    machine.write_keys_toml(
        "[[provider]]\nname = 'far'\napi = 'openai'\nbase_url = 'https://llm.example/v1'\n\n\
         [[model]]\nname = 'm'\nprovider = 'far'\n\n[[key]]\nname = 'alice'\nprovider = 'far'\nsecret = 'sk-of-alice'\n",
    );
    let ended = machine.cascadeck(&["check"]).expect_status(2);
    assert!(ended.stdout.contains("not checked: "), "{}", ended.stdout);
    let head = asked.recv_timeout(std::time::Duration::from_secs(20)).unwrap();
    assert!(head.starts_with("CONNECT llm.example:443"), "{head}");
    assert!(!head.contains("sk-of-alice"), "{head}");
}

#[test]
fn a_check_that_reached_no_provider_says_that_nothing_was_checked() {
    let machine = TestMachine::new();
    machine.write_keys_toml(
        "[[provider]]\nname = \"g\"\napi = \"gemini\"\nbase_url = \"http://127.0.0.1:9\"\n[[model]]\nname = \"m\"\n\
         provider = \"g\"\n[[key]]\nname = \"alice\"\nprovider = \"g\"\nsecret = \"AIza-alice\"\n",
    );
    let ended = machine.cascadeck(&["check"]).expect_status(2);
    ended.assert_stderr_contains(&["1 of 1 key could not be checked", "--allow-unchecked"]);
    let allowed = machine.cascadeck(&["check", "--allow-unchecked"]).expect_status(0);
    for words in [
        "1 key, 1 model, 1 provider",
        "not checked: client_trouble",
        "NOT CHECKED: no provider accepted or rejected a key",
    ] {
        assert!(ended.stdout.contains(words), "{words:?} is not in:\n{}", ended.stdout);
        assert!(allowed.stdout.contains(words), "{words:?} is not in:\n{}", allowed.stdout);
    }
    // A check that was not asked for is not reported as missing.
    machine.cascadeck(&["check", "--offline"]).expect_status(0);
}

#[test]
fn one_key_that_could_not_be_checked_fails_a_check_and_a_bad_one_does_so_whatever_is_allowed() {
    let provider = SimulatedProvider::from_toml(UNLIMITED_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    let silent = "\n[[provider]]\nname = \"s\"\napi = \"gemini\"\nbase_url = \"http://127.0.0.1:9\"\n[[model]]\n\
                  name = \"far\"\nprovider = \"s\"\n[[key]]\nname = \"bob\"\nprovider = \"s\"\nsecret = \"AIza-bob\"\n";
    machine.write_keys_toml(&(provider.keys_toml() + silent));
    let ended = machine.cascadeck(&["check"]).expect_status(2);
    assert!(ended.stdout.contains("NOT CHECKED: 1 of 2 keys"), "{}", ended.stdout);
    ended.assert_stderr_contains(&["1 of 2 keys could not be checked"]);
    let ended = machine.cascadeck(&["check", "--allow-unchecked"]).expect_status(0);
    assert!(ended.stdout.contains("NOT CHECKED: 1 of 2 keys"), "{}", ended.stdout);

    let revoked = SimulatedProvider::from_toml(&UNLIMITED_PROFILE.replace("secret =", "state = \"invalid\", secret ="));
    machine.write_keys_toml(&(revoked.keys_toml() + silent));
    machine
        .cascadeck(&["check", "--allow-unchecked"])
        .expect_status(2)
        .assert_stderr_contains(&["1 of 2 keys is rejected"]);
}

#[test]
fn invalid_simulator_options_are_wrong_usage() {
    let machine = TestMachine::new();
    for (args, words) in [
        (&["sim", "--profile", "no-such"][..], "neither a built-in profile"),
        (&["sim", "--listen", "0.0.0.0:0"], "--allow-remote"),
        (&["sim", "--print-keys", "--listen", "127.0.0.1:0"], "--print-keys needs a port"),
    ] {
        machine.cascadeck(args).expect_status(2).assert_stderr_contains(&[words]);
    }
}

#[test]
fn an_unreadable_run_directory_is_not_called_absent() {
    let machine = TestMachine::new();
    // A path that even root can't read: a link to itself.
    std::os::unix::fs::symlink("loop", machine.path("loop")).unwrap();
    let ended = machine.cascadeck(&["status", "loop"]).expect_status(1);
    ended.assert_stderr_contains(&["can't open loop: "]);
    assert_eq!(ended.stderr.matches("symbolic links").count(), 1, "told once: {}", ended.stderr);
    machine.cascadeck(&["status", "nowhere"]).expect_status(2).assert_stderr_contains(&["nowhere contains no run"]);
}
