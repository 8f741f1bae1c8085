//! JSON whose numbers keep their text.
//!
//! `serde_json` keeps all digits of a number, but rewrites its exponent: `1e3` and `1E3` become `1e+3`. The functions here
//! put the text back as it was written.

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error},
};
use serde_json::{Map, Number, Value, value::RawValue};

/// The name under which `serde_json` gives a visitor a number that is not a 64-bit integer, as text in a map.
pub const NUMBER_FIELD: &str = "$serde_json::private::Number";

/// Parses JSON. Every number in the value has the text that it has in `json`.
///
/// # Errors
/// If it is not valid JSON.
pub fn parse_with_exact_numbers(json: &[u8]) -> serde_json::Result<Value> {
    let mut value = serde_json::from_slice(json)?;
    if has_exponent(&value) {
        restore_numbers(&mut value, &mut NumberTexts::of(json));
    }
    Ok(value)
}

/// Deserializes a value of `serde_json` with its numbers as they were written.
pub(super) fn deserialize_value<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    let json = Box::<RawValue>::deserialize(deserializer)?;
    parse_with_exact_numbers(json.get().as_bytes()).map_err(D::Error::custom)
}

/// Like [`deserialize_value`], for an object.
pub(super) fn deserialize_fields<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    match deserialize_value(deserializer)? {
        Value::Object(fields) => Ok(fields),
        _ => Err(D::Error::custom("an object is expected")),
    }
}

/// Deserializes a flattened field. Without this, a fraction in it could not be read: `serde` passes on flattened fields
/// without their types, and `serde_json` can't tell which type a fraction has.
pub(super) fn deserialize_flattened<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    deserializer: D,
) -> Result<T, D::Error> {
    serde_json::from_value(Value::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// True if the number has an exponent, so that its text may have been rewritten.
pub fn may_be_rewritten(number: &Number) -> bool {
    number.as_str().contains('e')
}

/// Gives a number the text that it was written with. Does nothing if `written` is another number.
pub fn restore_number(number: &mut Number, written: &str) {
    if written.contains(['e', 'E']) && written.parse().is_ok_and(|parsed: Number| parsed == *number) {
        *number = Number::from_string_unchecked(written.to_owned());
    }
}

/// True if any number in the value has an exponent, so that its text may have been rewritten.
pub(super) fn has_exponent(value: &Value) -> bool {
    match value {
        Value::Number(number) => may_be_rewritten(number),
        Value::Array(items) => items.iter().any(has_exponent),
        Value::Object(fields) => fields.values().any(has_exponent),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}

fn restore_numbers(value: &mut Value, texts: &mut NumberTexts<'_>) {
    match value {
        Value::Number(number) => {
            if let Some(written) = texts.next() {
                restore_number(number, written);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| restore_numbers(item, texts)),
        Value::Object(fields) => fields.values_mut().for_each(|value| restore_numbers(value, texts)),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// The texts of all numbers in a valid JSON text, in their order.
pub struct NumberTexts<'a> {
    rest: &'a [u8],
}

impl<'a> NumberTexts<'a> {
    pub const fn of(json: &'a [u8]) -> Self {
        Self { rest: json }
    }

    /// Skips the rest of a string, after its opening quote.
    fn skip_string(&mut self) {
        while let Some(end) = self.rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) {
            let is_quote = self.rest[end] == b'"';
            // A backslash is skipped with the character that it escapes.
            self.rest = self.rest.get(end + if is_quote { 1 } else { 2 }..).unwrap_or_default();
            if is_quote {
                return;
            }
        }
        self.rest = &[];
    }
}

impl<'a> Iterator for NumberTexts<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        loop {
            let start = self.rest.iter().position(|byte| matches!(byte, b'"' | b'-' | b'0'..=b'9'))?;
            self.rest = &self.rest[start..];
            if self.rest[0] == b'"' {
                self.rest = &self.rest[1..];
                self.skip_string();
                continue;
            }
            let is_in_number = |byte: &u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
            let end = self.rest.iter().position(|byte| !is_in_number(byte)).unwrap_or(self.rest.len());
            let (number, rest) = self.rest.split_at(end);
            self.rest = rest;
            return std::str::from_utf8(number).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBERS: &str =
        "[1e3,1E3,1e+3,1.0,-0,0.10,2.50E-07,1e400,123456789012345678901234567890,0.1234567890123456789]";

    #[test]
    fn every_number_keeps_its_text() {
        assert_eq!(parse_with_exact_numbers(NUMBERS.as_bytes()).unwrap().to_string(), NUMBERS);
        let nested = format!(r#"{{"1e9":"1e5\"1e6","a":{{"b":{NUMBERS},"c":"\\"}},"d":7e0}}"#);
        assert_eq!(parse_with_exact_numbers(nested.as_bytes()).unwrap().to_string(), nested);
    }

    #[test]
    fn a_field_that_occurs_twice_changes_no_number() {
        let value = parse_with_exact_numbers(br#"{"a":1e1,"b":2e2,"a":3e3}"#).unwrap();
        let number = |name: &str| value[name].as_f64();
        assert_eq!((number("a"), number("b")), (Some(3000.0), Some(200.0)));
    }
}
