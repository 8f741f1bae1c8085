//! The request parameters of the providers' APIs, by name. Used to say who can take a field, never to refuse a field
//! that is not known here.

use serde_json::{Map, Value};

use super::fleet::Api;

const GEMINI: &[Api] = &[Api::Gemini];
const OPENAI: &[Api] = &[Api::OpenAi];
const ANTHROPIC: &[Api] = &[Api::Anthropic];
/// Anthropic, and servers that are compatible with OpenAI.
const OPENAI_AND_ANTHROPIC: &[Api] = &[Api::OpenAi, Api::Anthropic];

/// Parameters and the APIs that have them at the top of a body.
const KNOWN_PARAMS: &[(&str, &[Api])] = &[
    ("top_k", OPENAI_AND_ANTHROPIC),
    ("min_p", OPENAI),
    ("presence_penalty", OPENAI),
    ("frequency_penalty", OPENAI),
    ("repetition_penalty", OPENAI),
    ("logit_bias", OPENAI),
    ("logprobs", OPENAI),
    ("top_logprobs", OPENAI),
    ("verbosity", OPENAI),
    ("parallel_tool_calls", OPENAI),
    ("prompt_cache_key", OPENAI),
    ("prompt_cache_retention", OPENAI),
    ("safety_identifier", OPENAI),
    ("modalities", OPENAI),
    ("prediction", OPENAI),
    ("web_search_options", OPENAI),
    ("stop_sequences", ANTHROPIC),
    ("output_config", ANTHROPIC),
    ("cache_control", ANTHROPIC),
    ("inference_geo", ANTHROPIC),
    ("context_management", ANTHROPIC),
    ("tool_choice", OPENAI_AND_ANTHROPIC),
    ("service_tier", OPENAI_AND_ANTHROPIC),
    ("generationConfig", GEMINI),
    ("generation_config", GEMINI),
    ("safetySettings", GEMINI),
    ("safety_settings", GEMINI),
    ("toolConfig", GEMINI),
    ("tool_config", GEMINI),
    ("cachedContent", GEMINI),
    ("cached_content", GEMINI),
    ("systemInstruction", GEMINI),
    ("system_instruction", GEMINI),
    ("serviceTier", GEMINI),
];

/// Parameters that stand within Gemini's `generationConfig`.
const GENERATION_CONFIG_PARAMS: &[&str] = &[
    "topK",
    "topP",
    "presencePenalty",
    "frequencyPenalty",
    "candidateCount",
    "maxOutputTokens",
    "stopSequences",
    "responseSchema",
    "response_schema",
    "responseJsonSchema",
    "response_json_schema",
    "responseMimeType",
    "response_mime_type",
    "responseLogprobs",
    "responseModalities",
    "thinkingConfig",
    "thinking_config",
    "mediaResolution",
    "media_resolution",
];

/// Parameters whose names are common for data too: every API has them, or it doesn't matter which.
const COMMON_PARAMS: &[&str] = &["tools", "n", "stream", "metadata", "user", "store", "best_of", "functions"];

/// The APIs that have a parameter at the top of their bodies. `None` if the name is not known, or if all have it.
pub fn apis_with_param(name: &str) -> Option<&'static [Api]> {
    KNOWN_PARAMS.iter().find(|(known, _)| *known == name).map(|(_, apis)| *apis)
}

/// Whether an API has a parameter of this name that rows of the program's own format don't have.
pub fn is_param_name(name: &str) -> bool {
    apis_with_param(name).is_some() || GENERATION_CONFIG_PARAMS.contains(&name) || COMMON_PARAMS.contains(&name)
}

/// How a parameter is written in `extra_body`.
pub fn extra_body_example(name: &str) -> String {
    if GENERATION_CONFIG_PARAMS.contains(&name) {
        format!("\"extra_body\": {{\"generationConfig\": {{\"{name}\": …}}}}")
    } else {
        format!("\"extra_body\": {{\"{name}\": …}}")
    }
}

/// Fields that the program sets itself, so that `extra_body` may not have them.
const RESERVED_FIELDS: [&str; 11] = [
    "model",
    "messages",
    "contents",
    "input",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "maxOutputTokens",
    "max_tokens_to_sample",
];

/// The path of a field in an `extra_body` that the program sets itself.
pub fn reserved_field(extra_body: &Map<String, Value>) -> Option<String> {
    let find = |fields: &Map<String, Value>| RESERVED_FIELDS.into_iter().find(|name| fields.contains_key(*name));
    if let Some(name) = find(extra_body) {
        return Some(name.to_owned());
    }
    ["generationConfig", "generation_config"].into_iter().find_map(|config| {
        let name = find(extra_body.get(config)?.as_object()?)?;
        Some(format!("{config}.{name}"))
    })
}

/// The advice on a reserved field: a phrase that follows its path.
pub fn reserved_field_advice(path: &str) -> String {
    let name = path.rsplit('.').next().unwrap_or(path);
    let advice = match name {
        "model" => "the route's model is used: name another one in the row's `model`",
        "messages" | "contents" | "input" => "the request is the row's own: use `messages` or `prompt`",
        "stream" | "stream_options" => "answers are never streamed: remove it",
        _ => "it limits what a request may cost: use the row's `max_output_tokens`, or max_output of the [[model]]",
    };
    format!("can't be set here; {advice}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_that_the_program_sets_are_found_at_both_levels() {
        for (body, want) in [
            (json!({"top_k": 4}), None),
            (json!({"model": "m"}), Some("model")),
            (json!({"top_k": 4, "max_completion_tokens": 9}), Some("max_completion_tokens")),
            (json!({"generationConfig": {"topK": 4, "maxOutputTokens": 9}}), Some("generationConfig.maxOutputTokens")),
        ] {
            let body = body.as_object().unwrap();
            assert_eq!(reserved_field(body).as_deref(), want, "{body:?}");
        }
    }
}
