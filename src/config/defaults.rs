//! `[defaults]`: request parameters for rows that don't set them.

use std::path::Path;

use toml::de::DeValue;

use super::{
    json_schema, schema,
    toml_reader::{TomlField, TomlTable},
};
use crate::domain::{JsonMode, Params, Thinking};

/// Values of rows and of the command line take precedence.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Defaults {
    pub system: Option<String>,
    pub params: Params,
}

const LEVELS: [&str; 4] = ["minimal", "low", "medium", "high"];

/// Reads the defaults. Paths in the file start from `directory`.
pub(super) fn read(root: &TomlTable<'_>, directory: &Path) -> Defaults {
    let Some(table) = root.table("defaults", &schema::DEFAULTS) else { return Defaults::default() };
    Defaults {
        system: table.text("system").map(|system| system.text.to_owned()),
        params: Params {
            temperature: table.number("temperature", 0.0..=2.0),
            top_p: table.number("top_p", 0.0..=1.0),
            max_output_tokens: table.limit("max_output_tokens", i64::from(u32::MAX)),
            stop: table.field("stop").and_then(read_stop).unwrap_or_default(),
            seed: table.count("seed", i64::MIN..=i64::MAX),
            thinking: table.field("thinking").and_then(read_thinking),
            json: table.field("json").and_then(|field| read_json_mode(field, directory)),
            ..Params::default()
        },
    }
}

/// Reads stop sequences. Blanks and line breaks are valid; an empty text is not.
fn read_stop(field: TomlField<'_>) -> Option<Vec<String>> {
    let mut stops = Vec::new();
    for entry in field.list("strings")? {
        match entry.value.as_str() {
            Some("") => entry.doc.add_error(entry.offset, "a stop sequence is empty"),
            Some(text) => stops.push(text.to_owned()),
            None => entry.wrong_type("a list of strings in quotes"),
        }
    }
    Some(stops)
}

fn read_thinking(field: TomlField<'_>) -> Option<Thinking> {
    match field.value {
        DeValue::Integer(_) => field.count(0..=i64::from(u32::MAX)).map(Thinking::Budget),
        DeValue::String(level) if LEVELS.contains(&level.as_ref()) => Some(Thinking::Level(level.to_string())),
        _ => {
            let message = "thinking must be \"minimal\", \"low\", \"medium\", \"high\", or a number of tokens";
            field.doc.add_error(field.offset, message);
            None
        }
    }
}

fn read_json_mode(field: TomlField<'_>, directory: &Path) -> Option<JsonMode> {
    match field.value {
        DeValue::Boolean(wanted) => wanted.then_some(JsonMode::Object),
        _ => json_schema::read(&field, directory, "true, false, \"file:SCHEMA.json\", or a schema as a table")
            .map(JsonMode::Schema),
    }
}
