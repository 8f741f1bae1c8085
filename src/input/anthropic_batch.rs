//! Reads Anthropic batch lines: `{"custom_id":…,"params":{…}}`, where `params` is a Messages request.

use crate::domain::JsonMode;

use super::{
    batch_line::BatchLine,
    chat,
    draft::{Draft, RowOptions},
    error::FieldError,
    json::{Fields, Json, missing_field},
    params, row,
};

const BATCH_LINE: BatchLine = BatchLine { id_field: "custom_id", request_field: "params" };

pub(super) fn read(line: &str, options: &RowOptions) -> Result<Draft, FieldError> {
    BATCH_LINE.read(&options.parse_row(line)?, options, read_params)
}

fn read_params(fields: &Fields<'_>, draft: &mut Draft, options: &RowOptions) -> Result<(), FieldError> {
    let request = &mut draft.request;
    request.params = options.default_params.clone();
    let (mut messages, mut system) = (None, None);
    for (name, value) in fields {
        match name.as_ref() {
            _ if value.is_null() => {}
            "messages" => messages = Some(value),
            "system" => {
                let text =
                    chat::parse_parts(value).and_then(chat::join_text).map_err(|error| error.within("system"))?;
                system = Some(text);
            }
            "model" => draft.model = Some(row::nonblank_text(value, "model")?),
            "temperature" => request.params.temperature = Some(params::parse_temperature(value, "temperature")?),
            "top_p" => request.params.top_p = Some(params::parse_top_p(value, "top_p")?),
            "max_tokens" => {
                request.params.max_output_tokens = Some(params::parse_max_output_tokens(value, "max_tokens")?);
            }
            "stop_sequences" => request.params.stop = params::parse_stop(value, "stop_sequences")?,
            "thinking" => request.params.thinking = params::parse_thinking(value, "thinking")?,
            "output_config" => {
                if let Some(effort) = value.get("effort") {
                    request.params.thinking = Some(params::parse_thinking_level(effort, "output_config.effort")?);
                }
                if let Some(format) = value.get("format") {
                    request.params.json =
                        Some(parse_schema(format).map_err(|error| error.within("output_config.format"))?);
                }
            }
            "output_format" => {
                request.params.json = Some(parse_schema(value).map_err(|error| error.within("output_format"))?);
            }
            // These control delivery and billing of an answer. `tool_choice` has no effect without tools.
            "stream" | "metadata" | "service_tier" | "inference_geo" | "tool_choice" => {}
            name => params::refuse_unsupported(name, value)?,
        }
    }
    let chat = chat::read(messages.ok_or_else(|| missing_field(fields, "messages"))?)?;
    if system.is_some() && chat.system.is_some() {
        return Err(FieldError::new("", "has both `system` and a system message; keep one of them"));
    }
    request.messages = chat.messages;
    request.system = match system.or(chat.system) {
        Some(system) => Some(system),
        None => options.templates.render_system(&Fields::new())?,
    };
    Ok(())
}

/// Reads `{"type":"json_schema","schema":{…}}`.
fn parse_schema(format: &Json<'_>) -> Result<JsonMode, FieldError> {
    let kind = format.get("type").ok_or_else(|| FieldError::new("type", "is missing"))?.text("type")?;
    if kind != "json_schema" {
        return Err(FieldError::new("type", format!("is `{kind}`; only json_schema is supported")));
    }
    let schema = format.get("schema").ok_or_else(|| FieldError::new("schema", "is missing"))?;
    schema.object("schema")?;
    Ok(JsonMode::Schema(schema.to_value()))
}
