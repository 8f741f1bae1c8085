//! JSON schemas for answers. References must stay inside the schema: nothing is ever fetched or read.

use std::{
    collections::HashMap,
    error::Error,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use jsonschema::{Retrieve, Uri, Validator};
use serde_json::Value;

/// Maximum number of compiled schemas that are kept. Most runs have one.
const MAX_KEPT_SCHEMAS: usize = 256;
/// Maximum number of errors that a message names.
const MAX_SHOWN_ERRORS: usize = 3;
/// Maximum number of characters of one error. An error quotes the value, which may be long.
const MAX_ERROR_CHARS: usize = 150;

/// A compiled schema. Cheap to clone.
#[derive(Clone)]
pub struct JsonSchema(Arc<Validator>);

impl fmt::Debug for JsonSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonSchema").finish_non_exhaustive()
    }
}

impl JsonSchema {
    /// Compiles a schema.
    ///
    /// # Errors
    /// If it is no valid schema, or refers to anything outside of itself.
    pub fn compile(schema: &Value) -> Result<Self, String> {
        let compiled = jsonschema::options().with_retriever(RefusingRetriever).build(schema);
        compiled.map(|validator| Self(Arc::new(validator))).map_err(|error| shorten(&error.to_string()))
    }

    /// # Errors
    /// If `value` doesn't satisfy the schema: the first errors, each with its place.
    pub fn validate(&self, value: &Value) -> Result<(), String> {
        let mut errors = self.0.iter_errors(value).map(|error| match error.instance_path().as_str() {
            "" => shorten(&error.to_string()),
            path => format!("at {path}: {}", shorten(&error.to_string())),
        });
        let shown: Vec<String> = errors.by_ref().take(MAX_SHOWN_ERRORS).collect();
        match (shown.is_empty(), errors.count()) {
            (true, _) => Ok(()),
            (false, 0) => Err(shown.join("; ")),
            (false, more) => Err(format!("{}; and {more} more", shown.join("; "))),
        }
    }
}

/// Refuses every reference to something outside of a schema.
struct RefusingRetriever;

impl Retrieve for RefusingRetriever {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn Error + Send + Sync>> {
        Err(format!("Retrieval is disabled, cannot fetch {uri}").into())
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(MAX_ERROR_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The compiled schemas of requests, by their text.
#[derive(Debug, Default)]
pub(super) struct SchemaCache(Mutex<HashMap<String, Result<JsonSchema, String>>>);

impl SchemaCache {
    /// # Errors
    /// As [`JsonSchema::compile`].
    pub fn compile(&self, schema: &Value) -> Result<JsonSchema, String> {
        let text = schema.to_string();
        if let Some(known) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&text) {
            return known.clone();
        }
        let compiled = JsonSchema::compile(schema);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT_SCHEMAS {
            kept.clear();
        }
        kept.insert(text, compiled.clone());
        compiled
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn errors_name_their_place_and_are_short() {
        let schema = json!({
            "type": "object", "required": ["name"],
            "properties": {"name": {"type": "string"}, "age": {"$ref": "#/$defs/age"}},
            "$defs": {"age": {"type": "integer", "minimum": 0}},
        });
        let schema = JsonSchema::compile(&schema).unwrap();
        assert_eq!(schema.validate(&json!({"name": "Ada", "age": 36})), Ok(()));
        assert_eq!(schema.validate(&json!({"age": 36})).unwrap_err(), "\"name\" is a required property");
        let wrong = schema.validate(&json!({"name": "x".repeat(5_000).into_bytes(), "age": -1})).unwrap_err();
        assert!(wrong.contains("at /name: ") && wrong.contains("at /age: -1 is less than the minimum of 0"), "{wrong}");
        assert!(wrong.chars().count() < 2 * MAX_ERROR_CHARS + 40, "{wrong}");
    }

    #[test]
    fn only_the_first_errors_are_named() {
        let schema = JsonSchema::compile(&json!({"items": {"type": "string"}})).unwrap();
        let message = schema.validate(&json!([1, 2, 3, 4, 5])).unwrap_err();
        assert!(message.starts_with("at /0: ") && message.ends_with("; and 2 more"), "{message}");
    }

    #[test]
    fn a_schema_that_refers_to_something_outside_is_refused() {
        for reference in
            ["https://example.org/s.json", "http://127.0.0.1:9/s.json", "file:///etc/hostname", "other.json"]
        {
            let error = JsonSchema::compile(&json!({"$ref": reference})).unwrap_err();
            assert!(error.len() < 400, "{error}");
        }
        assert!(JsonSchema::compile(&json!({"type": "no such type"})).is_err());
    }

    #[test]
    fn a_compiled_schema_is_kept_and_so_is_an_error() {
        let cache = SchemaCache::default();
        let schema = json!({"type": "object"});
        let (first, second) = (cache.compile(&schema).unwrap(), cache.compile(&schema).unwrap());
        assert!(Arc::ptr_eq(&first.0, &second.0));
        for size in 0..MAX_KEPT_SCHEMAS {
            assert!(cache.compile(&json!({"maxItems": size})).is_ok());
        }
        assert!(cache.0.lock().unwrap().len() <= MAX_KEPT_SCHEMAS);
        assert_eq!(
            cache.compile(&json!({"$ref": "a"})).unwrap_err(),
            cache.compile(&json!({"$ref": "a"})).unwrap_err()
        );
    }
}
