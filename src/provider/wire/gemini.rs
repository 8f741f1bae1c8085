//! Gemini's `generateContent`, in version `v1beta` of the Developer API. Field names follow Google's SDK google-genai
//! 3.4.0.
//!
//! `store` is sent only if the row has it. Since 2026-10-26 new paid projects keep requests unless told `"store": false`,
//! but servers that don't know the field refuse it. Otherwise opting out is left to the project's settings.

use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::Value;

use crate::domain::{JsonMode, Message, MessageRole, Part, Request, Thinking, Usage};

use super::{
    super::pictures::EncodedPicture,
    common::{
        AttemptRequest, DecodedAnswer, EncodedRequest, Unsupported, body_size_hint, deserialize_present_list,
        effective_max_output, join_texts, to_json,
    },
    lenient_int::LenientInt,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    system_instruction: Option<Content<'a>>,
    contents: Vec<Content<'a>>,
    #[serde(skip_serializing_if = "GenerationConfig::is_empty")]
    generation_config: GenerationConfig<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<bool>,
}

#[derive(Serialize)]
struct Content<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    parts: Vec<ContentPart<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ContentPart<'a> {
    Text {
        text: &'a str,
    },
    #[serde(rename_all = "camelCase")]
    Inline {
        inline_data: InlineData<'a>,
    },
    #[serde(rename_all = "camelCase")]
    File {
        file_data: FileData<'a>,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InlineData<'a> {
    mime_type: &'a str,
    data: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FileData<'a> {
    file_uri: &'a str,
}

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct GenerationConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u32>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop_sequences: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_mime_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_json_schema: Option<&'a Value>,
    #[serde(rename = "thinkingConfig", skip_serializing_if = "Option::is_none")]
    thinking: Option<ThinkingConfig>,
}

impl GenerationConfig<'_> {
    const fn is_empty(&self) -> bool {
        self.temperature.is_none()
            && self.top_p.is_none()
            && self.max_output_tokens.is_none()
            && self.stop_sequences.is_empty()
            && self.seed.is_none()
            && self.response_mime_type.is_none()
            && self.thinking.is_none()
    }
}

#[derive(Serialize)]
enum ThinkingConfig {
    #[serde(rename = "thinkingLevel")]
    Level(String),
    #[serde(rename = "thinkingBudget")]
    Budget(u32),
}

const THINKING_LEVELS: [&str; 5] = ["minimal", "low", "medium", "high", "xhigh"];

/// Checks the parameters that this API does not support or limits. The error is a sentence.
pub(super) fn check_supported(request: &Request) -> Result<(), String> {
    let params = &request.params;
    if let Some(Thinking::Level(level)) = &params.thinking
        && !level.eq_ignore_ascii_case("none")
        && !THINKING_LEVELS.iter().any(|known| level.eq_ignore_ascii_case(known))
    {
        return Err(format!(
            "gemini does not support the thinking level \"{level}\"; use none, {}",
            THINKING_LEVELS.join(", ")
        ));
    }
    if params.seed.is_some_and(|seed| i32::try_from(seed).is_err()) {
        return Err("gemini's seed is limited to 32 bits; this one is larger".to_owned());
    }
    Ok(())
}

/// Whether the URL is a file that was uploaded to Google beforehand. Gemini reads no other URLs.
pub(super) fn is_google_file(url: &str) -> bool {
    url.starts_with("https://generativelanguage.googleapis.com/")
}

pub(super) fn encode(
    attempt: &AttemptRequest<'_>,
    pictures: &[EncodedPicture<'_>],
) -> Result<EncodedRequest, Unsupported> {
    let (request, params) = (attempt.request, &attempt.request.params);
    let mut remaining_pictures = pictures.iter();
    let contents = request.messages.iter().map(|message| encode_message(message, &mut remaining_pictures)).collect();
    let body = RequestBody {
        system_instruction: request
            .system
            .as_deref()
            .map(|text| Content { role: None, parts: vec![ContentPart::Text { text }] }),
        contents,
        generation_config: GenerationConfig {
            temperature: params.temperature,
            top_p: params.top_p,
            max_output_tokens: effective_max_output(attempt),
            stop_sequences: &params.stop,
            seed: params.seed,
            response_mime_type: params.json.as_ref().map(|_| "application/json"),
            response_json_schema: params.json.as_ref().and_then(|json| match json {
                JsonMode::Schema(schema) => Some(schema),
                JsonMode::Object => None,
            }),
            thinking: params.thinking.as_ref().and_then(encode_thinking),
        },
        store: params.store,
    };
    Ok(EncodedRequest {
        path: model_path(attempt.model)?.into(),
        body: to_json(&body, body_size_hint(request, pictures))?,
    })
}

fn encode_thinking(thinking: &Thinking) -> Option<ThinkingConfig> {
    Some(match thinking {
        Thinking::Level(level) if level.eq_ignore_ascii_case("none") => ThinkingConfig::Budget(0),
        Thinking::Level(level) => ThinkingConfig::Level(level.to_ascii_uppercase()),
        Thinking::Budget(tokens) => ThinkingConfig::Budget(*tokens),
        // The default.
        Thinking::Adaptive => return None,
    })
}

/// The URL path of a model. The prefix `models/` is optional; a name with another collection (`tunedModels/…`) is kept.
/// Names come from a file, so a name with `..` or an empty segment is rejected, and characters that would end the path
/// are percent-encoded.
pub(super) fn model_path(model: &str) -> Result<String, Unsupported> {
    if model.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(Unsupported::new(format_args!("\"{model}\" is not a valid model name for a URL")));
    }
    let mut path = String::with_capacity(model.len() + 40);
    path.push_str(if model.contains('/') { "/v1beta/" } else { "/v1beta/models/" });
    for byte in model.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'/' | b':' | b'@' | b'~') {
            path.push(char::from(byte));
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            path.extend(['%', char::from(HEX[usize::from(byte >> 4)]), char::from(HEX[usize::from(byte & 15)])]);
        }
    }
    path.push_str(":generateContent");
    Ok(path)
}

/// Encodes one message. Its pictures are the next ones of `remaining_pictures`, which holds the request's pictures in
/// order and is shared by the calls for all messages.
fn encode_message<'a>(
    message: &'a Message,
    remaining_pictures: &mut std::slice::Iter<'a, EncodedPicture<'a>>,
) -> Content<'a> {
    let role = match message.role {
        MessageRole::User => "user",
        MessageRole::Assistant => "model",
    };
    let parts = message.parts.iter().filter_map(|part| match part {
        Part::Text(text) => Some(ContentPart::Text { text }),
        Part::Image(_) => remaining_pictures.next().map(|picture| match picture {
            EncodedPicture::Data { mime, base64 } => {
                ContentPart::Inline { inline_data: InlineData { mime_type: mime, data: base64 } }
            }
            EncodedPicture::Url(url) => ContentPart::File { file_data: FileData { file_uri: url } },
        }),
    });
    Content { role: Some(role), parts: parts.collect() }
}

/// Body of a 2xx response to `generateContent`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ResponseBody {
    #[serde(default, deserialize_with = "deserialize_present_list")]
    candidates: Option<Vec<Candidate>>,
    prompt_feedback: Option<PromptFeedback>,
    #[serde(default)]
    usage_metadata: Option<UsageMetadata>,
    model_version: Option<String>,
    response_id: Option<IgnoredAny>,
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate {
    content: Option<CandidateContent>,
    finish_reason: Option<String>,
    finish_message: Option<String>,
}

#[derive(Deserialize)]
struct CandidateContent {
    parts: Option<Vec<CandidatePart>>,
}

#[derive(Deserialize)]
struct CandidatePart {
    text: Option<String>,
    thought: Option<bool>,
    #[serde(rename = "functionCall")]
    function_call: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PromptFeedback {
    block_reason: Option<String>,
    block_reason_message: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct UsageMetadata {
    #[serde(rename = "promptTokenCount")]
    prompt: LenientInt,
    #[serde(rename = "cachedContentTokenCount")]
    cached: LenientInt,
    #[serde(rename = "toolUsePromptTokenCount")]
    tool_use_prompt: LenientInt,
    #[serde(rename = "candidatesTokenCount")]
    candidates: LenientInt,
    #[serde(rename = "thoughtsTokenCount")]
    thoughts: LenientInt,
}

impl From<UsageMetadata> for Usage {
    /// Thoughts are not part of the candidates' tokens: total = prompt + candidates + thoughts. Cached tokens are part
    /// of the prompt's.
    fn from(usage: UsageMetadata) -> Self {
        Self {
            input_tokens: usage.prompt.or_zero().saturating_add(usage.tool_use_prompt.or_zero()),
            output_tokens: usage.candidates.or_zero(),
            thinking_tokens: usage.thoughts.or_zero(),
            cached_input_tokens: usage.cached.or_zero().min(usage.prompt.or_zero()),
            ..Self::default()
        }
    }
}

impl ResponseBody {
    /// The decoded answer or prompt block, or `None` if the body holds neither.
    pub(super) fn into_answer(mut self) -> Option<DecodedAnswer> {
        if self.error.is_some() { None } else { self.take_answer() }
    }

    /// Like `into_answer`, but a body without candidates counts as an empty answer if it has any of Gemini's fields.
    /// Does not check the `error` field.
    pub(super) fn into_answer_or_empty(mut self) -> Option<DecodedAnswer> {
        self.take_answer().or_else(|| {
            let looks_like_gemini = self.candidates.is_some()
                || self.usage_metadata.is_some()
                || self.model_version.is_some()
                || self.prompt_feedback.is_some()
                || self.response_id.is_some();
            looks_like_gemini.then(|| DecodedAnswer {
                usage: self.usage_metadata.take().unwrap_or_default().into(),
                model_version: self.model_version.take(),
                ..DecodedAnswer::default()
            })
        })
    }

    /// Takes the answer or the prompt block out of the body, if there is one.
    fn take_answer(&mut self) -> Option<DecodedAnswer> {
        // The response to a blocked prompt has no `candidates` field at all.
        let block_reason = self.prompt_feedback.as_ref().and_then(PromptFeedback::block_message);
        let candidate = self.candidates.as_mut().and_then(|list| (!list.is_empty()).then(|| list.swap_remove(0)));
        if block_reason.is_none() && candidate.is_none() {
            return None;
        }
        let mut answer = DecodedAnswer {
            block_reason,
            usage: self.usage_metadata.take().unwrap_or_default().into(),
            model_version: self.model_version.take(),
            ..DecodedAnswer::default()
        };
        if let Some(candidate) = candidate {
            answer.finish_reason = candidate.finish_reason;
            answer.finish_message = candidate.finish_message;
            let parts = candidate.content.and_then(|content| content.parts).unwrap_or_default();
            answer.has_other_content = parts.iter().any(|part| part.function_call.is_some());
            answer.text = answer_text(parts);
        }
        Some(answer)
    }
}

impl PromptFeedback {
    fn block_message(&self) -> Option<String> {
        let reason = self.block_reason.as_ref().filter(|reason| *reason != "BLOCK_REASON_UNSPECIFIED")?;
        let message = self.block_reason_message.as_deref().map(|text| format!(", {text}"));
        Some(format!("blockReason: {reason}{}", message.unwrap_or_default()))
    }
}

/// Joins the parts' texts without the thoughts.
fn answer_text(parts: Vec<CandidatePart>) -> String {
    join_texts(parts.into_iter().filter(|part| part.thought != Some(true)).filter_map(|part| part.text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_names_become_one_url_path_and_cannot_leave_it() {
        let cases = [
            ("gemini-3.8-flash", Some("/v1beta/models/gemini-3.8-flash:generateContent")),
            ("models/gemini-3.8-flash", Some("/v1beta/models/gemini-3.8-flash:generateContent")),
            ("tunedModels/mine", Some("/v1beta/tunedModels/mine:generateContent")),
            ("a b?key=x#y%", Some("/v1beta/models/a%20b%3Fkey%3Dx%23y%25:generateContent")),
            ("../../secrets", None),
            ("a//b", None),
            ("", None),
        ];
        for (model, want) in cases {
            assert_eq!(model_path(model).ok().as_deref(), want, "{model}");
        }
    }
}
