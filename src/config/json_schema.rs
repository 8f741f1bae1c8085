//! A JSON schema in keys.toml: a table, or a file that it names.

use std::path::Path;

use serde_json::Value;
use toml::de::DeValue;

use super::{
    bounded_read::read_small_text,
    error::{looks_like_secret, quote_unless_secret},
    toml_json::to_json_object,
    toml_reader::TomlField,
};
use crate::domain::sanitize;

/// Reads `"file:SCHEMA.json"`, with a path that starts from `directory`, or a schema as a table. Any other value is
/// reported as not being `expected`.
pub(super) fn read(field: &TomlField<'_>, directory: &Path, expected: &str) -> Option<Value> {
    match field.value {
        DeValue::Table(schema) => Some(Value::Object(to_json_object(schema))),
        DeValue::String(reference) if reference.starts_with("file:") => {
            read_file(field, directory, reference.trim_start_matches("file:").trim())
        }
        _ => {
            field.wrong_type(expected);
            None
        }
    }
}

fn read_file(field: &TomlField<'_>, directory: &Path, reference: &str) -> Option<Value> {
    let path = directory.join(reference);
    let schema = read_small_text(&path).map_err(|error| error.to_string()).and_then(|text| {
        serde_json::from_str(&text)
            .map_err(|error| format!("is not JSON (line {}, column {})", error.line(), error.column()))
    });
    let label = if looks_like_secret(reference) {
        format!("the schema file {}", quote_unless_secret(reference))
    } else {
        sanitize(&path.display().to_string()).into_owned()
    };
    match schema {
        Ok(schema @ Value::Object(_)) => return Some(schema),
        Ok(_) => field.doc.add_error(field.offset, format!("{label} does not contain a JSON schema")),
        Err(reason) => field.doc.add_error(field.offset, format!("{label} {reason}")),
    }
    None
}
