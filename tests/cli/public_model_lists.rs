//! Servers that list their models without a key, as llama-server and OpenRouter do: such a list says nothing about a
//! key.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use axum::{
    Router,
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use serde_json::json;

use crate::{
    cli::RUN_ARGS,
    harness::{TestMachine, addition_rows},
};

/// A server that accepts one key, and checks it only for completions.
struct PublicListServer {
    address: SocketAddr,
    completion_requests: Arc<AtomicU64>,
    /// Whether the model exists at `/ollama`, where keys are not checked.
    model_is_pulled: Arc<AtomicBool>,
    _runtime: tokio::runtime::Runtime,
}

impl PublicListServer {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let asked = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&asked);
        let complete = move |headers: HeaderMap| {
            counter.fetch_add(1, Ordering::Relaxed);
            async move { completion(&headers) }
        };
        let list = || async { json!({"object": "list", "data": [{"id": "m", "object": "model"}]}).to_string() };
        let key = |headers: HeaderMap| async move { key_info(&headers) };
        let router = Router::new().route("/v1/models", get(list)).route("/v1/chat/completions", post(complete));
        let router = router.route("/openrouter/models", get(list)).route("/openrouter/key", get(key));
        let router = router.route("/busy/models", get(busy_without_key));
        let router = router.route("/unwell/models", get(list)).route("/unwell/key", get(failing_key_info));
        let gate = get(html_401_page).post(html_401_page);
        let router = router.route("/gate/models", gate.clone()).route("/gate/chat/completions", gate);
        let pulled = Arc::new(AtomicBool::new(false));
        let (listed, served) = (Arc::clone(&pulled), Arc::clone(&pulled));
        let tags = move || async move {
            let models = if listed.load(Ordering::Relaxed) { vec![json!({"id": "m"})] } else { Vec::new() };
            json!({"object": "list", "data": models}).to_string()
        };
        let complete = move || async move { ollama_completion(served.load(Ordering::Relaxed)) };
        let router = router.route("/ollama/models", get(tags)).route("/ollama/chat/completions", post(complete));
        let listener = runtime.block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { address, completion_requests: asked, model_is_pulled: pulled, _runtime: runtime }
    }

    fn machine(&self, secret: &str) -> TestMachine {
        self.machine_at("v1", secret)
    }

    fn machine_at(&self, place: &str, secret: &str) -> TestMachine {
        let machine = TestMachine::new();
        machine.write_keys_toml(&format!(
            "[[provider]]\nname = \"box\"\napi = \"openai\"\nbase_url = \"http://{}/{place}\"\n\
             [[model]]\nname = \"m\"\nprovider = \"box\"\n\
             [[key]]\nname = \"alice\"\nprovider = \"box\"\n{secret}\n",
            self.address
        ));
        machine.write("batch.jsonl", addition_rows(2));
        machine
    }
}

/// Lists models for any key, and answers 429 to requests without one.
async fn busy_without_key(headers: HeaderMap) -> (StatusCode, String) {
    let list = json!({"object": "list", "data": [{"id": "m"}]});
    let busy = json!({"error": {"message": "Too many requests"}});
    let stranger = !headers.contains_key("authorization");
    if stranger { (StatusCode::TOO_MANY_REQUESTS, busy.to_string()) } else { (StatusCode::OK, list.to_string()) }
}

/// OpenRouter's `/key` while it fails.
async fn failing_key_info(headers: HeaderMap) -> (StatusCode, String) {
    let error = json!({"error": {"message": "Internal Server Error", "code": 500}});
    if headers.contains_key("authorization") {
        (StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    } else {
        invalid_key_response()
    }
}

/// A proxy that refuses every request with an HTML page.
async fn html_401_page() -> (StatusCode, &'static str) {
    let page = "<html>\n<head><title>401 Authorization Required</title></head>\n<body>\n<center><h1>401 Authorization \
                Required</h1></center>\n<hr><center>nginx/1.18.0</center>\n</body>\n</html>\n";
    (StatusCode::UNAUTHORIZED, page)
}

fn ollama_completion(pulled: bool) -> (StatusCode, String) {
    let choice = json!({"message": {"content": "Yes."}, "finish_reason": "stop"});
    let error = json!({"message": "model \"m\" not found, try pulling it first", "type": "not_found_error"});
    if pulled {
        (StatusCode::OK, json!({"choices": [choice]}).to_string())
    } else {
        (StatusCode::NOT_FOUND, json!({"error": error}).to_string())
    }
}

fn completion(headers: &HeaderMap) -> (StatusCode, String) {
    let choice = json!({"message": {"content": "Yes."}, "finish_reason": "stop"});
    if has_right_key(headers) {
        (StatusCode::OK, json!({"choices": [choice]}).to_string())
    } else {
        invalid_key_response()
    }
}

/// OpenRouter's answer at `/key`.
fn key_info(headers: &HeaderMap) -> (StatusCode, String) {
    let key = json!({"label": "sk-or-v1-abc...123", "usage": 0.5, "limit": null, "is_free_tier": false});
    if has_right_key(headers) { (StatusCode::OK, json!({"data": key}).to_string()) } else { invalid_key_response() }
}

fn has_right_key(headers: &HeaderMap) -> bool {
    headers.get("authorization").is_some_and(|given| given == "Bearer sk-right")
}

fn invalid_key_response() -> (StatusCode, String) {
    let error = json!({"message": "Invalid API Key", "type": "authentication_error", "code": 401});
    (StatusCode::UNAUTHORIZED, json!({"error": error}).to_string())
}

#[test]
fn a_public_model_list_calls_no_key_good() {
    let server = PublicListServer::start();
    let checked = server.machine("secret = \"sk-wrong\"").cascadeck(&["check"]).expect_status(2);
    assert!(checked.stdout.contains("lists its models without a key"), "{}", checked.stdout);
    assert!(checked.stdout.contains("NOT CHECKED") && !checked.stdout.contains("accepted, "), "{}", checked.stdout);
    // A provider without a key has no key to check.
    let keyless = server.machine("").cascadeck(&["check"]).expect_status(0);
    assert!(keyless.stdout.contains("accepted, 1 model listed"), "{}", keyless.stdout);
}

#[test]
fn a_public_model_list_enables_no_disabled_key() {
    let server = PublicListServer::start();
    let machine = server.machine("secret = \"sk-wrong\"");
    machine.cascadeck(&[&RUN_ARGS[..], &["--no-check", "--in-flight", "1"]].concat()).expect_status(4);
    let asked = server.completion_requests.load(Ordering::Relaxed);
    let ended = machine.cascadeck(&RUN_ARGS).expect_status(4);
    assert!(!ended.stderr.contains("accepts it now"), "{}", ended.stderr);
    assert_eq!(server.completion_requests.load(Ordering::Relaxed), asked, "a dead key stays off");
}

#[test]
fn openrouter_is_asked_about_the_key_itself() {
    let server = PublicListServer::start();
    for (place, secret, status, words) in [
        ("openrouter", "sk-right", 0, "accepted, 1 model listed"),
        ("openrouter", "sk-wrong", 2, "REJECTED: invalid_key"),
        ("unwell", "sk-wrong", 2, "not checked: server_error"),
    ] {
        let machine = TestMachine::new();
        machine.write_keys_toml(&format!(
            "[[provider]]\nname = \"openrouter\"\nbase_url = \"http://{}/{place}\"\n\
             [[model]]\nname = \"m\"\nprovider = \"openrouter\"\n\
             [[key]]\nname = \"alice\"\nprovider = \"openrouter\"\nsecret = \"{secret}\"\n",
            server.address
        ));
        let checked = machine.cascadeck(&["check"]).expect_status(status);
        assert!(checked.stdout.contains(words), "{}", checked.stdout);
    }
}

#[test]
fn a_model_that_is_listed_again_is_asked_for_again_whoever_may_see_the_list() {
    let server = PublicListServer::start();
    let machine = server.machine_at("ollama", "secret = \"ollama\"");
    machine.cascadeck(&RUN_ARGS).expect_status(4);
    server.model_is_pulled.store(true, Ordering::Relaxed);
    machine.cascadeck(&RUN_ARGS).expect_status(0);
}

#[test]
fn only_a_refusal_shows_that_a_list_is_not_for_anybody() {
    let server = PublicListServer::start();
    let checked = server.machine_at("busy", "secret = \"sk-wrong\"").cascadeck(&["check"]).expect_status(2);
    assert!(checked.stdout.contains("NOT CHECKED") && !checked.stdout.contains("accepted, "), "{}", checked.stdout);
}

#[test]
fn a_page_that_turns_every_request_away_ends_a_run_that_nobody_watches() {
    let server = PublicListServer::start();
    let machine = server.machine_at("gate", "secret = \"sk-wrong\"");
    let words = "an HTML page rejected the key or this address (HTTP 401)";
    let checked = machine.cascadeck(&["check"]).expect_status(2);
    assert!(checked.stdout.contains(&format!("{words}: 401 Authorization Required")), "{}", checked.stdout);
    machine.write("batch.jsonl", addition_rows(8));
    let ended = machine.cascadeck(&[&RUN_ARGS[..], &["--in-flight", "5"]].concat()).expect_status(4);
    ended.assert_stderr_contains(&[&format!(
        "m@alice disabled, server_error: 5 requests got the same error, none succeeded: {words}"
    )]);
    assert_eq!(machine.status("runs/batch")["failed"], 0);
}
