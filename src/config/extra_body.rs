//! `extra_body` of a provider or a model: fields that are added to the body of every request.

use serde_json::{Map, Value};

use super::{toml_json::to_json_object, toml_reader::TomlTable};
use crate::domain::{
    CostFactors,
    known_param::{reserved_field, reserved_field_advice},
};

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
    // The cost of a row is reserved with the number of answers that the row asks for.
    if CostFactors::of_body(&body).answers > 1 {
        let message = "extra_body: the number of answers can be set only by a row, since it multiplies the row's cost";
        table.doc.add_error(field.offset, message);
    }
    body
}
