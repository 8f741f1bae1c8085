//! Bodies that are written for the route's own API. They go out as they are, apart from the model, the output limit and
//! the pictures' data.

use serde_json::{Map, Value};

use crate::domain::{
    ANTHROPIC_DEFAULT_MAX_OUTPUT, Api, NativeBody, Request, field_at_mut, merge_defaults, merge_over,
    parse_with_exact_numbers,
};

use super::{
    super::pictures::EncodedPicture,
    common::{
        AttemptRequest, Dialect, EncodedRequest, Unsupported, body_size_hint, effective_max_output, max_tokens_field,
        merge_extra_fields, to_json,
    },
    gemini, translated,
};

const EMBEDDINGS_PATH: &str = "/embeddings";

pub(super) fn encode(
    dialect: Dialect,
    native: &NativeBody,
    attempt: &AttemptRequest<'_>,
    pictures: &[EncodedPicture<'_>],
) -> Result<EncodedRequest, Unsupported> {
    let mut body = native.body.clone();
    for (pointer, picture) in native.picture_pointers.iter().zip(pictures) {
        set_picture(&mut body, pointer, picture);
    }
    let path = match native.api {
        Api::Gemini => gemini::model_path(attempt.model)?.into(),
        Api::OpenAi if native.is_embedding => EMBEDDINGS_PATH.into(),
        Api::OpenAi => "/chat/completions".into(),
        Api::Anthropic => "/v1/messages".into(),
    };
    if native.api != Api::Gemini {
        body.insert("model".to_owned(), attempt.model.into());
    }
    if !native.is_embedding {
        add_defaults(dialect, native, attempt, &mut body)?;
        set_output_limit(dialect, attempt, &mut body);
    }
    merge_extra_fields(native.api, attempt, &mut body);
    Ok(EncodedRequest { path, body: to_json(&body, body_size_hint(attempt.request, pictures) * 2)? })
}

/// Puts a picture in its place: into an OpenAI URL, an Anthropic `source` or Gemini `inlineData`.
fn set_picture(body: &mut Map<String, Value>, pointer: &str, picture: &EncodedPicture<'_>) {
    let EncodedPicture::Data { mime, base64 } = picture else { return };
    match field_at_mut(body, pointer) {
        Some(url @ Value::String(_)) => *url = format!("data:{mime};base64,{base64}").into(),
        // Gemini's official SDK for Python writes `mime_type`.
        Some(Value::Object(data)) if data.contains_key("mimeType") || data.contains_key("mime_type") => {
            let mime_name = if data.contains_key("mimeType") { "mimeType" } else { "mime_type" };
            data.insert(mime_name.to_owned(), (*mime).into());
            data.insert("data".to_owned(), base64.as_ref().into());
        }
        Some(Value::Object(source)) => {
            source.insert("type".to_owned(), "base64".into());
            source.insert("media_type".to_owned(), (*mime).into());
            source.insert("data".to_owned(), base64.as_ref().into());
            source.shift_remove("url");
        }
        _ => {}
    }
}

/// Adds default parameters and a system prompt that the body doesn't have.
fn add_defaults(
    dialect: Dialect,
    native: &NativeBody,
    attempt: &AttemptRequest<'_>,
    body: &mut Map<String, Value>,
) -> Result<(), Unsupported> {
    let system = attempt.request.system.as_ref().filter(|_| native.adds_system);
    if system.is_none() && native.defaults.is_empty() {
        return Ok(());
    }
    let mut params = native.defaults.clone();
    // Anthropic's thinking budget is checked against the limit.
    params.max_output_tokens = if dialect == Dialect::Anthropic { effective_max_output(attempt) } else { None };
    let defaults = Request { system: system.cloned(), params, ..Request::default() };
    // The model is taken out again.
    let encoded = translated::encode(dialect, &AttemptRequest::new("m", &defaults, None), &[])?;
    let Ok(Value::Object(mut fields)) = parse_with_exact_numbers(&encoded.body) else { return Ok(()) };
    for name in ["model", "contents", "max_tokens", "max_completion_tokens"] {
        fields.shift_remove(name);
    }
    let system_messages = fields.shift_remove("messages");
    if let (Some(Value::Array(system)), Some(Value::Array(messages))) = (system_messages, body.get_mut("messages")) {
        messages.splice(0..0, system);
    }
    merge_defaults(body, &fields, native.api);
    Ok(())
}

/// Sets the output limit: the body's own, at most that of the model.
fn set_output_limit(dialect: Dialect, attempt: &AttemptRequest<'_>, body: &mut Map<String, Value>) {
    let limit = effective_max_output(attempt);
    match dialect {
        Dialect::Anthropic => {
            body.insert("max_tokens".to_owned(), limit.unwrap_or(ANTHROPIC_DEFAULT_MAX_OUTPUT).into());
        }
        Dialect::OpenAi | Dialect::OpenAiCompatible => {
            let field = max_tokens_field(dialect, attempt);
            body.shift_remove(field.other().name());
            if let Some(limit) = limit {
                body.insert(field.name().to_owned(), limit.into());
            }
        }
        Dialect::Gemini => {
            let Some(limit) = limit else { return };
            let config = Map::from_iter([("maxOutputTokens".to_owned(), limit.into())]);
            merge_over(body, &Map::from_iter([("generationConfig".to_owned(), config.into())]), Api::Gemini);
        }
    }
}
