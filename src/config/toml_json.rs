//! Converts TOML values to JSON, for settings that are passed on to a provider.

use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

use crate::domain::parse_with_exact_numbers;

pub(super) fn to_json_object(table: &DeTable<'_>) -> Map<String, Value> {
    table.iter().map(|(key, value)| (key.get_ref().to_string(), to_json_value(value.get_ref()))).collect()
}

fn to_json_value(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(integer) => {
            i64::from_str_radix(integer.as_str(), integer.radix()).map_or(Value::Null, Value::from)
        }
        // Most floats of TOML are numbers of JSON too, and keep their text.
        DeValue::Float(float) => parse_with_exact_numbers(float.as_str().as_bytes())
            .unwrap_or_else(|_| float.as_str().parse::<f64>().map_or(Value::Null, Value::from)),
        DeValue::Boolean(flag) => Value::from(*flag),
        DeValue::Datetime(datetime) => Value::from(datetime.to_string()),
        DeValue::Array(entries) => entries.iter().map(|entry| to_json_value(entry.get_ref())).collect(),
        DeValue::Table(table) => Value::Object(to_json_object(table)),
    }
}
