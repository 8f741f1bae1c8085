//! A hostile provider, input and configuration: what they leave on disk, and what reaches the terminal.

use std::{
    collections::HashSet,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::symlink,
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};

use crate::harness::{ProcessOutput, SimulatedProvider, TestMachine, png};

/// Sets a title, clears the screen, changes colours and text direction, hides text, and forges a line of progress.
const ATTACK: &str =
    "\u{1b}]0;owned\u{7}\u{1b}[2J\u{1b}[31m\u{9b}31m\u{202e}\u{2066}\u{200b}\rrun: finished\n\u{8}\u{7f}";

/// The first character that must never reach a terminal.
fn first_unsafe_char(text: &str) -> Option<char> {
    text.chars().find(|character| {
        (character.is_control() && *character != '\n')
            || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}')
    })
}

#[track_caller]
fn assert_harmless(what: &str, ended: &ProcessOutput) {
    for (stream, text) in [("stdout", &ended.stdout), ("stderr", &ended.stderr)] {
        assert_eq!(first_unsafe_char(text), None, "{what} on {stream}: {text:?}");
        assert!(!text.lines().any(|line| line.starts_with("run: finished")), "{what} forges a line: {text}");
    }
}

/// An OpenAI-compatible server that repeats the key wherever it can. Variants that can be retried fail the first time.
struct HostileServer {
    address: SocketAddr,
}

impl HostileServer {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen_variants = Arc::new(Mutex::new(HashSet::new()));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let seen = Arc::clone(&seen_variants);
                thread::spawn(move || respond(stream, &seen));
            }
        });
        Self { address }
    }
}

/// A request's head and body.
fn read_request(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4_096];
    loop {
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some((head.to_owned(), body.to_owned()));
            }
        }
    }
}

fn respond(mut stream: TcpStream, seen: &Mutex<HashSet<String>>) {
    let Some((head, body)) = read_request(&mut stream) else { return };
    let bearer = head.lines().find_map(|line| line.split_once("Bearer ").or_else(|| line.split_once("bearer ")));
    let key = bearer.map_or("", |(_, key)| key.trim());
    let variant = body.split_once("variant-").map_or("", |(_, rest)| rest.split('"').next().unwrap_or(""));
    let is_first = seen.lock().unwrap().insert(variant.to_owned());
    let error = |message: &str| json!({ "error": { "message": message, "type": message, "code": message } });
    let echo = format!("{ATTACK} your key {key} {ATTACK}");
    let (status, body): (&str, String) = match variant {
        _ if head.starts_with("GET") => ("200 OK", json!({ "data": [{ "id": "m" }, { "id": echo }] }).to_string()),
        _ if key.contains("refused") => ("401 Unauthorized", error(&echo).to_string()),
        "refused" => ("400 Bad Request", error(&echo).to_string()),
        "blocked" => ("200 OK", completion_json(&echo, "content_filter").to_string()),
        "html" if is_first => ("502 Bad Gateway", format!("<html><title>{echo}</title>{echo}</html>")),
        "busy" if is_first => ("429 Too Many Requests", error(&echo).to_string()),
        "broken" if is_first => ("500 Internal Server Error", echo),
        "garbage" if is_first => ("200 OK", format!("{{\"choices\": {echo}")),
        _ => ("200 OK", completion_json(&echo, &echo).to_string()),
    };
    let response = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nx-echo: {key}\r\nretry-after: 1\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(response.as_bytes());
}

fn completion_json(text: &str, finish: &str) -> Value {
    json!({
        "model": text,
        "choices": [{ "index": 0, "finish_reason": finish, "message": { "role": "assistant", "content": text } }],
        // Token counts that overflow when they are added.
        "usage": { "prompt_tokens": u64::MAX, "completion_tokens": u64::MAX, "total_tokens": u64::MAX },
    })
}

const SECRETS: [&str; 2] = ["sk-hostile-0123456789-good", "sk-hostile-9876543210-refused"];

fn keys_toml(address: SocketAddr) -> String {
    format!(
        "[[provider]]\nname = 'h'\napi = 'openai'\nbase_url = 'http://{address}/v1'\n\n\
         [[model]]\nname = 'm'\nprovider = 'h'\n\n\
         [[key]]\nname = 'refused'\nprovider = 'h'\nsecret = '{}'\n\n\
         [[key]]\nname = 'good'\nprovider = 'h'\nsecret = '{}'\n\n\
         [policy]\nretry_delays = ['20ms']\nbackoff = ['20ms']\n",
        SECRETS[1], SECRETS[0],
    )
}

#[test]
fn nothing_that_a_hostile_run_leaves_or_says_holds_a_secret_or_moves_a_cursor() {
    let hostile = HostileServer::start();
    let machine = TestMachine::new().with_env("RUST_LOG", "trace").with_env("RUST_BACKTRACE", "full");
    machine.write_keys_toml(&keys_toml(hostile.address));
    let rows: Vec<String> = ["plain", "refused", "blocked", "html", "busy", "broken", "garbage"]
        .iter()
        .map(|variant| {
            let id = format!("{variant} {ATTACK}");
            json!({ "id": id, "prompt": format!("variant-{variant}"), "note": ATTACK }).to_string() + "\n"
        })
        .collect();
    machine.write("batch.jsonl", rows.concat());
    let commands: [&[&str]; 10] = [
        &["check"],
        &["run", "batch.jsonl", "--no-check"],
        &["run", "batch.jsonl"],
        &["run", "batch.jsonl", "--json", "--no-check"],
        &["status", "runs/batch"],
        &["status", "runs/batch", "--json"],
        &["replay", "runs/batch", "--failed", "--dry-run"],
        &["audit", "runs/batch"],
        &["audit", "runs/batch", "--json"],
        &["plan", "batch.jsonl"],
    ];
    for command in commands {
        let ended = machine.cascadeck(command);
        assert_harmless(command[0], &ended);
        for secret in SECRETS {
            let tail = &secret[secret.len() - 12..];
            assert!(!ended.stdout.contains(tail) && !ended.stderr.contains(tail), "{command:?} tells {secret}");
        }
    }
    let results = machine.results("runs/batch");
    assert_eq!(results.len(), 7);
    let answered = results.iter().filter(|line| line.output.as_ref().is_some_and(|text| text.contains("[redacted]")));
    assert_eq!(answered.count(), 5, "answers are kept, but for the key");
    for command in
        [&["export", "runs/batch", "-o", "out.jsonl"][..], &["export", "runs/batch", "--format", "csv", "-o", "o.csv"]]
    {
        machine.cascadeck(command).expect_status(0);
    }
    for secret in SECRETS {
        for part in [secret, &secret[secret.len() - 12..], &secret.to_uppercase()] {
            let found: Vec<_> =
                machine.files_containing(part).into_iter().filter(|path| *path != machine.path("keys.toml")).collect();
            assert!(found.is_empty(), "{part} is in {found:?}");
        }
    }
    let log = machine.read("runs/batch/cascadeck.log");
    assert!(log.len() > 1_000, "everything was logged");
    assert_eq!(first_unsafe_char(&log), None, "the log is read in terminals");
    // Token counts are capped, so the sums of the record hold.
    machine.cascadeck(&["audit", "runs/batch"]).expect_status(0);
}

#[test]
fn names_of_files_folders_keys_and_models_move_no_cursor() {
    let hostile = HostileServer::start();
    let machine = TestMachine::new();
    let escaped = "a\\u001b[2J\\u202eb";
    let good = keys_toml(hostile.address);
    for (what, with) in [
        ("name = 'm'", format!("name = \"{escaped}\"")),
        ("name = 'good'", format!("name = \"{escaped}\"")),
        ("name = 'h'\napi", format!("name = \"{escaped}\"\napi")),
        ("api = 'openai'", format!("api = \"{escaped}\"")),
        ("backoff", format!("\"{escaped}\"")),
    ] {
        machine.write_keys_toml(&good.replace(what, &with));
        machine.write("batch.jsonl", "{\"prompt\":\"variant-plain\"}\n");
        for command in [&["check"][..], &["run", "batch.jsonl", "--run-dir", "one"], &["status", "one"]] {
            assert_harmless(what, &machine.cascadeck(command));
        }
    }
    machine.write_keys_toml(&good);
    let odd = "o\u{1b}[31m\u{202e}dd";
    machine.write(&format!("{odd}.jsonl"), "{\"prompt\":\"x\", \"id\":\"\u{202e}\"\n");
    machine.write(&format!("album {odd}/pic\u{1b}[2J{odd}.png"), png(2, 2));
    for command in [
        vec!["run".to_owned(), format!("{odd}.jsonl")],
        vec!["run".to_owned(), format!("album {odd}"), "--run-dir".to_owned(), format!("run {odd}")],
        vec!["status".to_owned(), format!("run {odd}")],
        vec!["audit".to_owned(), format!("run {odd}")],
        vec!["run".to_owned(), format!("none {odd}")],
        vec!["run".to_owned(), "x".to_owned(), "--prompt".to_owned(), format!("{{{{ {odd}")],
    ] {
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        assert_harmless(command[0], &machine.cascadeck(&command));
    }
}

const UNLIMITED_PROFILE: &str = r#"
name = "eyes"
provider = [{ name = "g", api = "gemini" }]
model = [{ name = "m", provider = "g" }]
key = [{ name = "alice", provider = "g", project = "one", secret = "AIza-alice" }]
"#;

#[test]
fn captions_stay_in_their_folder_whatever_a_list_or_a_link_says() {
    let provider = SimulatedProvider::from_toml(UNLIMITED_PROFILE);
    let machine = TestMachine::with_provider(&provider);
    machine.write("album/in.png", png(2, 2));
    machine.write("outside/far.png", png(3, 3));
    let absolute = machine.path("outside/far.png").display().to_string();
    machine.write("list.txt", format!("album/in.png\nalbum/../../work/outside/far.png\n{absolute}\n"));
    // Whether or not the run accepts the same picture by two paths, it writes only under the folder.
    machine.cascadeck(&["run", "list.txt", "--captions", "words", "--run-dir", "listed"]);
    let count_captions = |folder: &str| {
        let texts = fs::read_dir(machine.path(folder)).unwrap().map(|entry| entry.unwrap().path());
        texts.filter(|path| path.extension().is_some_and(|end| end == "txt")).count()
    };
    assert_eq!((count_captions("outside"), count_captions("album")), (0, 0));

    // A subfolder of the captions folder that is a link out of it.
    machine.write("tree/sub/in.png", png(2, 2));
    fs::create_dir_all(machine.path("texts")).unwrap();
    symlink(machine.path("outside"), machine.path("texts/sub")).unwrap();
    let ended = machine.cascadeck(&["run", "tree", "--captions", "texts", "--run-dir", "linked"]).expect_status(2);
    ended.assert_stderr_contains(&["would be written outside"]);
    assert_eq!(count_captions("outside"), 0);

    // A caption that is a link is replaced; the linked file stays as it is.
    machine.write("outside/mine.txt", "Mine.\n");
    symlink(machine.path("outside/mine.txt"), machine.path("album/in.txt")).unwrap();
    machine.cascadeck(&["run", "album", "--existing", "overwrite", "--run-dir", "over"]).expect_status(0);
    assert_eq!(machine.read("outside/mine.txt"), "Mine.\n");
    assert!(machine.read("album/in.txt").starts_with("A picture of 2x2"));
}

#[test]
fn a_secret_is_in_no_command_line() {
    let provider = SimulatedProvider::from_toml(
        &UNLIMITED_PROFILE.replace("name = \"eyes\"", "name = \"slow\"\nlatency = { median_ms = 300 }"),
    );
    let machine = TestMachine::with_provider(&provider);
    machine.write("batch.jsonl", crate::harness::addition_rows(20));
    let live = machine.start(&["run", "batch.jsonl", "--prompt", "{{ question }}", "--in-flight", "2"]);
    provider.wait_until("it is under way", |books| books.total.ok > 0);
    for file in ["cmdline", "comm", "environ"] {
        let shown = fs::read(format!("/proc/{}/{file}", live.process_id())).unwrap();
        let shown = String::from_utf8_lossy(&shown);
        assert!(!shown.contains("AIza-alice"), "{file}: {shown}");
    }
}
