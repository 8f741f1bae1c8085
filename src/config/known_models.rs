//! The models that rows may name, and what happens to rows that name another one.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Config, Origin,
    error::{format_suggestion, join_alternatives, quote_unless_secret},
};

/// The models that the rows of an input may name.
#[derive(Clone, Debug)]
pub struct KnownModels {
    /// Models that at least one key may use.
    usable: Arc<BTreeSet<String>>,
    /// Configured models that no key may use.
    without_key: BTreeSet<String>,
    origin: String,
}

impl KnownModels {
    pub fn from_config(config: &Config) -> Self {
        let (mut usable, mut without_key) = (BTreeSet::new(), BTreeSet::new());
        for model in &config.models {
            let has_key = config.keys.iter().any(|key| {
                key.provider == model.provider && key.models.as_ref().is_none_or(|names| names.contains(&model.name))
            });
            if has_key { &mut usable } else { &mut without_key }.insert(model.name.clone());
        }
        without_key.retain(|name| !usable.contains(name));
        let origin = match &config.origin {
            Origin::File(path) => path.display().to_string(),
            Origin::Environment(_) => "the environment's configuration".to_owned(),
        };
        Self { usable: Arc::new(usable), without_key, origin }
    }

    /// Models that at least one key may use.
    pub fn usable(&self) -> Arc<BTreeSet<String>> {
        Arc::clone(&self.usable)
    }

    /// Explains why a row may not name this model, which must not be usable. `is_pinned`: no other model may answer the
    /// row.
    pub fn unknown_model_message(&self, name: &str, is_pinned: bool) -> String {
        const MAX_LISTED: usize = 10;
        let usable = || self.usable.iter().map(String::as_str);
        let reason = if self.without_key.contains(name) {
            format!("which no key in {} may use", self.origin)
        } else {
            let did_you_mean = format_suggestion(name, usable());
            format!("which is not in {}{did_you_mean}", self.origin)
        };
        let more = self.usable.len().saturating_sub(MAX_LISTED);
        let usable = join_alternatives(usable().take(MAX_LISTED));
        let usable = if more > 0 { format!("{usable} and {more} more") } else { usable };
        let advice = if is_pinned {
            "The row's model is pinned (by model_pinned, or by row_model = \"only\" under [input]), so no other model may \
             answer it"
        } else {
            "To let any model answer such rows, set unknown_model = \"any\" under [input] in keys.toml"
        };
        format!("is {}, {reason}; rows may name {usable}. {advice}", quote_unless_secret(name))
    }

    /// The warning for accepted rows that name unknown models: the number of rows, some names, and the first row's
    /// line.
    pub fn unknown_models_warning(&self, rows: u64, names: &[String], first_line: u64) -> String {
        const MAX_LISTED: usize = 3;
        let listed: Vec<String> = names.iter().take(MAX_LISTED).map(|name| quote_unless_secret(name)).collect();
        let more = if names.len() > MAX_LISTED { " and others" } else { "" };
        let (row, verb, model) = if rows == 1 { ("row", "names", "a model") } else { ("rows", "name", "models") };
        format!(
            "{rows} {row} {verb} {model} that {} not in {} ({}{more}, first in line {first_line}); any model may answer \
             them. Under [input], set unknown_model = \"refuse\" to refuse such rows, or \"any\" to turn off this warning",
            if rows == 1 { "is" } else { "are" },
            self.origin,
            listed.join(", "),
        )
    }
}
