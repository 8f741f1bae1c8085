//! OpenAI's chat completions, for OpenAI and compatible servers.

use std::fmt;

use serde::{
    Deserialize, Serialize, Serializer,
    de::{Deserializer, IgnoredAny, SeqAccess, Visitor},
};
use serde_json::Value;

use crate::domain::{JsonMode, MaxTokensField, Message, MessageRole, Part, Request, Thinking, Usage};

use super::{
    super::pictures::EncodedPicture,
    common::{
        AttemptRequest, DecodedAnswer, Dialect, EncodedRequest, Unsupported, body_size_hint, deserialize_present_list,
        effective_max_output, max_tokens_field, to_json,
    },
    lenient_int::LenientInt,
};

#[derive(Serialize)]
struct RequestBody<'a> {
    model: &'a str,
    messages: Vec<RequestMessage<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<bool>,
}

#[derive(Serialize)]
struct RequestMessage<'a> {
    role: &'static str,
    content: Content<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    /// Plain text is sent as a string, because some compatible servers accept nothing else.
    Text(&'a str),
    Parts(Vec<ContentPart<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ContentPart<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: ImageUrl<'a> },
}

#[derive(Serialize)]
struct ImageUrl<'a> {
    url: PictureUrl<'a>,
}

/// A picture as a URL. Its data, if embedded, is written as a data URL without being copied first.
struct PictureUrl<'a>(&'a EncodedPicture<'a>);

impl Serialize for PictureUrl<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            EncodedPicture::Data { mime, base64 } => {
                serializer.collect_str(&format_args!("data:{mime};base64,{base64}"))
            }
            EncodedPicture::Url(url) => serializer.serialize_str(url),
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ResponseFormat<'a> {
    JsonObject,
    JsonSchema { json_schema: NamedSchema<'a> },
}

#[derive(Serialize)]
struct NamedSchema<'a> {
    name: &'a str,
    schema: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

/// The name of a schema that has none. The API requires one.
const DEFAULT_SCHEMA_NAME: &str = "answer";

const REASONING_EFFORTS: [&str; 7] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];

/// Checks the parameters that this API does not support or limits. The error is a sentence.
pub(super) fn check_supported(request: &Request) -> Result<(), String> {
    match &request.params.thinking {
        // No thinking is a level too.
        Some(Thinking::Budget(0) | Thinking::Adaptive) => {}
        Some(Thinking::Budget(_)) => {
            return Err("this API accepts a thinking level (reasoning_effort), not a token budget".to_owned());
        }
        Some(Thinking::Level(level)) if !REASONING_EFFORTS.contains(&level.as_str()) => {
            return Err(format!(
                "this API does not support reasoning_effort \"{level}\"; use {}",
                REASONING_EFFORTS.join(", ")
            ));
        }
        _ => {}
    }
    let has_assistant_picture = |message: &Message| {
        message.role == MessageRole::Assistant && message.parts.iter().any(|part| matches!(part, Part::Image(_)))
    };
    if request.messages.iter().any(has_assistant_picture) {
        return Err("this API accepts pictures only in the user's messages, not in the assistant's".to_owned());
    }
    Ok(())
}

pub(super) fn encode(
    dialect: Dialect,
    attempt: &AttemptRequest<'_>,
    pictures: &[EncodedPicture<'_>],
) -> Result<EncodedRequest, Unsupported> {
    let (request, params) = (attempt.request, &attempt.request.params);
    let mut remaining_pictures = pictures.iter();
    let mut messages = Vec::with_capacity(request.messages.len() + 1);
    messages.extend(
        request.system.as_deref().map(|system| RequestMessage { role: "system", content: Content::Text(system) }),
    );
    messages.extend(request.messages.iter().map(|message| encode_message(message, &mut remaining_pictures)));
    let max_output = effective_max_output(attempt);
    let max_tokens_field = max_tokens_field(dialect, attempt);
    let body = RequestBody {
        model: attempt.model,
        messages,
        temperature: params.temperature,
        top_p: params.top_p,
        max_tokens: max_output.filter(|_| max_tokens_field == MaxTokensField::MaxTokens),
        max_completion_tokens: max_output.filter(|_| max_tokens_field == MaxTokensField::MaxCompletionTokens),
        stop: &params.stop,
        seed: params.seed,
        reasoning_effort: params.thinking.as_ref().and_then(|thinking| match thinking {
            Thinking::Level(level) => Some(level.as_str()),
            Thinking::Budget(0) => Some("none"),
            Thinking::Budget(_) | Thinking::Adaptive => None,
        }),
        response_format: params.json.as_ref().map(|json| match json {
            JsonMode::Object => ResponseFormat::JsonObject,
            JsonMode::Schema(schema) => {
                let name = params.schema_name.as_deref().unwrap_or(DEFAULT_SCHEMA_NAME);
                ResponseFormat::JsonSchema { json_schema: NamedSchema { name, schema, strict: params.strict_schema } }
            }
        }),
        store: params.store,
    };
    Ok(EncodedRequest { path: "/chat/completions".into(), body: to_json(&body, body_size_hint(request, pictures))? })
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
    let parts = message.parts.iter().filter_map(|part| match part {
        Part::Text(text) => Some(ContentPart::Text { text }),
        Part::Image(_) => remaining_pictures
            .next()
            .map(|picture| ContentPart::ImageUrl { image_url: ImageUrl { url: PictureUrl(picture) } }),
    });
    RequestMessage { role, content: Content::Parts(parts.collect()) }
}

/// Body of a 2xx response to chat completions.
#[derive(Deserialize)]
pub(super) struct ResponseBody {
    #[serde(default, deserialize_with = "deserialize_present_list")]
    choices: Option<Vec<Choice>>,
    model: Option<String>,
    #[serde(default)]
    usage: Option<TokenUsage>,
    /// The list of a response to `/embeddings`.
    #[serde(default)]
    data: Option<Vec<EmbeddingItem>>,
    error: Option<IgnoredAny>,
    base_resp: Option<BaseResp>,
}

/// MiniMax's own status; 0 is success.
#[derive(Deserialize)]
struct BaseResp {
    status_code: LenientInt,
}

#[derive(Deserialize)]
struct EmbeddingItem {
    embedding: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Choice {
    message: Option<ChoiceMessage>,
    /// Used by the old completion endpoints.
    text: Option<String>,
    finish_reason: Option<String>,
    /// Set by OpenRouter if the upstream broke off during the answer.
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct ChoiceMessage {
    #[serde(default)]
    content: TextContent,
    refusal: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<IgnoredAny>>,
    function_call: Option<IgnoredAny>,
}

impl ChoiceMessage {
    fn has_tool_calls(&self) -> bool {
        self.function_call.is_some() || self.tool_calls.as_ref().is_some_and(|calls| !calls.is_empty())
    }
}

/// Text content that arrives as a string, as null, or as a list of parts whose texts are joined.
#[derive(Default)]
struct TextContent(String);

impl<'de> Deserialize<'de> for TextContent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextContentVisitor;

        #[derive(Deserialize)]
        struct TextPart {
            text: Option<String>,
        }

        impl<'de> Visitor<'de> for TextContentVisitor {
            type Value = TextContent;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, null or a list of parts")
            }

            fn visit_str<E>(self, text: &str) -> Result<TextContent, E> {
                Ok(TextContent(text.to_owned()))
            }

            fn visit_string<E>(self, text: String) -> Result<TextContent, E> {
                Ok(TextContent(text))
            }

            fn visit_unit<E>(self) -> Result<TextContent, E> {
                Ok(TextContent::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<TextContent, A::Error> {
                let mut content = TextContent::default();
                while let Some(part) = parts.next_element::<TextPart>()? {
                    content.0.push_str(part.text.as_deref().unwrap_or_default());
                }
                Ok(content)
            }
        }

        deserializer.deserialize_any(TextContentVisitor)
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct TokenUsage {
    prompt_tokens: LenientInt,
    completion_tokens: LenientInt,
    total_tokens: LenientInt,
    completion_tokens_details: Option<CompletionDetails>,
    prompt_tokens_details: Option<PromptDetails>,
    /// DeepSeek's name for cached tokens.
    prompt_cache_hit_tokens: LenientInt,
    /// Moonshot's name for cached tokens.
    cached_tokens: LenientInt,
    /// Anthropic's names, which proxies keep. The prompt tokens include these, too.
    cache_read_input_tokens: LenientInt,
    cache_creation_input_tokens: LenientInt,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(default)]
struct PromptDetails {
    cached_tokens: LenientInt,
    /// Set by OpenAI since GPT-5.6, and by OpenRouter.
    cache_write_tokens: LenientInt,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(default)]
struct CompletionDetails {
    reasoning_tokens: LenientInt,
}

impl TokenUsage {
    /// Tokens read from and written to the cache. They are part of the prompt tokens.
    fn cache_tokens(&self) -> (u64, u64) {
        let details = self.prompt_tokens_details.unwrap_or_default();
        let largest = |counts: &[LenientInt]| counts.iter().map(|count| count.or_zero()).max().unwrap_or(0);
        let cached = largest(&[
            details.cached_tokens,
            self.prompt_cache_hit_tokens,
            self.cached_tokens,
            self.cache_read_input_tokens,
        ]);
        let prompt = self.prompt_tokens.or_zero();
        let written = largest(&[details.cache_write_tokens, self.cache_creation_input_tokens]).min(prompt);
        (cached.min(prompt - written), written)
    }
}

impl From<TokenUsage> for Usage {
    /// OpenAI includes reasoning tokens in the completion tokens. xAI and Gemini's OpenAI-compatible API count them
    /// separately: the total is then larger than prompt and completion tokens together.
    fn from(usage: TokenUsage) -> Self {
        let (input_tokens, completion) = (usage.prompt_tokens.or_zero(), usage.completion_tokens.or_zero());
        let reasoning = usage.completion_tokens_details.unwrap_or_default().reasoning_tokens.or_zero();
        let (cached_input_tokens, cache_write_tokens) = usage.cache_tokens();
        let input = Self { input_tokens, cached_input_tokens, cache_write_tokens, ..Self::default() };
        let separate_reasoning = usage.total_tokens.or_zero().saturating_sub(input_tokens.saturating_add(completion));
        if separate_reasoning > 0 && (reasoning == 0 || separate_reasoning == reasoning) {
            return Self { output_tokens: completion, thinking_tokens: separate_reasoning, ..input };
        }
        let thinking = reasoning.min(completion);
        Self { output_tokens: completion - thinking, thinking_tokens: thinking, ..input }
    }
}

impl ResponseBody {
    /// The decoded answer, or `None` if the body holds none.
    pub(super) fn into_answer(mut self) -> Option<DecodedAnswer> {
        let is_minimax_error = self.base_resp.as_ref().is_some_and(|base| base.status_code.or_zero() != 0);
        if self.error.is_some() || is_minimax_error { None } else { self.take_answer() }
    }

    /// Like `into_answer`, but a body with empty or null `choices` counts as an empty answer. Does not check the error
    /// fields.
    pub(super) fn into_answer_or_empty(mut self) -> Option<DecodedAnswer> {
        self.take_answer().or_else(|| {
            self.choices.as_ref()?;
            let usage = self.usage.take().unwrap_or_default();
            // LM Studio does this if the prompt exceeds the context, or if the model cannot see a picture.
            let is_permanently_empty = usage.prompt_tokens.or_zero() > 0 && usage.completion_tokens.value() == Some(0);
            let model_version = self.model.take();
            Some(DecodedAnswer { usage: usage.into(), model_version, is_permanently_empty, ..DecodedAnswer::default() })
        })
    }

    /// Takes the first choice out of the body, if there is one, or the embeddings.
    fn take_answer(&mut self) -> Option<DecodedAnswer> {
        let Some(choice) = self.choices.as_mut().and_then(|list| (!list.is_empty()).then(|| list.swap_remove(0)))
        else {
            return self.take_embeddings();
        };
        let has_other_content = choice.message.as_ref().is_some_and(ChoiceMessage::has_tool_calls);
        let (content, refusal) = choice.message.map(|message| (message.content.0, message.refusal)).unwrap_or_default();
        Some(DecodedAnswer {
            text: if content.is_empty() { choice.text.unwrap_or_default() } else { content },
            finish_reason: if choice.error.is_some() { Some("error".to_owned()) } else { choice.finish_reason },
            model_version: self.model.take(),
            usage: self.usage.take().unwrap_or_default().into(),
            block_reason: refusal.filter(|refusal| !refusal.is_empty()),
            has_other_content,
            ..DecodedAnswer::default()
        })
    }

    /// The answer to a request for embeddings. Its vectors are read separately.
    fn take_embeddings(&mut self) -> Option<DecodedAnswer> {
        let items = self.data.take().filter(|items| !items.is_empty() && self.choices.is_none())?;
        items.iter().all(|item| item.embedding.is_some()).then(|| DecodedAnswer {
            model_version: self.model.take(),
            usage: self.usage.take().unwrap_or_default().into(),
            has_other_content: true,
            ..DecodedAnswer::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasoning_is_counted_once_wherever_a_vendor_reports_it() {
        let cases = [
            // OpenAI: within the completion.
            (
                r#"{"prompt_tokens":10,"completion_tokens":64,"total_tokens":74,
                "completion_tokens_details":{"reasoning_tokens":60}}"#,
                (10, 4, 60),
            ),
            // xAI: beside it.
            (
                r#"{"prompt_tokens":10,"completion_tokens":4,"total_tokens":74,
                "completion_tokens_details":{"reasoning_tokens":60}}"#,
                (10, 4, 60),
            ),
            // Gemini's OpenAI-compatible API: only in the total.
            (r#"{"prompt_tokens":10,"completion_tokens":4,"total_tokens":74}"#, (10, 4, 60)),
            (r#"{"prompt_tokens":null,"completion_tokens":null,"total_tokens":0}"#, (0, 0, 0)),
            (r#"{"prompt_tokens":3,"completion_tokens":"1","completion_tokens_details":null}"#, (3, 1, 0)),
        ];
        for (json, (input_tokens, output_tokens, thinking_tokens)) in cases {
            let usage: TokenUsage = serde_json::from_str(json).unwrap();
            assert_eq!(
                Usage::from(usage),
                Usage { input_tokens, output_tokens, thinking_tokens, ..Usage::default() },
                "{json}"
            );
        }
    }

    #[test]
    fn cached_tokens_are_found_under_every_name() {
        let cases = [
            (r#"{"prompt_tokens":100,"prompt_tokens_details":{"cached_tokens":90,"audio_tokens":0}}"#, (90, 0)),
            (r#"{"prompt_tokens":100,"prompt_tokens_details":{"cached_tokens":60,"cache_write_tokens":40}}"#, (60, 40)),
            (r#"{"prompt_tokens":100,"prompt_cache_hit_tokens":64,"prompt_cache_miss_tokens":36}"#, (64, 0)),
            (r#"{"prompt_tokens":100,"cached_tokens":80}"#, (80, 0)),
            (r#"{"prompt_tokens":100,"cache_read_input_tokens":30,"cache_creation_input_tokens":50}"#, (30, 50)),
            (r#"{"prompt_tokens":100,"prompt_tokens_details":null}"#, (0, 0)),
            // The parts can't be more than the whole. A write costs more, so it counts first.
            (r#"{"prompt_tokens":100,"prompt_tokens_details":{"cached_tokens":90,"cache_write_tokens":70}}"#, (30, 70)),
            (r#"{"prompt_tokens":100,"prompt_cache_hit_tokens":900}"#, (100, 0)),
        ];
        for (json, want) in cases {
            let usage = Usage::from(serde_json::from_str::<TokenUsage>(json).unwrap());
            assert_eq!(
                (usage.input_tokens, usage.cached_input_tokens, usage.cache_write_tokens),
                (100, want.0, want.1),
                "{json}"
            );
        }
    }
}
