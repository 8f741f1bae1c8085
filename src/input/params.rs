//! Reads sampling parameters, one function per parameter. Formats use different field names but the same values.
//!
//! Readers skip fields that are null, so that the default applies.

use serde_json::{Map, Value};

use crate::domain::{JsonMode, Params, Thinking, known_param};

use super::{body_notes::BodyNotes, error::FieldError, json::Json};

type ParamResult<T> = Result<T, FieldError>;

/// Sets the parameter called `name` in a row or an OpenAI body. `Ok(false)`: `name` is not a parameter.
pub(super) fn set_param(params: &mut Params, name: &str, value: &Json<'_>, notes: &mut BodyNotes) -> ParamResult<bool> {
    match name {
        "temperature" => params.temperature = Some(parse_temperature(value, name)?),
        "top_p" => params.top_p = Some(parse_top_p(value, name)?),
        "max_tokens" | "max_output_tokens" | "max_completion_tokens" => {
            params.max_output_tokens = Some(parse_max_output_tokens(value, name)?);
            // No API has the limit at this place under this name.
            if name == "max_output_tokens" {
                notes.set_nonstandard();
            }
        }
        "stop" => params.stop = parse_stop(value, name)?,
        "seed" => params.seed = Some(value.integer(name)?),
        "reasoning_effort" => match parse_thinking_level(value, name) {
            Ok(level) => params.thinking = Some(level),
            Err(error) if notes.form.is_row() || value.as_text().is_none() => return Err(error),
            // A level that only the body's own API has.
            Err(_) => {
                params.thinking = None;
                notes.add_native_only(name, value);
            }
        },
        "response_format" => set_response_format(params, value, notes)?,
        _ => return Ok(false),
    }
    Ok(true)
}

pub(super) fn parse_temperature(value: &Json<'_>, field_path: &str) -> ParamResult<f64> {
    let number = value.number(field_path)?;
    if (0.0..=2.0).contains(&number) { Ok(number) } else { Err(FieldError::new(field_path, "must be from 0 to 2")) }
}

pub(super) fn parse_top_p(value: &Json<'_>, field_path: &str) -> ParamResult<f64> {
    let number = value.number(field_path)?;
    if (0.0..=1.0).contains(&number) { Ok(number) } else { Err(FieldError::new(field_path, "must be from 0 to 1")) }
}

pub(super) fn parse_max_output_tokens(value: &Json<'_>, field_path: &str) -> ParamResult<u32> {
    let number = value.integer(field_path)?;
    u32::try_from(number)
        .ok()
        .filter(|tokens| *tokens > 0)
        .ok_or_else(|| FieldError::new(field_path, "must be a positive number of tokens"))
}

/// Reads one string or a list of strings.
pub(super) fn parse_stop(value: &Json<'_>, field_path: &str) -> ParamResult<Vec<String>> {
    if let Some(text) = value.as_text() {
        return Ok(vec![text.to_owned()]);
    }
    let Json::List(items) = value else { return Err(value.type_error(field_path, "a string or a list of strings")) };
    items.iter().enumerate().map(|(index, item)| Ok(item.text(&format!("{field_path}[{index}]"))?.to_owned())).collect()
}

/// Reads a thinking level; `none` means a budget of 0 tokens.
pub(super) fn parse_thinking_level(value: &Json<'_>, field_path: &str) -> ParamResult<Thinking> {
    let word = value.text(field_path)?.to_ascii_lowercase();
    match word.as_str() {
        "none" => Ok(Thinking::Budget(0)),
        "minimal" | "low" | "medium" | "high" | "xhigh" => Ok(Thinking::Level(word)),
        _ => Err(FieldError::new(
            field_path,
            format!("is `{word}`; levels are none, minimal, low, medium, high and xhigh"),
        )),
    }
}

pub(super) fn parse_thinking_budget(value: &Json<'_>, field_path: &str) -> ParamResult<Thinking> {
    let number = value.integer(field_path)?;
    let tokens =
        u32::try_from(number).map_err(|_| FieldError::new(field_path, "must be a number of tokens, 0 or more"))?;
    Ok(Thinking::Budget(tokens))
}

/// Reads a row's `thinking`: a level, a budget, `false`, or Anthropic's object. `None`: the provider decides.
pub(super) fn parse_thinking(
    value: &Json<'_>,
    field_path: &str,
    notes: &mut BodyNotes,
) -> ParamResult<Option<Thinking>> {
    if !matches!(value, Json::Object(_)) {
        notes.set_nonstandard();
    }
    match value {
        Json::Text(_) => parse_thinking_level(value, field_path).map(Some),
        Json::Int(_) | Json::Number(_) => parse_thinking_budget(value, field_path).map(Some),
        Json::Bool(false) => Ok(Some(Thinking::Budget(0))),
        Json::Object(_) => notes
            .within(field_path, |notes| parse_thinking_object(value, notes))
            .map_err(|error| error.within(field_path)),
        _ => Err(value.type_error(field_path, "a level (low, medium, high), a number of tokens, or false")),
    }
}

/// Reads `{"type":"enabled","budget_tokens":1024}`, `{"type":"disabled"}` or `{"type":"adaptive"}`.
fn parse_thinking_object(value: &Json<'_>, notes: &mut BodyNotes) -> ParamResult<Option<Thinking>> {
    for (name, value) in value.object("")? {
        if !matches!(name.as_ref(), "type" | "budget_tokens") {
            notes.add_native_only(name, value);
        }
    }
    let kind = value.get("type").map(|kind| kind.text("type")).transpose()?;
    match (kind, value.get("budget_tokens")) {
        (Some("disabled"), _) => Ok(Some(Thinking::Budget(0))),
        (Some("adaptive"), _) => Ok(Some(Thinking::Adaptive)),
        (None | Some("enabled"), Some(tokens)) => parse_thinking_budget(tokens, "budget_tokens").map(Some),
        (None | Some("enabled"), None) => Err(FieldError::new("budget_tokens", "is missing")),
        (Some(other), _) if notes.form.is_row() => {
            Err(FieldError::new("type", format!("is `{other}`; supported are enabled, disabled and adaptive")))
        }
        (Some(other), _) => {
            notes.add_native_only_path(&format!("type: {other}"));
            Ok(None)
        }
    }
}

/// Reads a row's `json`: `true`, `false`, or a JSON schema.
pub(super) fn parse_json_mode(value: &Json<'_>, field_path: &str) -> ParamResult<Option<JsonMode>> {
    match value {
        Json::Bool(true) => Ok(Some(JsonMode::Object)),
        Json::Bool(false) => Ok(None),
        Json::Object(_) => Ok(Some(JsonMode::Schema(value.to_value()))),
        _ => Err(value.type_error(field_path, "true, false or a JSON schema")),
    }
}

/// Reads OpenAI's `response_format`.
fn set_response_format(params: &mut Params, value: &Json<'_>, notes: &mut BodyNotes) -> ParamResult<()> {
    let field_path = "response_format";
    value.object(field_path)?;
    params.schema_name = None;
    params.strict_schema = None;
    let kind = value.get("type").ok_or_else(|| FieldError::new(format!("{field_path}.type"), "is missing"))?;
    let kind = kind.text("type").map_err(|error| error.within(field_path))?;
    for (name, field) in value.object(field_path)? {
        let is_read = matches!(name.as_ref(), "type" | "json_schema") || name == "schema" && kind == "json_schema";
        if !is_read && !notes.is_legacy {
            notes.within(field_path, |notes| notes.add_native_only(name, field));
        }
    }
    match kind {
        "text" => params.json = None,
        "json_object" => params.json = Some(JsonMode::Object),
        "json_schema" => {
            let spec = value.get("json_schema");
            let schema = spec.and_then(|spec| spec.get("schema")).or_else(|| value.get("schema"));
            let schema_path = "response_format.json_schema.schema";
            let schema = schema.ok_or_else(|| FieldError::new(schema_path, "is missing"))?;
            schema.object(schema_path)?;
            params.json = Some(JsonMode::Schema(schema.to_value()));
            let Some(Json::Object(fields)) = spec else {
                notes.set_nonstandard();
                return Ok(());
            };
            for (name, field) in fields {
                match (name.as_ref(), field) {
                    ("schema", _) | (_, Json::Null) => {}
                    ("name", Json::Text(name)) => params.schema_name = Some(name.to_string()),
                    ("strict", Json::Bool(strict)) => params.strict_schema = Some(*strict),
                    (name, field) => notes.within("response_format", |notes| {
                        notes.within("json_schema", |notes| notes.add_native_only(name, field));
                    }),
                }
            }
        }
        other if notes.form.is_row() => {
            return Err(FieldError::new(
                format!("{field_path}.type"),
                format!("is `{other}`; supported are text, json_object and json_schema"),
            ));
        }
        other => {
            params.json = None;
            notes.add_native_only_path(&format!("{field_path}.type: {other}"));
        }
    }
    Ok(())
}

/// The parameters of `defaults` that a body doesn't set. `merged` are the body's parameters over the defaults, `own` the
/// body's alone.
pub(super) fn inherited(defaults: &Params, merged: &Params, own: &Params) -> Params {
    fn take<T: Clone + PartialEq>(default: Option<&T>, merged: Option<&T>, own: Option<&T>) -> Option<T> {
        default.filter(|_| merged == default && own.is_none()).cloned()
    }
    let stop = if merged.stop == defaults.stop && own.stop.is_empty() { defaults.stop.clone() } else { Vec::new() };
    Params {
        temperature: take(defaults.temperature.as_ref(), merged.temperature.as_ref(), own.temperature.as_ref()),
        top_p: take(defaults.top_p.as_ref(), merged.top_p.as_ref(), own.top_p.as_ref()),
        max_output_tokens: take(
            defaults.max_output_tokens.as_ref(),
            merged.max_output_tokens.as_ref(),
            own.max_output_tokens.as_ref(),
        ),
        stop,
        seed: take(defaults.seed.as_ref(), merged.seed.as_ref(), own.seed.as_ref()),
        thinking: take(defaults.thinking.as_ref(), merged.thinking.as_ref(), own.thinking.as_ref()),
        json: take(defaults.json.as_ref(), merged.json.as_ref(), own.json.as_ref()),
        schema_name: None,
        strict_schema: None,
        store: None,
    }
}

/// Reads `extra_body`: fields that are added to the request's body.
pub(super) fn parse_extra_body(value: &Json<'_>) -> ParamResult<Map<String, Value>> {
    value.object("extra_body")?;
    let Value::Object(extra_body) = value.to_value() else { return Ok(Map::new()) };
    match known_param::reserved_field(&extra_body) {
        Some(path) => Err(FieldError::new(format!("extra_body.{path}"), known_param::reserved_field_advice(&path))),
        None => Ok(extra_body),
    }
}

/// Refuses a field that can't be passed on to the model, unless its value has no effect (null, false, 0 or empty).
pub(super) fn refuse_unsupported(name: &str, value: &Json<'_>) -> ParamResult<()> {
    if value.has_no_effect() {
        return Ok(());
    }
    Err(FieldError::new(name, "is not supported: it would not reach the model; remove it from the row"))
}
