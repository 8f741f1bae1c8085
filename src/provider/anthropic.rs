//! Anthropic's messages. Names after the SDK 2.11.0; spoken with `anthropic-version: 2023-06-01`, the long-standing form.

use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::Value;

use crate::domain::{JsonMode, Message, MessageRole, Part, Request, Thinking, Usage};

use super::{
    Call, Picture,
    completion::Completion,
    count::Count,
    express::{Outgoing, Unsendable, max_output, size_hint, to_json},
};

/// `max_tokens` is required; where neither the request nor the model's configuration names one, what every model of
/// this API allows.
const DEFAULT_MAX_TOKENS: u32 = 4_096;

/// The least that extended thinking accepts.
const MIN_BUDGET: u32 = 1_024;

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    max_tokens: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<&'a str>,
    messages: Vec<Turn<'a>>,
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
struct Turn<'a> {
    role: &'static str,
    content: Content<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(&'a str),
    Blocks(Vec<Block<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block<'a> {
    Text { text: &'a str },
    Image { source: Source<'a> },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Source<'a> {
    Base64 { media_type: &'a str, data: &'a str },
    Url { url: &'a str },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ThinkingConfig {
    Enabled { budget_tokens: u32 },
    Disabled,
}

#[derive(Serialize)]
struct OutputConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Format<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Format<'a> {
    JsonSchema { schema: &'a Value },
}

const EFFORTS: [&str; 5] = ["low", "medium", "high", "xhigh", "max"];

pub(super) fn can_express(request: &Request) -> Result<(), String> {
    let params = &request.params;
    if params.seed.is_some() {
        return Err("anthropic has no seed".to_owned());
    }
    if params.temperature.is_some_and(|temperature| temperature > 1.0) {
        return Err("anthropic's temperature ends at 1".to_owned());
    }
    if params.json == Some(JsonMode::Object) {
        return Err("anthropic has no JSON mode without a schema".to_owned());
    }
    match &params.thinking {
        Some(Thinking::Level(level)) if level != "none" && !EFFORTS.contains(&level.as_str()) => {
            return Err(format!("anthropic has no effort \"{level}\", only none, {}", EFFORTS.join(", ")));
        }
        Some(Thinking::Budget(tokens)) if (1..MIN_BUDGET).contains(tokens) => {
            return Err(format!("anthropic's thinking budget starts at {MIN_BUDGET} tokens"));
        }
        _ => {}
    }
    let draws = |message: &Message| {
        message.role == MessageRole::Assistant && message.parts.iter().any(|part| matches!(part, Part::Image(_)))
    };
    if request.messages.iter().any(draws) {
        return Err("anthropic takes pictures from the user only, not in the assistant's turns".to_owned());
    }
    Ok(())
}

pub(super) fn encode(call: &Call<'_>, pictures: &[Picture<'_>]) -> Result<Outgoing, Unsendable> {
    let (request, params) = (call.request, &call.request.params);
    let max_tokens = max_output(call).unwrap_or(DEFAULT_MAX_TOKENS);
    let (thinking, effort) = match &params.thinking {
        None => (None, None),
        Some(Thinking::Budget(0)) => (Some(ThinkingConfig::Disabled), None),
        Some(Thinking::Budget(budget_tokens)) => {
            if *budget_tokens >= max_tokens {
                return Err(Unsendable::because(format_args!(
                    "a thinking budget of {budget_tokens} tokens does not fit under anthropic's limit of {max_tokens} for the whole answer"
                )));
            }
            (Some(ThinkingConfig::Enabled { budget_tokens: *budget_tokens }), None)
        }
        Some(Thinking::Level(level)) if level == "none" => (Some(ThinkingConfig::Disabled), None),
        Some(Thinking::Level(level)) => (None, Some(level.as_str())),
    };
    let format = params.json.as_ref().and_then(|json| match json {
        JsonMode::Schema(schema) => Some(Format::JsonSchema { schema }),
        JsonMode::Object => None,
    });
    let mut waiting = pictures.iter();
    let body = Body {
        model: call.model,
        max_tokens,
        system: request.system.as_deref(),
        messages: request.messages.iter().map(|message| turn(message, &mut waiting)).collect(),
        temperature: params.temperature,
        top_p: params.top_p,
        stop_sequences: &params.stop,
        thinking,
        output_config: (effort.is_some() || format.is_some()).then_some(OutputConfig { effort, format }),
    };
    Ok(Outgoing { path: "/v1/messages".into(), body: to_json(&body, size_hint(request, pictures))? })
}

fn turn<'a>(message: &'a Message, pictures: &mut std::slice::Iter<'a, Picture<'a>>) -> Turn<'a> {
    let role = match message.role {
        MessageRole::User => "user",
        MessageRole::Assistant => "assistant",
    };
    if let [Part::Text(text)] = message.parts.as_slice() {
        return Turn { role, content: Content::Text(text) };
    }
    let blocks = message.parts.iter().filter_map(|part| match part {
        Part::Text(text) => Some(Block::Text { text }),
        Part::Image(_) => pictures.next().map(|picture| {
            let source = match picture {
                Picture::Data { mime, base64 } => Source::Base64 { media_type: mime, data: base64 },
                Picture::Url(url) => Source::Url { url },
            };
            Block::Image { source }
        }),
    });
    Turn { role, content: Content::Blocks(blocks.collect()) }
}

/// What `messages` answer under 2xx.
#[derive(Deserialize)]
pub(super) struct Reply {
    content: Option<Vec<AnswerBlock>>,
    stop_reason: Option<String>,
    model: Option<String>,
    #[serde(default)]
    usage: Option<TokenUsage>,
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct AnswerBlock {
    #[serde(rename = "type")]
    kind: Option<String>,
    text: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct TokenUsage {
    input_tokens: Count,
    cache_creation_input_tokens: Count,
    cache_read_input_tokens: Count,
    output_tokens: Count,
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct OutputDetails {
    thinking_tokens: Count,
}

impl From<TokenUsage> for Usage {
    /// Cached input is counted beside `input_tokens`; thinking among `output_tokens`.
    fn from(usage: TokenUsage) -> Self {
        let cached = usage.cache_creation_input_tokens.get().saturating_add(usage.cache_read_input_tokens.get());
        let output = usage.output_tokens.get();
        let thinking = usage.output_tokens_details.unwrap_or_default().thinking_tokens.get().min(output);
        Self {
            input_tokens: usage.input_tokens.get().saturating_add(cached),
            output_tokens: output - thinking,
            thinking_tokens: thinking,
        }
    }
}

impl Reply {
    /// The answer, where this is one.
    pub(super) fn completion(self) -> Option<Completion> {
        if self.error.is_some() {
            return None;
        }
        let is_text = |block: &AnswerBlock| block.kind.as_deref().is_none_or(|kind| kind == "text");
        let mut texts = self.content?.into_iter().filter(is_text).filter_map(|block| block.text);
        let mut text = texts.next().unwrap_or_default();
        texts.for_each(|more| text.push_str(&more));
        Some(Completion {
            text,
            finish: self.stop_reason,
            model_version: self.model,
            usage: self.usage.unwrap_or_default().into(),
            ..Completion::default()
        })
    }
}
