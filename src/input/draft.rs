//! What a reader makes of a row, and what every reader is given to make it with.

use std::{collections::BTreeMap, path::PathBuf};

use crate::domain::{Money, Params, Request};

use super::{
    ModelCheck,
    error::FieldError,
    json::{Fields, Json, get_field},
    sidecar::{CaptionSettings, Sidecar},
    template::Templates,
};

/// A row understood, but without its final id and hash; paths still as written.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// The row's own.
    pub id: Option<String>,
    pub request: Request,
    pub model: Option<String>,
    pub tier: Option<String>,
    pub max_usd: Option<Money>,
    /// What routing rules look at, see [`Recipe::kept`].
    pub kept_fields: BTreeMap<String, String>,
    pub sidecar: Option<Sidecar>,
    /// The captioned picture's size.
    pub picture_bytes: Option<u64>,
}

/// The settings of an input, compiled: shared by all passes over it.
pub(super) struct RowOptions {
    pub templates: Templates,
    /// A row's own values win over these.
    pub default_params: Params,
    /// Absolute; what relative paths in rows are relative to.
    pub base_dir: PathBuf,
    /// `None`: captions are not written to sidecars.
    pub captions: Option<CaptionSettings>,
    pub max_rows: Option<u64>,
    /// Fields of the row that are kept with the item.
    pub kept_fields: Vec<String>,
    /// See [`super::InputOptions::legacy_rows`].
    pub legacy_rows: bool,
    pub model_check: Option<ModelCheck>,
}

impl RowOptions {
    /// One line as JSON. A name that stands twice in an object is refused: which of the two counts is anybody's guess.
    pub(super) fn parse_row<'l>(&self, line: &'l str) -> Result<Json<'l>, FieldError> {
        let row = Json::parse(line)?;
        if !self.legacy_rows {
            row.refuse_duplicates()?;
        }
        Ok(row)
    }

    /// Of a row's fields those that are to be kept: texts, numbers, true and false, as text.
    pub(super) fn pick_kept_fields(&self, fields: &Fields<'_>) -> BTreeMap<String, String> {
        let text = |value: &Json<'_>| match value {
            Json::Text(text) => Some(text.to_string()),
            Json::Bool(flag) => Some(flag.to_string()),
            Json::Int(number) => Some(number.to_string()),
            Json::BigUnsigned(number) => Some(number.to_string()),
            Json::Float(number) => Some(number.to_string()),
            Json::Null | Json::List(_) | Json::Object(_) => None,
        };
        self.kept_fields.iter().filter_map(|name| Some((name.clone(), text(get_field(fields, name)?)?))).collect()
    }
}
