//! The simulator's answers. Pictures are described by their size. Arithmetic and unit conversions are solved. A quoted
//! passage that is to be summarised is cut to its beginning. Every other prompt gets a sentence with words of the
//! prompt, which says that it is simulated. A request for JSON gets such a text inside JSON. The same prompt always
//! gets the same answer.

mod arithmetic;
mod filler_text;

use serde_json::{Map, Value, json};

use super::{
    profile::ModelProfile,
    request::{JsonOutput, SimPicture, SimRequest, cut_to_tokens, text_tokens},
};

/// A whole answer, before an API's adapter encodes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SimAnswer {
    pub text: String,
    pub stop_reason: SimStopReason,
    pub text_tokens: u64,
    pub thinking_tokens: u64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum SimStopReason {
    EndOfAnswer,
    /// The output token limit cut it off.
    OutputLimit,
    /// This stop sequence ended it; the text does not include it.
    StopSequence(String),
}

impl SimAnswer {
    /// Output tokens as they are billed: thinking counts as output.
    pub const fn output_tokens(&self) -> u64 {
        self.text_tokens + self.thinking_tokens
    }
}

pub(super) fn compose_answer(request: &SimRequest, model: &ModelProfile) -> SimAnswer {
    let mut text = match &request.json {
        None => plain_answer(request),
        Some(JsonOutput::Any) => json!({ "answer": plain_answer(request) }).to_string(),
        Some(JsonOutput::Schema(schema)) => example_value(schema, &plain_answer(request), 0).to_string(),
    };
    let max_output = request.max_output.unwrap_or_else(|| model.max_output.into());
    let thinking_tokens = model.thinking_tokens.min(max_output);
    let mut stop_reason = SimStopReason::EndOfAnswer;
    let found = |stop: &String| text.find(stop.as_str()).map(|at| (at, stop.clone()));
    if let Some((at, stop)) = request.stop.iter().filter(|stop| !stop.is_empty()).filter_map(found).min() {
        text.truncate(at);
        stop_reason = SimStopReason::StopSequence(stop);
    }
    let kept_bytes = cut_to_tokens(&text, max_output - thinking_tokens).len();
    if kept_bytes < text.len() {
        text.truncate(kept_bytes);
        stop_reason = SimStopReason::OutputLimit;
    }
    SimAnswer { text_tokens: text_tokens(text.len()), text, stop_reason, thinking_tokens }
}

fn plain_answer(request: &SimRequest) -> String {
    if !request.pictures.is_empty() {
        return request.pictures.iter().map(describe_picture).collect::<Vec<_>>().join(" ");
    }
    let answer = arithmetic::solve(&request.prompt).or_else(|| filler_text::quoted_beginning(&request.prompt));
    answer.unwrap_or_else(|| filler_text::filler_sentence(&request.prompt, request.prompt_hash()))
}

fn describe_picture(picture: &SimPicture) -> String {
    let SimPicture { format: kind, width, height, bytes, .. } = picture;
    let shape = match width.cmp(height) {
        std::cmp::Ordering::Greater => "wider than tall",
        std::cmp::Ordering::Less => "taller than wide",
        std::cmp::Ordering::Equal => "square",
    };
    format!("A picture of {width}x{height} pixels, {shape}, {} KB of {kind}.", bytes.div_ceil(1_024))
}

/// A small value that satisfies the common kinds of JSON schema.
fn example_value(schema: &Value, text: &str, depth: usize) -> Value {
    if let Some(choice) = schema["enum"].get(0).or_else(|| schema.get("const")) {
        return choice.clone();
    }
    if let Some(branch) = schema["anyOf"].get(0).or_else(|| schema["oneOf"].get(0)) {
        return example_value(branch, text, depth + 1);
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"].get(0)?.as_str()).unwrap_or("object");
    match kind.to_ascii_lowercase().as_str() {
        // The depth is limited, because a schema can nest deeply.
        _ if depth > 16 => Value::Null,
        "string" => text.into(),
        "integer" => 7.into(),
        "number" => 0.5.into(),
        "boolean" => true.into(),
        "null" => Value::Null,
        "array" => vec![example_value(&schema["items"], text, depth + 1)].into(),
        _ => {
            let properties = schema["properties"].as_object().cloned().unwrap_or_default();
            let fields = properties.iter().map(|(name, schema)| (name.clone(), example_value(schema, text, depth + 1)));
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

    fn request_with_prompt(prompt: &str) -> SimRequest {
        SimRequest { prompt: prompt.to_owned(), ..SimRequest::default() }
    }

    #[test]
    fn equal_prompts_get_equal_answers_and_others_differ() {
        let answer_text = |prompt: &str| compose_answer(&request_with_prompt(prompt), &model()).text;
        assert_eq!(answer_text("Why do cats purr?"), answer_text("Why do cats purr?"));
        assert_ne!(answer_text("Why do cats purr?"), answer_text("Why do owls hoot?"));
    }

    #[test]
    fn an_output_limit_cuts_the_answer_and_sets_the_stop_reason() {
        let answer =
            compose_answer(&SimRequest { max_output: Some(5), ..request_with_prompt("Why do cats purr?") }, &model());
        assert_eq!((answer.stop_reason, answer.text.len(), answer.text_tokens), (SimStopReason::OutputLimit, 20, 5));
    }

    #[test]
    fn thinking_can_use_up_the_output_limit() {
        let model = ModelProfile { thinking_tokens: 300, ..model() };
        let answer =
            compose_answer(&SimRequest { max_output: Some(64), ..request_with_prompt("Why do cats purr?") }, &model);
        assert_eq!(
            (answer.text.as_str(), answer.thinking_tokens, answer.stop_reason),
            ("", 64, SimStopReason::OutputLimit)
        );
    }

    #[test]
    fn the_first_stop_sequence_ends_the_answer() {
        let stop = vec!["zzz".to_owned(), " = ".to_owned(), "= 4".to_owned()];
        let answer = compose_answer(&SimRequest { stop, ..request_with_prompt("What is 2 + 2?") }, &model());
        assert_eq!(
            (answer.text.as_str(), answer.stop_reason),
            ("2 + 2", SimStopReason::StopSequence(" = ".to_owned()))
        );
    }

    #[test]
    fn a_request_for_json_gets_json() {
        let schema = json!({ "type": "OBJECT", "properties": {
            "city": { "type": "string" }, "tags": { "type": "array", "items": { "type": "integer" } },
            "mood": { "enum": ["calm", "loud"] } } });
        let shapes = [(JsonOutput::Any, vec!["answer"]), (JsonOutput::Schema(schema), vec!["city", "tags", "mood"])];
        for (shape, fields) in shapes {
            let answer =
                compose_answer(&SimRequest { json: Some(shape), ..request_with_prompt("Describe Porto.") }, &model());
            let parsed: Map<String, Value> = serde_json::from_str(&answer.text).unwrap();
            assert_eq!(parsed.keys().collect::<Vec<_>>(), fields);
        }
    }
}
