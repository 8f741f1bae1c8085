//! Reads rows in the program's own format: `prompt` or `messages`, parameters, and any other field for templates.
//!
//! JSONL rows, CSV records and lines of plain text all come here as fields.

use std::borrow::Cow;

use crate::domain::{Message, MessageRole, Money, Part, Request};

use super::{
    body_notes::{BodyForm, BodyNotes},
    chat::{self, Conversation},
    draft::{Draft, RowOptions},
    error::FieldError,
    json::{Fields, Json, get_field, is_whole},
    params, picture_fields,
    template::list_fields,
};

/// Maximum length of an id in bytes. Ids are written to every line of the log and shown on the screen.
const MAX_ID_BYTES: usize = 512;

/// Reads a JSONL row.
pub(super) fn read_jsonl(line: &str, options: &RowOptions) -> Result<Draft, FieldError> {
    let row = options.parse_row(line)?;
    let fields = match &row {
        Json::Object(fields) => fields,
        other => {
            return Err(FieldError::new("", format!("is {}; a row must be a JSON object {{…}}", other.type_name())));
        }
    };
    build_draft(fields, fields, options)
}

/// Reads a line of plain text: a prompt, or the field `prompt` of a template.
pub(super) fn read_text(line: &str, options: &RowOptions) -> Result<Draft, FieldError> {
    let fields = vec![("prompt".into(), Json::Text(line.into()))];
    build_draft(&fields, &fields, options)
}

/// Builds a draft from `fields`. Templates see `template_fields`.
pub(super) fn build_draft(
    fields: &Fields<'_>,
    template_fields: &Fields<'_>,
    options: &RowOptions,
) -> Result<Draft, FieldError> {
    let mut draft = Draft { kept_fields: options.pick_kept_fields(template_fields)?, ..Draft::default() };
    let mut request = Request { params: options.input.default_params.clone(), ..Request::default() };
    let mut notes = BodyNotes::new(BodyForm::Row, options.input.legacy_bodies);
    let (mut prompt, mut messages) = (None, None);
    // These win over `thinking` and `json`, whatever the order of the fields.
    let is_winner = |(name, _): &&(Cow<'_, str>, Json<'_>)| {
        !options.input.legacy_bodies && matches!(name.as_ref(), "reasoning_effort" | "response_format")
    };
    let others = fields.iter().filter(|field| !is_winner(field));
    for (name, value) in others.chain(fields.iter().filter(is_winner)) {
        if value.is_null() {
            continue;
        }
        match name.as_ref() {
            "prompt" => prompt = Some(value),
            "messages" => messages = Some(value),
            "id" => draft.id = Some(parse_id(value, "id")?),
            "system" => request.system = Some(value.text("system")?.to_owned()),
            "model" => draft.model = Some(nonblank_text(value, "model")?),
            "model_pinned" if !options.input.legacy_rows => {
                draft.model_pinned = Some(parse_flag(value, "model_pinned")?);
            }
            "tier" => draft.tier = Some(nonblank_text(value, "tier")?),
            "max_usd" => draft.max_usd = Some(parse_money(value, "max_usd")?),
            "thinking" => request.params.thinking = params::parse_thinking(value, "thinking", &mut notes)?,
            "json" => request.params.json = params::parse_json_mode(value, "json")?,
            "extra_body" if !options.input.legacy_bodies => request.extra_body = params::parse_extra_body(value)?,
            name => {
                params::set_param(&mut request.params, name, value, &mut notes)?;
            }
        }
    }
    if draft.model_pinned == Some(true) && draft.model.is_none() {
        return Err(FieldError::new("model_pinned", "is true, but the row names no model"));
    }
    match (options.templates.render_prompt(template_fields)?, prompt, messages) {
        (Some(rendered), ..) => {
            request.messages = vec![user_message(rendered, "the prompt template produces an empty prompt")?];
        }
        (None, Some(prompt), None) => {
            request.messages = vec![user_message(prompt.text("prompt")?.to_owned(), "`prompt` is empty")?];
        }
        (None, None, Some(messages)) => {
            let chat = chat::read(messages, &mut notes)?;
            apply_conversation(&mut request, chat)?;
        }
        (None, Some(_), Some(_)) => {
            return Err(FieldError::new("", "has both `prompt` and `messages`; keep one of them"));
        }
        (None, None, None) => {
            return Err(missing_prompt_error(template_fields));
        }
    }
    notes.refuse_native_only()?;
    if options.input.legacy_bodies {
        request.params.remove_newer_parts();
    }
    let others = template_fields.iter().filter(|(name, _)| !picture_fields::is_plain_field(name));
    for (name, _) in others.filter(|(_, value)| !value.has_no_effect()) {
        draft.note_unused_param(name, options);
    }
    let pictures = read_pictures(fields, request.needs_vision(), options)?;
    attach_pictures(&mut request.messages, pictures);
    if !options.input.legacy_rows {
        picture_fields::refuse_unread(template_fields, &request, options)?;
    }
    if request.system.is_none() {
        request.system = options.templates.render_system(template_fields)?;
    }
    draft.request = request;
    draft.refuse_unbounded_cost("extra_body", options)?;
    Ok(draft)
}

fn parse_flag(value: &Json<'_>, name: &str) -> Result<bool, FieldError> {
    match value {
        Json::Bool(flag) => Ok(*flag),
        other => Err(FieldError::new(name, format!("is {}; it must be true or false", other.type_name()))),
    }
}

/// The error for a row without a prompt. The usual cause is a data set with its own column names.
fn missing_prompt_error(template_fields: &Fields<'_>) -> FieldError {
    if let Some(name) = ["prompt", "messages"].into_iter().find(|name| get_field(template_fields, name).is_some()) {
        return FieldError::new(name, "is null, so there is nothing to ask; fill it in, or remove the row");
    }
    let is_text = |(name, value): &&(Cow<'_, str>, Json<'_>)| name != "id" && value.as_text().is_some();
    let example_field = template_fields.iter().find(is_text).map_or("field", |(name, _)| name);
    let message = format!(
        "has neither `prompt` nor `messages` ({}); give a template over its fields, as in --prompt \"{{{{ {example_field} }}}}\"",
        list_fields(template_fields)
    );
    FieldError::new("", message).with_dedup_key("no prompt")
}

fn apply_conversation(request: &mut Request, conversation: Conversation) -> Result<(), FieldError> {
    if request.system.is_some() && conversation.system.is_some() {
        return Err(FieldError::new("", "has both `system` and a system message; keep one of them"));
    }
    request.system = request.system.take().or(conversation.system);
    request.messages = conversation.messages;
    Ok(())
}

fn user_message(prompt: String, empty_message: &str) -> Result<Message, FieldError> {
    if prompt.trim().is_empty() {
        return Err(FieldError::new("", empty_message));
    }
    Ok(Message { role: MessageRole::User, parts: vec![Part::Text(prompt)] })
}

/// Inserts pictures before the text of the last user message: models answer better if the picture comes first.
fn attach_pictures(messages: &mut [Message], pictures: Vec<Part>) {
    if let Some(last) = messages.iter_mut().rev().find(|message| message.role == MessageRole::User) {
        last.parts.splice(0..0, pictures);
    }
}

/// Reads the pictures that the fields name. `has_picture` says whether the messages already contain one.
fn read_pictures(fields: &Fields<'_>, has_picture: bool, options: &RowOptions) -> Result<Vec<Part>, FieldError> {
    let images = if options.input.legacy_rows {
        let images = get_field(fields, "images").filter(|value| !value.is_null());
        images.map(|value| picture_fields::parse_references("images", value)).transpose()?.unwrap_or_default()
    } else {
        picture_fields::read(fields, has_picture, options)?
    };
    Ok(images.into_iter().map(Part::Image).collect())
}

/// Reads an id: a string, or a whole number, which is converted to a string.
pub(super) fn parse_id(value: &Json<'_>, field_path: &str) -> Result<String, FieldError> {
    let id = match value {
        Json::Text(text) => text.to_string(),
        Json::Int(number) => number.to_string(),
        Json::Number(number) if is_whole(number) => number.to_string(),
        Json::Number(_) => {
            return Err(FieldError::new(
                field_path,
                "must be a string or a whole number, not one with a fraction or an exponent",
            ));
        }
        _ => return Err(value.type_error(field_path, "a string or a whole number")),
    };
    match id.len() {
        0 => Err(FieldError::new(field_path, "is empty; leave it out to have one generated")),
        1..=MAX_ID_BYTES => Ok(id),
        length => {
            Err(FieldError::new(field_path, format!("is {length} bytes long; at most {MAX_ID_BYTES} are allowed")))
        }
    }
}

pub(super) fn nonblank_text(value: &Json<'_>, field_path: &str) -> Result<String, FieldError> {
    match value.text(field_path)?.trim() {
        "" => Err(FieldError::new(field_path, "is empty")),
        text => Ok(text.to_owned()),
    }
}

fn parse_money(value: &Json<'_>, field_path: &str) -> Result<Money, FieldError> {
    Money::from_usd(value.number(field_path)?)
        .ok_or_else(|| FieldError::new(field_path, "must be an amount of dollars, 0 or more"))
}
