//! A row of one's own: `prompt` or `messages`, what to ask with them, and any other field for templates.
//!
//! JSONL rows, CSV records and lines of plain text all come here as fields.

use std::borrow::Cow;

use crate::domain::{Message, MessageRole, Money, Part, Request};

use super::{
    chat::{self, Chat},
    draft::{Draft, Recipe},
    fault::Wrong,
    json::{EXACT_BELOW, Fields, Json, field},
    params, picture_fields,
    template::listed,
};

/// Longest id a row may have, in bytes: ids stand in every line of the log and the screen.
const MAX_ID: usize = 512;

/// Reads a JSONL row.
pub(super) fn jsonl(line: &str, recipe: &Recipe) -> Result<Draft, Wrong> {
    let row = recipe.parse(line)?;
    let fields = match &row {
        Json::Object(fields) => fields,
        other => return Err(Wrong::new("", format!("is {}; a row is a JSON object {{…}}", other.kind()))),
    };
    draft(fields, fields, recipe)
}

/// Reads a line of plain text: a prompt, or the field `prompt` of a template.
pub(super) fn text(line: &str, recipe: &Recipe) -> Result<Draft, Wrong> {
    let fields = vec![("prompt".into(), Json::Text(line.into()))];
    draft(&fields, &fields, recipe)
}

/// `fields` say what the row asks; `context` is what templates see of it.
pub(super) fn draft(fields: &Fields<'_>, context: &Fields<'_>, recipe: &Recipe) -> Result<Draft, Wrong> {
    let mut draft = Draft { fields: recipe.keep(context), ..Draft::default() };
    let mut request = Request { params: recipe.defaults.clone(), ..Request::default() };
    let (mut prompt, mut messages) = (None, None);
    for (name, value) in fields {
        if value.is_null() {
            continue;
        }
        match name.as_ref() {
            "prompt" => prompt = Some(value),
            "messages" => messages = Some(value),
            "id" => draft.id = Some(id(value, "id")?),
            "system" => request.system = Some(value.text("system")?.to_owned()),
            "model" => draft.model = Some(word(value, "model")?),
            "tier" => draft.tier = Some(word(value, "tier")?),
            "max_usd" => draft.max_usd = Some(money(value, "max_usd")?),
            "thinking" => request.params.thinking = params::thinking(value, "thinking")?,
            "json" => request.params.json = params::json(value, "json")?,
            name => {
                params::set(&mut request.params, name, value)?;
            }
        }
    }
    match (recipe.templates.prompt(context)?, prompt, messages) {
        (Some(rendered), ..) => request.messages = vec![user(rendered, "the prompt template gives an empty prompt")?],
        (None, Some(prompt), None) => {
            request.messages = vec![user(prompt.text("prompt")?.to_owned(), "`prompt` is empty")?];
        }
        (None, None, Some(messages)) => {
            let chat = chat::read(messages)?;
            converse(&mut request, chat)?;
        }
        (None, Some(_), Some(_)) => {
            return Err(Wrong::new("", "has both `prompt` and `messages`; keep one of them"));
        }
        (None, None, None) => {
            return Err(no_prompt(context));
        }
    }
    let pictures = pictures(fields, request.needs_vision(), recipe)?;
    attach(&mut request.messages, pictures);
    if !recipe.legacy_rows {
        picture_fields::refuse_unread(context, &request, recipe)?;
    }
    if request.system.is_none() {
        request.system = recipe.templates.system(context)?;
    }
    draft.request = request;
    Ok(draft)
}

/// The commonest fault of all: a data set with columns of its own.
fn no_prompt(context: &Fields<'_>) -> Wrong {
    if let Some(name) = ["prompt", "messages"].into_iter().find(|name| field(context, name).is_some()) {
        return Wrong::new(name, "is null, which asks nothing; fill it in, or take the row out");
    }
    let is_text = |(name, value): &&(Cow<'_, str>, Json<'_>)| name != "id" && value.as_text().is_some();
    let likely = context.iter().find(is_text).map_or("field", |(name, _)| name);
    let words = format!(
        "has neither `prompt` nor `messages` ({}); give a template over its fields, as in --prompt \"{{{{ {likely} }}}}\"",
        listed(context)
    );
    Wrong::new("", words).said_once("no prompt")
}

fn converse(request: &mut Request, chat: Chat) -> Result<(), Wrong> {
    if request.system.is_some() && chat.system.is_some() {
        return Err(Wrong::new("", "has both `system` and a system message; keep one of them"));
    }
    request.system = request.system.take().or(chat.system);
    request.messages = chat.messages;
    Ok(())
}

fn user(prompt: String, if_empty: &str) -> Result<Message, Wrong> {
    if prompt.trim().is_empty() {
        return Err(Wrong::new("", if_empty));
    }
    Ok(Message { role: MessageRole::User, parts: vec![Part::Text(prompt)] })
}

/// Pictures go before the text of the last user message: models answer better about what they have seen.
fn attach(messages: &mut [Message], pictures: Vec<Part>) {
    if let Some(last) = messages.iter_mut().rev().find(|message| message.role == MessageRole::User) {
        last.parts.splice(0..0, pictures);
    }
}

/// The pictures that the fields name. `has_picture` says whether the messages hold some themselves.
fn pictures(fields: &Fields<'_>, has_picture: bool, recipe: &Recipe) -> Result<Vec<Part>, Wrong> {
    let images = if recipe.legacy_rows {
        let images = field(fields, "images").filter(|value| !value.is_null());
        images.map(|value| picture_fields::references("images", value)).transpose()?.unwrap_or_default()
    } else {
        picture_fields::read(fields, has_picture, recipe)?
    };
    Ok(images.into_iter().map(Part::Image).collect())
}

/// An id: a string, or a whole number, which becomes one.
pub(super) fn id(value: &Json<'_>, at: &str) -> Result<String, Wrong> {
    let id = match value {
        Json::Text(text) => text.to_string(),
        Json::Int(number) => number.to_string(),
        Json::Big(number) => number.to_string(),
        // Its last digits are lost: two such ids could become one.
        Json::Float(number) if number.abs() >= EXACT_BELOW => {
            return Err(Wrong::new(at, "is too large a number to be kept exactly; write it in quotes"));
        }
        Json::Float(_) => {
            return Err(Wrong::new(at, "must be a string or a whole number, not one with a fraction or an exponent"));
        }
        _ => return Err(value.must_be(at, "a string or a whole number")),
    };
    match id.len() {
        0 => Err(Wrong::new(at, "is empty; leave it out to have one made")),
        1..=MAX_ID => Ok(id),
        length => Err(Wrong::new(at, format!("is {length} bytes long; at most {MAX_ID} are allowed"))),
    }
}

pub(super) fn word(value: &Json<'_>, at: &str) -> Result<String, Wrong> {
    match value.text(at)?.trim() {
        "" => Err(Wrong::new(at, "is empty")),
        text => Ok(text.to_owned()),
    }
}

fn money(value: &Json<'_>, at: &str) -> Result<Money, Wrong> {
    Money::from_usd(value.number(at)?).ok_or_else(|| Wrong::new(at, "must be an amount of dollars, 0 or more"))
}
