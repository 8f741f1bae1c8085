//! The simulator's statistics: prompts, requests and their outcomes.

use cascadeck::{
    clock::Clock,
    sim::{Profile, ServerStats, prompt_hash},
};
use reqwest::Method;
use serde_json::{Value, json};

use super::{HttpReply, SimFixture, gemini_body, read_reply};

#[tokio::test]
async fn the_stats_count_answers_per_prompt() {
    let sim = SimFixture::open().await;
    for prompt in ["[item 42] Why?", "[item 42] Why?", "Who?", "[item 7] When? [sim:500]"] {
        sim.gemini("AIza-g1", prompt).await;
    }
    let text = read_reply(sim.http.get(format!("http://{}/sim/books", sim.sim.addr())).send().await.unwrap()).await;
    let books: ServerStats = serde_json::from_value(text.body).unwrap();
    let of = |prompt: &str| books.prompts.by_hash.get(&format!("{:016x}", prompt_hash(prompt))).cloned();
    let (twice, once) = (of("[item 42] Why?").unwrap(), of("Who?").unwrap());
    assert_eq!((twice.item.as_deref(), twice.ok), (Some("42"), 2));
    assert_eq!((once.item, once.ok), (None, 1));
    assert_eq!(of("[item 7] When? [sim:500]"), None);
    assert_eq!((books.prompts.distinct, books.prompts.answered_more_than_once), (2, 1));
}

/// Many clients against faults and limits: the clients' count and the statistics agree, and no limit was exceeded.
#[tokio::test(flavor = "multi_thread")]
async fn the_stats_add_up_under_load() {
    let mut storm = Profile::named("storm").unwrap();
    storm.faults.stall = 0.0;
    let secrets: Vec<String> = storm.keys.iter().map(|key| key.secret.clone()).collect();
    let sim = SimFixture::new(storm, Clock::with_speed(400.0)).await;
    let gemini = |secret: &String, n: u32| {
        let model = ["gemini-3.8-flash", "gemini-3.5-flash-lite", "gemini-3.1-pro-preview"][n as usize % 3];
        sim.gemini_request(secret, model, &gemini_body(&format!("[item {n}] Name {n} rivers.")))
    };
    let openai = |secret: &String, n: u32| {
        let messages = json!([{ "role": "user", "content": format!("[item {n}] Name {n} rivers.") }]);
        let headers = [("authorization", &*format!("Bearer {secret}"))];
        let body = json!({ "model": "gpt-5-mini", "messages": messages });
        sim.request(Method::POST, "/v1/chat/completions", &headers, &body)
    };
    let anthropic = |secret: &String, n: u32| {
        let messages = json!([{ "role": "user", "content": format!("[item {n}] Name {n} rivers.") }]);
        let body = json!({ "model": "claude-haiku-4-5", "max_tokens": 100, "messages": messages });
        let headers = [("x-api-key", secret.as_str()), ("anthropic-version", "2023-06-01")];
        sim.request(Method::POST, "/v1/messages", &headers, &body)
    };
    let mut crowd = tokio::task::JoinSet::new();
    for n in 0..1_200 {
        let secret = &secrets[n as usize % secrets.len()];
        let request = if secret.starts_with("sk-ant") {
            anthropic(secret, n)
        } else if secret.starts_with("sk-") {
            openai(secret, n)
        } else {
            gemini(secret, n)
        };
        crowd.spawn(async move {
            let Ok(response) = request.send().await else { return false };
            let answered = response.status() == 200;
            let Ok(body) = response.bytes().await else { return false };
            let Ok(body) = serde_json::from_slice(&body) else { return false };
            answered && !HttpReply { status: 200, headers: <_>::default(), body }.text().is_empty()
        });
    }
    let answered = crowd.join_all().await.into_iter().filter(|answered| *answered).count() as u64;
    let books = sim.checked_stats();
    assert_eq!((books.total.requests, books.total.in_flight), (1_200, 0));
    assert_eq!(books.total.ok, answered);
    assert!(books.total.ok > 0 && !books.total.refused.is_empty() && !books.total.faults.is_empty());
}

/// The batch of `demo`: every item has to be answered, so no prompt may hold a fault marker.
#[test]
fn the_bundled_batch_is_complete_and_fault_free() {
    let text = std::fs::read_to_string("assets/demo.jsonl").unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let distinct = |field: &str| {
        rows.iter().map(|row| row[field].as_str().unwrap()).collect::<std::collections::HashSet<_>>().len()
    };
    assert_eq!(rows.len(), 240);
    assert_eq!((distinct("id"), distinct("prompt")), (240, 240));
    assert!(!text.contains("[sim:"));
}
