//! Gemini's `generateContent`, as the Developer API speaks it (`v1beta`, names after google-genai 3.4.0).
//!
//! `store` is not sent. Since 2026-10-26 new paid projects keep requests unless told `"store": false`, but servers that
//! don't know the field refuse it, so opting out stays with the project's settings.

use serde::{
    Deserialize, Serialize,
    de::{Deserializer, IgnoredAny},
};
use serde_json::Value;

use crate::domain::{JsonMode, Message, MessageRole, Part, Request, Thinking, Usage};

use super::{
    Call, Picture,
    completion::Completion,
    count::Count,
    express::{Outgoing, Unsendable, max_output, size_hint, to_json},
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    system_instruction: Option<Content<'a>>,
    contents: Vec<Content<'a>>,
    #[serde(skip_serializing_if = "Config::is_empty")]
    generation_config: Config<'a>,
}

#[derive(Serialize)]
struct Content<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    parts: Vec<Piece<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Piece<'a> {
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
struct Config<'a> {
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
    thinking: Option<ThoughtLimit>,
}

impl Config<'_> {
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
enum ThoughtLimit {
    #[serde(rename = "thinkingLevel")]
    Level(String),
    #[serde(rename = "thinkingBudget")]
    Budget(u32),
}

const LEVELS: [&str; 5] = ["minimal", "low", "medium", "high", "xhigh"];

pub(super) fn can_express(request: &Request) -> Result<(), String> {
    let params = &request.params;
    if let Some(Thinking::Level(level)) = &params.thinking
        && !level.eq_ignore_ascii_case("none")
        && !LEVELS.iter().any(|known| level.eq_ignore_ascii_case(known))
    {
        return Err(format!("gemini has no thinking level \"{level}\", only none, {}", LEVELS.join(", ")));
    }
    if params.seed.is_some_and(|seed| i32::try_from(seed).is_err()) {
        return Err("gemini's seed has 32 bits; this one has more".to_owned());
    }
    Ok(())
}

/// A file that was uploaded to Google beforehand: the only kind of URL that Gemini reads.
pub(super) fn is_own_file(url: &str) -> bool {
    url.starts_with("https://generativelanguage.googleapis.com/")
}

pub(super) fn encode(call: &Call<'_>, pictures: &[Picture<'_>]) -> Result<Outgoing, Unsendable> {
    let (request, params) = (call.request, &call.request.params);
    let mut waiting = pictures.iter();
    let contents = request.messages.iter().map(|message| content(message, &mut waiting)).collect();
    let body = Body {
        system_instruction: request
            .system
            .as_deref()
            .map(|text| Content { role: None, parts: vec![Piece::Text { text }] }),
        contents,
        generation_config: Config {
            temperature: params.temperature,
            top_p: params.top_p,
            max_output_tokens: max_output(call),
            stop_sequences: &params.stop,
            seed: params.seed,
            response_mime_type: params.json.as_ref().map(|_| "application/json"),
            response_json_schema: params.json.as_ref().and_then(|json| match json {
                JsonMode::Schema(schema) => Some(schema),
                JsonMode::Object => None,
            }),
            thinking: params.thinking.as_ref().map(thinking),
        },
    };
    Ok(Outgoing { path: path(call.model)?.into(), body: to_json(&body, size_hint(request, pictures))? })
}

fn thinking(thinking: &Thinking) -> ThoughtLimit {
    match thinking {
        Thinking::Level(level) if level.eq_ignore_ascii_case("none") => ThoughtLimit::Budget(0),
        Thinking::Level(level) => ThoughtLimit::Level(level.to_ascii_uppercase()),
        Thinking::Budget(tokens) => ThoughtLimit::Budget(*tokens),
    }
}

/// `models/` is understood; names with a collection of their own (`tunedModels/…`) stand as they are. Names come from a
/// file: what would leave the path is refused, what would end it is escaped.
fn path(model: &str) -> Result<String, Unsendable> {
    if model.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(Unsendable::because(format_args!("\"{model}\" is not a model name that fits into a URL")));
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

fn content<'a>(message: &'a Message, pictures: &mut std::slice::Iter<'a, Picture<'a>>) -> Content<'a> {
    let role = match message.role {
        MessageRole::User => "user",
        MessageRole::Assistant => "model",
    };
    let parts = message.parts.iter().filter_map(|part| match part {
        Part::Text(text) => Some(Piece::Text { text }),
        Part::Image(_) => pictures.next().map(|picture| match picture {
            Picture::Data { mime, base64 } => {
                Piece::Inline { inline_data: InlineData { mime_type: mime, data: base64 } }
            }
            Picture::Url(url) => Piece::File { file_data: FileData { file_uri: url } },
        }),
    });
    Content { role: Some(role), parts: parts.collect() }
}

/// What `generateContent` answers under 2xx.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reply {
    #[serde(default, deserialize_with = "present")]
    candidates: Option<Vec<Candidate>>,
    prompt_feedback: Option<PromptFeedback>,
    #[serde(default)]
    usage_metadata: Option<UsageMetadata>,
    model_version: Option<String>,
    response_id: Option<IgnoredAny>,
    error: Option<IgnoredAny>,
}

/// The field is there, `null` included.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Candidate>>, D::Error> {
    Option::deserialize(deserializer).map(|list: Option<Vec<Candidate>>| Some(list.unwrap_or_default()))
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
    prompt: Count,
    #[serde(rename = "toolUsePromptTokenCount")]
    tool_use_prompt: Count,
    #[serde(rename = "candidatesTokenCount")]
    candidates: Count,
    #[serde(rename = "thoughtsTokenCount")]
    thoughts: Count,
}

impl From<UsageMetadata> for Usage {
    /// Thoughts are not among the candidates' tokens: total = prompt + candidates + thoughts.
    fn from(usage: UsageMetadata) -> Self {
        Self {
            input_tokens: usage.prompt.get().saturating_add(usage.tool_use_prompt.get()),
            output_tokens: usage.candidates.get(),
            thinking_tokens: usage.thoughts.get(),
        }
    }
}

impl Reply {
    /// The answer, or the refusal of the prompt, where this is plainly one.
    pub(super) fn completion(mut self) -> Option<Completion> {
        if self.error.is_some() { None } else { self.answer() }
    }

    /// As `completion`, but a reply without candidates is an empty answer if it looks like Gemini's at all.
    pub(super) fn completion_or_nothing(mut self) -> Option<Completion> {
        self.answer().or_else(|| {
            let is_geminis = self.candidates.is_some()
                || self.usage_metadata.is_some()
                || self.model_version.is_some()
                || self.prompt_feedback.is_some()
                || self.response_id.is_some();
            is_geminis.then(|| Completion {
                usage: self.usage_metadata.take().unwrap_or_default().into(),
                model_version: self.model_version.take(),
                ..Completion::default()
            })
        })
    }

    /// Takes the answer out, where there is one.
    fn answer(&mut self) -> Option<Completion> {
        // A blocked prompt has no candidates key at all.
        let blocked = self.prompt_feedback.as_ref().and_then(PromptFeedback::block);
        let candidate = self.candidates.as_mut().and_then(|list| (!list.is_empty()).then(|| list.swap_remove(0)));
        if blocked.is_none() && candidate.is_none() {
            return None;
        }
        let mut completion = Completion {
            blocked,
            usage: self.usage_metadata.take().unwrap_or_default().into(),
            model_version: self.model_version.take(),
            ..Completion::default()
        };
        if let Some(candidate) = candidate {
            completion.finish = candidate.finish_reason;
            completion.words = candidate.finish_message;
            completion.text = text(candidate.content.and_then(|content| content.parts).unwrap_or_default());
        }
        Some(completion)
    }
}

impl PromptFeedback {
    fn block(&self) -> Option<String> {
        let reason = self.block_reason.as_ref().filter(|reason| *reason != "BLOCK_REASON_UNSPECIFIED")?;
        let message = self.block_reason_message.as_deref().map(|words| format!(", {words}"));
        Some(format!("blockReason: {reason}{}", message.unwrap_or_default()))
    }
}

/// Thoughts are not part of the answer. One part is the rule, and moves without a copy.
fn text(parts: Vec<CandidatePart>) -> String {
    let mut texts = parts.into_iter().filter(|part| part.thought != Some(true)).filter_map(|part| part.text);
    let mut text = texts.next().unwrap_or_default();
    texts.for_each(|more| text.push_str(&more));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_names_become_one_path_and_cannot_leave_it() {
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
            assert_eq!(path(model).ok().as_deref(), want, "{model}");
        }
    }
}
