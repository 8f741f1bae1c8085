//! Servers that list their models to anybody, as llama-server and OpenRouter do: their list says nothing of a key.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Router,
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use serde_json::json;

use crate::{
    RUN,
    lab::{Machine, sums},
};

/// A server that knows one key, and asks for it only where an answer is wanted.
struct Server {
    address: SocketAddr,
    asked: Arc<AtomicU64>,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let asked = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&asked);
        let complete = move |headers: HeaderMap| {
            counter.fetch_add(1, Ordering::Relaxed);
            async move { completion(&headers) }
        };
        let list = || async { json!({"object": "list", "data": [{"id": "m", "object": "model"}]}).to_string() };
        let key = |headers: HeaderMap| async move { about(&headers) };
        let router = Router::new().route("/v1/models", get(list)).route("/v1/chat/completions", post(complete));
        let router = router.route("/openrouter/models", get(list)).route("/openrouter/key", get(key));
        let listener = runtime.block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { address, asked, _runtime: runtime }
    }

    fn machine(&self, secret: &str) -> Machine {
        let machine = Machine::new();
        machine.write_keys(&format!(
            "[[provider]]\nname = \"box\"\napi = \"openai\"\nbase_url = \"http://{}/v1\"\n\
             [[model]]\nname = \"m\"\nprovider = \"box\"\n\
             [[key]]\nname = \"alice\"\nprovider = \"box\"\n{secret}\n",
            self.address
        ));
        machine.write("batch.jsonl", sums(2));
        machine
    }
}

fn completion(headers: &HeaderMap) -> (StatusCode, String) {
    let choice = json!({"message": {"content": "Yes."}, "finish_reason": "stop"});
    if knows(headers) { (StatusCode::OK, json!({"choices": [choice]}).to_string()) } else { refusal() }
}

/// What OpenRouter says at `/key`.
fn about(headers: &HeaderMap) -> (StatusCode, String) {
    let key = json!({"label": "sk-or-v1-abc...123", "usage": 0.5, "limit": null, "is_free_tier": false});
    if knows(headers) { (StatusCode::OK, json!({"data": key}).to_string()) } else { refusal() }
}

fn knows(headers: &HeaderMap) -> bool {
    headers.get("authorization").is_some_and(|given| given == "Bearer sk-right")
}

fn refusal() -> (StatusCode, String) {
    let error = json!({"message": "Invalid API Key", "type": "authentication_error", "code": 401});
    (StatusCode::UNAUTHORIZED, json!({"error": error}).to_string())
}

#[test]
fn a_list_that_anybody_gets_calls_no_key_good() {
    let server = Server::start();
    let checked = server.machine("secret = \"sk-wrong\"").cascadeck(&["check"]).with_status(0);
    assert!(checked.out.contains("lists its models to anybody"), "{}", checked.out);
    assert!(checked.out.contains("NOT CHECKED") && !checked.out.contains("good, "), "{}", checked.out);
    // Where there is no key, none is to be proved.
    let keyless = server.machine("").cascadeck(&["check"]).with_status(0);
    assert!(keyless.out.contains("good, 1 model listed"), "{}", keyless.out);
}

#[test]
fn a_list_that_anybody_gets_brings_no_key_back() {
    let server = Server::start();
    let machine = server.machine("secret = \"sk-wrong\"");
    machine.cascadeck(&[&RUN[..], &["--no-check", "--in-flight", "1"]].concat()).with_status(4);
    let asked = server.asked.load(Ordering::Relaxed);
    let ended = machine.cascadeck(&RUN).with_status(4);
    assert!(!ended.err.contains("accepts it now"), "{}", ended.err);
    assert_eq!(server.asked.load(Ordering::Relaxed), asked, "a dead key stays off");
}

#[test]
fn openrouter_is_asked_about_the_key_itself() {
    let server = Server::start();
    for (secret, status, words) in [("sk-right", 0, "good, 1 model listed"), ("sk-wrong", 2, "BAD: invalid_key")] {
        let machine = Machine::new();
        machine.write_keys(&format!(
            "[[provider]]\nname = \"openrouter\"\nbase_url = \"http://{}/openrouter\"\n\
             [[model]]\nname = \"m\"\nprovider = \"openrouter\"\n\
             [[key]]\nname = \"alice\"\nprovider = \"openrouter\"\nsecret = \"{secret}\"\n",
            server.address
        ));
        let checked = machine.cascadeck(&["check"]).with_status(status);
        assert!(checked.out.contains(words), "{}", checked.out);
    }
}
