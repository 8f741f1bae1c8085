//! OpenAI batch lines: `{"custom_id":…,"method":"POST","url":"/v1/chat/completions","body":{…}}`.

use super::{
    chat,
    draft::{Draft, Recipe},
    envelope::Envelope,
    fault::Wrong,
    json::{Fields, Json, missing},
    params, row,
};

const ENVELOPE: Envelope = Envelope { id: "custom_id", request: "body" };

/// `method` is always POST; `url` says which of OpenAI's APIs the request is for.
pub(super) fn read(line: &str, recipe: &Recipe) -> Result<Draft, Wrong> {
    let row = recipe.parse(line)?;
    if let Some(url) = row.get("url").filter(|url| !url.is_null()) {
        endpoint(url)?;
    }
    ENVELOPE.read(&row, recipe, read_body)
}

fn endpoint(value: &Json<'_>) -> Result<(), Wrong> {
    let url = value.text("url")?;
    if url.trim_end_matches('/').ends_with("/chat/completions") {
        return Ok(());
    }
    Err(Wrong::new("url", format!("is `{url}`; only lines for /v1/chat/completions can be run")))
}

fn read_body(body: &Fields<'_>, draft: &mut Draft, recipe: &Recipe) -> Result<(), Wrong> {
    let request = &mut draft.request;
    request.params = recipe.defaults.clone();
    let mut messages = None;
    for (name, value) in body {
        match name.as_ref() {
            _ if value.is_null() => {}
            "messages" => messages = Some(value),
            "model" => draft.model = Some(row::word(value, "model")?),
            "n" if *value == Json::Int(1) => {}
            "n" => return Err(Wrong::new("n", "asks for several answers; an item has one: repeat the line instead")),
            // These say how to deliver, bill or file an answer, not what to answer; the last two are idle without
            // tools, and `tools` itself is refused below.
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
                if !params::set(&mut request.params, name, value)? {
                    params::unsupported(name, value)?;
                }
            }
        }
    }
    let chat = chat::read(messages.ok_or_else(|| missing(body, "messages"))?)?;
    request.messages = chat.messages;
    request.system = match chat.system {
        Some(system) => Some(system),
        None => recipe.templates.system(&Fields::new())?,
    };
    Ok(())
}
