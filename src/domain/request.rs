//! A request in a form independent of any provider: messages and parameters.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    cost_factors::CostFactors,
    json_numbers::deserialize_fields,
    native_body::{ATTACHMENT_TOKENS, NativeBody, value_tokens},
    params::{JsonMode, Params},
};

/// The request of one item. Picture files are read only when an attempt sends them.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Request {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    pub messages: Vec<Message>,
    #[serde(default, skip_serializing_if = "Params::is_empty")]
    pub params: Params,
    /// The row's own body, if it is written for one API. It goes to that API in place of the other fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native: Option<Box<NativeBody>>,
    /// Fields that the row adds to the body.
    #[serde(default, skip_serializing_if = "Map::is_empty", deserialize_with = "deserialize_fields")]
    pub extra_body: Map<String, Value>,
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

/// A high estimate of the tokens of a text: bytes / 3.
pub const fn estimated_text_tokens(text: &str) -> u64 {
    text.len().div_ceil(3) as u64
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
        if let Some(native) = &mut self.native {
            native.append_paragraph(text);
        }
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

    /// The properties that the highest cost of its answer depends on, apart from its length.
    pub fn cost_factors(&self) -> CostFactors {
        let images = u32::try_from(self.images().count()).unwrap_or(u32::MAX);
        let bodies = self.native.iter().map(|native| &native.body).chain([&self.extra_body]);
        let bodies = bodies.filter(|body| !body.is_empty());
        bodies.map(CostFactors::of_body).fold(CostFactors { images, ..CostFactors::default() }, CostFactors::combined)
    }

    /// A high estimate of input tokens, for reservations before the provider has counted: bytes / 3 for text (English
    /// has about 4 bytes a token, CJK about 3), 1,200 per picture (Gemini 3's default is 1,120), 8 per message. A
    /// schema and the fields of `extra_body` count like text. A body with fields that only its own API knows is counted as a whole.
    pub fn estimated_input_tokens(&self) -> u64 {
        let text: u64 = self.texts().map(estimated_text_tokens).sum();
        let pictures = ATTACHMENT_TOKENS * self.images().count() as u64;
        let schema = match &self.params.json {
            Some(JsonMode::Schema(schema)) => value_tokens(schema),
            Some(JsonMode::Object) | None => 0,
        };
        let added: u64 = schema + self.extra_body.values().map(value_tokens).sum::<u64>();
        let translated = text + 8 * self.messages.len() as u64 + pictures + added;
        match &self.native {
            Some(native) if !native.native_only_fields.is_empty() => {
                translated.max(native.estimated_tokens() + pictures + added + 8 * self.messages.len() as u64)
            }
            _ => translated,
        }
    }
}
