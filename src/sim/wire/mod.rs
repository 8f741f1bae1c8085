//! The three wire APIs: how each writes a request, an answer, an error and its rate-limit headers. One file per API, and
//! nothing here knows a profile, a quota or a clock beyond what it is handed.
//!
//! Bodies follow answers seen from the real providers, down to what they get wrong.

mod anthropic;
mod gemini;
mod openai;

use std::time::Duration;

use axum::http::HeaderMap;
use serde_json::{Value, json};

use super::{
    answer::Said,
    ask::{Ask, Complaint},
    profile::{KeyState, ModelProfile},
    quota::{Refusal, Standing},
};
use crate::domain::{Api, WallTime};

/// Header names and values.
pub(super) type Headers = Vec<(&'static str, String)>;

/// A complete answer, good or bad, before it is sent.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Reply {
    pub status: u16,
    pub headers: Headers,
    pub body: Body,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Body {
    Json(Value),
    Html(&'static str),
}

/// A request's envelope, as far as an API may look at it.
pub(super) struct Envelope<'a> {
    pub headers: &'a HeaderMap,
    pub query: Option<&'a str>,
    /// Where the API names the model in the path.
    pub model_in_path: Option<&'a str>,
}

/// What an answer's JSON needs to know beside the answer.
pub(super) struct Subject<'a> {
    pub model: &'a ModelProfile,
    pub project: &'a str,
    /// Unique in this process; ids are made of it.
    pub serial: u64,
    pub wall: WallTime,
    /// Pictures included.
    pub input_tokens: u64,
    pub picture_tokens: u64,
}

/// What a refusal says about coming back, which need not be true.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Advice {
    pub wait: Duration,
}

/// Why a request was turned away before any limit was looked at.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Rejection {
    NoKey,
    /// Also a key that the profile calls invalid.
    UnknownKey,
    Key(KeyState),
    /// The API has no such model.
    NoSuchModel(String),
    /// It exists, but not for this project.
    ClosedModel(String),
    Bad(Complaint),
}

/// A 200 without an answer in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Nothing {
    Empty,
    Blocked,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trouble {
    ServerError,
    Overloaded,
}

pub(super) trait Dialect: Sync {
    /// The key a request came with.
    fn credential(&self, envelope: &Envelope<'_>) -> Option<String>;
    fn read(&self, envelope: &Envelope<'_>, body: &[u8]) -> Result<Ask, Complaint>;
    fn answer(&self, said: &Said, subject: &Subject<'_>) -> Value;
    fn nothing(&self, kind: Nothing, subject: &Subject<'_>) -> Value;
    fn refusal(&self, refusal: &Refusal, advice: Advice, subject: &Subject<'_>) -> Reply;
    fn rejection(&self, why: &Rejection, secret: &str) -> Reply;
    fn trouble(&self, kind: Trouble) -> Reply;
    /// What every counted request's response says about the limits.
    fn rate_headers(&self, standing: &Standing, wall: WallTime) -> Headers;
    /// Puts the request's id where the API has it.
    fn stamp(&self, _reply: &mut Reply, _serial: u64) {}
    fn model(&self, model: &ModelProfile) -> Value;
    fn model_list(&self, models: Vec<Value>) -> Value;
}

pub(super) fn dialect(api: Api) -> &'static dyn Dialect {
    match api {
        Api::Gemini => &gemini::Gemini,
        Api::OpenAi => &openai::OpenAi,
        Api::Anthropic => &anthropic::Anthropic,
    }
}

impl Rejection {
    /// The reason's name in the books.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NoKey => "no_key",
            Self::UnknownKey | Self::Key(KeyState::Invalid | KeyState::Valid) => "invalid_key",
            Self::Key(KeyState::Suspended) => "suspended",
            Self::Key(KeyState::Leaked) => "leaked",
            Self::Key(KeyState::Billing) => "billing",
            Self::NoSuchModel(_) => "not_found",
            Self::ClosedModel(_) => "closed",
            Self::Bad(_) => "bad_request",
        }
    }
}

impl Reply {
    pub fn json(status: u16, body: Value) -> Self {
        Self { status, headers: Headers::new(), body: Body::Json(body) }
    }

    /// A proxy in front of the provider, and none of its words.
    pub fn bad_gateway() -> Self {
        const PAGE: &str = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n\
            <center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n";
        Self { status: 502, headers: vec![("server", "nginx".to_owned())], body: Body::Html(PAGE) }
    }

    /// For paths that no API has.
    pub fn no_such_path() -> Self {
        Self::json(
            404,
            json!({ "error": { "code": 404, "message": "The simulator has no such path.", "status": "NOT_FOUND" } }),
        )
    }
}

impl Advice {
    /// Whole seconds, rounded up: no provider tells a client to come back too early on purpose.
    pub fn seconds(self) -> u64 {
        self.wait.as_secs() + u64::from(self.wait.subsec_nanos() > 0)
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim).filter(|value| !value.is_empty())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = header(headers, "authorization")?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Text of a value that is a string or a list of `{"text": ...}`.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => Vec::new(),
    }
}

fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::String(one) => vec![one.clone()],
        Value::Array(many) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}
