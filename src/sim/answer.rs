//! What the simulator says: sums and conversions worked out, quoted passages cut to their beginning, pictures described by
//! their size, JSON where JSON is asked for, and otherwise a sentence about the prompt that makes no secret of being
//! simulated. The same prompt always gets the same answer.

mod remark;
mod sums;

use serde_json::{Map, Value, json};

use super::{
    ask::{Ask, JsonShape, Picture, cut_to_tokens, text_tokens},
    profile::ModelProfile,
};

/// A whole answer, before any API gives it a form.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Said {
    pub text: String,
    pub ending: Ending,
    pub text_tokens: u64,
    pub thinking_tokens: u64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    Complete,
    /// The output limit cut it off.
    Length,
    /// A stop sequence, left out of the text, ended it.
    Stopped(String),
}

impl Said {
    /// Thinking is billed as output.
    pub const fn output_tokens(&self) -> u64 {
        self.text_tokens + self.thinking_tokens
    }
}

pub(super) fn compose(ask: &Ask, model: &ModelProfile) -> Said {
    let mut text = match &ask.json {
        None => plain(ask),
        Some(JsonShape::Any) => json!({ "answer": plain(ask) }).to_string(),
        Some(JsonShape::Schema(schema)) => instance(schema, &plain(ask), 0).to_string(),
    };
    let most = ask.max_output.unwrap_or_else(|| model.max_output.into());
    let thinking_tokens = model.thinking_tokens.min(most);
    let mut ending = Ending::Complete;
    let found = |stop: &String| text.find(stop.as_str()).map(|at| (at, stop.clone()));
    if let Some((at, stop)) = ask.stop.iter().filter(|stop| !stop.is_empty()).filter_map(found).min() {
        text.truncate(at);
        ending = Ending::Stopped(stop);
    }
    let kept = cut_to_tokens(&text, most - thinking_tokens).len();
    if kept < text.len() {
        text.truncate(kept);
        ending = Ending::Length;
    }
    Said { text_tokens: text_tokens(text.len()), text, ending, thinking_tokens }
}

fn plain(ask: &Ask) -> String {
    if !ask.pictures.is_empty() {
        return ask.pictures.iter().map(describe).collect::<Vec<_>>().join(" ");
    }
    let worked_out = sums::worked_out(&ask.prompt).or_else(|| remark::summary(&ask.prompt));
    worked_out.unwrap_or_else(|| remark::remark(&ask.prompt, ask.hash()))
}

fn describe(picture: &Picture) -> String {
    let Picture { kind, width, height, bytes, .. } = picture;
    let shape = match width.cmp(height) {
        std::cmp::Ordering::Greater => "wider than tall",
        std::cmp::Ordering::Less => "taller than wide",
        std::cmp::Ordering::Equal => "square",
    };
    format!("A picture of {width}x{height} pixels, {shape}, {} KB of {kind}.", bytes.div_ceil(1_024))
}

/// A small value that satisfies the usual kinds of JSON schema.
fn instance(schema: &Value, text: &str, depth: usize) -> Value {
    if let Some(choice) = schema["enum"].get(0).or_else(|| schema.get("const")) {
        return choice.clone();
    }
    if let Some(branch) = schema["anyOf"].get(0).or_else(|| schema["oneOf"].get(0)) {
        return instance(branch, text, depth + 1);
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"].get(0)?.as_str()).unwrap_or("object");
    match kind.to_ascii_lowercase().as_str() {
        // Schemas nest as deep as their author likes.
        _ if depth > 16 => Value::Null,
        "string" => text.into(),
        "integer" => 7.into(),
        "number" => 0.5.into(),
        "boolean" => true.into(),
        "null" => Value::Null,
        "array" => vec![instance(&schema["items"], text, depth + 1)].into(),
        _ => {
            let properties = schema["properties"].as_object().cloned().unwrap_or_default();
            let fields = properties.iter().map(|(name, schema)| (name.clone(), instance(schema, text, depth + 1)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Profile;

    fn model() -> ModelProfile {
        Profile::named("open").unwrap().models.swap_remove(0)
    }

    fn ask(prompt: &str) -> Ask {
        Ask { prompt: prompt.to_owned(), ..Ask::default() }
    }

    #[test]
    fn the_same_prompt_gets_the_same_answer_and_others_get_others() {
        let said = |prompt: &str| compose(&ask(prompt), &model()).text;
        assert_eq!(said("Why do cats purr?"), said("Why do cats purr?"));
        assert_ne!(said("Why do cats purr?"), said("Why do owls hoot?"));
    }

    #[test]
    fn an_output_limit_cuts_and_says_so() {
        let said = compose(&Ask { max_output: Some(5), ..ask("Why do cats purr?") }, &model());
        assert_eq!((said.ending, said.text.len(), said.text_tokens), (Ending::Length, 20, 5));
    }

    #[test]
    fn thinking_can_eat_the_whole_answer() {
        let model = ModelProfile { thinking_tokens: 300, ..model() };
        let said = compose(&Ask { max_output: Some(64), ..ask("Why do cats purr?") }, &model);
        assert_eq!((said.text.as_str(), said.thinking_tokens, said.ending), ("", 64, Ending::Length));
    }

    #[test]
    fn the_first_stop_sequence_ends_the_answer() {
        let stop = vec!["zzz".to_owned(), " = ".to_owned(), "= 4".to_owned()];
        let said = compose(&Ask { stop, ..ask("What is 2 + 2?") }, &model());
        assert_eq!((said.text.as_str(), said.ending), ("2 + 2", Ending::Stopped(" = ".to_owned())));
    }

    #[test]
    fn json_is_given_where_json_is_asked_for() {
        let schema = json!({ "type": "OBJECT", "properties": {
            "city": { "type": "string" }, "tags": { "type": "array", "items": { "type": "integer" } },
            "mood": { "enum": ["calm", "loud"] } } });
        let shapes = [(JsonShape::Any, vec!["answer"]), (JsonShape::Schema(schema), vec!["city", "tags", "mood"])];
        for (shape, fields) in shapes {
            let said = compose(&Ask { json: Some(shape), ..ask("Describe Porto.") }, &model());
            let parsed: Map<String, Value> = serde_json::from_str(&said.text).unwrap();
            assert_eq!(parsed.keys().collect::<Vec<_>>(), fields);
        }
    }
}
