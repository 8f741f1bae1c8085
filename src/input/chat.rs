//! Reads conversations in the format of OpenAI and Anthropic, which is also the format of a row's `messages`.

use crate::domain::{Image, Message, MessageRole, Part};

use super::{
    error::FieldError,
    image_ref::{self, ImageRefError},
    json::Json,
    params::refuse_unsupported,
};

/// A conversation with its leading system messages separated.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    pub system: Option<String>,
    pub messages: Vec<Message>,
}

/// Reads a `messages` list. Field paths in errors start inside it: `messages[2].role`.
pub(super) fn read(value: &Json<'_>) -> Result<Conversation, FieldError> {
    let mut conversation = Conversation::default();
    let mut system = Vec::new();
    for (index, message) in value.list("messages")?.iter().enumerate() {
        let add_index = |error: FieldError| error.within(format_args!("messages[{index}]"));
        match parse_turn(message).map_err(add_index)? {
            ParsedTurn::System(text) if conversation.messages.is_empty() => system.push(text),
            ParsedTurn::System(_) => {
                return Err(add_index(FieldError::new(
                    "role",
                    "is a system message after the conversation began; put it first",
                )));
            }
            ParsedTurn::Message(message) => conversation.messages.push(message),
        }
    }
    conversation.system = (!system.is_empty()).then(|| system.join("\n\n"));
    require_user_message(&conversation.messages)?;
    Ok(conversation)
}

pub(super) fn require_user_message(messages: &[Message]) -> Result<(), FieldError> {
    if messages.iter().any(|message| message.role == MessageRole::User) {
        return Ok(());
    }
    Err(FieldError::new("messages", "contains no user message: there is nothing to ask"))
}

enum ParsedTurn {
    System(String),
    Message(Message),
}

fn parse_turn(message: &Json<'_>) -> Result<ParsedTurn, FieldError> {
    let fields = message.object("")?;
    let role = message.get("role").ok_or_else(|| FieldError::new("role", "is missing"))?.text("role")?;
    for (name, value) in fields {
        match name.as_ref() {
            // These are ignored, since not all providers accept them: a speaker's name, and details of earlier answers.
            "role" | "content" | "name" | "refusal" | "annotations" => {}
            name => refuse_unsupported(name, value)?,
        }
    }
    let content = message.get("content").ok_or_else(|| FieldError::new("content", "is missing"))?;
    let parts = parse_parts(content).map_err(|error| error.within("content"))?;
    match role {
        "user" => Ok(ParsedTurn::Message(Message { role: MessageRole::User, parts })),
        "assistant" | "model" => Ok(ParsedTurn::Message(Message { role: MessageRole::Assistant, parts })),
        "system" | "developer" => join_text(parts).map(ParsedTurn::System).map_err(|error| error.within("content")),
        other => {
            Err(FieldError::new("role", format!("is `{other}`; supported are system, developer, user and assistant")))
        }
    }
}

/// Reads a string, or a list of text and picture parts. The result is never empty.
pub(super) fn parse_parts(content: &Json<'_>) -> Result<Vec<Part>, FieldError> {
    let parts = match content {
        Json::Text(text) => text_part(text).into_iter().collect(),
        Json::List(items) => {
            let mut parts = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                parts.extend(parse_part(item).map_err(|error| error.within(format_args!("[{index}]")))?);
            }
            parts
        }
        _ => return Err(content.type_error("", "a string or a list of parts")),
    };
    if parts.is_empty() { Err(FieldError::new("", "is empty")) } else { Ok(parts) }
}

/// Joins parts that must contain only text.
pub(super) fn join_text(parts: Vec<Part>) -> Result<String, FieldError> {
    let texts: Result<Vec<_>, _> = parts
        .into_iter()
        .map(|part| match part {
            Part::Text(text) => Ok(text),
            Part::Image(_) => Err(FieldError::new("", "contains a picture, but a system prompt must be text only")),
        })
        .collect();
    Ok(texts?.join("\n\n"))
}

fn text_part(text: &str) -> Option<Part> {
    (!text.trim().is_empty()).then(|| Part::Text(text.to_owned()))
}

fn parse_part(part: &Json<'_>) -> Result<Option<Part>, FieldError> {
    if let Some(text) = part.as_text() {
        return Ok(text_part(text));
    }
    part.object("")?;
    let require = |name: &str| part.get(name).ok_or_else(|| FieldError::new(name, "is missing"));
    match require("type")?.text("type")? {
        "text" | "input_text" => {
            // No API allows a picture in a text part, so it would be lost.
            for name in ["image_url", "image", "source"] {
                part.get(name).map_or(Ok(()), |value| refuse_unsupported(name, value))?;
            }
            Ok(text_part(require("text")?.text("text")?))
        }
        // `detail`, OpenAI's setting for a picture's resolution, is ignored: no other provider has it.
        "image_url" | "input_image" => {
            let url = require("image_url")?;
            let url = url.get("url").unwrap_or(url).text("image_url.url")?;
            image_part(image_ref::parse_reference(url), "image_url.url")
        }
        "image" => parse_source(require("source")?).map_err(|error| error.within("source")),
        other => Err(FieldError::new("type", format!("is `{other}`; only text and pictures can be sent"))),
    }
}

/// Reads Anthropic's `{"type":"base64","media_type":…,"data":…}` or `{"type":"url","url":…}`.
fn parse_source(source: &Json<'_>) -> Result<Option<Part>, FieldError> {
    let require = |name: &str| source.get(name).ok_or_else(|| FieldError::new(name, "is missing"))?.text(name);
    match require("type")? {
        "base64" => image_part(image_ref::parse_inline(require("media_type")?, require("data")?), "data"),
        "url" => image_part(image_ref::parse_reference(require("url")?), "url"),
        other => Err(FieldError::new("type", format!("is `{other}`; supported are base64 and url"))),
    }
}

fn image_part(image: Result<Image, ImageRefError>, field_path: &str) -> Result<Option<Part>, FieldError> {
    image.map(|image| Some(Part::Image(image))).map_err(|error| FieldError::new(field_path, error.to_string()))
}
