//! The parts of an answer besides its text: calls of tools, the whole message, further choices, an embedding.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    json_numbers::{has_exponent, parse_with_exact_numbers},
    named::names,
};

/// The parts of an answer besides its text, as the provider sent it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AnswerParts {
    /// The calls of tools that the model asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Value>,
    /// The whole message of the answer, if the configuration asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Value>,
    /// All choices, if there are several, or if one has more than its message (log probabilities, sources).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choices: Option<Value>,
    /// The vector of an embedding; a list of vectors if the request has a list of inputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding: Option<Value>,
}

impl AnswerParts {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Gives the numbers the texts that they have in `line`, the JSON object that the parts were read from.
    pub fn restore_numbers(&mut self, line: &str) {
        let Self { tool_calls, message, choices, embedding } = self;
        let parts = [("tool_calls", tool_calls), ("message", message), ("choices", choices), ("embedding", embedding)];
        if !parts.iter().any(|(_, part)| part.as_ref().is_some_and(has_exponent)) {
            return;
        }
        let Ok(Value::Object(mut fields)) = parse_with_exact_numbers(line.as_bytes()) else { return };
        for (name, part) in parts {
            if part.is_some() {
                *part = fields.remove(name);
            }
        }
    }
}

/// One of the answers in a response.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Choice<'a> {
    pub text: Cow<'a, str>,
    /// As the provider sent them.
    pub tool_calls: Option<Cow<'a, Value>>,
    /// In lower case.
    pub finish_reason: Option<Cow<'a, str>>,
}

impl<'a> Choice<'a> {
    /// Reads an element of [`AnswerParts::choices`]: a choice of OpenAI's or a candidate of Gemini's.
    pub fn read(choice: &'a Value) -> Self {
        let Some(message) = choice.get("message") else { return Self::read_candidate(choice) };
        let text = match &message["content"] {
            Value::String(text) => text.into(),
            Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
            _ => "".into(),
        };
        let calls = message.get("tool_calls").filter(|calls| calls.as_array().is_some_and(|calls| !calls.is_empty()));
        Self { text, tool_calls: calls.map(Cow::Borrowed), finish_reason: lower_case(&choice["finish_reason"]) }
    }

    fn read_candidate(candidate: &'a Value) -> Self {
        let parts = candidate["content"]["parts"].as_array().map(Vec::as_slice).unwrap_or_default();
        let is_answer = |part: &&Value| part["thought"] != true;
        let calls: Vec<Value> = parts.iter().filter_map(|part| part.get("functionCall")).cloned().collect();
        Self {
            text: parts.iter().filter(is_answer).filter_map(|part| part["text"].as_str()).collect(),
            tool_calls: (!calls.is_empty()).then(|| Cow::Owned(calls.into())),
            finish_reason: lower_case(&candidate["finishReason"]),
        }
    }
}

fn lower_case(text: &Value) -> Option<Cow<'_, str>> {
    text.as_str().map(|text| text.to_lowercase().into())
}

/// How much of an answer is kept in the results.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum KeptParts {
    /// The text, and what a request asks for besides: calls of tools, further answers, embeddings.
    #[default]
    Text,
    /// The whole message too.
    Message,
}

names!(KeptParts { Text = "text", Message = "message" });
