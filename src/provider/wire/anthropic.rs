//! Anthropic's messages API. Field names follow release 2.11.0 of Anthropic's SDK. `endpoint` sets the
//! `anthropic-version` header.

use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::Value;

use crate::domain::{ANTHROPIC_DEFAULT_MAX_OUTPUT, JsonMode, Message, MessageRole, Part, Request, Thinking, Usage};

use super::{
    super::pictures::EncodedPicture,
    common::{
        AttemptRequest, DecodedAnswer, EncodedRequest, Unsupported, body_size_hint, effective_max_output, join_texts,
        to_json,
    },
    lenient_int::LenientInt,
};

/// The smallest thinking budget that the API accepts.
const MIN_THINKING_TOKENS: u32 = 1_024;

#[derive(Serialize)]
struct RequestBody<'a> {
    model: &'a str,
    max_tokens: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<&'a str>,
    messages: Vec<RequestMessage<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop_sequences: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<ThinkingConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<OutputConfig<'a>>,
}

#[derive(Serialize)]
struct RequestMessage<'a> {
    role: &'static str,
    content: Content<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(&'a str),
    Blocks(Vec<ContentBlock<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ContentBlock<'a> {
    Text { text: &'a str },
    Image { source: PictureSource<'a> },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum PictureSource<'a> {
    Base64 { media_type: &'a str, data: &'a str },
    Url { url: &'a str },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ThinkingConfig {
    Enabled { budget_tokens: u32 },
    Disabled,
    Adaptive,
}

#[derive(Serialize)]
struct OutputConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<OutputFormat<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum OutputFormat<'a> {
    JsonSchema { schema: &'a Value },
}

const EFFORT_LEVELS: [&str; 5] = ["low", "medium", "high", "xhigh", "max"];

/// Checks the parameters that this API does not support or limits. The error is a sentence.
pub(super) fn check_supported(request: &Request) -> Result<(), String> {
    let params = &request.params;
    if params.seed.is_some() {
        return Err("anthropic does not support a seed".to_owned());
    }
    if params.temperature.is_some_and(|temperature| temperature > 1.0) {
        return Err("anthropic's maximum temperature is 1".to_owned());
    }
    if params.json == Some(JsonMode::Object) {
        return Err("anthropic does not support JSON mode without a schema".to_owned());
    }
    match &params.thinking {
        Some(Thinking::Level(level)) if level != "none" && !EFFORT_LEVELS.contains(&level.as_str()) => {
            return Err(format!(
                "anthropic does not support the effort \"{level}\"; use none, {}",
                EFFORT_LEVELS.join(", ")
            ));
        }
        Some(Thinking::Budget(tokens)) if (1..MIN_THINKING_TOKENS).contains(tokens) => {
            return Err(format!("anthropic's minimum thinking budget is {MIN_THINKING_TOKENS} tokens"));
        }
        _ => {}
    }
    let has_assistant_picture = |message: &Message| {
        message.role == MessageRole::Assistant && message.parts.iter().any(|part| matches!(part, Part::Image(_)))
    };
    if request.messages.iter().any(has_assistant_picture) {
        return Err("anthropic accepts pictures only in the user's messages, not in the assistant's".to_owned());
    }
    Ok(())
}

pub(super) fn encode(
    attempt: &AttemptRequest<'_>,
    pictures: &[EncodedPicture<'_>],
) -> Result<EncodedRequest, Unsupported> {
    let (request, params) = (attempt.request, &attempt.request.params);
    let max_tokens = effective_max_output(attempt).unwrap_or(ANTHROPIC_DEFAULT_MAX_OUTPUT);
    let (thinking, effort) = match &params.thinking {
        None => (None, None),
        Some(Thinking::Adaptive) => (Some(ThinkingConfig::Adaptive), None),
        Some(Thinking::Budget(0)) => (Some(ThinkingConfig::Disabled), None),
        Some(Thinking::Budget(budget_tokens)) => {
            if *budget_tokens >= max_tokens {
                return Err(Unsupported::new(format_args!(
                    "the thinking budget of {budget_tokens} tokens must be smaller than anthropic's limit of {max_tokens} tokens for the whole answer"
                )));
            }
            (Some(ThinkingConfig::Enabled { budget_tokens: *budget_tokens }), None)
        }
        Some(Thinking::Level(level)) if level == "none" => (Some(ThinkingConfig::Disabled), None),
        Some(Thinking::Level(level)) => (None, Some(level.as_str())),
    };
    let format = params.json.as_ref().and_then(|json| match json {
        JsonMode::Schema(schema) => Some(OutputFormat::JsonSchema { schema }),
        JsonMode::Object => None,
    });
    let mut remaining_pictures = pictures.iter();
    let body = RequestBody {
        model: attempt.model,
        max_tokens,
        system: request.system.as_deref(),
        messages: request.messages.iter().map(|message| encode_message(message, &mut remaining_pictures)).collect(),
        temperature: params.temperature,
        top_p: params.top_p,
        stop_sequences: &params.stop,
        thinking,
        output_config: (effort.is_some() || format.is_some()).then_some(OutputConfig { effort, format }),
    };
    Ok(EncodedRequest { path: "/v1/messages".into(), body: to_json(&body, body_size_hint(request, pictures))? })
}

/// Encodes one message. Its pictures are the next ones of `remaining_pictures`, which holds the request's pictures in
/// order and is shared by the calls for all messages.
fn encode_message<'a>(
    message: &'a Message,
    remaining_pictures: &mut std::slice::Iter<'a, EncodedPicture<'a>>,
) -> RequestMessage<'a> {
    let role = match message.role {
        MessageRole::User => "user",
        MessageRole::Assistant => "assistant",
    };
    if let [Part::Text(text)] = message.parts.as_slice() {
        return RequestMessage { role, content: Content::Text(text) };
    }
    let blocks = message.parts.iter().filter_map(|part| match part {
        Part::Text(text) => Some(ContentBlock::Text { text }),
        Part::Image(_) => remaining_pictures.next().map(|picture| {
            let source = match picture {
                EncodedPicture::Data { mime, base64 } => PictureSource::Base64 { media_type: mime, data: base64 },
                EncodedPicture::Url(url) => PictureSource::Url { url },
            };
            ContentBlock::Image { source }
        }),
    });
    RequestMessage { role, content: Content::Blocks(blocks.collect()) }
}

/// Body of a 2xx response to `messages`.
#[derive(Deserialize)]
pub(super) struct ResponseBody {
    content: Option<Vec<ResponseBlock>>,
    stop_reason: Option<String>,
    model: Option<String>,
    #[serde(default)]
    usage: Option<TokenUsage>,
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct ResponseBlock {
    #[serde(rename = "type")]
    kind: Option<String>,
    text: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct TokenUsage {
    input_tokens: LenientInt,
    cache_creation_input_tokens: LenientInt,
    cache_creation: Option<CacheWrites>,
    cache_read_input_tokens: LenientInt,
    output_tokens: LenientInt,
    output_tokens_details: Option<OutputDetails>,
}

/// `cache_creation_input_tokens` by how long the entries are kept.
#[derive(Deserialize, Default)]
#[serde(default)]
struct CacheWrites {
    ephemeral_5m_input_tokens: LenientInt,
    ephemeral_1h_input_tokens: LenientInt,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct OutputDetails {
    thinking_tokens: LenientInt,
}

impl From<TokenUsage> for Usage {
    /// The API's `input_tokens` excludes tokens that were written to or read from its cache, so these are added. Its
    /// `output_tokens` includes thinking tokens, so these are subtracted.
    fn from(usage: TokenUsage) -> Self {
        let by_time = usage.cache_creation.unwrap_or_default();
        let for_1h = by_time.ephemeral_1h_input_tokens.or_zero();
        let stated_5m = by_time.ephemeral_5m_input_tokens.or_zero();
        let for_5m = usage.cache_creation_input_tokens.or_zero().saturating_sub(for_1h).max(stated_5m);
        let cached = usage.cache_read_input_tokens.or_zero();
        let output = usage.output_tokens.or_zero();
        let thinking = usage.output_tokens_details.unwrap_or_default().thinking_tokens.or_zero().min(output);
        Self {
            input_tokens: usage.input_tokens.or_zero() + cached + for_5m + for_1h,
            output_tokens: output - thinking,
            thinking_tokens: thinking,
            cached_input_tokens: cached,
            cache_write_tokens: for_5m,
            cache_write_1h_tokens: for_1h,
        }
    }
}

impl ResponseBody {
    /// The decoded answer, or `None` if the body holds none.
    pub(super) fn into_answer(self) -> Option<DecodedAnswer> {
        if self.error.is_some() {
            return None;
        }
        let is_text = |block: &ResponseBlock| block.kind.as_deref().is_none_or(|kind| kind == "text");
        let blocks = self.content?;
        let has_other_content = blocks.iter().any(|block| block.kind.as_deref() == Some("tool_use"));
        Some(DecodedAnswer {
            has_other_content,
            text: join_texts(blocks.into_iter().filter(is_text).filter_map(|block| block.text)),
            finish_reason: self.stop_reason,
            model_version: self.model,
            usage: self.usage.unwrap_or_default().into(),
            ..DecodedAnswer::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_tokens_are_added_to_the_input_by_kind() {
        let cases = [
            (r#"{"input_tokens":10,"output_tokens":5}"#, (10, 0, 0, 0)),
            (
                r#"{"input_tokens":10,"cache_read_input_tokens":200,"cache_creation_input_tokens":30}"#,
                (240, 200, 30, 0),
            ),
            (
                r#"{"input_tokens":10,"cache_read_input_tokens":200,"cache_creation_input_tokens":30,
                "cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":20}}"#,
                (240, 200, 10, 20),
            ),
            // A server that states only the parts, or null.
            (
                r#"{"input_tokens":10,"cache_creation":{"ephemeral_5m_input_tokens":7,"ephemeral_1h_input_tokens":9}}"#,
                (26, 0, 7, 9),
            ),
            (r#"{"input_tokens":10,"cache_creation":null,"cache_read_input_tokens":null}"#, (10, 0, 0, 0)),
        ];
        for (json, want) in cases {
            let usage = Usage::from(serde_json::from_str::<TokenUsage>(json).unwrap());
            let Usage { input_tokens, cached_input_tokens, cache_write_tokens, cache_write_1h_tokens, .. } = usage;
            assert_eq!((input_tokens, cached_input_tokens, cache_write_tokens, cache_write_1h_tokens), want, "{json}");
        }
    }
}
