//! The parts of an answer besides its text, read from the body of a response.

use serde_json::{Map, Value, json};

use crate::domain::{AnswerParts, Api, KeptParts, parse_with_exact_numbers};

/// Reads the parts of an answer that are kept.
pub fn read_parts(api: Api, body: &[u8], kept: KeptParts) -> AnswerParts {
    // Gemini's OpenAI-compatible API may put the response into an array.
    let response = match parse_with_exact_numbers(body) {
        Ok(Value::Array(mut elements)) if elements.len() == 1 => elements.remove(0),
        Ok(response) => response,
        Err(_) => return AnswerParts::default(),
    };
    let Value::Object(mut response) = response else { return AnswerParts::default() };
    let mut parts = match api {
        Api::OpenAi => openai_parts(&mut response),
        Api::Anthropic => anthropic_parts(response),
        Api::Gemini => gemini_parts(&mut response),
    };
    if kept == KeptParts::Text {
        parts.message = None;
    }
    parts
}

fn openai_parts(response: &mut Map<String, Value>) -> AnswerParts {
    if let Some(embedding) = response.get_mut("data").and_then(take_embedding) {
        return AnswerParts { embedding: Some(embedding), ..AnswerParts::default() };
    }
    let Some(Value::Array(choices)) = response.remove("choices") else { return AnswerParts::default() };
    let message = choices.first().and_then(|choice| choice.get("message")).cloned();
    let calls = |name: &str| message.as_ref()?.get(name).filter(|calls| is_present(calls)).cloned();
    let tool_calls = calls("tool_calls").or_else(|| calls("function_call").map(|call| json!([call])));
    let has_more =
        choices.len() > 1 || choices.first().is_some_and(|choice| choice.get("logprobs").is_some_and(is_present));
    AnswerParts { tool_calls, message, choices: has_more.then_some(Value::Array(choices)), embedding: None }
}

/// Takes the vectors out of a list of embeddings: one vector, or a list if there are several.
fn take_embedding(data: &mut Value) -> Option<Value> {
    let mut vectors: Vec<Value> = data
        .as_array_mut()?
        .iter_mut()
        .map(|item| item.get_mut("embedding").map(Value::take))
        .collect::<Option<_>>()?;
    if vectors.len() == 1 { vectors.pop() } else { (!vectors.is_empty()).then_some(Value::Array(vectors)) }
}

fn anthropic_parts(mut response: Map<String, Value>) -> AnswerParts {
    let is_call = |block: &&Value| block.get("type").and_then(Value::as_str) == Some("tool_use");
    let blocks = response.get("content").and_then(Value::as_array);
    let calls: Vec<Value> = blocks.into_iter().flatten().filter(is_call).cloned().collect();
    for name in ["usage", "id", "model"] {
        response.shift_remove(name);
    }
    AnswerParts {
        tool_calls: (!calls.is_empty()).then_some(Value::Array(calls)),
        message: Some(Value::Object(response)),
        ..AnswerParts::default()
    }
}

fn gemini_parts(response: &mut Map<String, Value>) -> AnswerParts {
    /// The fields of a candidate that every answer has.
    const USUAL_FIELDS: [&str; 7] =
        ["content", "finishReason", "finishMessage", "index", "safetyRatings", "avgLogprobs", "tokenCount"];
    let Some(Value::Array(candidates)) = response.remove("candidates") else { return AnswerParts::default() };
    let Some(first) = candidates.first() else { return AnswerParts::default() };
    let message = first.get("content").cloned();
    let content_parts = message.as_ref().and_then(|content| content.get("parts")).and_then(Value::as_array);
    let calls: Vec<Value> =
        content_parts.into_iter().flatten().filter_map(|part| part.get("functionCall")).cloned().collect();
    let has_more = candidates.len() > 1
        || first.as_object().is_some_and(|fields| fields.keys().any(|name| !USUAL_FIELDS.contains(&name.as_str())));
    AnswerParts {
        tool_calls: (!calls.is_empty()).then_some(Value::Array(calls)),
        message,
        choices: has_more.then_some(Value::Array(candidates)),
        embedding: None,
    }
}

fn is_present(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        _ => true,
    }
}
