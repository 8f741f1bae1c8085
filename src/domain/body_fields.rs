//! The fields of a request's body: found by a JSON pointer, and merged with those of another body.
//!
//! Gemini's API accepts each name in two spellings, `camelCase` and `snake_case`. A body must have only one of them, so
//! that names which differ in nothing else are the same field there.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::fleet::Api;

/// Like [`Value::pointer_mut`], for the fields of an object.
pub fn field_at_mut<'b>(body: &'b mut Map<String, Value>, pointer: &str) -> Option<&'b mut Value> {
    let path = pointer.strip_prefix('/')?;
    let (first, rest) = path.find('/').map_or((path, ""), |end| path.split_at(end));
    // A name is escaped as `Value::pointer_mut` expects it.
    body.get_mut(&first.replace("~1", "/").replace("~0", "~"))?.pointer_mut(rest)
}

/// Sets the fields of `over` in `base`, a body for `api`. Objects that both have are merged.
pub fn merge_over(base: &mut Map<String, Value>, over: &Map<String, Value>, api: Api) {
    merge(base, over, Precedence::Other, Spelling::of(api));
}

/// Adds the fields of `under` that `base`, a body for `api`, doesn't have. Objects that both have are merged.
pub fn merge_under(base: &mut Map<String, Value>, under: &Map<String, Value>, api: Api) {
    merge(base, under, Precedence::Base, Spelling::of(api));
}

/// Like [`merge_under`], but a null in `base` means that the field is not set.
pub fn merge_defaults(base: &mut Map<String, Value>, defaults: &Map<String, Value>, api: Api) {
    merge(base, defaults, Precedence::BaseUnlessNull, Spelling::of(api));
}

/// The body whose value counts if both have a field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Precedence {
    Base,
    BaseUnlessNull,
    Other,
}

/// How the names of fields are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spelling {
    Exact,
    CamelOrSnake,
}

impl Spelling {
    const fn of(api: Api) -> Self {
        match api {
            Api::Gemini => Self::CamelOrSnake,
            Api::OpenAi | Api::Anthropic => Self::Exact,
        }
    }

    /// The spelling in which `fields` have a field, or `name` if they don't have it.
    fn name_in<'n>(self, fields: &Map<String, Value>, name: &'n str) -> Cow<'n, str> {
        if self == Self::Exact || fields.contains_key(name) {
            return Cow::Borrowed(name);
        }
        let camel = to_camel_case(name);
        let own = fields.keys().find(|own| to_camel_case(own) == camel);
        own.map_or(Cow::Borrowed(name), |own| Cow::Owned(own.clone()))
    }

    /// How the names within a field are compared.
    fn within(self, name: &str) -> Self {
        if has_names_of_data(name) { Self::Exact } else { self }
    }
}

fn merge(base: &mut Map<String, Value>, other: &Map<String, Value>, precedence: Precedence, spelling: Spelling) {
    for (name, value) in other {
        let name = spelling.name_in(base, name);
        match (base.get_mut(name.as_ref()), value) {
            (Some(Value::Object(inner)), Value::Object(other_inner)) => {
                merge(inner, other_inner, precedence, spelling.within(&name));
            }
            (Some(Value::Null), _) if precedence == Precedence::BaseUnlessNull => {
                base.insert(name.into_owned(), value.clone());
            }
            (Some(_), _) if precedence != Precedence::Other => {}
            _ => {
                base.insert(name.into_owned(), value.clone());
            }
        }
    }
}

/// Whether the names in a field of Gemini's API are those of the user's data, so that their spelling matters.
pub fn has_names_of_data(name: &str) -> bool {
    const FIELDS: [&str; 8] = [
        "responseSchema",
        "responseJsonSchema",
        "parameters",
        "parametersJsonSchema",
        "responseParameters",
        "args",
        "response",
        "labels",
    ];
    FIELDS.contains(&to_camel_case(name).as_ref())
}

/// Converts `response_mime_type` to `responseMimeType`.
pub fn to_camel_case(name: &str) -> Cow<'_, str> {
    if !name.contains('_') {
        return Cow::Borrowed(name);
    }
    let mut camel = String::with_capacity(name.len());
    let mut upper = false;
    for letter in name.chars() {
        match letter {
            '_' => upper = true,
            _ if upper => {
                camel.push(letter.to_ascii_uppercase());
                upper = false;
            }
            _ => camel.push(letter),
        }
    }
    Cow::Owned(camel)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(value: Value) -> Map<String, Value> {
        let Value::Object(fields) = value else { panic!("{value} is not an object") };
        fields
    }

    #[test]
    fn objects_are_merged_and_other_values_replaced_or_kept() {
        let base = || fields(json!({"a": 1, "n": null, "config": {"x": 1, "list": [1]}}));
        let other = fields(json!({"a": 2, "b": 2, "n": 2, "config": {"y": 2, "list": [2]}}));
        let merged = |merge: fn(&mut Map<String, Value>, &Map<String, Value>, Api)| {
            let mut base = base();
            merge(&mut base, &other, Api::OpenAi);
            Value::Object(base)
        };
        let both =
            |a: u8, n: Value, list: u8| json!({"a": a, "b": 2, "n": n, "config": {"x": 1, "y": 2, "list": [list]}});
        assert_eq!(merged(merge_over), both(2, json!(2), 2));
        assert_eq!(merged(merge_under), both(1, Value::Null, 1));
        assert_eq!(merged(merge_defaults), both(1, json!(2), 1));
    }

    #[test]
    fn two_spellings_are_one_field_of_gemini_except_in_data() {
        let mut body = fields(json!({
            "generationConfig": {"topK": 1, "thinking_config": {"includeThoughts": true}},
            "safety_settings": [1],
        }));
        let over = fields(json!({
            "generation_config": {"top_k": 2, "thinkingConfig": {"thinking_level": "LOW"}},
            "safetySettings": [2],
        }));
        let want = json!({
            "generationConfig": {"topK": 2, "thinking_config": {"includeThoughts": true, "thinking_level": "LOW"}},
            "safety_settings": [2],
        });
        merge_over(&mut body, &over, Api::Gemini);
        assert_eq!(Value::Object(body), want);

        let mut schema = fields(json!({"responseSchema": {"properties": {"first_name": 1}}}));
        let under = fields(json!({"response_schema": {"properties": {"firstName": 2}}}));
        merge_under(&mut schema, &under, Api::Gemini);
        assert_eq!(Value::Object(schema), json!({"responseSchema": {"properties": {"first_name": 1, "firstName": 2}}}));

        let mut exact = fields(json!({"topK": 1}));
        merge_over(&mut exact, &fields(json!({"top_k": 2})), Api::OpenAi);
        assert_eq!(Value::Object(exact), json!({"topK": 1, "top_k": 2}));
    }

    #[test]
    fn a_pointer_finds_escaped_names() {
        let mut body = fields(json!({"a/b": {"c~d": [1, 2]}}));
        assert_eq!(field_at_mut(&mut body, "/a~1b/c~0d/1"), Some(&mut json!(2)));
        assert_eq!(field_at_mut(&mut body, "/none/1"), None);
    }

    #[test]
    fn snake_case_names_become_camel_case() {
        for (name, want) in
            [("topP", "topP"), ("top_p", "topP"), ("response_mime_type", "responseMimeType"), ("seed", "seed")]
        {
            assert_eq!(to_camel_case(name), want);
        }
    }
}
