//! The lines of an output file of OpenAI's batch API.
//!
//! An answer of another API is translated: its text, its calls of tools, its finish reason and its further choices.

use serde_json::{Map, Value, json};

use crate::domain::{Choice, FinalState, ResultLine};

/// A line of OpenAI's batch output. HTTP errors are under `response` with their status, as in OpenAI's files. Other
/// failures (a blocked answer, nothing sent) are under `error`. An answer that failed a check is under `response` as if
/// it had passed, and `error` says that it failed.
pub(super) fn output_line(line: &ResultLine) -> Value {
    let has_answer = line.output.is_some() || !line.parts.is_empty();
    let answer = || line.parts.embedding.as_ref().map_or_else(|| completion(line), |it| embeddings(line, it));
    let refused = line.error.as_ref().and_then(|error| Some((error, error.status.filter(|status| *status >= 400)?)));
    let (status, body) = match (line.status, refused) {
        (FinalState::Done, _) => (Some(200), answer()),
        (FinalState::Failed, None) if has_answer => (line.error.as_ref().and_then(|error| error.status), answer()),
        (FinalState::Failed, Some((error, status))) => {
            let body = json!({"error": {
                "message": error.message, "type": error.outcome.name(), "param": null, "code": error.outcome.name(),
            }});
            (Some(status), body)
        }
        (FinalState::Failed, None) => {
            return json!({
                "id": format!("batch_req_{}", line.request_hash),
                "custom_id": line.id,
                "response": null,
                "error": error_object(line),
            });
        }
    };
    let response = object([
        ("status_code", status.unwrap_or(200).into()),
        ("request_id", line.request_hash.as_str().into()),
        ("body", body),
    ]);
    object([
        ("id", format!("batch_req_{}", line.request_hash).into()),
        ("custom_id", line.id.as_str().into()),
        ("response", response),
        (
            "error",
            if line.status == FinalState::Failed && refused.is_none() { error_object(line) } else { Value::Null },
        ),
    ])
}

/// An object with these values as they are. Through `json!` numbers would lose the text they were written with.
fn object<const FIELDS: usize>(fields: [(&str, Value); FIELDS]) -> Value {
    Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn error_object(line: &ResultLine) -> Value {
    match &line.error {
        Some(error) => json!({"code": error.outcome.name(), "message": error.message}),
        None => json!({"code": "failed", "message": ""}),
    }
}

/// Tells a line of [`output_line`] from one of OpenAI itself, whose ids don't repeat.
pub(super) fn is_output_line(fields: &Map<String, Value>) -> bool {
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let Some(hash) = text("id").and_then(|id| id.strip_prefix("batch_req_")) else { return false };
    let response = fields.get("response");
    let is_own_response = response.is_some_and(|response| response["request_id"] == hash);
    fields.len() == 4
        && text("custom_id").is_some()
        && match fields.get("error") {
            Some(Value::Null) => is_own_response,
            Some(Value::Object(error)) => error.len() == 2 && (response == Some(&Value::Null) || is_own_response),
            _ => false,
        }
}

/// The model that answered.
fn model(line: &ResultLine) -> Option<&String> {
    line.model_version.as_ref().or(line.model.as_ref())
}

/// A response to `/v1/embeddings`. `embedding` is one vector or a list of them; a vector may be a text in base64.
fn embeddings(line: &ResultLine, embedding: &Value) -> Value {
    let vectors = match embedding {
        Value::Array(vectors) if vectors.iter().all(|vector| vector.is_array() || vector.is_string()) => vectors,
        vector => std::slice::from_ref(vector),
    };
    let data = vectors.iter().enumerate().map(|(index, vector)| {
        object([("object", "embedding".into()), ("index", index.into()), ("embedding", vector.clone())])
    });
    object([
        ("object", "list".into()),
        ("data", data.collect()),
        ("model", json!(model(line))),
        ("usage", json!({"prompt_tokens": line.usage.input_tokens, "total_tokens": line.usage.total()})),
    ])
}

/// A response to `/v1/chat/completions`, in which thinking tokens count as completion tokens.
fn completion(line: &ResultLine) -> Value {
    let usage = line.usage;
    let created = line.finished_at.parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_second);
    let usage = json!({
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.billed_output(),
        "total_tokens": usage.total(),
        "completion_tokens_details": {"reasoning_tokens": usage.thinking_tokens},
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_input_tokens,
            "cache_write_tokens": usage.all_cache_writes(),
        },
    });
    object([
        ("id", format!("chatcmpl-{}", line.request_hash).into()),
        ("object", "chat.completion".into()),
        ("created", created.into()),
        ("model", json!(model(line))),
        ("choices", choices(line).into()),
        ("usage", usage),
    ])
}

fn choices(line: &ResultLine) -> Vec<Value> {
    if let Some(Value::Array(choices)) = &line.parts.choices {
        let numbered = choices.iter().enumerate();
        return numbered.map(|(index, choice)| translated_choice(line, index, choice)).collect();
    }
    let calls = line.parts.tool_calls.as_ref().and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let message = match &line.parts.message {
        Some(message) if is_openai_message(message) => message.clone(),
        _ => message(line, 0, line.output.as_deref(), calls),
    };
    vec![choice(0, message, openai_finish_reason(line.finish_reason.as_deref(), calls))]
}

/// A choice of OpenAI's as it is; one of Gemini's in OpenAI's form.
fn translated_choice(line: &ResultLine, index: usize, kept: &Value) -> Value {
    if kept.get("message").is_some() {
        return kept.clone();
    }
    let Choice { text, tool_calls, finish_reason } = Choice::read(kept);
    let calls = tool_calls.as_ref().and_then(|calls| calls.as_array()).map(Vec::as_slice).unwrap_or_default();
    let message = message(line, index, (!text.is_empty()).then_some(&text), calls);
    choice(index, message, openai_finish_reason(finish_reason.as_deref(), calls))
}

fn choice(index: usize, message: Value, finish_reason: &str) -> Value {
    object([
        ("index", index.into()),
        ("message", message),
        ("logprobs", Value::Null),
        ("finish_reason", finish_reason.into()),
    ])
}

/// A message of the other APIs has a type or parts.
fn is_openai_message(message: &Value) -> bool {
    message.is_object() && message.get("type").is_none() && message.get("parts").is_none()
}

fn message(line: &ResultLine, choice: usize, text: Option<&str>, calls: &[Value]) -> Value {
    let mut message = json!({"role": "assistant", "content": text, "refusal": null});
    match calls {
        [] => {}
        // The field that OpenAI had before `tool_calls`.
        [call] if call.get("arguments").is_some() => message["function_call"] = call.clone(),
        calls => {
            let numbered = calls.iter().enumerate();
            message["tool_calls"] = numbered
                .map(|(index, call)| translated_call(call, || format!("call_{}_{choice}_{index}", line.request_hash)))
                .collect();
        }
    }
    message
}

/// A call of a tool in OpenAI's form: one of OpenAI's as it is, Anthropic's `{"type": "tool_use", id, name, input}`, or
/// Gemini's `{name, args}`, whose `id` may be missing.
fn translated_call(call: &Value, new_id: impl Fn() -> String) -> Value {
    let Some(name) = call.get("name") else { return call.clone() };
    let arguments = call.get("input").or_else(|| call.get("args")).unwrap_or(&Value::Null);
    let arguments = if arguments.is_null() { "{}".to_owned() } else { arguments.to_string() };
    let id = call.get("id").cloned().unwrap_or_else(|| new_id().into());
    json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
}

/// Maps the providers' finish reasons to OpenAI's. `calls` are those of the same choice, as the provider sent them.
fn openai_finish_reason(reason: Option<&str>, calls: &[Value]) -> &'static str {
    // Gemini's reason is the same with and without calls of functions.
    let has_gemini_call = || calls.iter().any(|call| call.get("name").is_some() && call.get("arguments").is_none());
    match reason {
        Some("length" | "max_tokens" | "model_length" | "max_output_tokens" | "model_context_window_exceeded") => {
            "length"
        }
        Some("content_filter" | "safety" | "refusal" | "recitation" | "prohibited_content" | "blocklist" | "spii") => {
            "content_filter"
        }
        Some("tool_calls" | "tool_use") => "tool_calls",
        Some("function_call") => "function_call",
        _ if has_gemini_call() => "tool_calls",
        _ => "stop",
    }
}
