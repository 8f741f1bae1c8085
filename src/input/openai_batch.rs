//! Reads OpenAI batch lines: `{"custom_id":…,"method":"POST","url":"/v1/chat/completions","body":{…}}`.

use crate::domain::{Api, Message, MessageRole, Part};

use super::{
    batch_line::BatchLine,
    body_notes::BodyNotes,
    chat,
    draft::{Draft, RowOptions},
    error::FieldError,
    json::{Fields, Json, missing_field},
    params::{self, refuse_unsupported},
    picture_fields, row,
};

const BATCH_LINE: BatchLine = BatchLine { api: Api::OpenAi, id_field: "custom_id", request_field: "body" };

/// The kind of a line, by its `url`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LineKind {
    Completion,
    Embedding,
}

/// Reads one line. `method` is always POST; `url` names the OpenAI API that the request is for.
pub(super) fn read(line: &str, options: &RowOptions) -> Result<Draft, FieldError> {
    let row = options.parse_row(line)?;
    match row.get("url").filter(|url| !url.is_null()).map_or(Ok(LineKind::Completion), parse_url)? {
        LineKind::Completion => BATCH_LINE.read(&row, options, read_body),
        LineKind::Embedding => {
            let mut draft = BATCH_LINE.read(&row, options, read_embedding_body)?;
            if let Some(native) = &mut draft.request.native {
                native.is_embedding = true;
            }
            Ok(draft)
        }
    }
}

fn parse_url(value: &Json<'_>) -> Result<LineKind, FieldError> {
    let url = value.text("url")?;
    let path = url.trim_end_matches('/');
    if path.ends_with("/chat/completions") {
        Ok(LineKind::Completion)
    } else if path.ends_with("/embeddings") {
        Ok(LineKind::Embedding)
    } else {
        let message = format!("is `{url}`; only lines for /v1/chat/completions and /v1/embeddings are supported");
        Err(FieldError::new("url", message))
    }
}

fn read_body(body: &Fields<'_>, draft: &mut Draft, notes: &mut BodyNotes) -> Result<(), FieldError> {
    let request = &mut draft.request;
    let mut messages = None;
    for (name, value) in body {
        match name.as_ref() {
            _ if value.is_null() => {}
            "messages" => messages = Some(value),
            "model" => draft.model = Some(row::nonblank_text(value, "model")?),
            // Answers are never streamed. One answer is what every request gets.
            "stream" | "stream_options" => {}
            "n" if *value == Json::Int(1) => {}
            // The other APIs have the same choice, or keep nothing.
            "store" if *value == Json::Bool(false) => request.params.store = Some(false),
            name if picture_fields::names_only_pictures(name) => refuse_unsupported(name, value)?,
            name => {
                if !params::set_param(&mut request.params, name, value, notes)? {
                    notes.add_native_only(name, value);
                }
            }
        }
    }
    let is_set = |name: &str| body.iter().any(|(other, value)| other == name && !value.is_null());
    if is_set("max_tokens") && is_set("max_completion_tokens") {
        return Err(FieldError::new("max_tokens", "stands beside `max_completion_tokens`; keep one of them"));
    }
    let chat = chat::read(messages.ok_or_else(|| missing_field(body, "messages"))?, notes)?;
    request.messages = chat.messages;
    request.system = chat.system;
    Ok(())
}

/// Reads a request for embeddings, which has an `input`: a text, or a list of texts or of tokens.
fn read_embedding_body(body: &Fields<'_>, draft: &mut Draft, notes: &mut BodyNotes) -> Result<(), FieldError> {
    let mut input = None;
    for (name, value) in body {
        match name.as_ref() {
            _ if value.is_null() => {}
            "model" => draft.model = Some(row::nonblank_text(value, "model")?),
            "input" => input = Some(value),
            name => notes.add_native_only(name, value),
        }
    }
    let texts: Vec<&str> = match input.ok_or_else(|| missing_field(body, "input"))? {
        Json::Text(text) => vec![text],
        Json::List(items) if !items.is_empty() => items.iter().filter_map(Json::as_text).collect(),
        Json::List(_) => return Err(FieldError::new("input", "is empty")),
        other => return Err(other.type_error("input", "a string or a list")),
    };
    notes.add_native_only_path("input");
    // Nothing else applies to embeddings.
    draft.request.params = crate::domain::Params::default();
    draft.request.messages = vec![Message { role: MessageRole::User, parts: vec![Part::Text(texts.join("\n"))] }];
    Ok(())
}
