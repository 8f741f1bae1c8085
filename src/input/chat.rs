//! Reads conversations in the format of OpenAI and Anthropic, which is also the format of a row's `messages`. What
//! can't be translated for another API is noted.

use crate::domain::{Api, Image, Message, MessageRole, Part};

use super::{
    body_notes::{BodyForm, BodyNotes},
    error::FieldError,
    image_ref::{self, ImageRefError},
    json::Json,
    params::refuse_unsupported,
    picture_fields,
};

/// A conversation with its leading system messages separated.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    pub system: Option<String>,
    pub messages: Vec<Message>,
}

/// Reads a `messages` list. Field paths in errors start inside it: `messages[2].role`.
pub(super) fn read(value: &Json<'_>, notes: &mut BodyNotes) -> Result<Conversation, FieldError> {
    let mut conversation = Conversation::default();
    let mut system = Vec::new();
    for (index, message) in value.list("messages")?.iter().enumerate() {
        let add_index = |error: FieldError| error.within(format_args!("messages[{index}]"));
        let is_late = !conversation.messages.is_empty();
        let turn = notes.within("messages", |notes| notes.at(index, |notes| parse_turn(message, is_late, notes)));
        match turn.map_err(add_index)? {
            ParsedTurn::System(text) => system.push(text),
            ParsedTurn::Message(message) => conversation.messages.push(message),
            ParsedTurn::NativeOnly => {}
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
    /// Only the body's own API can take it. This is noted.
    NativeOnly,
}

/// Reads one message. `is_late`: the conversation has begun.
fn parse_turn(message: &Json<'_>, is_late: bool, notes: &mut BodyNotes) -> Result<ParsedTurn, FieldError> {
    let fields = message.object("")?;
    let role = message.get("role").ok_or_else(|| FieldError::new("role", "is missing"))?.text("role")?;
    for (name, value) in fields {
        match name.as_ref() {
            "role" | "content" => {}
            // No API has a picture there, so it would be lost.
            name if picture_fields::names_only_pictures(name) => refuse_unsupported(name, value)?,
            name => notes.add_native_only(name, value),
        }
    }
    let is_known_role = matches!(role, "user" | "assistant" | "model" | "system" | "developer");
    if !is_known_role {
        if notes.form.is_row() {
            let message = format!("is `{role}`; supported are system, developer, user and assistant");
            return Err(FieldError::new("role", message));
        }
        notes.add_native_only_path(&format!("role: {role}"));
        return Ok(ParsedTurn::NativeOnly);
    }
    let content = match message.get("content") {
        // Such a message may consist of calls of tools.
        None | Some(Json::Null) if role == "assistant" && fields.len() > 2 && !notes.form.is_row() => {
            return Ok(ParsedTurn::NativeOnly);
        }
        None => return Err(FieldError::new("content", "is missing")),
        Some(content) => content,
    };
    let native_only_before = notes.native_only_count();
    let parts = notes.within("content", |notes| parse_content(content, notes));
    let parts = parts.map_err(|error| error.within("content"))?;
    if parts.is_empty() {
        // Either all of it is only for the body's own API, or there are calls of tools instead.
        let has_native_only = notes.native_only_count() > native_only_before;
        return if has_native_only || (role == "assistant" && fields.len() > 2 && !notes.form.is_row()) {
            Ok(ParsedTurn::NativeOnly)
        } else {
            Err(FieldError::new("content", "is empty"))
        };
    }
    match role {
        "user" => Ok(ParsedTurn::Message(Message { role: MessageRole::User, parts })),
        "assistant" | "model" => {
            if role == "model" {
                notes.set_nonstandard();
            }
            Ok(ParsedTurn::Message(Message { role: MessageRole::Assistant, parts }))
        }
        _ if is_late && notes.form.is_row() => {
            Err(FieldError::new("role", "is a system message after the conversation began; put it first"))
        }
        _ if is_late => {
            notes.add_native_only_path(&format!("role: {role} after the first message"));
            Ok(ParsedTurn::NativeOnly)
        }
        _ => join_text(parts).map(ParsedTurn::System).map_err(|error| error.within("content")),
    }
}

/// Reads a string, or a list of text and picture parts. The result is never empty.
pub(super) fn parse_parts(content: &Json<'_>, notes: &mut BodyNotes) -> Result<Vec<Part>, FieldError> {
    let parts = parse_content(content, notes)?;
    if parts.is_empty() { Err(FieldError::new("", "is empty")) } else { Ok(parts) }
}

/// Like [`parse_parts`], but the result may be empty.
fn parse_content(content: &Json<'_>, notes: &mut BodyNotes) -> Result<Vec<Part>, FieldError> {
    match content {
        Json::Text(text) => Ok(text_part(text).into_iter().collect()),
        Json::List(items) => {
            let mut parts = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                let part = notes.at(index, |notes| parse_part(item, notes));
                parts.extend(part.map_err(|error| error.within(format_args!("[{index}]")))?);
            }
            Ok(parts)
        }
        _ => Err(content.type_error("", "a string or a list of parts")),
    }
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

fn parse_part(part: &Json<'_>, notes: &mut BodyNotes) -> Result<Option<Part>, FieldError> {
    if let Some(text) = part.as_text() {
        notes.set_nonstandard();
        return Ok(text_part(text));
    }
    let fields = part.object("")?;
    let require = |name: &str| part.get(name).ok_or_else(|| FieldError::new(name, "is missing"));
    let kind = require("type")?.text("type")?;
    let own_field = match kind {
        "text" | "input_text" => "text",
        "image_url" | "input_image" => "image_url",
        "image" => "source",
        other if notes.form.is_row() => {
            return Err(FieldError::new("type", format!("is `{other}`; only text and pictures can be sent")));
        }
        other => {
            notes.add_native_only_path(&format!("type: {other}"));
            return Ok(None);
        }
    };
    for (name, value) in fields {
        match name.as_ref() {
            "type" => {}
            name if name == own_field => {}
            // No API allows a picture there, so it would be lost.
            name @ ("image_url" | "image" | "source") => refuse_unsupported(name, value)?,
            name => notes.add_native_only(name, value),
        }
    }
    // OpenAI's newer API and the other vendor's parts are understood, but their own API would refuse them.
    let is_own_part = match notes.form {
        BodyForm::Native(Api::Anthropic) => matches!(kind, "text" | "image"),
        BodyForm::Native(_) => matches!(kind, "text" | "image_url"),
        BodyForm::Row => true,
    };
    if !is_own_part {
        notes.set_nonstandard();
    }
    match own_field {
        "text" => Ok(text_part(require("text")?.text("text")?)),
        "image_url" => notes.within("image_url", |notes| parse_image_url(require("image_url")?, notes)),
        _ => notes
            .within("source", |notes| parse_source(require("source")?, notes))
            .map_err(|error| error.within("source")),
    }
}

/// Reads `{"url":…,"detail":…}`, or the URL alone.
fn parse_image_url(value: &Json<'_>, notes: &mut BodyNotes) -> Result<Option<Part>, FieldError> {
    const PATH: &str = "image_url.url";
    let Json::Object(fields) = value else {
        notes.set_nonstandard();
        notes.add_picture();
        return image_part(image_ref::parse_reference(value.text(PATH)?), PATH);
    };
    for (name, value) in fields {
        if name != "url" {
            notes.add_native_only(name, value);
        }
    }
    let url = value.get("url").ok_or_else(|| FieldError::new(PATH, "is missing"))?.text(PATH)?;
    notes.within("url", BodyNotes::add_picture);
    image_part(image_ref::parse_reference(url), PATH)
}

/// Reads Anthropic's `{"type":"base64","media_type":…,"data":…}` or `{"type":"url","url":…}`.
fn parse_source(source: &Json<'_>, notes: &mut BodyNotes) -> Result<Option<Part>, FieldError> {
    let require = |name: &str| source.get(name).ok_or_else(|| FieldError::new(name, "is missing"))?.text(name);
    let (image, name, own_fields) = match require("type")? {
        "base64" => {
            let image = image_ref::parse_inline(require("media_type")?, require("data")?);
            (image, "data", ["type", "media_type", "data"])
        }
        "url" => (image_ref::parse_reference(require("url")?), "url", ["type", "url", "url"]),
        other if notes.form.is_row() => {
            return Err(FieldError::new("type", format!("is `{other}`; supported are base64 and url")));
        }
        other => {
            notes.add_native_only_path(&format!("type: {other}"));
            return Ok(None);
        }
    };
    for (name, value) in source.object("")? {
        if !own_fields.contains(&name.as_ref()) {
            notes.add_native_only(name, value);
        }
    }
    notes.add_picture();
    image_part(image, name)
}

fn image_part(image: Result<Image, ImageRefError>, field_path: &str) -> Result<Option<Part>, FieldError> {
    image.map(|image| Some(Part::Image(image))).map_err(|error| FieldError::new(field_path, error.to_string()))
}
