//! `extra_body` of a provider or a model: fields that are added to the body of every request.

use serde_json::{Map, Value};

use super::{toml_json::to_json_object, toml_reader::TomlTable};
use crate::domain::known_param::{reserved_field, reserved_field_advice};

/// Fields that change how many answers a request gets. They belong to a row, whose cost is reserved with them.
const ANSWER_COUNT_FIELDS: [&str; 3] = ["n", "best_of", "candidateCount"];

pub(super) fn read(table: &TomlTable<'_>) -> Map<String, Value> {
    let Some(field) = table.field("extra_body") else { return Map::new() };
    let Some(entries) = field.value.as_table() else {
        field.wrong_type("a table, like { top_k = 40 }");
        return Map::new();
    };
    let body = to_json_object(entries);
    if let Some(name) = reserved_field(&body) {
        table.doc.add_error(field.offset, format!("extra_body: `{name}` {}", reserved_field_advice(&name)));
    }
    let config = body.get("generationConfig").and_then(Value::as_object);
    for fields in [Some(&body), config].into_iter().flatten() {
        if let Some(name) = ANSWER_COUNT_FIELDS.into_iter().find(|name| fields.contains_key(*name)) {
            let message = format!("extra_body: {name} can be set only by a row, since it multiplies the row's cost");
            table.doc.add_error(field.offset, message);
        }
    }
    body
}
