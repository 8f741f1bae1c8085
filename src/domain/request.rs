//! A request in a form independent of any provider: messages and parameters.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The request of one item. Picture files are read only when an attempt sends them.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Request {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    pub messages: Vec<Message>,
    #[serde(default, skip_serializing_if = "Params::is_empty")]
    pub params: Params,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Message {
    #[serde(rename = "speaker")]
    pub role: MessageRole,
    pub parts: Vec<Part>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageRole {
    User,
    Assistant,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    Text(String),
    Image(Image),
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Image {
    /// Read when the attempt is made; an unreadable file is `unreadable_input`.
    File(PathBuf),
    /// Base64, as it was in the row.
    Inline { mime: String, data: String },
    /// Fetched by the provider.
    Url(String),
}

/// Sampling and output parameters. `None` leaves the provider's default.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Params {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking: Option<Thinking>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<JsonMode>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Thinking {
    /// `minimal`, `low`, `medium`, `high`: Gemini's thinkingLevel, OpenAI's reasoning_effort.
    Level(String),
    /// Tokens: Anthropic's budget_tokens, Gemini's thinkingBudget.
    Budget(u32),
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JsonMode {
    /// Any JSON object.
    Object,
    /// JSON that satisfies this schema.
    Schema(Value),
}

/// A high estimate of the tokens of a text: bytes / 3.
pub const fn estimated_text_tokens(text: &str) -> u64 {
    text.len().div_ceil(3) as u64
}

impl Params {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Request {
    /// One user message of plain text.
    pub fn from_prompt(prompt: impl Into<String>) -> Self {
        Self {
            messages: vec![Message { role: MessageRole::User, parts: vec![Part::Text(prompt.into())] }],
            ..Self::default()
        }
    }

    /// Appends a paragraph to the last message of the user.
    pub fn append_paragraph(&mut self, text: &str) {
        let Some(last) = self.messages.iter_mut().rev().find(|message| message.role == MessageRole::User) else {
            return;
        };
        match last.parts.last_mut() {
            Some(Part::Text(before)) => *before = format!("{}\n\n{text}", before.trim_end()),
            _ => last.parts.push(Part::Text(text.to_owned())),
        }
    }

    pub fn images(&self) -> impl Iterator<Item = &Image> {
        self.messages.iter().flat_map(|message| &message.parts).filter_map(|part| match part {
            Part::Image(image) => Some(image),
            Part::Text(_) => None,
        })
    }

    pub fn needs_vision(&self) -> bool {
        self.images().next().is_some()
    }

    /// All texts that the model reads, in order.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.system.as_deref().into_iter().chain(self.messages.iter().flat_map(|message| &message.parts).filter_map(
            |part| match part {
                Part::Text(text) => Some(text.as_str()),
                Part::Image(_) => None,
            },
        ))
    }

    /// A high estimate of input tokens, for reservations before the provider has counted: bytes / 3 for text (English
    /// has about 4 bytes a token, CJK about 3), 1,200 per picture (Gemini 3's default is 1,120), 8 per message.
    pub fn estimated_input_tokens(&self) -> u64 {
        let text: u64 = self.texts().map(estimated_text_tokens).sum();
        text + (1_200 * self.images().count() + 8 * self.messages.len()) as u64
    }
}
