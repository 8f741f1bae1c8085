//! The common parts of the wire APIs: the trait that each implements, and the parts of requests and responses.

use std::time::Duration;

use hyper::HeaderMap;
use serde_json::{Value, json};

use crate::{
    domain::WallTime,
    sim::{
        answer::SimAnswer,
        pool::{LimitGauges, LimitRefusal},
        profile::{ModelProfile, SimKeyState},
        request::{RequestError, SimRequest},
    },
};

/// Header names and values.
pub(in crate::sim) type HeaderList = Vec<(&'static str, String)>;

/// A complete response, before it is sent.
#[derive(Clone, PartialEq, Debug)]
pub(in crate::sim) struct SimResponse {
    pub status: u16,
    pub headers: HeaderList,
    pub body: SimBody,
}

#[derive(Clone, PartialEq, Debug)]
pub(in crate::sim) enum SimBody {
    Json(Value),
    Html(&'static str),
}

/// The parts of a request that an API reads in addition to its body.
pub(in crate::sim) struct RequestHead<'a> {
    pub headers: &'a HeaderMap,
    pub query: Option<&'a str>,
    /// The model name, if the API puts it into the path.
    pub model_in_path: Option<&'a str>,
}

/// The data that a response's JSON contains in addition to the answer or the error.
pub(in crate::sim) struct ResponseContext<'a> {
    pub model: &'a ModelProfile,
    pub project: &'a str,
    /// Unique in this process; ids are made from it.
    pub serial: u64,
    pub wall: WallTime,
    /// Includes pictures.
    pub input_tokens: u64,
    pub picture_tokens: u64,
}

/// The wait that a refusal states. It may be wrong on purpose
/// ([`Quirk::LyingRetry`](crate::sim::faults::Quirk::LyingRetry)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::sim) struct RetryAdvice {
    pub wait: Duration,
}

/// Reason why a request was rejected before any limit was checked.
#[derive(Clone, PartialEq, Debug)]
pub(in crate::sim) enum Rejection {
    MissingKey,
    /// Includes a key that the profile calls invalid.
    UnknownKey,
    UnusableKey(SimKeyState),
    /// The API has no such model.
    UnknownModel(String),
    /// The model exists, but not for this project.
    ClosedModel(String),
    InvalidRequest(RequestError),
}

pub(in crate::sim) trait WireApi: Sync {
    /// The key in the request.
    fn credential(&self, head: &RequestHead<'_>) -> Option<String>;
    fn decode_request(&self, head: &RequestHead<'_>, body: &[u8]) -> Result<SimRequest, RequestError>;
    fn encode_answer(&self, answer: &SimAnswer, context: &ResponseContext<'_>) -> Value;
    fn encode_empty_answer(&self, context: &ResponseContext<'_>) -> Value;
    fn encode_blocked_answer(&self, context: &ResponseContext<'_>) -> Value;
    fn encode_refusal(
        &self,
        refusal: &LimitRefusal,
        retry_advice: RetryAdvice,
        context: &ResponseContext<'_>,
    ) -> SimResponse;
    fn encode_rejection(&self, rejection: &Rejection, secret: &str) -> SimResponse;
    fn encode_server_error(&self) -> SimResponse;
    fn encode_overloaded(&self) -> SimResponse;
    /// Rate-limit headers of the response to a counted request.
    fn rate_limit_headers(&self, gauges: &LimitGauges, wall: WallTime) -> HeaderList;
    /// Adds the request id where the API puts it.
    fn add_request_id(&self, _response: &mut SimResponse, _serial: u64) {}
    fn encode_model(&self, model: &ModelProfile) -> Value;
    fn encode_model_list(&self, models: Vec<Value>) -> Value;
}

impl Rejection {
    /// Name of the reason in the statistics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::MissingKey => "no_key",
            Self::UnknownKey | Self::UnusableKey(SimKeyState::Invalid | SimKeyState::Valid) => "invalid_key",
            Self::UnusableKey(SimKeyState::Suspended) => "suspended",
            Self::UnusableKey(SimKeyState::Leaked) => "leaked",
            Self::UnusableKey(SimKeyState::Billing) => "billing",
            Self::UnknownModel(_) => "not_found",
            Self::ClosedModel(_) => "closed",
            Self::InvalidRequest(_) => "bad_request",
        }
    }
}

impl SimResponse {
    pub fn json(status: u16, body: Value) -> Self {
        Self { status, headers: HeaderList::new(), body: SimBody::Json(body) }
    }

    /// The error page of a proxy in front of the provider.
    pub fn bad_gateway_page() -> Self {
        const PAGE: &str = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n\
            <center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n";
        Self { status: 502, headers: vec![("server", "nginx".to_owned())], body: SimBody::Html(PAGE) }
    }

    /// Response for a path that no API has.
    pub fn unknown_path() -> Self {
        Self::json(
            404,
            json!({ "error": { "code": 404, "message": "The simulator has no such path.", "status": "NOT_FOUND" } }),
        )
    }
}

impl RetryAdvice {
    /// The wait in whole seconds. Rounded up, so that rounding does not make it too short.
    pub fn seconds(self) -> u64 {
        self.wait.as_secs() + u64::from(self.wait.subsec_nanos() > 0)
    }
}

pub(super) fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim).filter(|value| !value.is_empty())
}

pub(super) fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = header_text(headers, "authorization")?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The text of a string, or the texts of a list of `{"text": ...}`.
pub(super) fn texts_of(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => Vec::new(),
    }
}

pub(super) fn strings_of(value: &Value) -> Vec<String> {
    match value {
        Value::String(one) => vec![one.clone()],
        Value::Array(many) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}
