//! The simulated provider over real sockets: its answers, its refusals in each provider's words, and whether its
//! statistics add up.

mod answers;
mod faults;
mod limits;
mod stats;

use std::time::Duration;

use cascadeck::{
    clock::Clock,
    sim::{Profile, ServerStats, Simulator},
};
use reqwest::{Method, Response};
use serde_json::{Value, json};

/// Three providers with one project each; the tests add models.
const PROVIDERS_PROFILE: &str = r#"
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
    Profile::from_toml(&format!("{PROVIDERS_PROFILE}{models}")).unwrap()
}

struct SimFixture {
    sim: Simulator,
    http: reqwest::Client,
    clock: Clock,
}

struct HttpReply {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: Value,
}

impl HttpReply {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn text(&self) -> &str {
        let spots = ["/candidates/0/content/parts/0/text", "/choices/0/message/content", "/content/0/text"];
        spots.iter().find_map(|spot| self.body.pointer(spot)?.as_str()).unwrap_or_default()
    }
}

impl SimFixture {
    async fn new(profile: Profile, clock: Clock) -> Self {
        // The client needs a crypto provider even for plain HTTP. Only the first test of a process can install it.
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

    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &Value) -> HttpReply {
        read_reply(self.request(method, path, headers, body).send().await.unwrap()).await
    }

    fn gemini_request(&self, secret: &str, model: &str, body: &Value) -> reqwest::RequestBuilder {
        let path = format!("/v1beta/models/{model}:generateContent");
        self.request(Method::POST, &path, &[("x-goog-api-key", secret)], body)
    }

    async fn gemini(&self, secret: &str, prompt: &str) -> HttpReply {
        read_reply(self.gemini_request(secret, "gm", &gemini_body(prompt)).send().await.unwrap()).await
    }

    async fn openai(&self, secret: &str, body: Value) -> HttpReply {
        let bearer = format!("Bearer {secret}");
        self.send(Method::POST, "/v1/chat/completions", &[("authorization", &bearer)], &body).await
    }

    async fn anthropic(&self, secret: &str, body: Value) -> HttpReply {
        let headers = [("x-api-key", secret), ("anthropic-version", "2023-06-01")];
        self.send(Method::POST, "/v1/messages", &headers, &body).await
    }

    fn checked_stats(&self) -> ServerStats {
        let books = self.sim.stats();
        assert_eq!(books.discrepancies(), [""; 0]);
        assert_eq!(books.exceeded_limits(), [""; 0]);
        books
    }

    /// Waits for a change that the simulator makes by itself.
    async fn wait_until(&self, happened: impl Fn(&ServerStats) -> bool) {
        while !happened(&self.sim.stats()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

async fn read_reply(response: Response) -> HttpReply {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.bytes().await.unwrap();
    HttpReply { status, headers, body: serde_json::from_slice(&body).unwrap() }
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
