//! Reads Anthropic batch lines: `{"custom_id":…,"params":{…}}`, where `params` is a Messages request.

use crate::domain::{Api, JsonMode, Params};

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

const BATCH_LINE: BatchLine = BatchLine { api: Api::Anthropic, id_field: "custom_id", request_field: "params" };

pub(super) fn read(line: &str, options: &RowOptions) -> Result<Draft, FieldError> {
    BATCH_LINE.read(&options.parse_row(line)?, options, read_params)
}

fn read_params(fields: &Fields<'_>, draft: &mut Draft, notes: &mut BodyNotes) -> Result<(), FieldError> {
    let request = &mut draft.request;
    let (mut messages, mut system) = (None, None);
    for (name, value) in fields {
        match name.as_ref() {
            _ if value.is_null() => {}
            "messages" => messages = Some(value),
            "system" => {
                let parts = notes.within("system", |notes| chat::parse_parts(value, notes));
                system = Some(parts.and_then(chat::join_text).map_err(|error| error.within("system"))?);
            }
            "model" => draft.model = Some(row::nonblank_text(value, "model")?),
            "temperature" => request.params.temperature = Some(params::parse_temperature(value, "temperature")?),
            "top_p" => request.params.top_p = Some(params::parse_top_p(value, "top_p")?),
            "max_tokens" => {
                request.params.max_output_tokens = Some(params::parse_max_output_tokens(value, "max_tokens")?);
            }
            "stop_sequences" => request.params.stop = params::parse_stop(value, "stop_sequences")?,
            "thinking" => request.params.thinking = params::parse_thinking(value, "thinking", notes)?,
            "output_config" => {
                value.object("output_config")?;
                notes.within("output_config", |notes| set_output_config(&mut request.params, value, notes))?;
            }
            "output_format" => set_schema(&mut request.params, "output_format", value, notes)?,
            // Answers are never streamed.
            "stream" => {}
            name if picture_fields::names_only_pictures(name) => refuse_unsupported(name, value)?,
            name => notes.add_untranslated(name, value),
        }
    }
    let chat = chat::read(messages.ok_or_else(|| missing_field(fields, "messages"))?, notes)?;
    if chat.system.is_some() {
        if system.is_some() {
            return Err(FieldError::new("", "has both `system` and a system message; keep one of them"));
        }
        notes.set_nonstandard();
    }
    request.messages = chat.messages;
    request.system = system.or(chat.system);
    Ok(())
}

fn set_output_config(params: &mut Params, value: &Json<'_>, notes: &mut BodyNotes) -> Result<(), FieldError> {
    for (name, value) in value.object("output_config")? {
        match name.as_ref() {
            _ if value.is_null() => {}
            "effort" => match params::parse_thinking_level(value, "output_config.effort") {
                Ok(level) => params.thinking = Some(level),
                Err(error) if value.as_text().is_none() => return Err(error),
                // A level that no other API has.
                Err(_) => notes.add_untranslated(name, value),
            },
            "format" => set_schema(params, "format", value, notes).map_err(|error| error.within("output_config"))?,
            name => notes.add_untranslated(name, value),
        }
    }
    Ok(())
}

/// Reads `{"type":"json_schema","schema":{…}}`.
fn set_schema(params: &mut Params, name: &str, format: &Json<'_>, notes: &mut BodyNotes) -> Result<(), FieldError> {
    let missing_field = |field: &str| FieldError::new(field, "is missing").within(name);
    let kind = format.get("type").ok_or_else(|| missing_field("type"))?;
    if kind.text("type").map_err(|error| error.within(name))? != "json_schema" {
        params.json = None;
        notes.add_untranslated(name, format);
        return Ok(());
    }
    let schema = format.get("schema").ok_or_else(|| missing_field("schema"))?;
    schema.object("schema").map_err(|error| error.within(name))?;
    params.json = Some(JsonMode::Schema(schema.to_value()));
    Ok(())
}
