//! OpenAI's chat completions, as OpenAI and everyone compatible with it speak them.

use std::fmt;

use serde::{
    Deserialize, Serialize, Serializer,
    de::{Deserializer, IgnoredAny, SeqAccess, Visitor},
};
use serde_json::Value;

use crate::domain::{JsonMode, Message, MessageRole, Part, Request, Thinking, Usage};

use super::{
    Call, Dialect, Picture,
    completion::Completion,
    count::Count,
    express::{Outgoing, Unsendable, max_output, size_hint, to_json},
};

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<Turn<'a>>,
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
}

#[derive(Serialize)]
struct Turn<'a> {
    role: &'static str,
    content: Content<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    /// Plain text as a string: some compatible servers know nothing else.
    Text(&'a str),
    Parts(Vec<Piece<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Piece<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: ImageUrl<'a> },
}

#[derive(Serialize)]
struct ImageUrl<'a> {
    url: Address<'a>,
}

/// A URL; a picture's data is written as one without being copied first.
struct Address<'a>(&'a Picture<'a>);

impl Serialize for Address<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Picture::Data { mime, base64 } => serializer.collect_str(&format_args!("data:{mime};base64,{base64}")),
            Picture::Url(url) => serializer.serialize_str(url),
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
    name: &'static str,
    schema: &'a Value,
}

const EFFORTS: [&str; 7] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];

pub(super) fn can_express(request: &Request) -> Result<(), String> {
    match &request.params.thinking {
        Some(Thinking::Budget(_)) => {
            return Err("this API takes a thinking level (reasoning_effort), not a budget of tokens".to_owned());
        }
        Some(Thinking::Level(level)) if !EFFORTS.contains(&level.as_str()) => {
            return Err(format!("this API has no reasoning_effort \"{level}\", only {}", EFFORTS.join(", ")));
        }
        _ => {}
    }
    let draws = |message: &Message| {
        message.role == MessageRole::Assistant && message.parts.iter().any(|part| matches!(part, Part::Image(_)))
    };
    if request.messages.iter().any(draws) {
        return Err("this API takes pictures from the user only, not in the assistant's turns".to_owned());
    }
    Ok(())
}

pub(super) fn encode(dialect: Dialect, call: &Call<'_>, pictures: &[Picture<'_>]) -> Result<Outgoing, Unsendable> {
    let (request, params) = (call.request, &call.request.params);
    let mut waiting = pictures.iter();
    let mut messages = Vec::with_capacity(request.messages.len() + 1);
    messages.extend(request.system.as_deref().map(|system| Turn { role: "system", content: Content::Text(system) }));
    messages.extend(request.messages.iter().map(|message| turn(message, &mut waiting)));
    let limit = max_output(call);
    let is_openai = dialect == Dialect::OpenAi;
    let body = Body {
        model: call.model,
        messages,
        temperature: params.temperature,
        top_p: params.top_p,
        max_tokens: limit.filter(|_| !is_openai),
        max_completion_tokens: limit.filter(|_| is_openai),
        stop: &params.stop,
        seed: params.seed,
        reasoning_effort: params.thinking.as_ref().and_then(|thinking| match thinking {
            Thinking::Level(level) => Some(level.as_str()),
            Thinking::Budget(_) => None,
        }),
        response_format: params.json.as_ref().map(|json| match json {
            JsonMode::Object => ResponseFormat::JsonObject,
            JsonMode::Schema(schema) => {
                ResponseFormat::JsonSchema { json_schema: NamedSchema { name: "answer", schema } }
            }
        }),
    };
    Ok(Outgoing { path: "/chat/completions".into(), body: to_json(&body, size_hint(request, pictures))? })
}

fn turn<'a>(message: &'a Message, pictures: &mut std::slice::Iter<'a, Picture<'a>>) -> Turn<'a> {
    let role = match message.role {
        MessageRole::User => "user",
        MessageRole::Assistant => "assistant",
    };
    if let [Part::Text(text)] = message.parts.as_slice() {
        return Turn { role, content: Content::Text(text) };
    }
    let parts = message.parts.iter().filter_map(|part| match part {
        Part::Text(text) => Some(Piece::Text { text }),
        Part::Image(_) => {
            pictures.next().map(|picture| Piece::ImageUrl { image_url: ImageUrl { url: Address(picture) } })
        }
    });
    Turn { role, content: Content::Parts(parts.collect()) }
}

/// What chat completions answer under 2xx.
#[derive(Deserialize)]
pub(super) struct Reply {
    #[serde(default, deserialize_with = "present")]
    choices: Option<Vec<Choice>>,
    model: Option<String>,
    #[serde(default)]
    usage: Option<TokenUsage>,
    error: Option<IgnoredAny>,
    base_resp: Option<BaseResp>,
}

/// The field is there, `null` included.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Choice>>, D::Error> {
    Option::deserialize(deserializer).map(|list: Option<Vec<Choice>>| Some(list.unwrap_or_default()))
}

/// MiniMax's verdict on itself; 0 is success.
#[derive(Deserialize)]
struct BaseResp {
    status_code: Count,
}

#[derive(Deserialize)]
struct Choice {
    message: Option<Said>,
    /// Of old completion endpoints.
    text: Option<String>,
    finish_reason: Option<String>,
    /// OpenRouter: the upstream broke off after it had begun.
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    content: Words,
    refusal: Option<String>,
}

/// A string, null, or a list of parts of which the texts count.
#[derive(Default)]
struct Words(String);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordsVisitor;

        #[derive(Deserialize)]
        struct WordsPart {
            text: Option<String>,
        }

        impl<'de> Visitor<'de> for WordsVisitor {
            type Value = Words;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, null or a list of parts")
            }

            fn visit_str<E>(self, text: &str) -> Result<Words, E> {
                Ok(Words(text.to_owned()))
            }

            fn visit_string<E>(self, text: String) -> Result<Words, E> {
                Ok(Words(text))
            }

            fn visit_unit<E>(self) -> Result<Words, E> {
                Ok(Words::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Words, A::Error> {
                let mut words = Words::default();
                while let Some(part) = parts.next_element::<WordsPart>()? {
                    words.0.push_str(part.text.as_deref().unwrap_or_default());
                }
                Ok(words)
            }
        }

        deserializer.deserialize_any(WordsVisitor)
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct TokenUsage {
    prompt_tokens: Count,
    completion_tokens: Count,
    total_tokens: Count,
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(default)]
struct CompletionDetails {
    reasoning_tokens: Count,
}

impl From<TokenUsage> for Usage {
    /// OpenAI counts reasoning among the completion's tokens; xAI and Gemini's compatible surface don't, which shows
    /// in their total.
    fn from(usage: TokenUsage) -> Self {
        let (input_tokens, completion) = (usage.prompt_tokens.get(), usage.completion_tokens.get());
        let reasoning = usage.completion_tokens_details.unwrap_or_default().reasoning_tokens.get();
        let beside = usage.total_tokens.get().saturating_sub(input_tokens.saturating_add(completion));
        if beside > 0 && (reasoning == 0 || beside == reasoning) {
            return Self { input_tokens, output_tokens: completion, thinking_tokens: beside };
        }
        let thinking = reasoning.min(completion);
        Self { input_tokens, output_tokens: completion - thinking, thinking_tokens: thinking }
    }
}

impl Reply {
    /// The answer, where this is plainly one.
    pub(super) fn completion(mut self) -> Option<Completion> {
        let minimax_error = self.base_resp.as_ref().is_some_and(|base| base.status_code.get() != 0);
        if self.error.is_some() || minimax_error { None } else { self.answer() }
    }

    /// As `completion`, but a reply whose choices are missing is an empty answer.
    pub(super) fn completion_or_nothing(mut self) -> Option<Completion> {
        self.answer().or_else(|| {
            self.choices.as_ref()?;
            let usage = self.usage.take().unwrap_or_default();
            // LM Studio: a prompt over the context, or a picture for a model that can't see.
            let hopeless = usage.prompt_tokens.get() > 0 && usage.completion_tokens.stated() == Some(0);
            let model_version = self.model.take();
            Some(Completion { usage: usage.into(), model_version, hopeless, ..Completion::default() })
        })
    }

    /// Takes the first choice out, where there is one.
    fn answer(&mut self) -> Option<Completion> {
        let choice = self.choices.as_mut().and_then(|list| (!list.is_empty()).then(|| list.swap_remove(0)))?;
        let (content, refusal) = choice.message.map(|said| (said.content.0, said.refusal)).unwrap_or_default();
        Some(Completion {
            text: if content.is_empty() { choice.text.unwrap_or_default() } else { content },
            finish: if choice.error.is_some() { Some("error".to_owned()) } else { choice.finish_reason },
            model_version: self.model.take(),
            usage: self.usage.take().unwrap_or_default().into(),
            blocked: refusal.filter(|refusal| !refusal.is_empty()),
            ..Completion::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasoning_is_counted_once_wherever_a_vendor_puts_it() {
        let cases = [
            // OpenAI: inside the completion.
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
            // Gemini's compatible surface: only in the total.
            (r#"{"prompt_tokens":10,"completion_tokens":4,"total_tokens":74}"#, (10, 4, 60)),
            (r#"{"prompt_tokens":null,"completion_tokens":null,"total_tokens":0}"#, (0, 0, 0)),
            (r#"{"prompt_tokens":3,"completion_tokens":"1","completion_tokens_details":null}"#, (3, 1, 0)),
        ];
        for (json, (input_tokens, output_tokens, thinking_tokens)) in cases {
            let usage: TokenUsage = serde_json::from_str(json).unwrap();
            assert_eq!(Usage::from(usage), Usage { input_tokens, output_tokens, thinking_tokens }, "{json}");
        }
    }
}
