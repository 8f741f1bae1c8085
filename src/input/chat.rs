//! Conversations as OpenAI and Anthropic write them, and as a row's `messages` may: roles, strings, parts.

use crate::domain::{Image, Message, MessageRole, Part};

use super::{fault::Wrong, image, json::Json, params::unsupported};

/// A conversation, its leading system messages taken out.
#[derive(Debug, Default)]
pub(super) struct Chat {
    pub system: Option<String>,
    pub messages: Vec<Message>,
}

/// Reads a `messages` list. Errors are seen from inside it: `messages[2].role`.
pub(super) fn read(value: &Json<'_>) -> Result<Chat, Wrong> {
    let mut chat = Chat::default();
    let mut system = Vec::new();
    for (index, message) in value.list("messages")?.iter().enumerate() {
        let within = |wrong: Wrong| wrong.within(format_args!("messages[{index}]"));
        match turn(message).map_err(within)? {
            Turn::System(text) if chat.messages.is_empty() => system.push(text),
            Turn::System(_) => {
                return Err(within(Wrong::new(
                    "role",
                    "is a system message after the conversation began; put it first",
                )));
            }
            Turn::Said(message) => chat.messages.push(message),
        }
    }
    chat.system = (!system.is_empty()).then(|| system.join("\n\n"));
    must_have_a_question(&chat.messages)?;
    Ok(chat)
}

pub(super) fn must_have_a_question(messages: &[Message]) -> Result<(), Wrong> {
    if messages.iter().any(|message| message.role == MessageRole::User) {
        return Ok(());
    }
    Err(Wrong::new("messages", "holds no user message: there is nothing to ask"))
}

enum Turn {
    System(String),
    Said(Message),
}

fn turn(message: &Json<'_>) -> Result<Turn, Wrong> {
    let fields = message.object("")?;
    let role = message.get("role").ok_or_else(|| Wrong::new("role", "is missing"))?.text("role")?;
    for (name, value) in fields {
        match name.as_ref() {
            // A speaker's name and an empty refusal change nothing that can be passed on to every provider.
            "role" | "content" | "name" | "refusal" | "annotations" => {}
            name => unsupported(name, value)?,
        }
    }
    let content = message.get("content").ok_or_else(|| Wrong::new("content", "is missing"))?;
    let parts = parts(content).map_err(|wrong| wrong.within("content"))?;
    match role {
        "user" => Ok(Turn::Said(Message { role: MessageRole::User, parts })),
        "assistant" | "model" => Ok(Turn::Said(Message { role: MessageRole::Assistant, parts })),
        "system" | "developer" => text_of(parts).map(Turn::System).map_err(|wrong| wrong.within("content")),
        other => Err(Wrong::new("role", format!("is `{other}`; read are system, developer, user and assistant"))),
    }
}

/// A string, or a list of text and picture parts. Never empty.
pub(super) fn parts(content: &Json<'_>) -> Result<Vec<Part>, Wrong> {
    let parts = match content {
        Json::Text(text) => text_part(text).into_iter().collect(),
        Json::List(items) => {
            let mut parts = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                parts.extend(part(item).map_err(|wrong| wrong.within(format_args!("[{index}]")))?);
            }
            parts
        }
        _ => return Err(content.must_be("", "a string or a list of parts")),
    };
    if parts.is_empty() { Err(Wrong::new("", "is empty")) } else { Ok(parts) }
}

/// The text of parts that must be text only.
pub(super) fn text_of(parts: Vec<Part>) -> Result<String, Wrong> {
    let texts: Result<Vec<_>, _> = parts
        .into_iter()
        .map(|part| match part {
            Part::Text(text) => Ok(text),
            Part::Image(_) => Err(Wrong::new("", "holds a picture; a system prompt is text only")),
        })
        .collect();
    Ok(texts?.join("\n\n"))
}

fn text_part(text: &str) -> Option<Part> {
    (!text.trim().is_empty()).then(|| Part::Text(text.to_owned()))
}

fn part(part: &Json<'_>) -> Result<Option<Part>, Wrong> {
    if let Some(text) = part.as_text() {
        return Ok(text_part(text));
    }
    part.object("")?;
    let need = |name: &str| part.get(name).ok_or_else(|| Wrong::new(name, "is missing"));
    match need("type")?.text("type")? {
        "text" | "input_text" => {
            // A picture beside the text, where no API has one, would be lost.
            for name in ["image_url", "image", "source"] {
                part.get(name).map_or(Ok(()), |value| unsupported(name, value))?;
            }
            Ok(text_part(need("text")?.text("text")?))
        }
        // `detail` is a hint on OpenAI's price of a picture that no other provider knows: left out.
        "image_url" | "input_image" => {
            let url = need("image_url")?;
            let url = url.get("url").unwrap_or(url).text("image_url.url")?;
            picture(image::reference(url), "image_url.url")
        }
        "image" => source(need("source")?).map_err(|wrong| wrong.within("source")),
        other => Err(Wrong::new("type", format!("is `{other}`; only text and pictures can be sent"))),
    }
}

/// Anthropic's `{"type":"base64","media_type":…,"data":…}` or `{"type":"url","url":…}`.
fn source(source: &Json<'_>) -> Result<Option<Part>, Wrong> {
    let need = |name: &str| source.get(name).ok_or_else(|| Wrong::new(name, "is missing"))?.text(name);
    match need("type")? {
        "base64" => picture(image::inline(need("media_type")?, need("data")?), "data"),
        "url" => picture(image::reference(need("url")?), "url"),
        other => Err(Wrong::new("type", format!("is `{other}`; read are base64 and url"))),
    }
}

fn picture(image: Result<Image, String>, at: &str) -> Result<Option<Part>, Wrong> {
    image.map(|image| Some(Part::Image(image))).map_err(|words| Wrong::new(at, words))
}
