//! `[captions]`: what is no caption.

use super::{schema, toml_reader::TomlTable};

/// Reads further beginnings of refusals.
pub(super) fn read(root: &TomlTable<'_>) -> Vec<String> {
    let table = root.table("captions", &schema::CAPTIONS);
    let entries = table.and_then(|table| table.field("refusals")?.list("strings")).unwrap_or_default();
    let mut refusals = Vec::new();
    for entry in entries {
        match entry.value.as_str() {
            Some(text) if text.trim().is_empty() => entry.doc.add_error(entry.offset, "a refusal is empty"),
            Some(text) => refusals.push(text.to_owned()),
            None => entry.wrong_type("a list of strings in quotes"),
        }
    }
    refusals
}
