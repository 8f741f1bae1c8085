//! The conditions that an answer can be tested for without running a command.

use regex::Regex;
use serde::de::IgnoredAny;
use serde_json::Value;
use unicode_segmentation::UnicodeSegmentation as _;

use super::{
    command::CheckCommand,
    schema::{JsonSchema, SchemaCache},
};
use crate::domain::{CaptionRules, ItemSpec, JsonMode, find_refusal, has_trigger};

/// One condition of a check.
#[derive(Clone, Debug)]
pub enum AnswerCondition {
    /// The whole answer is one JSON value.
    Json,
    /// The answer satisfies the JSON schema of its own request; holds for requests without one.
    RequestSchema,
    Schema(JsonSchema),
    /// Some part of the answer matches.
    Regex(Regex),
    MinWords(u64),
    MaxWords(u64),
    /// None of these phrases occurs, in upper or lower case.
    NotContains(Vec<String>),
    /// The command accepts the answer.
    Command(CheckCommand),
    /// The answer is a caption and no refusal. The list has further beginnings of refusals.
    Caption(Vec<String>),
    /// The caption contains this word.
    Trigger(String),
}

impl AnswerCondition {
    /// The condition that some part of an answer matches `pattern`.
    ///
    /// # Errors
    /// If `pattern` is no regular expression, or too large a one.
    pub fn regex(pattern: &str) -> Result<Self, String> {
        Regex::new(pattern).map(Self::Regex).map_err(|error| {
            // The error draws the pattern over several lines; the last one says what is wrong.
            let text = error.to_string();
            text.lines().next_back().unwrap_or_default().trim_start_matches("error: ").to_owned()
        })
    }

    /// Tests the text of an answer. Commands are not run: they accept every text.
    ///
    /// # Errors
    /// If the answer does not satisfy the condition: why, in words that a model understands as well.
    pub(super) fn test_text(&self, text: &str, item: &ItemSpec, schemas: &SchemaCache) -> Result<(), String> {
        match self {
            Self::Json => serde_json::from_str::<IgnoredAny>(text).map(drop).map_err(|error| not_json(text, &error)),
            Self::RequestSchema => match &item.request.params.json {
                Some(JsonMode::Schema(schema)) => test_schema(text, &schemas.compile(schema)?),
                _ => Ok(()),
            },
            Self::Schema(schema) => test_schema(text, schema),
            Self::Regex(regex) if regex.is_match(text) => Ok(()),
            Self::Regex(regex) => Err(format!("does not match the regular expression {regex}")),
            Self::MinWords(min) => match count_words(text) {
                words if words < *min => Err(format!("has {words} words; at least {min} are needed")),
                _ => Ok(()),
            },
            Self::MaxWords(max) => match count_words(text) {
                words if words > *max => Err(format!("has {words} words; at most {max} are allowed")),
                _ => Ok(()),
            },
            Self::NotContains(phrases) => {
                let text = text.to_lowercase();
                match phrases.iter().find(|phrase| text.contains(&phrase.to_lowercase())) {
                    Some(phrase) => Err(format!("contains \"{phrase}\"")),
                    None => Ok(()),
                }
            }
            Self::Command(_) => Ok(()),
            Self::Caption(refusals) => match CaptionRules::default().caption_from(text) {
                caption if caption.is_empty() => Err("has no caption in it".to_owned()),
                caption => match find_refusal(&caption, refusals) {
                    Some(refusal) => Err(format!("is a refusal: {refusal}")),
                    None => Ok(()),
                },
            },
            Self::Trigger(word) if has_trigger(&CaptionRules::default().caption_from(text), word) => Ok(()),
            Self::Trigger(word) => Err(format!("does not contain the word {word}")),
        }
    }
}

fn test_schema(text: &str, schema: &JsonSchema) -> Result<(), String> {
    let value: Value = serde_json::from_str(text).map_err(|error| not_json(text, &error))?;
    schema.validate(&value)
}

/// Why a text is not JSON. The usual cause is a code fence around it.
fn not_json(text: &str, error: &serde_json::Error) -> String {
    if text.trim_start().starts_with("```") {
        return "is not JSON: it begins with a code fence (```); only the JSON itself may be written".to_owned();
    }
    format!("is not JSON: {error}")
}

/// Words by Unicode's boundaries, so that scripts without spaces are counted too.
fn count_words(text: &str) -> u64 {
    text.unicode_words().count() as u64
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::Request;

    pub fn item(prompt: &str) -> ItemSpec {
        ItemSpec { id: "a".to_owned(), request: Request::from_prompt(prompt), line: 1, ..ItemSpec::default() }
    }

    fn test(condition: &AnswerCondition, text: &str) -> Result<(), String> {
        condition.test_text(text, &item("?"), &SchemaCache::default())
    }

    #[test]
    fn each_condition_accepts_or_says_what_is_wrong() {
        let phrases = AnswerCondition::NotContains(vec!["As an AI".to_owned(), "I can’t help".to_owned()]);
        let regex = AnswerCondition::regex(r"^Answer: \d+$").unwrap();
        for (condition, text, message) in [
            (&AnswerCondition::Caption(Vec::new()), "\"A cup.\"", None),
            (&AnswerCondition::Caption(Vec::new()), "<think>Hm", Some("has no caption in it")),
            (&AnswerCondition::Caption(Vec::new()), "\"I'm sorry.\"", Some("is a refusal: I'm sorry.")),
            (&AnswerCondition::Trigger("ohwx".to_owned()), "Ohwx, a cup.", None),
            (&AnswerCondition::Trigger("ohwx".to_owned()), "A cup.", Some("does not contain the word ohwx")),
            (&AnswerCondition::Json, r#" {"a": [1, null]} "#, None),
            (&AnswerCondition::Json, "5", None),
            (&AnswerCondition::Json, "{\"a\": 1", Some("is not JSON: EOF while parsing an object at line 1 column 7")),
            (&AnswerCondition::Json, "{} and more", Some("is not JSON: trailing characters at line 1 column 4")),
            (
                &AnswerCondition::Json,
                "```json\n{}\n```",
                Some("is not JSON: it begins with a code fence (```); only the JSON itself may be written"),
            ),
            (&regex, "Answer: 42", None),
            (&regex, "It is 42", Some(r"does not match the regular expression ^Answer: \d+$")),
            (&AnswerCondition::MinWords(3), "one two three", None),
            (&AnswerCondition::MinWords(3), "one, two.", Some("has 2 words; at least 3 are needed")),
            (&AnswerCondition::MaxWords(2), "one two", None),
            (&AnswerCondition::MaxWords(2), "one two three", Some("has 3 words; at most 2 are allowed")),
            (&phrases, "Paris", None),
            (&phrases, "Sorry, AS AN AI model …", Some("contains \"As an AI\"")),
        ] {
            assert_eq!(test(condition, text).err().as_deref(), message, "{text:?}");
        }
    }

    #[test]
    fn the_schema_of_the_request_is_its_own() {
        let mut item = item("?");
        let schemas = SchemaCache::default();
        assert_eq!(
            AnswerCondition::RequestSchema.test_text("no JSON", &item, &schemas),
            Ok(()),
            "it asks for no schema"
        );
        item.request.params.json = Some(JsonMode::Schema(json!({"type": "array"})));
        assert_eq!(AnswerCondition::RequestSchema.test_text("[]", &item, &schemas), Ok(()));
        let error = AnswerCondition::RequestSchema.test_text("{}", &item, &schemas).unwrap_err();
        assert_eq!(error, "{} is not of type \"array\"");
    }

    #[test]
    fn a_wrong_pattern_is_refused_in_one_line() {
        assert_eq!(AnswerCondition::regex("a(b").unwrap_err(), "unclosed group");
    }
}
