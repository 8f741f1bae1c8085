//! Reads Gemini batch lines: `{"key":…,"request":{…}}`, where `request` is a `GenerateContentRequest`.
//!
//! Field names may be in `camelCase` or `snake_case`, as Google accepts them.

use std::borrow::Cow;

use serde_json::Value;

use crate::domain::{
    Api, Image, JsonMode, Message, MessageRole, Params, Part, Thinking, has_names_of_data, to_camel_case,
};

use super::{
    batch_line::BatchLine,
    body_notes::BodyNotes,
    chat::{self, require_user_message},
    draft::{Draft, RowOptions},
    error::FieldError,
    image_ref,
    json::{Fields, Json},
    params, picture_fields, row,
};

const BATCH_LINE: BatchLine = BatchLine { api: Api::Gemini, id_field: "key", request_field: "request" };

pub(super) fn read(line: &str, options: &RowOptions) -> Result<Draft, FieldError> {
    let row = options.parse_row(line)?;
    if let Some(request) = row.get(BATCH_LINE.request_field).filter(|_| !options.input.legacy_bodies) {
        refuse_two_spellings(request).map_err(|error| error.within(BATCH_LINE.request_field))?;
    }
    BATCH_LINE.read(&row, options, read_request)
}

/// Refuses a request with a field in both spellings: Google's API has it only once.
fn refuse_two_spellings(value: &Json<'_>) -> Result<(), FieldError> {
    let fields = match value {
        Json::Object(fields) => fields,
        Json::List(items) => {
            for (index, item) in items.iter().enumerate() {
                refuse_two_spellings(item).map_err(|error| error.within(format_args!("[{index}]")))?;
            }
            return Ok(());
        }
        _ => return Ok(()),
    };
    let mut names: Vec<Cow<'_, str>> = Vec::with_capacity(fields.len());
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
        let camel = to_camel_case(name);
        if names.contains(&camel) {
            let message =
                format!("is there in another spelling, too (`{camel}` or with underscores); keep one of them");
            return Err(FieldError::new(name.as_ref(), message));
        }
        names.push(camel);
        if !has_names_of_data(name) {
            refuse_two_spellings(value).map_err(|error| error.within(name))?;
        }
    }
    Ok(())
}

fn read_request(fields: &Fields<'_>, draft: &mut Draft, notes: &mut BodyNotes) -> Result<(), FieldError> {
    let request = &mut draft.request;
    for (name, value) in fields {
        match to_camel_case(name).as_ref() {
            _ if value.is_null() => {}
            "contents" => request.messages = notes.within(name, |notes| parse_contents(value, notes))?,
            "systemInstruction" => {
                let parts = notes.within(name, |notes| parse_content_parts(value, notes));
                let text = parts.and_then(require_parts).and_then(chat::join_text);
                request.system = Some(text.map_err(|error| error.within(name))?);
            }
            "generationConfig" => {
                let config = value.object(name)?;
                if config.iter().any(|(name, value)| name.starts_with("response") && !value.is_null()) {
                    request.params.json = None;
                }
                for (field, value) in config.iter().filter(|(_, value)| !value.is_null()) {
                    notes
                        .within(name, |notes| set_config(&mut request.params, field, value, notes))
                        .map_err(|error| error.within("generationConfig"))?;
                }
            }
            "model" => {
                let model = row::nonblank_text(value, "model")?;
                draft.model = Some(model.strip_prefix("models/").unwrap_or(&model).to_owned());
            }
            // The other APIs have the same choice, or keep nothing.
            "store" if *value == Json::Bool(false) => request.params.store = Some(false),
            camel if picture_fields::names_only_pictures(camel) => params::refuse_unsupported(name, value)?,
            _ => notes.add_native_only(name, value),
        }
    }
    if request.messages.is_empty() {
        return Err(FieldError::new("contents", "is missing or empty"));
    }
    require_user_message(&request.messages)
}

fn set_config(params: &mut Params, name: &str, value: &Json<'_>, notes: &mut BodyNotes) -> Result<(), FieldError> {
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
            _ => notes.add_native_only(name, value),
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
            for (field, value) in value.object(name)?.iter().filter(|(_, value)| !value.is_null()) {
                notes
                    .within(name, |notes| set_thinking(params, field, value, notes))
                    .map_err(|error| error.within("thinkingConfig"))?;
            }
            let is_set = |name: &str| {
                value.object("").is_ok_and(|fields| {
                    fields.iter().any(|(other, value)| to_camel_case(other) == name && !value.is_null())
                })
            };
            // Google's API refuses that, so it doesn't say which one is meant.
            if is_set("thinkingBudget") && is_set("thinkingLevel") && !notes.is_legacy {
                notes.within(name, |notes| notes.add_native_only_path("thinkingBudget beside thinkingLevel"));
            }
        }
        _ => notes.add_native_only(name, value),
    }
    Ok(())
}

fn set_thinking(params: &mut Params, name: &str, value: &Json<'_>, notes: &mut BodyNotes) -> Result<(), FieldError> {
    match to_camel_case(name).as_ref() {
        // -1 lets the model decide.
        "thinkingBudget" if *value == Json::Int(-1) => params.thinking = Some(Thinking::Adaptive),
        "thinkingBudget" => params.thinking = Some(params::parse_thinking_budget(value, name)?),
        "thinkingLevel" => match params::parse_thinking_level(value, name) {
            Ok(level) => params.thinking = Some(level),
            Err(error) if value.as_text().is_none() => return Err(error),
            // A level that no other API has.
            Err(_) => {
                params.thinking = None;
                notes.add_native_only(name, value);
            }
        },
        _ => notes.add_native_only(name, value),
    }
    Ok(())
}

fn parse_contents(value: &Json<'_>, notes: &mut BodyNotes) -> Result<Vec<Message>, FieldError> {
    if value.as_text().is_some() {
        notes.set_nonstandard();
        return Ok(vec![Message { role: MessageRole::User, parts: chat::parse_parts(value, notes)? }]);
    }
    let mut messages = Vec::new();
    for (index, content) in value.list("contents")?.iter().enumerate() {
        let within = |error: FieldError| error.within(format_args!("contents[{index}]"));
        let message = notes.at(index, |notes| parse_content(content, notes));
        messages.extend(message.map_err(within)?);
    }
    Ok(messages)
}

/// Reads one content. `None` if only this API can take it.
fn parse_content(content: &Json<'_>, notes: &mut BodyNotes) -> Result<Option<Message>, FieldError> {
    content.object("")?;
    let role = content.get("role").filter(|role| !role.is_null()).map(|role| role.text("role")).transpose()?;
    let role = match role {
        None | Some("" | "user") => MessageRole::User,
        Some("model") => MessageRole::Assistant,
        Some("assistant") => {
            notes.set_nonstandard();
            MessageRole::Assistant
        }
        Some(other) => {
            notes.add_native_only_path(&format!("role: {other}"));
            return Ok(None);
        }
    };
    let native_only_before = notes.native_only_count();
    let parts = parse_content_parts(content, notes)?;
    if parts.is_empty() && notes.native_only_count() > native_only_before {
        return Ok(None);
    }
    Ok(Some(Message { role, parts: require_parts(parts)? }))
}

fn require_parts(parts: Vec<Part>) -> Result<Vec<Part>, FieldError> {
    if parts.is_empty() { Err(FieldError::new("parts", "is empty")) } else { Ok(parts) }
}

/// Reads a content's parts; a bare string is one text part. May be empty.
fn parse_content_parts(content: &Json<'_>, notes: &mut BodyNotes) -> Result<Vec<Part>, FieldError> {
    if content.as_text().is_some() {
        notes.set_nonstandard();
        return chat::parse_parts(content, notes);
    }
    for (name, value) in content.object("")? {
        match to_camel_case(name).as_ref() {
            "parts" | "role" => {}
            // Google's API has no picture there, so it would be lost.
            "inlineData" | "fileData" => params::refuse_unsupported(name, value)?,
            _ => notes.add_native_only(name, value),
        }
    }
    let part_values = content.get("parts").ok_or_else(|| FieldError::new("parts", "is missing"))?;
    // A single part may be written without a list.
    let part_list = if let Json::List(items) = part_values {
        items.as_slice()
    } else {
        notes.set_nonstandard();
        std::slice::from_ref(part_values)
    };
    let mut parts = Vec::with_capacity(part_list.len());
    for (index, item) in part_list.iter().enumerate() {
        let part = notes.within("parts", |notes| notes.at(index, |notes| parse_part(item, notes)));
        parts.extend(part.map_err(|error| error.within(format_args!("parts[{index}]")))?);
    }
    Ok(parts)
}

fn parse_part(part: &Json<'_>, notes: &mut BodyNotes) -> Result<Option<Part>, FieldError> {
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
                let image = notes.within(name, |notes| parse_inline_data(value, notes));
                if let Some(image) = image.map_err(|error| error.within(name))? {
                    set_once(Part::Image(image), name)?;
                }
            }
            "fileData" => {
                let image = notes.within(name, |notes| parse_file_data(value, notes));
                if let Some(image) = image.map_err(|error| error.within(name))? {
                    set_once(Part::Image(image), name)?;
                }
            }
            _ => notes.add_native_only(name, value),
        }
    }
    Ok(parsed)
}

/// Reads `{"mimeType":…,"data":…}`. `None` if it is no picture.
fn parse_inline_data(value: &Json<'_>, notes: &mut BodyNotes) -> Result<Option<Image>, FieldError> {
    let require = |camel: &str, snake: &str| {
        let field = value.get(camel).or_else(|| value.get(snake));
        field.ok_or_else(|| FieldError::new(camel, "is missing"))?.text(camel)
    };
    let mime = require("mimeType", "mime_type")?;
    let data = require("data", "data")?;
    for (name, value) in value.object("")? {
        if !matches!(name.as_ref(), "mimeType" | "mime_type" | "data") {
            notes.add_native_only(name, value);
        }
    }
    if !mime.trim().to_ascii_lowercase().starts_with("image/") {
        notes.add_native_only_path(&format!("mimeType: {mime}"));
        return Ok(None);
    }
    notes.add_picture();
    // Google's own libraries write the alphabet for URLs.
    let data = data.replace('-', "+").replace('_', "/");
    image_ref::parse_inline(mime, &data).map(Some).map_err(|error| FieldError::new("data", error.to_string()))
}

/// Reads a picture URL. `None` if it is no picture. Refuses files stored at Google: they belong to one project, so keys
/// of other projects can't read them.
fn parse_file_data(value: &Json<'_>, notes: &mut BodyNotes) -> Result<Option<Image>, FieldError> {
    let uri = value.get("fileUri").or_else(|| value.get("file_uri"));
    let uri = uri.ok_or_else(|| FieldError::new("fileUri", "is missing"))?.text("fileUri")?;
    let mime = value.get("mimeType").or_else(|| value.get("mime_type")).and_then(Json::as_text);
    for (name, value) in value.object("")? {
        if !matches!(to_camel_case(name).as_ref(), "fileUri" | "mimeType") && !notes.is_legacy {
            notes.add_native_only(name, value);
        }
    }
    match image_ref::parse_reference(uri) {
        Ok(Image::Url(url)) if !url.contains("generativelanguage.googleapis.com") => {
            if let Some(mime) = mime.filter(|mime| !mime.starts_with("image/")) {
                notes.add_native_only_path(&format!("mimeType: {mime}"));
                return Ok(None);
            }
            notes.add_picture();
            Ok(Some(Image::Url(url)))
        }
        _ => Err(FieldError::new(
            "fileUri",
            format!(
                "is `{uri}`, a file that belongs to one project, so other keys can't read it; send the picture itself"
            ),
        )),
    }
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
}
