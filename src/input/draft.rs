//! The result of reading a row, and the settings that every reader gets.

use std::{collections::BTreeMap, path::PathBuf};

use crate::domain::{Money, Request, known_param, unbounded_field};

use super::{
    error::FieldError,
    json::{Fields, Json, get_field},
    options::InputOptions,
    sidecar::Sidecar,
    template::Templates,
};

/// A parsed row before it gets its final id and hash. Paths are still as written in the row.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// The id stated in the row.
    pub id: Option<String>,
    pub request: Request,
    /// The request without what may change while the picture stays the same; `None`: the request itself. It is hashed.
    pub hashed_request: Option<Box<Request>>,
    pub model: Option<String>,
    /// Whether the row says that no other model may answer it; `None`: it does not say.
    pub model_pinned: Option<bool>,
    pub tier: Option<String>,
    pub max_usd: Option<Money>,
    /// Fields for routing rules, see [`InputOptions::kept_fields`].
    pub kept_fields: BTreeMap<String, String>,
    pub sidecar: Option<Sidecar>,
    /// Size in bytes of the picture to caption.
    pub picture_bytes: Option<u64>,
    /// Fields with the names of request parameters that are not read as such.
    pub unused_params: Vec<String>,
}

impl Draft {
    /// Notes a field that nothing reads, if it has the name of a request parameter.
    pub fn note_unused_param(&mut self, name: &str, options: &RowOptions) {
        let is_read =
            || options.templates.uses_field(name) || options.input.kept_fields.iter().any(|kept| kept == name);
        if known_param::is_param_name(name) && !is_read() {
            self.unused_params.push(name.to_owned());
        }
    }
}

impl Draft {
    /// Refuses a request with a field whose cost has no upper bound if a cap is set, since it could not be guaranteed.
    /// `body_field` is the name of the row's field with the body.
    pub fn refuse_unbounded_cost(&self, body_field: &str, options: &RowOptions) -> Result<(), FieldError> {
        if !options.input.has_spend_cap && self.max_usd.is_none() {
            return Ok(());
        }
        let own_body = self.request.native.as_ref().map(|native| (body_field, &native.body));
        for (name, fields) in own_body.into_iter().chain([("extra_body", &self.request.extra_body)]) {
            if let Some(field) = unbounded_field(fields) {
                let message = format!(
                    "{}, so its cost has no upper bound, but a spend cap is set; remove the field, or run without max_usd \
                     and max_usd_per_day",
                    field.effect
                );
                return Err(FieldError::new(field.name, message).within(name));
            }
        }
        Ok(())
    }
}

/// The settings of an input, with compiled templates. All passes over the input share them.
pub(super) struct RowOptions {
    pub templates: Templates,
    /// Absolute folder that relative paths in rows start from.
    pub base_dir: PathBuf,
    /// The folder of the captions is absolute. There are no captions unless the input is pictures.
    pub input: InputOptions,
}

impl RowOptions {
    /// Parses one line as JSON. Refuses an object with the same field twice, except in legacy rows.
    pub(super) fn parse_row<'l>(&self, line: &'l str) -> Result<Json<'l>, FieldError> {
        let row = Json::parse(line)?;
        if !self.input.legacy_rows {
            row.refuse_duplicates()?;
        }
        Ok(row)
    }

    /// Selects the fields that are stored with the item. Keeps strings, numbers and booleans, as text.
    ///
    /// # Errors
    /// If the field that names checks is neither a string nor a list of strings.
    pub(super) fn pick_kept_fields(&self, fields: &Fields<'_>) -> Result<BTreeMap<String, String>, FieldError> {
        let text = |value: &Json<'_>| match value {
            Json::Text(text) => Some(text.to_string()),
            Json::Bool(flag) => Some(flag.to_string()),
            Json::Int(number) => Some(number.to_string()),
            Json::Number(number) => Some(number.to_string()),
            Json::Null | Json::List(_) | Json::Object(_) => None,
        };
        let mut kept: BTreeMap<String, String> = self
            .input
            .kept_fields
            .iter()
            .filter_map(|name| Some((name.clone(), text(get_field(fields, name)?)?)))
            .collect();
        if let Some(name) = &self.input.check_field
            && let Some(value) = get_field(fields, name).filter(|value| !value.is_null())
        {
            let names = match value {
                Json::List(entries) => entries.iter().map(Json::as_text).collect(),
                value => value.as_text().map(|text| vec![text]),
            };
            let names: Vec<&str> =
                names.ok_or_else(|| value.type_error(name, "the name of a check, or a list of names"))?;
            kept.insert(name.clone(), names.join(", "));
        }
        Ok(kept)
    }
}
