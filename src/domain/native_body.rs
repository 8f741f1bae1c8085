//! A request body as a provider's own batch format has it. It goes to that provider's API as it is.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{fleet::Api, json_numbers::deserialize_fields, params::Params};

/// The body of a row that is written for one API, without what the program sets: the model and whether to stream.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct NativeBody {
    pub api: Api,
    /// The fields as they were written. The data of pictures is left out, since the request has it already.
    #[serde(deserialize_with = "deserialize_fields")]
    pub body: Map<String, Value>,
    /// JSON pointers to the places of the request's pictures, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub picture_pointers: Vec<String>,
    /// Paths of the fields that no other API can express. With any of these, only this API can take the request.
    #[serde(rename = "untranslated", default, skip_serializing_if = "Vec::is_empty")]
    pub native_only_fields: Vec<String>,
    /// Default parameters that the body doesn't set. They are added to it.
    #[serde(default, skip_serializing_if = "Params::is_empty")]
    pub defaults: Params,
    /// The request's system prompt is not part of the body and is added to it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adds_system: bool,
    /// The body asks for embeddings, not for an answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_embedding: bool,
}

impl NativeBody {
    /// A high estimate of the tokens in all texts of the body: bytes / 3. A long text in Base64 is an attachment
    /// and counts like a picture.
    pub fn estimated_tokens(&self) -> u64 {
        self.body.iter().map(|(name, value)| text_tokens(name) + value_tokens(value)).sum()
    }

    /// Appends a paragraph to the last message of the user, as a part of its own unless the message is a plain text.
    pub fn append_paragraph(&mut self, text: &str) {
        let (messages, content, part) = match self.api {
            Api::Gemini => ("contents", "parts", json!({ "text": text })),
            Api::OpenAi | Api::Anthropic => ("messages", "content", json!({ "type": "text", "text": text })),
        };
        // Gemini's messages may leave out the role of the user.
        let is_users = |message: &&mut Value| message.get("role").is_none_or(|role| role == "user");
        let messages = self.body.get_mut(messages).and_then(Value::as_array_mut);
        let last = messages.and_then(|messages| messages.iter_mut().rev().find(is_users));
        match last.and_then(|message| message.get_mut(content)) {
            Some(Value::String(before)) => *before = format!("{}\n\n{text}", before.trim_end()),
            Some(Value::Array(parts)) => parts.push(part),
            _ => {}
        }
    }

    /// The first field that only this API can take.
    pub fn first_native_only_field(&self) -> Option<&str> {
        self.native_only_fields.first().map(String::as_str)
    }
}

/// Length in bytes from which a text in Base64 counts as an attachment.
const ATTACHMENT_BYTES: usize = 512;
/// Estimated tokens of a picture or another attachment. Gemini 3's default for a picture is 1,120.
pub(super) const ATTACHMENT_TOKENS: u64 = 1_200;

pub(super) fn value_tokens(value: &Value) -> u64 {
    match value {
        Value::String(text) => text_tokens(text),
        Value::Array(items) => items.iter().map(|item| 1 + value_tokens(item)).sum(),
        Value::Object(fields) => fields.iter().map(|(name, value)| 1 + text_tokens(name) + value_tokens(value)).sum(),
        Value::Null | Value::Bool(_) => 1,
        Value::Number(number) => text_tokens(&number.to_string()),
    }
}

fn text_tokens(text: &str) -> u64 {
    let data = text.split_once(";base64,").map_or(text, |(_, data)| data);
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_');
    let is_attachment = text.len() >= ATTACHMENT_BYTES && data.bytes().all(is_base64);
    if is_attachment { ATTACHMENT_TOKENS } else { text.len().div_ceil(3) as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(value: Value) -> Map<String, Value> {
        let Value::Object(fields) = value else { panic!("{value} is not an object") };
        fields
    }

    #[test]
    fn a_paragraph_is_appended_to_the_last_message_of_the_user() {
        let of = |api, body| NativeBody {
            api,
            body: fields(body),
            picture_pointers: Vec::new(),
            native_only_fields: Vec::new(),
            defaults: Params::default(),
            adds_system: false,
            is_embedding: false,
        };
        let cases = [
            (
                of(
                    Api::OpenAi,
                    json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}),
                ),
                json!({"messages": [{"role": "user", "content": "a\n\nwhy"}, {"role": "assistant", "content": "b"}]}),
            ),
            (
                of(Api::Anthropic, json!({"messages": [{"role": "user", "content": [{"type": "image"}]}]})),
                json!({"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "why"}]}]}),
            ),
            (
                of(Api::Gemini, json!({"contents": [{"parts": [{"text": "a"}]}]})),
                json!({"contents": [{"parts": [{"text": "a"}, {"text": "why"}]}]}),
            ),
        ];
        for (mut native, want) in cases {
            native.append_paragraph("why");
            assert_eq!(Value::Object(native.body), want);
        }
    }
}
