//! Secrets leave the process only in requests.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use base64::{Engine as _, engine::general_purpose};
use serde_json::json;

use crate::{
    cli::RUN_ARGS,
    harness::{
        SimulatedProvider, TestMachine, UNLIMITED_PROFILE, addition_rows,
        logging_server::{LoggingServer, Response},
    },
};

#[test]
fn no_secret_is_in_any_file_or_output_even_where_the_provider_echoes_it() {
    let provider = SimulatedProvider::from_toml(
        r#"
        name = "gossip"
        provider = [
            { name = "g", api = "gemini" }, { name = "o", api = "openai" }, { name = "a", api = "anthropic" },
        ]
        model = [{ name = "gm", provider = "g" }, { name = "om", provider = "o" }, { name = "am", provider = "a" }]
        key = [
            { name = "g-suspended", provider = "g", project = "p1", secret = "AIzaSecret-0001-suspended", state = "suspended" },
            { name = "g-invalid", provider = "g", project = "p2", secret = "AIzaSecret-0002-invalid", state = "invalid" },
            { name = "g-leaked", provider = "g", project = "p3", secret = "AIzaSecret-0003-leaked", state = "leaked" },
            { name = "o-invalid", provider = "o", project = "p4", secret = "sk-Secret-0004-invalid", state = "invalid" },
            { name = "a-suspended", provider = "a", project = "p5", secret = "sk-ant-Secret-0005", state = "suspended" },
            { name = "good", provider = "g", project = "p6", secret = "AIzaSecret-0006-good" },
        ]
        "#,
    );
    let machine =
        TestMachine::with_provider(&provider).with_env("RUST_LOG", "trace").with_env("RUST_BACKTRACE", "full");
    machine.write("batch.jsonl", addition_rows(10) + "{\"id\":\"x\",\"question\":\"[sim:400]\"}\n");
    let mut said = Vec::new();
    for args in [
        &["check"][..],
        &["run", "batch.jsonl", "--prompt", "{{ question }}", "--no-check"],
        &["run", "batch.jsonl", "--prompt", "{{ question }}", "--json"],
        &["status", "runs/batch"],
        &["replay", "runs/batch", "--failed", "--dry-run"],
        &["export", "runs/batch", "-o", "out.jsonl"],
        &["export", "runs/batch", "--format", "csv", "-o", "out.csv"],
    ] {
        let ended = machine.cascadeck(args);
        said.push((args[0], ended.stdout + &ended.stderr));
    }
    assert_eq!(machine.results("runs/batch").len(), 11, "there was something to leak");
    let books = provider.checked_stats();
    for key in &provider.profile().keys {
        assert!(
            books.key(&key.name).unwrap().counts.requests > 0 || said[0].1.contains(&key.name),
            "{} was used",
            key.name
        );
        assert_eq!(machine.files_containing(&key.secret), [machine.path("keys.toml")], "{}", key.name);
        let tail = &key.secret[key.secret.len() - 12..];
        assert_eq!(machine.files_containing(tail), [machine.path("keys.toml")], "half of {}", key.name);
        for (command, words) in &said {
            assert!(!words.contains(tail), "{command} tells {}:\n{words}", key.name);
        }
    }
}

#[test]
fn what_a_run_leaves_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let provider = SimulatedProvider::from_toml(UNLIMITED_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", addition_rows(2));
    machine.cascadeck(&["run", "batch.jsonl", "--prompt", "{{ question }}"]).expect_status(0);
    for file in ["run.db", "results.jsonl", "cascadeck.log"] {
        let mode = machine.path("runs/batch").join(file).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{file} is {mode:o}");
    }
    std::fs::set_permissions(machine.path("keys.toml"), std::fs::Permissions::from_mode(0o644)).unwrap();
    machine.cascadeck(&["check"]).expect_status(0).assert_stderr_contains(&["warning: ", "keys.toml"]);
}

#[test]
fn a_record_alone_does_not_confirm_a_guessed_key_and_older_ones_that_did_can_be_resumed() {
    const SECRET: &str = "AIza-alice";
    let provider = SimulatedProvider::from_toml(UNLIMITED_PROFILE);
    let run = ["run", "batch.jsonl", "--prompt", "{{ question }}"];
    let kept = |machine: &TestMachine| -> serde_json::Value {
        let record = rusqlite::Connection::open(machine.path("runs/batch/run.db")).unwrap();
        let json: String =
            record.query_row("SELECT json FROM states WHERE name = 'scheduler'", [], |row| row.get(0)).unwrap();
        serde_json::from_str::<serde_json::Value>(&json).unwrap()["keys"][0]["fingerprint"].clone()
    };
    let prints: Vec<String> = (0..2)
        .map(|_| {
            let machine = TestMachine::with_provider(&provider);
            machine.write("batch.jsonl", addition_rows(2));
            machine.cascadeck(&run).expect_status(0);
            let first = kept(&machine);
            // The same key has the same fingerprint on the same machine, so it is recognised.
            machine.write("batch.jsonl", addition_rows(3));
            machine.cascadeck(&run).expect_status(0);
            assert_eq!(kept(&machine), first);

            let mut unsalted = DefaultHasher::new();
            Some(SECRET).hash(&mut unsalted);
            let record = rusqlite::Connection::open(machine.path("runs/batch/run.db")).unwrap();
            let older = "UPDATE states SET json = json_set(json, '$.keys[0].fingerprint', ?1) WHERE name = 'scheduler'";
            assert_eq!(record.execute(older, [(unsalted.finish() >> 1) as i64]).unwrap(), 1);
            drop(record);
            machine.write("batch.jsonl", addition_rows(4));
            machine.cascadeck(&run).expect_status(0);
            assert_eq!(kept(&machine), first, "the number is gone");
            first.as_str().unwrap().to_owned()
        })
        .collect();
    assert_ne!(prints[0], prints[1], "the salt is each machine's own, and in no run's directory");
}

/// A key with every character that some encoding writes in another way.
const ODD_KEY: &str = "q7/Zt+Kw=9&m<Vd>Yx'Rb\"Ns%2Uj\\Hc";

/// The forms in which a provider may quote the key, by the name of the encoding.
fn encodings_of(key: &str) -> Vec<(&'static str, String)> {
    let of = |form: &dyn Fn(u8) -> String| key.bytes().map(form).collect::<String>();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric();
    let percent = of(&|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") });
    let standard = &general_purpose::STANDARD;
    let url = &general_purpose::URL_SAFE_NO_PAD;
    let mut forms = vec![
        ("plain", key.to_owned()),
        ("percent", percent.clone()),
        (
            "percent, lower case",
            of(&|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02x}") }),
        ),
        ("every byte percent", of(&|byte| format!("%{byte:02x}"))),
        ("percent twice", percent.replace('%', "%25")),
        ("JSON escapes", of(&|byte| format!("\\u{byte:04x}"))),
        ("JSON escapes twice", of(&|byte| format!("\\\\u{byte:04X}"))),
        ("JSON, slashes too", json!(key).to_string().replace('/', "\\/")),
        (
            "HTML names",
            of(&|byte| match byte {
                b'&' => "&amp;".to_owned(),
                b'<' => "&lt;".to_owned(),
                b'>' => "&gt;".to_owned(),
                b'"' => "&quot;".to_owned(),
                b'\'' => "&#39;".to_owned(),
                b'+' => "&plus;".to_owned(),
                b'/' => "&sol;".to_owned(),
                b'=' => "&equals;".to_owned(),
                byte => char::from(byte).to_string(),
            }),
        ),
        ("HTML numbers", of(&|byte| format!("&#{byte};"))),
        ("HTML hexadecimal", of(&|byte| format!("&#x{byte:X};"))),
    ];
    for (name, text) in [
        ("base64", key.to_owned()),
        ("base64 of user:key", format!("user:{key}")),
        ("base64 of a:key", format!("a:{key}")),
        ("base64 of Bearer key", format!("Bearer {key}")),
        ("base64 of key:", format!("{key}:")),
    ] {
        forms.push((name, standard.encode(&text)));
        forms.push((name, url.encode(&text)));
        forms.push((name, standard.encode(&text).replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")));
    }
    forms
}

#[test]
fn a_key_that_a_provider_quotes_in_another_encoding_is_in_no_file_or_output() {
    let forms = encodings_of(ODD_KEY);
    let quoted: Vec<String> = forms.iter().map(|(_, text)| text.clone()).collect();
    let server = LoggingServer::start(move |request| {
        if !request.is_completion() {
            return Response::json(200, &json!({"object": "list", "data": [{"id": "m"}]}));
        }
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let number = |mark: &str| body.split_once(mark)?.1.split('"').next()?.parse::<usize>().ok();
        if let Some(index) = number("refuse-") {
            let message = format!("you sent {}, which is wrong", quoted[index]);
            return Response::json(400, &json!({"error": {"message": message, "type": message, "code": message}}));
        }
        let index = number("answer-").unwrap();
        Response::openai(&format!("your key is {} all right", quoted[index]))
    });
    let machine = TestMachine::new().with_env("RUST_LOG", "trace").with_env("ODD_KEY", ODD_KEY);
    machine.write_keys_toml(&server.keys_toml("").replace("sk-alice-0123456789", "env:ODD_KEY"));
    let rows = (0..forms.len()).flat_map(|index| ["refuse", "answer"].map(|what| format!("{what}-{index}")));
    let rows: Vec<String> = rows.map(|id| json!({"id": id, "question": id}).to_string() + "\n").collect();
    machine.write("batch.jsonl", rows.concat());
    let policy = ["--strategy", "cascade", "--headless"];
    let ended = machine.cascadeck(&[&RUN_ARGS[..], &policy].concat());
    let results = machine.results("runs/batch");
    let output = ended.stdout + &ended.stderr;
    for (index, (name, text)) in forms.iter().enumerate() {
        assert_eq!(machine.files_containing(text), Vec::<std::path::PathBuf>::new(), "{name}: {text}");
        assert!(!output.contains(text), "{name}: {output}");
        for what in ["refuse", "answer"] {
            let line = results.iter().find(|line| line.id == format!("{what}-{index}"));
            // Items with identical rejections may wait for an operator.
            let Some(line) = line else { continue };
            let told = line.output.clone().or_else(|| line.error.as_ref().map(|error| error.message.clone())).unwrap();
            assert!(told.contains("[redacted]"), "{what} {name}: {told}");
            let kept = if what == "refuse" {
                "you sent [redacted], which is wrong"
            } else {
                "your key is [redacted] all right"
            };
            assert!(told.contains(kept) || told.contains("\"[redacted]\""), "{what} {name}: {told}");
        }
    }
    assert!(results.len() >= forms.len(), "there was something to leak: {output}");
}
