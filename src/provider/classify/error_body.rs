//! Reads an error body of any shape into the same fields: codes, message, quotas and waits.
//!
//! Shapes that are read: an `error` object or string (xAI, Ollama, LM Studio), a one-element array around it (Gemini's
//! OpenAI-compatible API), a flat `{object:"error", message, type, code}` (Mistral, old vLLM), `{message}`, `{detail}`,
//! `base_resp` (MiniMax), and an upstream's error inside `error.metadata.raw` (OpenRouter). Codes may be numbers,
//! strings, numeric strings or null.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{html, retry_after};

/// Maximum nesting of wrappers; real errors have two levels.
const MAX_NESTING_DEPTH: u8 = 4;

/// Bytes of the message that are kept at most, before redaction.
const MAX_ERROR_MESSAGE_BYTES: usize = 8 * 1024;

/// Content of an error response, independent of the provider.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct ErrorBody {
    /// The provider's message, not yet redacted.
    pub message: String,
    /// Codes, types, statuses and reasons, each in plain form (see [`to_plain`]), for exact matches.
    pub codes: Vec<String>,
    /// An HTTP status that the body itself states.
    pub inner_status: Option<u16>,
    pub violations: Vec<QuotaViolation>,
    /// The longest wait stated in a field of its own.
    pub stated_wait: Option<Duration>,
    /// Headers quoted inside the body.
    pub quoted_headers: Vec<(String, String)>,
    /// OpenRouter's moderation details are present.
    pub is_moderation: bool,
    /// The message contains the text of an HTML page, which a proxy or a content delivery network sent.
    pub is_html: bool,
    /// The shape is Google's: a status in capitals or `google.rpc` details.
    pub is_google: bool,
    /// Codes and message in plain form (`plain_text`), and the message in lower case (`lower_message`). Filled by
    /// `normalize`.
    pub plain_text: String,
    pub lower_message: String,
}

/// One limit that a Google error names. `quota_id` and `metric` are in lower case.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct QuotaViolation {
    pub quota_id: String,
    pub metric: String,
    pub limit: Option<u64>,
}

/// Converts to plain form: lower case, with `_`, `-` and white space folded to single spaces, so that
/// "Insufficient-Quota" and "insufficient_quota" are equal.
pub(super) fn to_plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '_' | '-') || c.is_whitespace() {
            if !out.is_empty() && !out.ends_with(' ') {
                out.push(' ');
            }
        } else {
            out.extend(c.to_lowercase());
        }
    }
    out.truncate(out.trim_end().len());
    out
}

impl ErrorBody {
    pub(super) fn from_json(value: &Value) -> Self {
        let mut error = Self::default();
        error.read_value(value, 0);
        error.normalize()
    }

    /// Reads a body that is not JSON: an HTML page or plain text.
    pub(super) fn from_text(body: &str) -> Self {
        let mut error = Self::default();
        if html::is_html(body) {
            error.read_page(body);
        }
        if error.message.is_empty() {
            error.add_message(body);
        }
        error.normalize()
    }

    fn normalize(mut self) -> Self {
        let joined = format!("{} {}", self.codes.join(" "), self.message);
        self.plain_text = to_plain(&joined);
        self.lower_message = self.message.to_lowercase();
        self
    }

    pub(super) fn contains_any(&self, terms: &[&str]) -> bool {
        terms.iter().any(|term| self.plain_text.contains(term))
    }

    /// Whether a code, type, status or reason equals one of these, in plain form.
    pub(super) fn has_code(&self, codes: &[&str]) -> bool {
        self.codes.iter().any(|code| codes.contains(&code.as_str()))
    }

    /// Reads a whole body, or a value that may contain a nested one.
    fn read_value(&mut self, value: &Value, depth: u8) {
        if depth > MAX_NESTING_DEPTH {
            return;
        }
        match value {
            Value::Array(elements) => {
                let error = elements.iter().find(|element| element.get("error").is_some()).or(elements.first());
                if let Some(element) = error {
                    self.read_value(element, depth + 1);
                }
            }
            Value::String(text) => self.read_text(text, depth),
            Value::Object(fields) => self.read_object(fields, depth),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Reads a text, or JSON inside a string.
    fn read_text(&mut self, text: &str, depth: u8) {
        let inner = text.trim_start();
        match inner.starts_with(['{', '[']).then(|| serde_json::from_str::<Value>(inner)) {
            Some(Ok(value)) if depth < MAX_NESTING_DEPTH => self.read_value(&value, depth + 1),
            _ if html::is_html(text) => self.read_page(text),
            _ => self.add_message(text),
        }
    }

    fn read_page(&mut self, text: &str) {
        self.is_html = true;
        self.add_message(&html::extract_visible_text(text, 64 * 1024));
    }

    fn read_object(&mut self, fields: &Map<String, Value>, depth: u8) {
        self.read_fields(fields, depth);
        for name in ["error", "errors", "base_resp", "innererror", "inner_error"] {
            if let Some(inner) = fields.get(name) {
                self.read_value(inner, depth + 1);
            }
        }
        match fields.get("detail") {
            Some(Value::String(text)) => self.read_text(text, depth),
            // FastAPI's list of validation errors.
            Some(detail @ (Value::Array(_) | Value::Object(_))) => {
                if detail.get("error").is_some() || detail.get("message").is_some() {
                    self.read_value(detail, depth + 1);
                } else if let Value::Array(validation_errors) = detail {
                    for validation_error in validation_errors {
                        self.read_validation_error(validation_error, depth);
                    }
                } else {
                    self.add_message(&detail.to_string());
                }
            }
            _ => {}
        }
    }

    /// Reads one of FastAPI's validation errors: location and message. It also quotes the request, which is ignored.
    fn read_validation_error(&mut self, validation_error: &Value, depth: u8) {
        let Some(fields) = validation_error.as_object() else { return self.read_value(validation_error, depth + 1) };
        let path: Vec<String> =
            fields.get("loc").and_then(Value::as_array).into_iter().flatten().map(path_step).collect();
        let message = fields.get("msg").and_then(Value::as_str).unwrap_or_default();
        self.add_message(&if path.is_empty() { message.to_owned() } else { format!("{}: {message}", path.join(".")) });
    }

    fn read_fields(&mut self, fields: &Map<String, Value>, depth: u8) {
        for name in ["code", "type", "status", "reason", "error_code", "http_code", "status_code", "raw_status_code"] {
            match fields.get(name) {
                Some(Value::String(code)) => self.add_code(code),
                Some(Value::Number(number)) => self.add_status(number.as_i64()),
                _ => {}
            }
        }
        if fields.get("status").and_then(Value::as_str).is_some_and(is_google_status) {
            self.is_google = true;
        }
        if let Some(code) = fields.get("status_code").filter(|_| fields.contains_key("status_msg")) {
            self.add_minimax_code(parse_code(code));
        }
        for name in ["message", "msg", "status_msg", "error_description"] {
            if let Some(Value::String(text)) = fields.get(name) {
                self.read_text(text, depth);
            }
        }
        for name in ["retry_after", "retry_after_seconds", "retryAfter"] {
            if let Some(wait) = fields.get(name).and_then(Value::as_f64) {
                self.add_wait(Duration::try_from_secs_f64(wait).ok());
            }
        }
        match fields.get("details") {
            Some(Value::Array(details)) => details.iter().for_each(|detail| self.read_detail(detail, depth)),
            Some(detail @ Value::Object(_)) => self.read_detail(detail, depth),
            Some(Value::String(text)) => self.read_text(text, depth),
            _ => {}
        }
        if let Some(Value::Object(metadata)) = fields.get("metadata") {
            self.read_metadata(metadata, depth);
        }
    }

    /// Reads Google's `details[]` (any order, any may be missing), or Anthropic's `details` object.
    fn read_detail(&mut self, detail: &Value, depth: u8) {
        let Value::Object(fields) = detail else { return };
        if fields.get("@type").and_then(Value::as_str).is_some_and(|kind| kind.contains("google.rpc")) {
            self.is_google = true;
        }
        for name in ["reason", "error_code", "code"] {
            if let Some(Value::String(code)) = fields.get(name) {
                self.add_code(code);
            }
        }
        for violation in fields.get("violations").and_then(Value::as_array).into_iter().flatten() {
            self.violations.push(QuotaViolation {
                quota_id: lower_text(violation.get("quotaId")),
                metric: lower_text(violation.get("quotaMetric")),
                limit: violation.get("quotaValue").and_then(parse_number),
            });
        }
        match fields.get("retryDelay") {
            Some(Value::String(text)) => self.add_wait(retry_after::parse_retry_delay(text)),
            Some(Value::Object(delay)) => {
                let part = |name| delay.get(name).and_then(parse_number).unwrap_or(0);
                let nanos = u32::try_from(part("nanos")).unwrap_or(0).min(999_999_999);
                self.add_wait(Some(Duration::new(part("seconds"), nanos)));
            }
            _ => {}
        }
        if let Some(Value::Object(metadata)) = fields.get("metadata") {
            self.read_metadata(metadata, depth);
        }
    }

    /// Reads OpenRouter's `metadata`, or that of Google's ErrorInfo.
    fn read_metadata(&mut self, metadata: &Map<String, Value>, depth: u8) {
        if let Some(raw) = metadata.get("raw") {
            self.read_value(raw, depth + 1);
        }
        if let Some(Value::Object(headers)) = metadata.get("headers") {
            for (name, value) in headers {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                self.quoted_headers.push((name.clone(), value));
            }
        }
        if let Some(Value::String(source)) = metadata.get("limit_source") {
            self.add_code(source);
        }
        let has_value = |name| metadata.get(name).is_some_and(|value| !value.is_null());
        self.is_moderation |= has_value("reasons") || has_value("flagged_input") || has_value("moderation");
        if metadata.contains_key("quota_limit") || metadata.contains_key("quota_limit_value") {
            self.violations.push(QuotaViolation {
                quota_id: lower_text(metadata.get("quota_limit")),
                metric: lower_text(metadata.get("quota_metric")),
                limit: metadata.get("quota_limit_value").and_then(parse_number),
            });
        }
    }

    fn add_code(&mut self, code: &str) {
        let code = code.trim();
        if code.is_empty() || code.len() > 200 {
            return;
        }
        self.add_status(code.parse().ok());
        let code = to_plain(code);
        if !self.codes.contains(&code) {
            self.codes.push(code);
        }
    }

    /// Keeps a numeric code if it is an HTTP error status and the first one in the body.
    fn add_status(&mut self, code: Option<i64>) {
        let status = code.and_then(|code| u16::try_from(code).ok()).filter(|code| (400..600).contains(code));
        self.inner_status = self.inner_status.or(status);
    }

    /// Maps MiniMax's own codes (platform.minimax.io, errorcode.md) to HTTP statuses with the same meaning.
    fn add_minimax_code(&mut self, code: Option<i64>) {
        let (status, code_name) = match code {
            Some(1000 | 1013 | 1024 | 1033) => (500, ""),
            Some(1001) => (504, ""),
            Some(1002 | 1041 | 2045 | 2056) => (429, ""),
            Some(1004 | 2049) => (401, ""),
            Some(1008) => (402, ""),
            Some(1026 | 1027) => (400, "content filter"),
            Some(1039) => (429, "tokens"),
            Some(2013 | 2048) => (400, ""),
            _ => return,
        };
        self.inner_status = Some(status);
        self.add_code(code_name);
    }

    fn add_wait(&mut self, wait: Option<Duration>) {
        self.stated_wait = self.stated_wait.max(wait);
    }

    /// Appends a text to the message unless the message contains it already.
    fn add_message(&mut self, text: &str) {
        let text = text.trim();
        let remaining_bytes = MAX_ERROR_MESSAGE_BYTES.saturating_sub(self.message.len());
        if text.is_empty() || remaining_bytes < 16 || self.message.contains(text) {
            return;
        }
        if !self.message.is_empty() {
            self.message.push_str(": ");
        }
        self.message.push_str(&text[..text.floor_char_boundary(remaining_bytes)]);
        // MiniMax's endpoints for other APIs put its code at the end of the message: "… (1008)".
        if let Some(code) = text.strip_suffix(')').and_then(|text| text.rsplit_once('(')).map(|(_, code)| code)
            && code.len() == 4
        {
            self.add_minimax_code(code.parse().ok());
        }
    }
}

fn is_google_status(status: &str) -> bool {
    const STATUSES: [&str; 11] = [
        "INVALID_ARGUMENT",
        "FAILED_PRECONDITION",
        "PERMISSION_DENIED",
        "NOT_FOUND",
        "RESOURCE_EXHAUSTED",
        "UNAUTHENTICATED",
        "INTERNAL",
        "UNAVAILABLE",
        "DEADLINE_EXCEEDED",
        "CANCELLED",
        "UNKNOWN",
    ];
    STATUSES.contains(&status)
}

fn lower_text(value: Option<&Value>) -> String {
    value.and_then(Value::as_str).map(str::to_ascii_lowercase).unwrap_or_default()
}

fn parse_number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// Whether a 2xx body contains an error: it has an `error` field, or it is marked as an error and has no answer. If it
/// has both an `error` and an answer, the answer is incomplete: OpenRouter sends this when its upstream breaks off.
pub(super) fn is_error_in_success(body: &Value) -> bool {
    let has_value = |name: &str| match body.get(name) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Array(elements)) => !elements.is_empty(),
        Some(Value::Object(fields)) => !fields.is_empty(),
        Some(Value::String(text)) => !text.is_empty(),
        Some(_) => true,
    };
    let is_typed = |name: &str| body.get(name).and_then(Value::as_str) == Some("error");
    let minimax_code = body.get("base_resp").and_then(|base| base.get("status_code")).and_then(parse_code);
    if has_value("choices") || has_value("candidates") || has_value("content") {
        return has_value("error");
    }
    has_value("error")
        || has_value("errors")
        || is_typed("object")
        || is_typed("type")
        || minimax_code.is_some_and(|code| code != 0)
}

/// One step of a path: a field name or an index.
fn path_step(step: &Value) -> String {
    step.as_str().map_or_else(|| step.to_string(), str::to_owned)
}

fn parse_code(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_shape_yields_the_same_message_and_code() {
        let bodies = [
            json!({"error": {"message": "m", "code": "c_d"}}),
            json!([{"error": {"message": "m", "code": "c_d"}}]),
            json!({"error": "m", "code": "c_d"}),
            json!({"object": "error", "message": "m", "code": "c_d"}),
            json!({"message": "m", "code": "c_d"}),
            json!({"detail": "m", "code": "c_d"}),
            json!({"errors": [{"message": "m", "code": "c_d"}]}),
            json!({"error": {"error": {"message": "m", "code": "C-D"}}}),
            json!({"error": {"metadata": {"raw": "{\"error\":{\"message\":\"m\",\"code\":\"c_d\"}}"}}}),
            json!({"error": {"metadata": {"raw": {"error": {"message": "m", "type": "c_d"}}}}}),
            json!("{\"error\":{\"message\":\"m\",\"code\":\"c_d\"}}"),
        ];
        for body in bodies {
            let error = ErrorBody::from_json(&body);
            assert_eq!(error.message, "m", "{body}");
            assert!(error.has_code(&["c d"]), "{body}");
        }
    }

    #[test]
    fn codes_may_be_numbers_strings_or_null() {
        for code in [json!(429), json!("429"), json!(" 429 ")] {
            assert_eq!(ErrorBody::from_json(&json!({"error": {"code": code}})).inner_status, Some(429));
        }
        for code in [json!(null), json!("1300"), json!(200), json!({}), json!(-1)] {
            assert_eq!(ErrorBody::from_json(&json!({"error": {"code": code}})).inner_status, None);
        }
    }

    #[test]
    fn an_upstreams_message_follows_the_relays() {
        let body = json!({"error": {"message": "Provider returned error", "metadata": {"raw": "out of luck"}}});
        assert_eq!(ErrorBody::from_json(&body).message, "Provider returned error: out of luck");
    }

    #[test]
    fn nesting_is_followed_to_a_limited_depth() {
        let mut body = json!({"message": "deep"});
        for _ in 0..100 {
            body = json!({"error": body});
        }
        assert_eq!(ErrorBody::from_json(&body).message, "");
    }

    #[test]
    fn errors_in_2xx_bodies_are_distinguished_from_answers() {
        let errors = [
            json!({"error": {"message": "x"}}),
            json!({"error": "x", "choices": []}),
            json!({"error": {"message": "late"}, "choices": [{}]}),
            json!({"choices": null, "base_resp": {"status_code": 1002}}),
            json!({"choices": null, "base_resp": {"status_code": "1002"}}),
            json!({"object": "error", "message": "x"}),
        ];
        let answers = [
            json!({"error": null, "choices": [{}]}),
            json!({"choices": [{}], "base_resp": {"status_code": 0}}),
            json!({"candidates": []}),
            json!({}),
            json!([1]),
        ];
        assert!(errors.iter().all(is_error_in_success));
        assert!(!answers.iter().any(is_error_in_success));
    }
}
