//! Reads Gemini batch lines: `{"key":…,"request":{…}}`, where `request` is a `GenerateContentRequest`.
//!
//! Field names may be in `camelCase` or `snake_case`, as Google accepts them.

use std::borrow::Cow;

use serde_json::Value;

use crate::domain::{Image, JsonMode, Message, MessageRole, Params, Part};

use super::{
    batch_line::BatchLine,
    chat::{self, require_user_message},
    draft::{Draft, RowOptions},
    error::FieldError,
    image_ref,
    json::{Fields, Json},
    params, row,
};

const BATCH_LINE: BatchLine = BatchLine { id_field: "key", request_field: "request" };

pub(super) fn read(line: &str, options: &RowOptions) -> Result<Draft, FieldError> {
    BATCH_LINE.read(&options.parse_row(line)?, options, read_request)
}

fn read_request(fields: &Fields<'_>, draft: &mut Draft, options: &RowOptions) -> Result<(), FieldError> {
    let request = &mut draft.request;
    request.params = options.default_params.clone();
    for (name, value) in fields {
        match to_camel_case(name).as_ref() {
            _ if value.is_null() => {}
            "contents" => request.messages = parse_contents(value)?,
            "systemInstruction" => {
                let text = parse_content_parts(value).and_then(chat::join_text).map_err(|error| error.within(name))?;
                request.system = Some(text);
            }
            "generationConfig" => {
                let config = value.object(name)?;
                if config.iter().any(|(name, value)| name.starts_with("response") && !value.is_null()) {
                    request.params.json = None;
                }
                for (name, value) in config {
                    if !value.is_null() {
                        set_config(&mut request.params, name, value)
                            .map_err(|error| error.within("generationConfig"))?;
                    }
                }
            }
            "model" => {
                let model = row::nonblank_text(value, "model")?;
                draft.model = Some(model.strip_prefix("models/").unwrap_or(&model).to_owned());
            }
            // These control how Google stores a request. `toolConfig` has no effect without tools.
            "store" | "labels" | "toolConfig" => {}
            _ => params::refuse_unsupported(name, value)?,
        }
    }
    if request.messages.is_empty() {
        return Err(FieldError::new("contents", "is missing or empty"));
    }
    require_user_message(&request.messages)?;
    if request.system.is_none() {
        request.system = options.templates.render_system(&Fields::new())?;
    }
    Ok(())
}

fn set_config(params: &mut Params, name: &str, value: &Json<'_>) -> Result<(), FieldError> {
    match to_camel_case(name).as_ref() {
        "temperature" => params.temperature = Some(params::parse_temperature(value, name)?),
        "topP" => params.top_p = Some(params::parse_top_p(value, name)?),
        "maxOutputTokens" => params.max_output_tokens = Some(params::parse_max_output_tokens(value, name)?),
        "stopSequences" => params.stop = params::parse_stop(value, name)?,
        "seed" => params.seed = Some(value.integer(name)?),
        "candidateCount" if *value == Json::Int(1) => {}
        "responseMimeType" => match value.text(name)? {
            "text/plain" => {}
            // A schema takes precedence, whichever of the two fields comes first.
            "application/json" => params.json = params.json.take().or(Some(JsonMode::Object)),
            other => {
                return Err(FieldError::new(
                    name,
                    format!("is `{other}`; supported are text/plain and application/json"),
                ));
            }
        },
        "responseJsonSchema" => {
            value.object(name)?;
            params.json = Some(JsonMode::Schema(value.to_value()));
        }
        "responseSchema" => {
            value.object(name)?;
            let mut schema = value.to_value();
            to_json_schema(&mut schema);
            params.json = Some(JsonMode::Schema(schema));
        }
        "thinkingConfig" => {
            for (name, value) in value.object(name)? {
                if !value.is_null() {
                    set_thinking(params, name, value).map_err(|error| error.within("thinkingConfig"))?;
                }
            }
        }
        _ => params::refuse_unsupported(name, value)?,
    }
    Ok(())
}

fn set_thinking(params: &mut Params, name: &str, value: &Json<'_>) -> Result<(), FieldError> {
    match to_camel_case(name).as_ref() {
        // -1 lets the model decide, which is the default.
        "thinkingBudget" if *value == Json::Int(-1) => params.thinking = None,
        "thinkingBudget" => params.thinking = Some(params::parse_thinking_budget(value, name)?),
        "thinkingLevel" => params.thinking = Some(params::parse_thinking_level(value, name)?),
        _ => params::refuse_unsupported(name, value)?,
    }
    Ok(())
}

fn parse_contents(value: &Json<'_>) -> Result<Vec<Message>, FieldError> {
    if value.as_text().is_some() {
        return Ok(vec![Message { role: MessageRole::User, parts: chat::parse_parts(value)? }]);
    }
    let mut messages = Vec::new();
    for (index, content) in value.list("contents")?.iter().enumerate() {
        let within = |error: FieldError| error.within(format_args!("contents[{index}]"));
        content.object("").map_err(within)?;
        let role = content.get("role").map(|role| role.text("role")).transpose().map_err(within)?;
        let message_role = match role {
            None | Some("" | "user") => MessageRole::User,
            Some("model" | "assistant") => MessageRole::Assistant,
            Some(other) => {
                return Err(within(FieldError::new("role", format!("is `{other}`; supported are user and model"))));
            }
        };
        messages.push(Message { role: message_role, parts: parse_content_parts(content).map_err(within)? });
    }
    Ok(messages)
}

/// Reads a content's parts; a bare string is one text part. The result is never empty.
fn parse_content_parts(content: &Json<'_>) -> Result<Vec<Part>, FieldError> {
    if content.as_text().is_some() {
        return chat::parse_parts(content);
    }
    for (name, value) in content.object("")? {
        if !matches!(name.as_ref(), "parts" | "role") {
            params::refuse_unsupported(name, value)?;
        }
    }
    let part_values = content.get("parts").ok_or_else(|| FieldError::new("parts", "is missing"))?;
    // A single part may be written without a list.
    let part_list =
        if let Json::List(items) = part_values { items.as_slice() } else { std::slice::from_ref(part_values) };
    let mut parts = Vec::with_capacity(part_list.len());
    for (index, item) in part_list.iter().enumerate() {
        parts.extend(parse_part(item).map_err(|error| error.within(format_args!("parts[{index}]")))?);
    }
    if parts.is_empty() { Err(FieldError::new("parts", "is empty")) } else { Ok(parts) }
}

fn parse_part(part: &Json<'_>) -> Result<Option<Part>, FieldError> {
    let mut parsed = None;
    // Each part may have one content. A second one would replace the first, which would be lost.
    let mut set_once = |part: Part, name: &str| match parsed.replace(part) {
        None => Ok(()),
        Some(_) => Err(FieldError::new(name, "is in the same part as other content; put each into a part of its own")),
    };
    for (name, value) in part.object("")? {
        match to_camel_case(name).as_ref() {
            _ if value.is_null() => {}
            "text" => {
                let text = value.text(name)?;
                if !text.trim().is_empty() {
                    set_once(Part::Text(text.to_owned()), name)?;
                }
            }
            "inlineData" => {
                let require = |camel: &str, snake: &str| {
                    let field = value.get(camel).or_else(|| value.get(snake));
                    field.ok_or_else(|| FieldError::new(camel, "is missing"))?.text(camel)
                };
                let image = require("mimeType", "mime_type")
                    .and_then(|mime| Ok((mime, require("data", "data")?)))
                    .and_then(|(mime, data)| {
                        image_ref::parse_inline(mime, data).map_err(|error| FieldError::new("data", error.to_string()))
                    });
                set_once(Part::Image(image.map_err(|error| error.within(name))?), name)?;
            }
            "fileData" => set_once(Part::Image(parse_file_data(value).map_err(|error| error.within(name))?), name)?,
            _ => params::refuse_unsupported(name, value)?,
        }
    }
    Ok(parsed)
}

/// Reads a picture URL. Refuses files stored at Google: they belong to one project, so keys of other projects can't
/// read them.
fn parse_file_data(value: &Json<'_>) -> Result<Image, FieldError> {
    let uri = value.get("fileUri").or_else(|| value.get("file_uri"));
    let uri = uri.ok_or_else(|| FieldError::new("fileUri", "is missing"))?.text("fileUri")?;
    match image_ref::parse_reference(uri) {
        Ok(Image::Url(url)) if !url.contains("generativelanguage.googleapis.com") => Ok(Image::Url(url)),
        _ => Err(FieldError::new(
            "fileUri",
            format!(
                "is `{uri}`, a file that belongs to one project, so other keys can't read it; send the picture itself"
            ),
        )),
    }
}

/// Converts `response_mime_type` to `responseMimeType`.
fn to_camel_case(name: &str) -> Cow<'_, str> {
    if !name.contains('_') {
        return Cow::Borrowed(name);
    }
    let mut camel = String::with_capacity(name.len());
    let mut upper = false;
    for letter in name.chars() {
        match letter {
            '_' => upper = true,
            _ if upper => {
                camel.push(letter.to_ascii_uppercase());
                upper = false;
            }
            _ => camel.push(letter),
        }
    }
    Cow::Owned(camel)
}

/// Converts Google's schema dialect to JSON Schema: types in lower case, `nullable` as a second type.
fn to_json_schema(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(to_json_schema),
        Value::Object(fields) => {
            let nullable = fields.get("nullable").and_then(Value::as_bool);
            if let Some(Value::String(kind)) = fields.get_mut("type") {
                *kind = kind.to_ascii_lowercase();
                if nullable == Some(true) {
                    let kind = Value::String(std::mem::take(kind));
                    fields.insert("type".to_owned(), Value::Array(vec![kind, "null".into()]));
                }
                if nullable.is_some() {
                    fields.shift_remove("nullable");
                }
            }
            for (name, value) in fields {
                match (name.as_str(), value) {
                    // The names in here are field names of the data, not schema keywords.
                    ("properties" | "$defs", Value::Object(named)) => named.values_mut().for_each(to_json_schema),
                    ("enum" | "default" | "example", _) => {}
                    (_, value) => to_json_schema(value),
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn googles_schemas_become_json_schemas() {
        let mut schema = json!({
            "type": "OBJECT",
            "properties": {
                "type": {"type": "STRING", "enum": ["A", "B"], "nullable": true},
                "nullable": {"type": "BOOLEAN", "nullable": false},
            },
        });
        to_json_schema(&mut schema);
        assert_eq!(
            schema,
            json!({
                "type": "object",
                "properties": {
                    "type": {"type": ["string", "null"], "enum": ["A", "B"]},
                    "nullable": {"type": "boolean"},
                },
            })
        );
    }

    #[test]
    fn snake_case_names_become_camel_case() {
        for (name, want) in
            [("topP", "topP"), ("top_p", "topP"), ("response_mime_type", "responseMimeType"), ("seed", "seed")]
        {
            assert_eq!(to_camel_case(name), want);
        }
    }
}
