//! Disabled keys, outages, fault markers in prompts, clients that disconnect, and invalid requests.

use cascadeck::{
    clock::Clock,
    sim::{InjectedFault, Profile, SimLimit},
};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    OPEN_MODELS, PROVIDERS_PROFILE, SimFixture, anthropic_body, gemini_body, openai_body, profile, read_reply,
};

#[tokio::test]
async fn disabled_keys_are_refused_in_their_providers_words() {
    const STATES: [&str; 4] = ["invalid", "suspended", "leaked", "billing"];
    let key = |provider: &str, state: &str| {
        let secret = format!("secret-of-{provider}-{state}");
        format!(
            r#"{{ name = "{provider}-{state}", provider = "{provider}", project = "p", secret = "{secret}", state = "{state}" }},"#
        )
    };
    let keys: String = ["g", "o", "a"].iter().flat_map(|p| STATES.iter().map(move |s| key(p, s))).collect();
    let text = format!("{PROVIDERS_PROFILE}{OPEN_MODELS}").replacen("key = [", &format!("key = [{keys}"), 1);
    let sim = SimFixture::new(Profile::from_toml(&text).unwrap(), Clock::real()).await;

    // The status and a part of the body for each state of a key.
    let looks = [
        ("g", [(400, "API_KEY_INVALID"), (403, "CONSUMER_SUSPENDED"), (403, "leaked"), (429, "prepayment credits")]),
        ("o", [(401, "invalid_api_key"), (403, "suspended"), (403, "disabled"), (429, "insufficient_quota")]),
        (
            "a",
            [(401, "authentication_error"), (403, "suspended"), (403, "disabled"), (400, "credit balance is too low")],
        ),
    ];
    for (provider, answers) in looks {
        for (state, (status, words)) in STATES.iter().zip(answers) {
            let secret = format!("secret-of-{provider}-{state}");
            let seen = match provider {
                "g" => sim.gemini(&secret, "hello").await,
                "o" => sim.openai(&secret, openai_body("hello")).await,
                _ => sim.anthropic(&secret, anthropic_body("hello")).await,
            };
            let body = seen.body.to_string();
            assert_eq!(seen.status, status, "{provider} {state}");
            assert!(body.contains(words), "{provider} {state}: {body}");
            assert_eq!(body.contains(&secret), *state == "suspended", "{provider} {state}: {body}");
        }
    }
    assert_eq!(sim.gemini("nobody's", "hello").await.status, 400);
    assert_eq!(sim.gemini("AQ.nobody's", "hello").await.body["error"]["status"], "UNAUTHENTICATED");
    assert_eq!(sim.send(Method::POST, "/v1/chat/completions", &[], &openai_body("hello")).await.status, 401);
    let books = sim.checked_stats();
    assert_eq!((books.total.requests, books.total.rejected["suspended"]), (15, 3));
    assert_eq!(books.key("o-billing").unwrap().counts.rejected["billing"], 1);
}

#[tokio::test]
async fn an_outage_covers_its_model_alone_and_uses_no_quota() {
    let models = r#"
        model = [{ name = "gm", provider = "g", rpd = 1 }, { name = "om", provider = "o" }]
        outage = [{ model = "gm", from_s = 0, to_s = 1_000_000 }]
    "#;
    let sim = SimFixture::new(profile(models), Clock::real()).await;
    for _ in 0..3 {
        assert_eq!(sim.gemini("AIza-g1", "hello").await.body["error"]["status"], "UNAVAILABLE");
    }
    assert_eq!(sim.openai("sk-o1-0123456789", openai_body("hello")).await.status, 200);
    let books = sim.checked_stats();
    let pool = books.pool("gp", "gm").unwrap();
    assert_eq!((pool.counts.faults[&InjectedFault::Overloaded], pool.peaks.day_requests), (3, 0));
}

#[tokio::test]
async fn prompt_markers_inject_their_faults() {
    let sim = SimFixture::open().await;
    let (openai, anthropic) = ("sk-o1-0123456789", "sk-ant-a1");
    // Marker, and the status at Gemini, OpenAI and Anthropic.
    let cases = [("500", [500, 500, 500]), ("503", [503, 503, 529]), ("400", [400, 400, 400])];
    for (kind, statuses) in cases {
        let prompt = format!("hello [sim:{kind}]");
        let seen = [
            sim.gemini("AIza-g1", &prompt).await.status,
            sim.openai(openai, openai_body(&prompt)).await.status,
            sim.anthropic(anthropic, anthropic_body(&prompt)).await.status,
        ];
        assert_eq!(seen, statuses, "{kind}");
    }

    let empty = sim.gemini("AIza-g1", "[sim:empty]").await;
    assert_eq!(
        empty.body["candidates"][0],
        json!({ "content": { "role": "model" }, "finishReason": "STOP", "index": 0 })
    );
    assert_eq!(sim.openai(openai, openai_body("[sim:empty]")).await.text(), "");
    assert_eq!(sim.anthropic(anthropic, anthropic_body("[sim:empty]")).await.body["content"], json!([]));

    let blocked = sim.gemini("AIza-g1", "[sim:blocked]").await;
    assert_eq!(blocked.body["promptFeedback"]["blockReason"], "PROHIBITED_CONTENT");
    assert_eq!(blocked.body.get("candidates"), None);
    let blocked = sim.openai(openai, openai_body("[sim:blocked]")).await;
    assert_eq!(blocked.body["choices"][0]["finish_reason"], "content_filter");
    let blocked = sim.anthropic(anthropic, anthropic_body("[sim:blocked]")).await;
    assert_eq!(blocked.body["stop_reason"], "refusal");

    let html = sim.gemini_request("AIza-g1", "gm", &gemini_body("[sim:html]")).send().await.unwrap();
    assert_eq!(html.status(), 502);
    assert_eq!(html.headers()["content-type"], "text/html; charset=UTF-8");
    let truncated = sim.gemini_request("AIza-g1", "gm", &gemini_body("[sim:truncated]")).send().await.unwrap();
    assert_eq!(truncated.status(), 200);
    assert!(serde_json::from_slice::<Value>(&truncated.bytes().await.unwrap()).is_err());
    let reset = sim.gemini_request("AIza-g1", "gm", &gemini_body("[sim:reset]")).send().await.unwrap();
    assert!(reset.bytes().await.is_err());

    let books = sim.checked_stats();
    assert_eq!((books.total.ok, books.total.rejected["bad_request"]), (0, 3));
    let faults = [
        InjectedFault::ServerError,
        InjectedFault::Empty,
        InjectedFault::Html,
        InjectedFault::Truncated,
        InjectedFault::Reset,
    ];
    assert_eq!(faults.map(|fault| books.total.faults[&fault]), [3, 3, 1, 1, 1]);
}

#[tokio::test]
async fn a_stall_lasts_until_the_simulator_stops() {
    let sim = SimFixture::open().await;
    let stalled = tokio::spawn(sim.gemini_request("AIza-g1", "gm", &gemini_body("[sim:stall]")).send());
    sim.wait_until(|books| books.total.faults.contains_key(&InjectedFault::Stall)).await;
    assert!(!stalled.is_finished());
    sim.sim.stop().await.unwrap();
    let nothing = match stalled.await.unwrap() {
        Ok(response) => response.bytes().await.is_err(),
        Err(_) => true,
    };
    assert!(nothing, "a stopped simulator hangs up");
}

#[tokio::test]
async fn a_client_that_leaves_early_is_counted_as_abandoned() {
    let models = r#"model = [{ name = "gm", provider = "g", concurrency = 1, latency = { median_ms = 3_600_000 } }]"#;
    let sim = SimFixture::new(profile(models), Clock::real()).await;
    let asked = tokio::spawn(sim.gemini_request("AIza-g1", "gm", &gemini_body("hello")).send());
    sim.wait_until(|books| books.total.in_flight == 1).await;
    let second = sim.gemini("AIza-g1", "hello").await;
    assert_eq!(second.status, 429, "one at a time");
    asked.abort();
    sim.wait_until(|books| books.total.abandoned == 1).await;
    let books = sim.checked_stats();
    assert_eq!((books.total.ok, books.total.in_flight, books.prompts.distinct), (0, 0, 0));
    assert_eq!(books.total.refused[&SimLimit::Concurrency], 1);
}

#[tokio::test]
async fn invalid_requests_are_refused_in_the_apis_words() {
    let models = r#"model = [
        { name = "gm", provider = "g", context = 100, max_output = 50, closed_to = [] },
        { name = "gone", provider = "g", closed_to = ["gp"] },
        { name = "om", provider = "o", context = 100, max_output = 50, vision = false },
        { name = "am", provider = "a", context = 100, max_output = 200 },
    ]"#;
    let sim = SimFixture::new(profile(models), Clock::real()).await;
    let long = "long ".repeat(100);
    let gemini = async |model: &str, body: Value| {
        read_reply(sim.gemini_request("AIza-g1", model, &body).send().await.unwrap()).await
    };
    let openai = async |body: Value| sim.openai("sk-o1-0123456789", body).await;
    let anthropic = async |body: Value| sim.anthropic("sk-ant-a1", body).await;
    let with = |mut body: Value, field: &str, value: Value| {
        body[field] = value;
        body
    };

    let cases = [
        (gemini("nope", gemini_body("hello")).await, 404, "models/nope is not found"),
        (gemini("gone", gemini_body("hello")).await, 404, "no longer available to new users"),
        (gemini("gm", json!({})).await, 400, "contents is not specified"),
        (gemini("gm", with(gemini_body("hello"), "prompt", json!("x"))).await, 400, "Unknown name \\\"prompt\\\""),
        (gemini("gm", gemini_body(&long)).await, 400, "input token count (125) exceeds"),
        (
            gemini("gm", with(gemini_body("x"), "generation_config", json!({ "max_output_tokens": 51 }))).await,
            400,
            "to 51 (exclusive)",
        ),
        (openai(with(openai_body("hello"), "model", json!("nope"))).await, 404, "model_not_found"),
        (openai(with(openai_body("hello"), "stream", json!(true))).await, 400, "does not support streaming"),
        (openai(openai_body(&long)).await, 400, "context_length_exceeded"),
        (openai(with(openai_body("x"), "max_tokens", json!(51))).await, 400, "max_tokens is too large: 51"),
        (openai(json!({ "model": "om" })).await, 400, "Missing required parameter: 'messages'"),
        (anthropic(with(anthropic_body("hello"), "model", json!("nope"))).await, 404, "model: nope"),
        (anthropic(with(anthropic_body("hello"), "top", json!(1))).await, 400, "top: Extra inputs are not permitted"),
        (anthropic(with(anthropic_body("hello"), "max_tokens", json!(null))).await, 400, "max_tokens: Field required"),
        (anthropic(anthropic_body(&long)).await, 400, "prompt is too long: 125 tokens > 100"),
        (
            sim.send(Method::POST, "/v1/messages", &[("x-api-key", "sk-ant-a1")], &anthropic_body("hello")).await,
            400,
            "anthropic-version: header is required",
        ),
        (
            sim.send(
                Method::POST,
                "/v1beta/models/gm:streamGenerateContent",
                &[("x-goog-api-key", "AIza-g1")],
                &gemini_body("hello"),
            )
            .await,
            400,
            "does not support streaming",
        ),
        (sim.send(Method::GET, "/v2/anything", &[], &Value::Null).await, 404, "no such path"),
    ];
    for (seen, status, words) in cases {
        let body = seen.body.to_string();
        assert_eq!(seen.status, status, "{body}");
        assert!(body.contains(words), "{body} lacks {words}");
    }
    assert_eq!(sim.checked_stats().total.ok, 0);
}
