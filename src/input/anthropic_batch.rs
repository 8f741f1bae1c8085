//! Reads Anthropic batch lines: `{"custom_id":…,"params":{…}}`, where `params` is a Messages request.

use crate::domain::{Api, JsonMode, Params, Thinking};

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
    let mut thinking = ThinkingFields::default();
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
            "thinking" => {
                thinking.kind = params::parse_thinking(value, "thinking", notes)?.into();
                thinking.effort_is_last = false;
            }
            "output_config" => {
                let params = &mut request.params;
                notes.within("output_config", |notes| set_output_config(params, value, &mut thinking, notes))?;
            }
            "output_format" => set_schema(&mut request.params, "output_format", value, notes)?,
            // Answers are never streamed.
            "stream" => {}
            name if picture_fields::names_only_pictures(name) => refuse_unsupported(name, value)?,
            name => notes.add_native_only(name, value),
        }
    }
    thinking.apply(&mut request.params, notes);
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

/// The two fields that say how much the model thinks. Together they mean more than either.
#[derive(Default)]
struct ThinkingFields {
    /// That of `thinking`.
    kind: ThinkingField,
    /// That of `output_config.effort`.
    effort: ThinkingField,
    effort_is_last: bool,
}

#[derive(Default)]
enum ThinkingField {
    #[default]
    Missing,
    /// Only this API has the value. This is noted.
    NativeOnly,
    Known(Thinking),
}

impl From<Option<Thinking>> for ThinkingField {
    fn from(thinking: Option<Thinking>) -> Self {
        thinking.map_or(Self::NativeOnly, Self::Known)
    }
}

impl ThinkingField {
    fn known(self) -> Option<Thinking> {
        match self {
            Self::Known(thinking) => Some(thinking),
            Self::Missing | Self::NativeOnly => None,
        }
    }
}

impl ThinkingFields {
    /// Sets the parameter for other APIs, whatever the order of the fields. `adaptive` leaves the amount to the effort.
    /// A budget, or no thinking, stands in other APIs where the effort would, so they can't take both.
    fn apply(self, params: &mut Params, notes: &mut BodyNotes) {
        let thinking = match (self.kind, self.effort) {
            (ThinkingField::Missing, ThinkingField::Missing) => return,
            (field, ThinkingField::Missing) | (ThinkingField::Missing, field) => field,
            // Earlier versions took the last one.
            (_, effort) if notes.is_legacy && self.effort_is_last => effort,
            (kind, _) if notes.is_legacy => kind,
            (ThinkingField::Known(Thinking::Adaptive), effort) => effort,
            (kind, _) => {
                notes.add_native_only_path("output_config.effort beside thinking");
                kind
            }
        };
        params.thinking = thinking.known();
    }
}

fn set_output_config(
    params: &mut Params,
    value: &Json<'_>,
    thinking: &mut ThinkingFields,
    notes: &mut BodyNotes,
) -> Result<(), FieldError> {
    for (name, value) in value.object("output_config")? {
        match name.as_ref() {
            _ if value.is_null() => {}
            "effort" => {
                let effort = match params::parse_thinking_level(value, "output_config.effort") {
                    Ok(level) => Some(level),
                    Err(error) if value.as_text().is_none() => return Err(error),
                    // A level that no other API has.
                    Err(_) => {
                        notes.add_native_only(name, value);
                        None
                    }
                };
                thinking.effort = effort.into();
                thinking.effort_is_last = true;
            }
            "format" => set_schema(params, "format", value, notes).map_err(|error| error.within("output_config"))?,
            name => notes.add_native_only(name, value),
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
        notes.add_native_only(name, format);
        return Ok(());
    }
    let schema = format.get("schema").ok_or_else(|| missing_field("schema"))?;
    schema.object("schema").map_err(|error| error.within(name))?;
    for (other, value) in format.object(name)? {
        if !matches!(other.as_ref(), "type" | "schema") && !notes.is_legacy {
            notes.within(name, |notes| notes.add_native_only(other, value));
        }
    }
    params.json = Some(JsonMode::Schema(schema.to_value()));
    Ok(())
}
