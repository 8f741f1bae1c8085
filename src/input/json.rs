//! Parsed JSON that borrows its strings from the line.
//!
//! `serde_json::Value` copies every string and builds a map per object, which is slow for a million short rows. Here an
//! object is a list of pairs in their order in the line, and a string without escapes is a slice of the line. All
//! formats use this type, so that errors about a field have the same wording.

use std::{borrow::Cow, collections::HashSet, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::Number;

use crate::domain::{NUMBER_FIELD, NumberTexts, may_be_rewritten, restore_number};

use super::error::FieldError;

/// The fields of an object, in order. If a name occurs twice, the last one counts, as in other JSON readers. This
/// matters only for legacy rows: other rows are refused ([`Json::refuse_duplicates`]).
pub(super) type Fields<'a> = Vec<(Cow<'a, str>, Json<'a>)>;

/// Whole numbers below this are represented exactly by `f64`.
const EXACT_FLOAT_LIMIT: f64 = 9e15;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json<'a> {
    Null,
    Bool(bool),
    Int(i64),
    /// A number that is not simply an `i64`: a larger one, or one with a fraction, an exponent or `-0`. It keeps its text.
    Number(Number),
    Text(Cow<'a, str>),
    List(Vec<Json<'a>>),
    Object(Fields<'a>),
}

impl<'a> Json<'a> {
    /// Parses one line as one JSON value. The error gives the reason and the column.
    pub(super) fn parse(line: &'a str) -> Result<Self, FieldError> {
        let mut value: Self = serde_json::from_str(line).map_err(|error| {
            let message = error.to_string();
            let reason = message.rfind(" at line ").map_or(message.as_str(), |end| &message[..end]);
            FieldError::new("", format!("is not valid JSON: {reason} (column {})", error.column()))
        })?;
        if value.has_exponent() {
            value.restore_numbers(&mut NumberTexts::of(line.as_bytes()));
        }
        Ok(value)
    }

    fn has_exponent(&self) -> bool {
        match self {
            Self::Number(number) => may_be_rewritten(number),
            Self::List(items) => items.iter().any(Self::has_exponent),
            Self::Object(fields) => fields.iter().any(|(_, value)| value.has_exponent()),
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Text(_) => false,
        }
    }

    /// Gives each number the text that it has in the line.
    fn restore_numbers(&mut self, texts: &mut NumberTexts<'_>) {
        match self {
            Self::Int(_) => _ = texts.next(),
            Self::Number(number) => {
                if let Some(written) = texts.next() {
                    restore_number(number, written);
                }
            }
            Self::List(items) => items.iter_mut().for_each(|item| item.restore_numbers(texts)),
            Self::Object(fields) => fields.iter_mut().for_each(|(_, value)| value.restore_numbers(texts)),
            Self::Null | Self::Bool(_) | Self::Text(_) => {}
        }
    }

    /// Refuses an object with the same field name twice, at any depth.
    pub(super) fn refuse_duplicates(&self) -> Result<(), FieldError> {
        match self {
            Self::List(items) => items.iter().enumerate().try_for_each(|(index, item)| {
                item.refuse_duplicates().map_err(|error| error.within(format_args!("[{index}]")))
            }),
            Self::Object(fields) => {
                if let Some(name) = find_duplicate(fields) {
                    return Err(FieldError::new(name, "occurs twice in one object; keep only one of them"));
                }
                fields
                    .iter()
                    .try_for_each(|(name, value)| value.refuse_duplicates().map_err(|error| error.within(name)))
            }
            _ => Ok(()),
        }
    }

    /// Appends the numbers that templates have as `f64`, with their texts.
    pub(super) fn collect_floats<'f>(&'f self, floats: &mut Vec<(f64, &'f str)>) {
        match self {
            Self::Number(number) if exact_whole(number).is_none() => {
                floats.extend(number.as_f64().map(|float| (float, number.as_str())));
            }
            Self::List(items) => items.iter().for_each(|item| item.collect_floats(floats)),
            Self::Object(fields) => fields.iter().for_each(|(_, value)| value.collect_floats(floats)),
            _ => {}
        }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The name of the type in messages like "must be a string, not …".
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "true or false",
            Self::Int(_) | Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }

    /// True for null, false, zero, and an empty text or list. An unsupported field with such a value is accepted. An empty object may have one: it turns OpenAI's `web_search_options` on.
    pub(super) fn has_no_effect(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(on) => !on,
            Self::Int(number) => *number == 0,
            Self::Number(number) => number.as_f64() == Some(0.0),
            Self::Text(text) => text.is_empty(),
            Self::List(items) => items.is_empty(),
            Self::Object(_) => false,
        }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns a field of an object.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(fields) => get_field(fields, name),
            _ => None,
        }
    }

    pub(super) fn text(&self, field_path: &str) -> Result<&str, FieldError> {
        self.as_text().ok_or_else(|| self.type_error(field_path, "a string"))
    }

    pub(super) fn list(&self, field_path: &str) -> Result<&[Self], FieldError> {
        match self {
            Self::List(items) => Ok(items),
            _ => Err(self.type_error(field_path, "a list")),
        }
    }

    pub(super) fn object(&self, field_path: &str) -> Result<&Fields<'a>, FieldError> {
        match self {
            Self::Object(fields) => Ok(fields),
            _ => Err(self.type_error(field_path, "an object")),
        }
    }

    pub(super) fn number(&self, field_path: &str) -> Result<f64, FieldError> {
        match self {
            Self::Int(number) => Ok(*number as f64),
            Self::Number(number) => {
                number.as_f64().ok_or_else(|| FieldError::new(field_path, "is too large for a number with a fraction"))
            }
            _ => Err(self.type_error(field_path, "a number")),
        }
    }

    /// Returns a whole number. Accepts `4096.0` too, since some exporters write it.
    pub(super) fn integer(&self, field_path: &str) -> Result<i64, FieldError> {
        match self {
            Self::Int(number) => Ok(*number),
            Self::Number(number) => match number.as_f64() {
                _ if is_whole(number) && number.as_str() != "-0" => {
                    Err(FieldError::new(field_path, format!("is too large; at most {} can be sent", i64::MAX)))
                }
                Some(number) if number.fract() == 0.0 && number.abs() < EXACT_FLOAT_LIMIT => Ok(number as i64),
                Some(number) if number.abs() < EXACT_FLOAT_LIMIT => {
                    Err(FieldError::new(field_path, "must be a whole number, not one with a fraction"))
                }
                _ => Err(FieldError::new(field_path, "is too large to be stored exactly")),
            },
            _ => Err(self.type_error(field_path, "a whole number")),
        }
    }

    pub(super) fn type_error(&self, field_path: &str, expected: &str) -> FieldError {
        FieldError::new(field_path, format!("must be {expected}, not {}", self.type_name()))
    }

    /// Converts to an owned value, for JSON schemas, which are passed on whole.
    pub(super) fn to_value(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Bool(on) => (*on).into(),
            Self::Int(number) => (*number).into(),
            Self::Number(number) => serde_json::Value::Number(number.clone()),
            Self::Text(text) => text.as_ref().into(),
            Self::List(items) => items.iter().map(Self::to_value).collect(),
            Self::Object(fields) => fields.iter().map(|(name, value)| (name.as_ref(), value.to_value())).collect(),
        }
    }
}

/// Returns the value of `name`; the last one if the name occurs twice.
pub(super) fn get_field<'f, 'a>(fields: &'f Fields<'a>, name: &str) -> Option<&'f Json<'a>> {
    fields.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value)
}

/// True for a number that is written without a fraction or an exponent.
pub(super) fn is_whole(number: &Number) -> bool {
    !number.as_str().contains(['.', 'e', 'E'])
}

/// Returns a name that occurs twice.
fn find_duplicate<'f>(fields: &'f Fields<'_>) -> Option<&'f str> {
    // For the usual few fields, a linear search is faster than a set.
    const SMALL_OBJECT_FIELDS: usize = 16;
    let mut names = fields.iter().map(|(name, _)| name.as_ref()).enumerate();
    if fields.len() <= SMALL_OBJECT_FIELDS {
        return names
            .find(|(index, name)| fields[..*index].iter().any(|(other, _)| other == name))
            .map(|(_, name)| name);
    }
    let mut seen = HashSet::with_capacity(fields.len());
    names.find(|(_, name)| !seen.insert(*name)).map(|(_, name)| name)
}

/// The error for a required field that is missing or null.
pub(super) fn missing_field(fields: &Fields<'_>, name: &str) -> FieldError {
    FieldError::new(name, if get_field(fields, name).is_some() { "is null" } else { "is missing" })
}

impl<'de: 'a, 'a> Deserialize<'de> for Json<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, on: bool) -> Result<Self::Value, E> {
        Ok(Json::Bool(on))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Json::Int(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(number).map_or_else(|_| Json::Number(number.into()), Json::Int))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Json::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Json::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Json::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Some(FieldName(name)) = map.next_key()? else { return Ok(Json::Object(Vec::new())) };
        if name == NUMBER_FIELD {
            let text: String = map.next_value()?;
            return text.parse().map(Json::Number).map_err(A::Error::custom);
        }
        let mut fields = Vec::with_capacity(4);
        fields.push((name, map.next_value()?));
        while let Some((FieldName(name), value)) = map.next_entry()? {
            fields.push((name, value));
        }
        Ok(Json::Object(fields))
    }
}

/// A field name; borrowed if it has no escapes.
struct FieldName<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for FieldName<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(FieldNameVisitor)
    }
}

struct FieldNameVisitor;

impl<'de> Visitor<'de> for FieldNameVisitor {
    type Value = FieldName<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(FieldName(Cow::Borrowed(name)))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(FieldName(Cow::Owned(name.to_owned())))
    }
}

/// For templates, which read their context through serde.
impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(on) => serializer.serialize_bool(*on),
            Self::Int(number) => serializer.serialize_i64(*number),
            Self::Number(number) => serialize_number(number, serializer),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => serializer.collect_seq(items),
            Self::Object(fields) => serializer.collect_map(fields.iter().map(|(name, value)| (name, value))),
        }
    }
}

/// The number as an integer that prints as it is written.
fn exact_whole(number: &Number) -> Option<i128> {
    number.as_i128().filter(|_| number.as_str() != "-0")
}

/// Templates compute with integers and `f64`.
fn serialize_number<S: Serializer>(number: &Number, serializer: S) -> Result<S::Ok, S::Error> {
    if let Some(whole) = exact_whole(number) {
        serializer.serialize_i128(whole)
    } else if let Some(float) = number.as_f64() {
        serializer.serialize_f64(float)
    } else {
        serializer.serialize_str(number.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_without_escapes_are_borrowed_from_the_line() {
        let Json::Object(fields) = Json::parse(r#"{"plain":"abc","escaped":"a\nb"}"#).unwrap() else { panic!() };
        assert!(matches!(fields[0], (Cow::Borrowed("plain"), Json::Text(Cow::Borrowed("abc")))));
        assert!(matches!(&fields[1].1, Json::Text(Cow::Owned(text)) if text == "a\nb"));
    }

    #[test]
    fn the_last_of_two_fields_with_one_name_counts() {
        let row = Json::parse(r#"{"a":1,"a":2}"#).unwrap();
        assert_eq!(row.get("a"), Some(&Json::Int(2)));
    }

    #[test]
    fn a_syntax_error_names_its_column() {
        let error = Json::parse(r#"{"a": tru}"#).unwrap_err();
        assert_eq!(error.to_string(), "is not valid JSON: expected ident (column 10)");
    }

    #[test]
    fn deep_nesting_is_refused_rather_than_overflowing_the_stack() {
        assert!(Json::parse(&"[".repeat(100_000)).is_err());
    }
}
