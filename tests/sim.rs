//! The simulated provider over real sockets: what it serves, what it refuses, in whose words, and whether its books add up.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use cascadeck::{
    clock::Clock,
    domain::Wall,
    sim::{Books, Fault, Limit, Profile, Simulator, prompt_hash},
};
use reqwest::{Method, Response};
use serde_json::{Value, json};

/// Three providers with one project each; tests put models in.
const HOUSES: &str = r#"
name = "test"
refusal_ms = 0
slow_body_s = 0.1
provider = [{ name = "g", api = "gemini" }, { name = "o", api = "openai" }, { name = "a", api = "anthropic" }]
key = [
    { name = "g1", provider = "g", project = "gp", secret = "AIza-g1" },
    { name = "g2", provider = "g", project = "gp", secret = "AIza-g2" },
    { name = "o1", provider = "o", project = "op", secret = "sk-o1-0123456789" },
    { name = "a1", provider = "a", project = "ap", secret = "sk-ant-a1" },
]
"#;

const OPEN_MODELS: &str = r#"
model = [{ name = "gm", provider = "g" }, { name = "om", provider = "o" }, { name = "am", provider = "a" }]
"#;

fn profile(models: &str) -> Profile {
    Profile::from_toml(&format!("{HOUSES}{models}")).unwrap()
}

struct Fixture {
    sim: Simulator,
    http: reqwest::Client,
    clock: Clock,
}

struct Seen {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: Value,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn text(&self) -> &str {
        let spots = ["/candidates/0/content/parts/0/text", "/choices/0/message/content", "/content/0/text"];
        spots.iter().find_map(|spot| self.body.pointer(spot)?.as_str()).unwrap_or_default()
    }
}

impl Fixture {
    async fn new(profile: Profile, clock: Clock) -> Self {
        // The client wants a crypto provider even for plain http. The second test of a process finds it installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { sim: Simulator::start(profile, clock).await.unwrap(), http, clock }
    }

    async fn open() -> Self {
        Self::new(profile(OPEN_MODELS), Clock::real()).await
    }

    fn request(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &Value) -> reqwest::RequestBuilder {
        let mut request = self.http.request(method, format!("http://{}{path}", self.sim.addr()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(body.to_string())
    }

    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &Value) -> Seen {
        seen(self.request(method, path, headers, body).send().await.unwrap()).await
    }

    fn ask_gemini(&self, secret: &str, model: &str, body: &Value) -> reqwest::RequestBuilder {
        let path = format!("/v1beta/models/{model}:generateContent");
        self.request(Method::POST, &path, &[("x-goog-api-key", secret)], body)
    }

    async fn gemini(&self, secret: &str, prompt: &str) -> Seen {
        seen(self.ask_gemini(secret, "gm", &gemini_body(prompt)).send().await.unwrap()).await
    }

    async fn openai(&self, secret: &str, body: Value) -> Seen {
        let bearer = format!("Bearer {secret}");
        self.send(Method::POST, "/v1/chat/completions", &[("authorization", &bearer)], &body).await
    }

    async fn anthropic(&self, secret: &str, body: Value) -> Seen {
        let headers = [("x-api-key", secret), ("anthropic-version", "2023-06-01")];
        self.send(Method::POST, "/v1/messages", &headers, &body).await
    }

    fn books(&self) -> Books {
        let books = self.sim.books();
        assert_eq!(books.discrepancies(), [""; 0]);
        assert_eq!(books.exceeded(), [""; 0]);
        books
    }

    /// Waits for something that the simulator does on its own time.
    async fn until(&self, happened: impl Fn(&Books) -> bool) {
        while !happened(&self.sim.books()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

async fn seen(response: Response) -> Seen {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.bytes().await.unwrap();
    Seen { status, headers, body: serde_json::from_slice(&body).unwrap() }
}

fn gemini_body(prompt: &str) -> Value {
    json!({ "contents": [{ "role": "user", "parts": [{ "text": prompt }] }] })
}

fn openai_body(prompt: &str) -> Value {
    json!({ "model": "om", "messages": [{ "role": "user", "content": prompt }] })
}

fn anthropic_body(prompt: &str) -> Value {
    json!({ "model": "am", "max_tokens": 200, "messages": [{ "role": "user", "content": prompt }] })
}

fn wall(text: &str) -> Wall {
    text.parse::<jiff::Timestamp>().unwrap().into()
}

#[tokio::test]
async fn each_api_answers_in_its_own_shape() {
    let sim = Fixture::open().await;

    let gemini = sim.gemini("AIza-g1", "What is 17 times 23?").await;
    assert_eq!(gemini.status, 200);
    let mut body = gemini.body.clone();
    assert!(body.as_object_mut().unwrap().remove("responseId").is_some());
    let expected = json!({
        "candidates": [{
            "content": { "parts": [{ "text": "17 × 23 = 391." }], "role": "model" },
            "finishReason": "STOP",
            "index": 0,
        }],
        "usageMetadata": {
            "promptTokenCount": 5, "totalTokenCount": 9,
            "promptTokensDetails": [{ "modality": "TEXT", "tokenCount": 5 }],
            "candidatesTokenCount": 4,
        },
        "modelVersion": "gm",
    });
    assert_eq!(body, expected);

    let openai = sim.openai("sk-o1-0123456789", openai_body("What is 17 times 23?")).await;
    assert_eq!((openai.status, openai.text()), (200, "17 × 23 = 391."));
    assert_eq!(openai.body["object"], "chat.completion");
    assert_eq!(openai.body["choices"][0]["finish_reason"], "stop");
    let usage = &openai.body["usage"];
    assert_eq!([&usage["prompt_tokens"], &usage["completion_tokens"], &usage["total_tokens"]], [5, 4, 9]);
    assert!(openai.header("x-request-id").is_some());

    let anthropic = sim.anthropic("sk-ant-a1", anthropic_body("What is 17 times 23?")).await;
    assert_eq!((anthropic.status, anthropic.text()), (200, "17 × 23 = 391."));
    assert_eq!((&anthropic.body["type"], &anthropic.body["stop_reason"]), (&json!("message"), &json!("end_turn")));
    assert_eq!([&anthropic.body["usage"]["input_tokens"], &anthropic.body["usage"]["output_tokens"]], [5, 4]);
    assert!(anthropic.header("request-id").is_some());

    let books = sim.books();
    assert_eq!((books.total.ok, books.total.input_tokens, books.total.output_tokens), (3, 15, 12));
}

#[tokio::test]
async fn an_output_limit_ends_the_answer_in_each_apis_words() {
    let sim = Fixture::open().await;
    let prompt = "Why do cats purr?";
    let mut gemini = gemini_body(prompt);
    gemini["generationConfig"] = json!({ "maxOutputTokens": 3 });
    let gemini = seen(sim.ask_gemini("AIza-g1", "gm", &gemini).send().await.unwrap()).await;
    assert_eq!(gemini.body["candidates"][0]["finishReason"], "MAX_TOKENS");
    let mut openai = openai_body(prompt);
    openai["max_completion_tokens"] = 3.into();
    let openai = sim.openai("sk-o1-0123456789", openai).await;
    assert_eq!(openai.body["choices"][0]["finish_reason"], "length");
    let mut anthropic = anthropic_body(prompt);
    anthropic["max_tokens"] = 3.into();
    let anthropic = sim.anthropic("sk-ant-a1", anthropic).await;
    assert_eq!(anthropic.body["stop_reason"], "max_tokens");
    for answer in [gemini, openai, anthropic] {
        assert_eq!(answer.text().len(), 12);
    }
}

#[tokio::test]
async fn pictures_are_described_and_charged() {
    // One pixel.
    const PNG: &str =
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    const GIF: &str = "R0lGODlhAQABAAAAACwAAAAAAQABAAA=";
    let sim = Fixture::open().await;
    let gemini = |kind: &str, data: &str| {
        let part = json!({ "inline_data": { "mime_type": format!("image/{kind}"), "data": data } });
        sim.ask_gemini("AIza-g1", "gm", &json!({ "contents": [{ "parts": [{ "text": "Caption." }, part] }] }))
    };
    let described = seen(gemini("png", PNG).send().await.unwrap()).await;
    assert_eq!(described.text(), "A picture of 1x1 pixels, square, 1 KB of png.");
    assert_eq!(described.body["usageMetadata"]["promptTokenCount"], 1_122);
    assert_eq!(seen(gemini("gif", GIF).send().await.unwrap()).await.status, 400);
    assert_eq!(
        seen(gemini("png", "AAAA").send().await.unwrap()).await.body["error"]["message"],
        "Provided image is not valid"
    );

    let url = format!("data:image/gif;base64,{GIF}");
    let parts = json!([{ "type": "text", "text": "Caption." }, { "type": "image_url", "image_url": { "url": url } }]);
    let body = json!({ "model": "om", "messages": [{ "role": "user", "content": parts }] });
    assert_eq!(sim.openai("sk-o1-0123456789", body).await.text(), "A picture of 1x1 pixels, square, 1 KB of gif.");

    let source = json!({ "type": "base64", "media_type": "image/png", "data": PNG });
    let parts = json!([{ "type": "image", "source": source }, { "type": "text", "text": "Caption." }]);
    let body = json!({ "model": "am", "max_tokens": 99, "messages": [{ "role": "user", "content": parts }] });
    assert_eq!(sim.anthropic("sk-ant-a1", body).await.text(), "A picture of 1x1 pixels, square, 1 KB of png.");
}

#[tokio::test]
async fn models_are_listed_and_found() {
    let sim = Fixture::open().await;
    let none = Value::Null;
    // Google's SDK asks at v1, most others at v1beta.
    let google = [("x-goog-api-key", "AIza-g1")];
    let bearer = [("authorization", "Bearer sk-o1-0123456789")];
    let anthropic = [("x-api-key", "sk-ant-a1"), ("anthropic-version", "2023-06-01")];
    let gemini = sim.send(Method::GET, "/v1beta/models", &google, &none).await;
    assert_eq!(gemini.body["models"][0]["name"], "models/gm");
    assert_eq!(sim.send(Method::GET, "/v1/models", &google, &none).await.body, gemini.body);
    let openai = sim.send(Method::GET, "/v1/models", &bearer, &none).await;
    assert_eq!((openai.body["data"].as_array().unwrap().len(), &openai.body["data"][0]["id"]), (1, &json!("om")));
    let listed = sim.send(Method::GET, "/v1/models", &anthropic, &none).await;
    assert_eq!((&listed.body["data"][0]["id"], &listed.body["has_more"]), (&json!("am"), &json!(false)));
    assert_eq!(sim.send(Method::GET, "/v1beta/models/gm", &google, &none).await.status, 200);
    assert_eq!(sim.send(Method::GET, "/v1/models/om", &bearer, &none).await.status, 200);
    assert_eq!(sim.send(Method::GET, "/v1/models/nope", &bearer, &none).await.status, 404);
    assert_eq!(sim.send(Method::GET, "/v1beta/models", &[("x-goog-api-key", "no")], &none).await.status, 400);
    let counted = sim.send(Method::POST, "/v1beta/models/gm:countTokens", &google, &gemini_body("12345678")).await;
    assert_eq!(counted.body, json!({ "totalTokens": 2 }));
    assert_eq!((sim.books().total.requests, sim.books().other_requests), (0, 7));
}

#[tokio::test]
async fn the_minutes_next_request_is_refused_and_the_stated_delay_is_true() {
    let models = r#"model = [{ name = "gm", provider = "g", rpm = 3 }]"#;
    let sim = Fixture::new(profile(models), Clock::sped_up(60.0)).await;
    // Two keys of one project share the limit.
    let mut answered = [0, 0];
    let refused = loop {
        let key = (answered[0] + answered[1]) % 2;
        let seen = sim.gemini(["AIza-g1", "AIza-g2"][key], "hello").await;
        if seen.status != 200 {
            break seen;
        }
        answered[key] += 1;
    };
    assert_eq!(refused.status, 429);
    let error = &refused.body["error"];
    assert_eq!((&error["code"], &error["status"]), (&json!(429), &json!("RESOURCE_EXHAUSTED")));
    let violation = json!({
        "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
        "quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
        "quotaDimensions": { "location": "global", "model": "gm" },
        "quotaValue": "3",
    });
    assert_eq!(error["details"][1]["violations"], json!([violation]));
    let message = error["message"].as_str().unwrap();
    let (_, delay) = message.split_once("Please retry in ").unwrap();
    let delay: f64 = delay.strip_suffix("s.").unwrap().parse().unwrap();
    assert_eq!(error["details"][2]["retryDelay"], format!("{}s", delay.trunc()));
    assert!(refused.header("retry-after").is_none(), "Gemini has no such header");

    sim.clock.sleep(Duration::from_secs_f64(delay)).await;
    assert_eq!(sim.gemini("AIza-g2", "hello").await.status, 200);
    let books = sim.books();
    let pool = books.pool("gp", "gm").unwrap();
    assert_eq!((pool.tally.refused[&Limit::Rpm], pool.peaks.minute_requests), (1, 3));
    let by_key = ["g1", "g2"].map(|key| books.key(key).unwrap().tally.ok as usize);
    assert_eq!(by_key, [answered[0], answered[1] + 1]);
}

#[tokio::test]
async fn openai_and_anthropic_state_their_limits_in_headers() {
    let models = r#"model = [
        { name = "om", provider = "o", rpm = 2, tpm = 50 },
        { name = "am", provider = "a", rpm = 2, itpm = 1000, otpm = 1000 },
    ]"#;
    let sim = Fixture::new(profile(models), Clock::real()).await;
    let secret = "sk-o1-0123456789";
    let first = sim.openai(secret, openai_body("What is 2 + 2?")).await;
    assert_eq!(first.header("x-ratelimit-limit-requests"), Some("2"));
    assert_eq!(first.header("x-ratelimit-remaining-requests"), Some("1"));
    assert_eq!(first.header("x-ratelimit-limit-tokens"), Some("50"));
    assert_eq!(first.header("x-ratelimit-remaining-tokens"), Some("43"));
    assert!(first.header("x-ratelimit-reset-tokens").unwrap().ends_with('s'));
    sim.openai(secret, openai_body("What is 2 + 2?")).await;
    let refused = sim.openai(secret, openai_body("What is 2 + 2?")).await;
    let error = &refused.body["error"];
    assert_eq!(
        (refused.status, &error["code"], &error["type"]),
        (429, &json!("rate_limit_exceeded"), &json!("requests"))
    );
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("requests per min (RPM): Limit 2, Used 2, Requested 1. Please try again in "),
        "{message}"
    );
    assert!(refused.header("retry-after").is_some() && refused.header("retry-after-ms").is_some());
    assert_eq!(refused.header("x-ratelimit-remaining-requests"), Some("0"));
    let impossible = sim.openai(secret, openai_body(&"long ".repeat(100))).await;
    let message = impossible.body["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("Request too large for om"), "{message}");

    for remaining in ["1", "0"] {
        let answer = sim.anthropic("sk-ant-a1", anthropic_body("What is 2 + 2?")).await;
        assert_eq!(answer.header("anthropic-ratelimit-requests-remaining"), Some(remaining));
        assert_eq!(answer.header("anthropic-ratelimit-input-tokens-limit"), Some("1000"));
        let reset = answer.header("anthropic-ratelimit-output-tokens-reset").unwrap();
        assert!(reset.parse::<jiff::Timestamp>().is_ok(), "{reset}");
    }
    let refused = sim.anthropic("sk-ant-a1", anthropic_body("What is 2 + 2?")).await;
    assert_eq!((refused.status, &refused.body["error"]["type"]), (429, &json!("rate_limit_error")));
    assert!(refused.body["request_id"].is_string());
    assert!((1..=60).contains(&refused.header("retry-after").unwrap().parse::<u32>().unwrap()));
    sim.books();
}

#[tokio::test]
async fn a_spent_day_looks_like_a_minute_but_for_its_quota_id() {
    let models = r#"model = [{ name = "gm", provider = "g", rpd = 1 }]"#;
    let sim = Fixture::new(profile(models), Clock::starting_at(wall("2026-11-21T12:00:00Z"), 2.0)).await;
    assert_eq!(sim.gemini("AIza-g1", "hello").await.status, 200);
    let refused = sim.gemini("AIza-g1", "hello").await;
    let details = &refused.body["error"]["details"];
    assert_eq!(details[1]["violations"][0]["quotaId"], "GenerateRequestsPerDayPerProjectPerModel-FreeTier");
    let delay: u32 = details[2]["retryDelay"].as_str().unwrap().trim_end_matches('s').parse().unwrap();
    assert!((5..60).contains(&delay), "seconds, though the day has twenty hours left");
    assert_eq!(sim.books().pool("gp", "gm").unwrap().days["2026-11-21"].requests, 1);
}

#[tokio::test]
async fn a_model_that_is_not_on_the_tier_says_limit_0() {
    let models = r#"model = [{ name = "gm", provider = "g", rpm = 0, rpd = 0 }]"#;
    let sim = Fixture::new(profile(models), Clock::real()).await;
    let refused = sim.gemini("AIza-g1", "hello").await;
    assert_eq!(refused.status, 429);
    assert!(refused.body["error"]["message"].as_str().unwrap().contains("limit: 0, model: gm"));
    assert_eq!(refused.body["error"]["details"][1]["violations"][0].get("quotaValue"), None);
}

/// Los Angeles in 2026: 1 November has 25 hours.
#[tokio::test]
async fn the_pacific_day_begins_at_midnight_there_also_when_clocks_change() {
    let begins = [
        ("2026-10-31", wall("2026-10-31T07:00:00Z")),
        ("2026-11-01", wall("2026-11-01T07:00:00Z")),
        ("2026-11-02", wall("2026-11-02T08:00:00Z")),
        ("2026-11-03", wall("2026-11-03T08:00:00Z")),
        ("2026-11-04", wall("2026-11-04T08:00:00Z")),
    ];
    let models = r#"model = [{ name = "gm", provider = "g", rpd = 2 }]"#;
    let clock = Clock::starting_at(wall("2026-10-31T12:00:00Z"), 60_000.0);
    let sim = Fixture::new(profile(models), clock).await;
    let days = || sim.books().pool("gp", "gm").map(|pool| pool.days.clone()).unwrap_or_default();
    while days().len() < 3 {
        let (earlier, before) = (days(), clock.now().wall);
        let status = sim.gemini("AIza-g1", "hello").await.status;
        let after = clock.now().wall;
        // It was counted between the two instants, on the day whose count rose.
        let counted = days().into_iter().find(|(date, day)| earlier.get(date) != Some(day));
        let Some((date, day)) = counted else {
            assert_eq!(status, 429);
            continue;
        };
        let nth = begins.iter().position(|(name, _)| **name == date).unwrap();
        assert!(after >= begins[nth].1 && before < begins[nth + 1].1, "{date}: between {before} and {after}");
        assert!(status == 200 && day.requests <= 2);
    }
}

#[tokio::test]
async fn dead_keys_die_in_their_providers_words() {
    const STATES: [&str; 4] = ["invalid", "suspended", "leaked", "billing"];
    let key = |provider: &str, state: &str| {
        let secret = format!("secret-of-{provider}-{state}");
        format!(
            r#"{{ name = "{provider}-{state}", provider = "{provider}", project = "p", secret = "{secret}", state = "{state}" }},"#
        )
    };
    let keys: String = ["g", "o", "a"].iter().flat_map(|p| STATES.iter().map(move |s| key(p, s))).collect();
    let text = format!("{HOUSES}{OPEN_MODELS}").replacen("key = [", &format!("key = [{keys}"), 1);
    let sim = Fixture::new(Profile::from_toml(&text).unwrap(), Clock::real()).await;

    // What each state looks like: status, and words that stand in the body.
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
    let books = sim.books();
    assert_eq!((books.total.requests, books.total.rejected["suspended"]), (15, 3));
    assert_eq!(books.key("o-billing").unwrap().tally.rejected["billing"], 1);
}

#[tokio::test]
async fn an_outage_covers_its_model_alone_and_uses_no_quota() {
    let models = r#"
        model = [{ name = "gm", provider = "g", rpd = 1 }, { name = "om", provider = "o" }]
        outage = [{ model = "gm", from_s = 0, to_s = 1_000_000 }]
    "#;
    let sim = Fixture::new(profile(models), Clock::real()).await;
    for _ in 0..3 {
        assert_eq!(sim.gemini("AIza-g1", "hello").await.body["error"]["status"], "UNAVAILABLE");
    }
    assert_eq!(sim.openai("sk-o1-0123456789", openai_body("hello")).await.status, 200);
    let books = sim.books();
    let pool = books.pool("gp", "gm").unwrap();
    assert_eq!((pool.tally.faults[&Fault::Overloaded], pool.peaks.day_requests), (3, 0));
}

#[tokio::test]
async fn a_prompt_gets_the_trouble_it_asks_for() {
    let sim = Fixture::open().await;
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

    let html = sim.ask_gemini("AIza-g1", "gm", &gemini_body("[sim:html]")).send().await.unwrap();
    assert_eq!(html.status(), 502);
    assert_eq!(html.headers()["content-type"], "text/html; charset=UTF-8");
    let truncated = sim.ask_gemini("AIza-g1", "gm", &gemini_body("[sim:truncated]")).send().await.unwrap();
    assert_eq!(truncated.status(), 200);
    assert!(serde_json::from_slice::<Value>(&truncated.bytes().await.unwrap()).is_err());
    let reset = sim.ask_gemini("AIza-g1", "gm", &gemini_body("[sim:reset]")).send().await.unwrap();
    assert!(reset.bytes().await.is_err());

    let books = sim.books();
    assert_eq!((books.total.ok, books.total.rejected["bad_request"]), (0, 3));
    let faults = [Fault::ServerError, Fault::Empty, Fault::Html, Fault::Truncated, Fault::Reset];
    assert_eq!(faults.map(|fault| books.total.faults[&fault]), [3, 3, 1, 1, 1]);
}

#[tokio::test]
async fn a_stall_lasts_until_somebody_goes_home() {
    let sim = Fixture::open().await;
    let stalled = tokio::spawn(sim.ask_gemini("AIza-g1", "gm", &gemini_body("[sim:stall]")).send());
    sim.until(|books| books.total.faults.contains_key(&Fault::Stall)).await;
    assert!(!stalled.is_finished());
    sim.sim.stop().await.unwrap();
    let nothing = match stalled.await.unwrap() {
        Ok(response) => response.bytes().await.is_err(),
        Err(_) => true,
    };
    assert!(nothing, "a stopped simulator hangs up");
}

#[tokio::test]
async fn a_client_that_leaves_early_is_booked_as_gone() {
    let models = r#"model = [{ name = "gm", provider = "g", concurrency = 1, latency = { median_ms = 3_600_000 } }]"#;
    let sim = Fixture::new(profile(models), Clock::real()).await;
    let asked = tokio::spawn(sim.ask_gemini("AIza-g1", "gm", &gemini_body("hello")).send());
    sim.until(|books| books.total.in_flight == 1).await;
    let second = sim.gemini("AIza-g1", "hello").await;
    assert_eq!(second.status, 429, "one at a time");
    asked.abort();
    sim.until(|books| books.total.abandoned == 1).await;
    let books = sim.books();
    assert_eq!((books.total.ok, books.total.in_flight, books.prompts.distinct), (0, 0, 0));
    assert_eq!(books.total.refused[&Limit::Concurrency], 1);
}

#[tokio::test]
async fn what_cannot_be_answered_is_refused_in_the_apis_words() {
    let models = r#"model = [
        { name = "gm", provider = "g", context = 100, max_output = 50, closed_to = [] },
        { name = "gone", provider = "g", closed_to = ["gp"] },
        { name = "om", provider = "o", context = 100, max_output = 50, vision = false },
        { name = "am", provider = "a", context = 100, max_output = 200 },
    ]"#;
    let sim = Fixture::new(profile(models), Clock::real()).await;
    let long = "long ".repeat(100);
    let gemini =
        async |model: &str, body: Value| seen(sim.ask_gemini("AIza-g1", model, &body).send().await.unwrap()).await;
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
        (openai(with(openai_body("hello"), "stream", json!(true))).await, 400, "does not stream"),
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
            "does not stream",
        ),
        (sim.send(Method::GET, "/v2/anything", &[], &Value::Null).await, 404, "no such path"),
    ];
    for (seen, status, words) in cases {
        let body = seen.body.to_string();
        assert_eq!(seen.status, status, "{body}");
        assert!(body.contains(words), "{body} lacks {words}");
    }
    assert_eq!(sim.books().total.ok, 0);
}

#[tokio::test]
async fn the_books_know_which_prompts_were_answered_how_often() {
    let sim = Fixture::open().await;
    for prompt in ["[item 42] Why?", "[item 42] Why?", "Who?", "[item 7] When? [sim:500]"] {
        sim.gemini("AIza-g1", prompt).await;
    }
    let text = seen(sim.http.get(format!("http://{}/sim/books", sim.sim.addr())).send().await.unwrap()).await;
    let books: Books = serde_json::from_value(text.body).unwrap();
    let of = |prompt: &str| books.prompts.by_hash.get(&format!("{:016x}", prompt_hash(prompt))).cloned();
    let (twice, once) = (of("[item 42] Why?").unwrap(), of("Who?").unwrap());
    assert_eq!((twice.item.as_deref(), twice.ok), (Some("42"), 2));
    assert_eq!((once.item, once.ok), (None, 1));
    assert_eq!(of("[item 7] When? [sim:500]"), None);
    assert_eq!((books.prompts.distinct, books.prompts.answered_more_than_once), (2, 1));
}

/// A crowd in the storm: whatever happens, the client's count and the books agree, and no limit was ever exceeded.
#[tokio::test(flavor = "multi_thread")]
async fn the_books_add_up_in_a_storm() {
    let mut storm = Profile::named("storm").unwrap();
    storm.faults.stall = 0.0;
    let secrets: Vec<String> = storm.keys.iter().map(|key| key.secret.clone()).collect();
    let sim = Fixture::new(storm, Clock::sped_up(400.0)).await;
    let gemini = |secret: &String, n: u32| {
        let model = ["gemini-3.8-flash", "gemini-3.5-flash-lite", "gemini-3.1-pro-preview"][n as usize % 3];
        sim.ask_gemini(secret, model, &gemini_body(&format!("[item {n}] Name {n} rivers.")))
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
            answered && !Seen { status: 200, headers: <_>::default(), body }.text().is_empty()
        });
    }
    let answered = crowd.join_all().await.into_iter().filter(|answered| *answered).count() as u64;
    let books = sim.books();
    assert_eq!((books.total.requests, books.total.in_flight), (1_200, 0));
    assert_eq!(books.total.ok, answered);
    assert!(books.total.ok > 0 && !books.total.refused.is_empty() && !books.total.faults.is_empty());
}

/// What `demo` runs: every item has to end answered, so none may ask for trouble.
#[test]
fn the_bundled_batch_is_sound() {
    let text = std::fs::read_to_string("assets/demo.jsonl").unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let distinct = |field: &str| {
        rows.iter().map(|row| row[field].as_str().unwrap()).collect::<std::collections::HashSet<_>>().len()
    };
    assert_eq!(rows.len(), 240);
    assert_eq!((distinct("id"), distinct("prompt")), (240, 240));
    assert!(!text.contains("[sim:"));
}
