//! Reads OpenAI batch lines: `{"custom_id":…,"method":"POST","url":"/v1/chat/completions","body":{…}}`.

use super::{
    batch_line::BatchLine,
    chat,
    draft::{Draft, RowOptions},
    error::FieldError,
    json::{Fields, Json, missing_field},
    params, row,
};

const BATCH_LINE: BatchLine = BatchLine { id_field: "custom_id", request_field: "body" };

/// Reads one line. `method` is always POST; `url` names the OpenAI API that the request is for.
pub(super) fn read(line: &str, options: &RowOptions) -> Result<Draft, FieldError> {
    let row = options.parse_row(line)?;
    if let Some(url) = row.get("url").filter(|url| !url.is_null()) {
        check_endpoint(url)?;
    }
    BATCH_LINE.read(&row, options, read_body)
}

fn check_endpoint(value: &Json<'_>) -> Result<(), FieldError> {
    let url = value.text("url")?;
    if url.trim_end_matches('/').ends_with("/chat/completions") {
        return Ok(());
    }
    Err(FieldError::new("url", format!("is `{url}`; only lines for /v1/chat/completions are supported")))
}

fn read_body(body: &Fields<'_>, draft: &mut Draft, options: &RowOptions) -> Result<(), FieldError> {
    let request = &mut draft.request;
    request.params = options.default_params.clone();
    let mut messages = None;
    for (name, value) in body {
        match name.as_ref() {
            _ if value.is_null() => {}
            "messages" => messages = Some(value),
            "model" => draft.model = Some(row::nonblank_text(value, "model")?),
            "n" if *value == Json::Int(1) => {}
            "n" => {
                return Err(FieldError::new(
                    "n",
                    "asks for several answers, but each line gets only one; repeat the line instead",
                ));
            }
            // These control delivery, billing and storage of an answer, not its content. The last two have no effect
            // without tools, and `tools` itself is refused below.
            "stream"
            | "stream_options"
            | "user"
            | "metadata"
            | "store"
            | "safety_identifier"
            | "prompt_cache_key"
            | "prompt_cache_retention"
            | "service_tier"
            | "parallel_tool_calls"
            | "tool_choice" => {}
            name => {
                if !params::set_param(&mut request.params, name, value)? {
                    params::refuse_unsupported(name, value)?;
                }
            }
        }
    }
    let chat = chat::read(messages.ok_or_else(|| missing_field(body, "messages"))?)?;
    request.messages = chat.messages;
    request.system = match chat.system {
        Some(system) => Some(system),
        None => options.templates.render_system(&Fields::new())?,
    };
    Ok(())
}
