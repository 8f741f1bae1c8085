//! What a reader makes of a row, and what every reader is given to make it with.

use std::{collections::BTreeMap, path::PathBuf};

use crate::domain::{Money, Params, Request};

use super::{
    ModelCheck,
    fault::Wrong,
    json::{Fields, Json, field},
    sidecar::{Captioning, Sidecar},
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
    pub fields: BTreeMap<String, String>,
    pub caption: Option<Sidecar>,
    /// The captioned picture's size.
    pub bytes: Option<u64>,
}

/// The settings of an input, compiled: shared by all passes over it.
pub(super) struct Recipe {
    pub templates: Templates,
    /// A row's own values win over these.
    pub defaults: Params,
    /// Absolute; what relative paths in rows are relative to.
    pub base: PathBuf,
    /// `None`: captions are not written to sidecars.
    pub captioning: Option<Captioning>,
    pub limit: Option<u64>,
    /// Fields of the row that are kept with the item.
    pub kept: Vec<String>,
    /// See [`super::InputOptions::legacy_rows`].
    pub legacy_rows: bool,
    pub models: Option<ModelCheck>,
}

impl Recipe {
    /// One line as JSON. A name that stands twice in an object is refused: which of the two counts is anybody's guess.
    pub(super) fn parse<'l>(&self, line: &'l str) -> Result<Json<'l>, Wrong> {
        let row = Json::parse(line)?;
        if !self.legacy_rows {
            row.refuse_duplicates()?;
        }
        Ok(row)
    }

    /// Of a row's fields those that are to be kept: texts, numbers, true and false, as text.
    pub(super) fn keep(&self, fields: &Fields<'_>) -> BTreeMap<String, String> {
        let text = |value: &Json<'_>| match value {
            Json::Text(text) => Some(text.to_string()),
            Json::Bool(flag) => Some(flag.to_string()),
            Json::Int(number) => Some(number.to_string()),
            Json::Big(number) => Some(number.to_string()),
            Json::Float(number) => Some(number.to_string()),
            Json::Null | Json::List(_) | Json::Object(_) => None,
        };
        self.kept.iter().filter_map(|name| Some((name.clone(), text(field(fields, name)?)?))).collect()
    }
}
