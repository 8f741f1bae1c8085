//! The properties of a request that raise the highest cost of its answer, and the fields that make it unbounded.

use std::fmt;

use serde_json::{Map, Value};

/// The properties of a request that its highest price depends on, apart from its length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CostFactors {
    /// Number of answers that it asks for. Each may have the maximum length.
    pub answers: u32,
    /// Number of its pictures.
    pub images: u32,
    /// It asks for a cache entry that is kept for one hour.
    pub writes_1h_cache: bool,
    /// The first of its fields whose cost has no upper bound.
    pub unbounded_field: Option<UnboundedField>,
}

/// A field of a request whose cost has no upper bound.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct UnboundedField {
    /// Its name in the request's JSON.
    pub name: &'static str,
    /// The effect of the field, as the rest of a sentence that begins with its name.
    pub effect: &'static str,
}

impl Default for CostFactors {
    fn default() -> Self {
        Self { answers: 1, images: 0, writes_1h_cache: false, unbounded_field: None }
    }
}

impl CostFactors {
    /// Reads the fields of a request's body, or some of them, in the format of any API.
    pub fn of_body(body: &Map<String, Value>) -> Self {
        Self {
            answers: requested_answers(body),
            images: saturating_u32(body.values().map(count_images).sum()),
            writes_1h_cache: any_field_asks_for_1h_cache(body),
            unbounded_field: unbounded_field(body),
        }
    }

    /// The cost_factors of a request whose body has the fields of both. Of what both set, the dearer one counts.
    #[must_use]
    pub fn combined(self, other: Self) -> Self {
        Self {
            answers: self.answers.max(other.answers),
            images: self.images.max(other.images),
            writes_1h_cache: self.writes_1h_cache || other.writes_1h_cache,
            unbounded_field: self.unbounded_field.or(other.unbounded_field),
        }
    }
}

impl fmt::Display for UnboundedField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}, so its cost has no upper bound", self.name, self.effect)
    }
}

/// Returns the first field of a request's body whose cost has no upper bound, in the format of any API: tools that the
/// provider runs and bills, audio, dearer service tiers, other models, and input of unknown length.
pub fn unbounded_field(body: &Map<String, Value>) -> Option<UnboundedField> {
    unbounded_top_level_field(body)
        .or_else(|| server_tool(body))
        .or_else(|| unbounded_modality(body))
        .or_else(|| compacting_edit(body))
        .or_else(|| INPUT_FIELDS.iter().find_map(|name| unbounded_content(body.get(*name)?)))
        .or_else(|| NESTED_BODIES.iter().find_map(|name| unbounded_field(body.get(*name)?.as_object()?)))
}

/// Fields in which compatible servers take further fields of a body: Gemini's reads `extra_body.google`.
const NESTED_BODIES: [&str; 3] = ["extra_body", "google", "venice_parameters"];

/// The effect of a model, known by its name, that makes the cost of its answers unbounded whatever the request says.
/// It is the rest of a sentence that begins with the model.
pub fn unbounded_model_effect(name: &str) -> Option<&'static str> {
    const RUNS_TOOLS: &str = "runs tools of the provider by itself, which bills them by use";
    const SEARCHES: &str = "searches the web by itself, which the provider bills by search";
    let own_name = name.rsplit('/').next().unwrap_or(name);
    if own_name.starts_with("compound") || own_name.contains("deep-research") {
        // Groq's compound systems; OpenAI's and Perplexity's deep research.
        Some(RUNS_TOOLS)
    } else if own_name.ends_with(":online")
        || own_name.contains("-search-preview")
        || own_name.contains("-search-api")
        || own_name.starts_with("sonar")
    {
        // OpenRouter, OpenAI, Perplexity.
        Some(SEARCHES)
    } else if name == "openrouter/auto" {
        Some("lets the provider choose another model, with another price")
    } else {
        None
    }
}

/// The fields that hold the input of a request.
const INPUT_FIELDS: [&str; 6] = ["messages", "system", "contents", "systemInstruction", "system_instruction", "input"];

/// Fields that are refused whatever they hold, unless it is null, false, or an empty text or list.
const UNBOUNDED_FIELDS: [UnboundedField; 23] = [
    field("web_search_options", SEARCH_EFFECT),
    field("search_parameters", "searches the web, which the provider bills by source"),
    // Qwen at DashScope; Tencent; Baidu; Venice.
    field("enable_search", SEARCH_EFFECT),
    field("enable_enhancement", SEARCH_EFFECT),
    field("web_search", SEARCH_EFFECT),
    field("enable_web_search", SEARCH_EFFECT),
    field("enable_code_interpreter", TOOL_EFFECT),
    field("plugins", TOOL_EFFECT),
    // Groq; Cohere; Azure.
    field("compound_custom", TOOL_EFFECT),
    field("connectors", TOOL_EFFECT),
    field("data_sources", "searches data at the provider, and adds input whose length is unknown here"),
    field("mcp_servers", "lets the provider call other servers as often as the model asks"),
    field("container", "runs code at the provider, which it bills by time"),
    field("audio", "asks for audio, which has a price of its own"),
    field("prediction", "adds the rejected tokens of a prediction to the output"),
    field("models", "lets the provider choose another model, with another price"),
    field("fallbacks", "lets the provider choose another model, with another price"),
    field("preset", "applies settings of the provider's account, which may choose another model or tools"),
    field("cachedContent", "adds cached input whose length is unknown here"),
    field("cached_content", "adds cached input whose length is unknown here"),
    field("previous_response_id", "adds earlier input whose length is unknown here"),
    field("continuationToken", "adds earlier input whose length is unknown here"),
    field("continuation_token", "adds earlier input whose length is unknown here"),
];

const SEARCH_EFFECT: &str = "searches the web, which the provider bills by search";
const TOOL_EFFECT: &str = "runs tools of the provider, which it bills by use";

/// Values of these fields that cost as much as the standard ones, or less. Others may cost more.
const PRICED_VALUES: [(UnboundedField, &[&str]); 5] = [
    (field("service_tier", TIER_EFFECT), &STANDARD_TIERS),
    (field("serviceTier", TIER_EFFECT), &STANDARD_TIERS),
    (field("speed", "asks for a faster and dearer answer"), &["standard"]),
    (field("inference_geo", "limits where the model runs, which has a price of its own"), &["global"]),
    (field("route", "lets the provider choose another model, with another price"), &[]),
];

const TIER_EFFECT: &str = "asks for a service tier that has no price here";
const STANDARD_TIERS: [&str; 7] = ["auto", "default", "standard", "standard_only", "on_demand", "flex", "batch"];

/// Kinds of tools that run at the client, and so cost nothing but tokens. Anthropic adds a date to the names of some.
const CLIENT_TOOLS: [&str; 7] = ["function", "custom", "bash_", "text_editor_", "computer_", "memory_", "local_shell"];

const SERVER_TOOL: UnboundedField = field("tools", "names a tool that the provider runs and bills by use");

const fn field(name: &'static str, effect: &'static str) -> UnboundedField {
    UnboundedField { name, effect }
}

fn unbounded_top_level_field(fields: &Map<String, Value>) -> Option<UnboundedField> {
    let is_set = |field: &&UnboundedField| fields.get(field.name).is_some_and(|value| !is_empty_or_off(value));
    let is_dearer = |(field, priced): &&(UnboundedField, &[&str])| {
        fields.get(field.name).is_some_and(|value| {
            let text = value.as_str().map(str::to_ascii_lowercase);
            !value.is_null() && !text.is_some_and(|text| priced.contains(&text.as_str()))
        })
    };
    let set = UNBOUNDED_FIELDS.iter().find(is_set).copied();
    set.or_else(|| PRICED_VALUES.iter().find(is_dearer).map(|(field, _)| *field))
}

/// OpenAI and Anthropic name the kind of a tool in `type`; Gemini has one field for each kind.
fn server_tool(fields: &Map<String, Value>) -> Option<UnboundedField> {
    let is_client_tool = |tool: &Value| match (tool.get("type").and_then(Value::as_str), tool.as_object()) {
        (Some(kind), _) => {
            CLIENT_TOOLS.iter().any(|known| kind == *known || known.ends_with('_') && kind.starts_with(known))
        }
        (None, Some(tool)) if tool.contains_key("input_schema") || tool.contains_key("name") => true,
        (None, Some(tool)) => tool
            .keys()
            .all(|kind| matches!(kind.as_str(), "functionDeclarations" | "function_declarations" | "function")),
        (None, None) => false,
    };
    let tools = fields.get("tools").filter(|tools| !is_empty_or_off(tools))?;
    let all_at_client = tools.as_array().is_some_and(|tools| tools.iter().all(is_client_tool));
    (!all_at_client).then_some(SERVER_TOOL)
}

/// Output other than text: it has prices of its own, and token limits don't apply to it.
fn unbounded_modality(fields: &Map<String, Value>) -> Option<UnboundedField> {
    const MODALITIES: UnboundedField =
        field("modalities", "asks for output other than text, which has a price of its own");
    const RESPONSE_MODALITIES: UnboundedField =
        field("generationConfig.responseModalities", "asks for output other than text, which has a price of its own");
    const SPEECH: UnboundedField =
        field("generationConfig.speechConfig", "asks for audio, which has a price of its own");
    let has_other = |list: &Value| {
        let is_text = |entry: &Value| entry.as_str().is_some_and(|name| name.eq_ignore_ascii_case("text"));
        !is_empty_or_off(list) && !list.as_array().is_some_and(|list| list.iter().all(is_text))
    };
    if fields.get("modalities").is_some_and(has_other) {
        return Some(MODALITIES);
    }
    let is_set = |camel: &'static str, snake: &'static str, is_unbounded: &dyn Fn(&Value) -> bool| {
        generation_config(fields, camel, snake).any(is_unbounded)
    };
    if is_set("responseModalities", "response_modalities", &has_other) {
        return Some(RESPONSE_MODALITIES);
    }
    is_set("speechConfig", "speech_config", &|value| !is_empty_or_off(value)).then_some(SPEECH)
}

/// The values of a parameter of Gemini's `generationConfig`, in every spelling that the body has.
fn generation_config<'b>(
    fields: &'b Map<String, Value>,
    camel: &'static str,
    snake: &'static str,
) -> impl Iterator<Item = &'b Value> {
    let configs = ["generationConfig", "generation_config"].into_iter().filter_map(|name| fields.get(name));
    configs.flat_map(move |config| [camel, snake].into_iter().filter_map(move |name| config.get(name)))
}

/// An edit of the context for which Anthropic's API asks the model to write a summary. Others only leave something out.
fn compacting_edit(fields: &Map<String, Value>) -> Option<UnboundedField> {
    const EDIT: UnboundedField =
        field("context_management", "may ask the model for a summary, which is billed besides");
    let is_clearing =
        |edit: &Value| edit.get("type").and_then(Value::as_str).is_some_and(|kind| kind.starts_with("clear_"));
    let management = fields.get("context_management").filter(|value| !is_empty_or_off(value))?;
    let edits = management.get("edits").and_then(Value::as_array);
    (!edits.is_some_and(|edits| edits.iter().all(is_clearing))).then_some(EDIT)
}

/// Audio, video and files in the input: their number of tokens is unknown before the provider has read them.
fn unbounded_content(input: &Value) -> Option<UnboundedField> {
    const AUDIO: UnboundedField = field("input_audio", "is audio, which has a price of its own");
    const VIDEO: UnboundedField = field("video_url", "is a video, whose length in tokens is unknown");
    const FILE: UnboundedField = field("file", "is a document, whose length in tokens is unknown");
    const DOCUMENT: UnboundedField = field("document", "is a document, whose length in tokens is unknown");
    const FILE_DATA: UnboundedField = field("fileData", "is a file, whose length in tokens is unknown");
    const INLINE_DATA: UnboundedField = field("inlineData", "is no picture, and its length in tokens is unknown");
    match input {
        Value::Array(parts) => parts.iter().find_map(unbounded_content),
        Value::Object(fields) => {
            let own = match fields.get("type").and_then(Value::as_str) {
                Some("input_audio" | "audio" | "audio_url") => Some(AUDIO),
                Some("video_url" | "input_video" | "video") => Some(VIDEO),
                Some("file" | "input_file") => Some(FILE),
                Some("document" | "document_url" | "container_upload") => Some(DOCUMENT),
                _ => None,
            };
            own.or_else(|| {
                let is_picture = |data: &Value| {
                    let mime = data.get("mimeType").or_else(|| data.get("mime_type")).and_then(Value::as_str);
                    mime.is_some_and(|mime| mime.starts_with("image/"))
                };
                let get = |camel: &str, snake: &str| fields.get(camel).or_else(|| fields.get(snake));
                if get("fileData", "file_data").is_some_and(|data| !is_picture(data)) {
                    Some(FILE_DATA)
                } else if get("inlineData", "inline_data").is_some_and(|data| !is_picture(data)) {
                    Some(INLINE_DATA)
                } else {
                    ["content", "parts"].iter().find_map(|name| unbounded_content(fields.get(*name)?))
                }
            })
        }
        _ => None,
    }
}

/// The number of answers that a body asks for: `n` and `best_of` at OpenAI and compatible servers, `candidateCount` at
/// Gemini; at least 1.
fn requested_answers(body: &Map<String, Value>) -> u32 {
    let at_top = ["n", "best_of"].into_iter().filter_map(|name| body.get(name));
    let counts = at_top.chain(generation_config(body, "candidateCount", "candidate_count"));
    counts.filter_map(whole_count).map(saturating_u32).fold(1, u32::max)
}

/// A count as APIs accept it: a number, also one with a fraction, or a number as text.
fn whole_count(value: &Value) -> Option<u64> {
    // A number without an `f64` is too large for one.
    let rounded = || value.is_number().then(|| value.as_f64().map_or(u64::MAX, |number| number.ceil() as u64));
    value.as_u64().or_else(rounded).or_else(|| value.as_str()?.trim().parse().ok())
}

/// Whether any part of a body asks Anthropic's API for a cache entry of one hour, or of an unknown time.
fn asks_for_1h_cache(value: &Value) -> bool {
    match value {
        Value::Array(values) => values.iter().any(asks_for_1h_cache),
        Value::Object(fields) => any_field_asks_for_1h_cache(fields),
        _ => false,
    }
}

fn any_field_asks_for_1h_cache(fields: &Map<String, Value>) -> bool {
    fields.iter().any(|(name, value)| match value.get("ttl") {
        Some(ttl) if name == "cache_control" => ttl != "5m",
        _ => asks_for_1h_cache(value),
    })
}

fn count_images(value: &Value) -> u64 {
    match value {
        Value::Array(values) => values.iter().map(count_images).sum(),
        Value::Object(fields) => {
            let kind = fields.get("type").and_then(Value::as_str);
            let is_image = matches!(kind, Some("image" | "image_url" | "input_image"))
                || ["inlineData", "inline_data", "fileData", "file_data"].iter().any(|name| fields.contains_key(*name));
            u64::from(is_image) + fields.values().map(count_images).sum::<u64>()
        }
        _ => 0,
    }
}

fn is_empty_or_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        // An empty object turns a field on, such as `web_search_options`.
        Value::Object(_) | Value::Bool(true) | Value::Number(_) => false,
    }
}

fn saturating_u32(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn unbounded_name(body: &Value) -> Option<&'static str> {
        unbounded_field(body.as_object().unwrap()).map(|field| field.name)
    }

    #[test]
    fn fields_without_a_highest_price_are_found_in_every_format() {
        let cases = [
            (json!({"service_tier": "priority"}), "service_tier"),
            (json!({"serviceTier": "PRIORITY"}), "serviceTier"),
            (json!({"service_tier": 3}), "service_tier"),
            (json!({"speed": "fast"}), "speed"),
            (json!({"inference_geo": "us"}), "inference_geo"),
            (json!({"tools": [{"type": "function", "function": {}}, {"type": "web_search"}]}), "tools"),
            (json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}), "tools"),
            (json!({"tools": [{"type": "code_execution_20250825", "name": "code_execution"}]}), "tools"),
            (json!({"tools": [{"functionDeclarations": []}, {"googleSearch": {}}]}), "tools"),
            (json!({"tools": [{"google_search": {}}]}), "tools"),
            (json!({"tools": "auto"}), "tools"),
            (json!({"web_search_options": {"search_context_size": "low"}}), "web_search_options"),
            (json!({"web_search_options": {}}), "web_search_options"),
            (json!({"plugins": [{"id": "web"}]}), "plugins"),
            (json!({"tools": [{"type": "builtin_function", "function": {"name": "$web_search"}}]}), "tools"),
            (json!({"tools": [{"urlContext": {}}]}), "tools"),
            (json!({"tools": [{"type": "mcp", "server_url": "https://h.dev"}]}), "tools"),
            (json!({"enable_search": true, "search_options": {"forced_search": true}}), "enable_search"),
            (json!({"enable_code_interpreter": true}), "enable_code_interpreter"),
            (json!({"web_search": {"enable": true}}), "web_search"),
            (json!({"venice_parameters": {"enable_web_search": "auto"}}), "enable_web_search"),
            (json!({"compound_custom": {"tools": {"enabled_tools": ["web_search"]}}}), "compound_custom"),
            (json!({"search_parameters": {"mode": "auto"}}), "search_parameters"),
            (json!({"connectors": [{"id": "web-search"}]}), "connectors"),
            (json!({"data_sources": [{"type": "azure_search"}]}), "data_sources"),
            (json!({"mcp_servers": [{"type": "url"}]}), "mcp_servers"),
            (json!({"preset": "mine"}), "preset"),
            (json!({"continuationToken": "x"}), "continuationToken"),
            (json!({"context_management": {"edits": [{"type": "compact_20260112"}]}}), "context_management"),
            (json!({"extra_body": {"google": {"cached_content": "cachedContents/1"}}}), "cached_content"),
            (
                json!({"generationConfig": {}, "generation_config": {"responseModalities": ["IMAGE"]}}),
                "generationConfig.responseModalities",
            ),
            (
                json!({"messages": [{"role": "user", "content": [{"type": "document_url", "document_url": "x"}]}]}),
                "document",
            ),
            (json!({"models": ["a", "b"]}), "models"),
            (json!({"modalities": ["text", "audio"]}), "modalities"),
            (json!({"audio": {"voice": "alloy"}}), "audio"),
            (json!({"generationConfig": {"responseModalities": ["AUDIO"]}}), "generationConfig.responseModalities"),
            (json!({"generation_config": {"speech_config": {"voice": "x"}}}), "generationConfig.speechConfig"),
            (json!({"cachedContent": "cachedContents/1"}), "cachedContent"),
            (
                json!({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]}),
                "input_audio",
            ),
            (json!({"messages": [{"role": "user", "content": [{"type": "document", "source": {}}]}]}), "document"),
            (json!({"contents": [{"parts": [{"inlineData": {"mimeType": "audio/mp3", "data": ""}}]}]}), "inlineData"),
            (json!({"contents": [{"parts": [{"file_data": {"file_uri": "https://h.dev/a"}}]}]}), "fileData"),
        ];
        for (body, name) in cases {
            assert_eq!(unbounded_name(&body), Some(name), "{body}");
        }
    }

    #[test]
    fn ordinary_requests_have_a_highest_price() {
        let cases = [
            json!({"model": "m", "messages": [{"role": "user", "content": "service_tier priority"}]}),
            json!({"messages": [{"role": "user", "content": [
                {"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]}]}),
            json!({"service_tier": "flex"}),
            json!({"service_tier": "on_demand", "enable_search": false, "compound_custom": null}),
            json!({"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}),
            json!({"extra_body": {"google": {"thinking_config": {"thinking_budget": 5}}}}),
            json!({"service_tier": "auto", "tools": [], "audio": null, "plugins": []}),
            json!({"serviceTier": "STANDARD"}),
            json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "web_search"}}}]}),
            json!({"tools": [{"name": "f", "input_schema": {"type": "object"}}, {"type": "bash_20250124", "name": "bash"}]}),
            json!({"tools": [{"functionDeclarations": [{"name": "f"}]}]}),
            json!({"generationConfig": {"responseModalities": ["TEXT"], "candidateCount": 2}}),
            json!({"contents": [{"parts": [{"text": "hi"}, {"inlineData": {"mimeType": "image/png", "data": "AA"}}]}]}),
        ];
        for body in cases {
            assert_eq!(unbounded_name(&body), None, "{body}");
        }
    }

    #[test]
    fn models_that_run_tools_by_themselves_are_known_by_name() {
        for (name, is_unbounded) in [
            ("groq/compound", true),
            ("compound-beta-mini", true),
            ("openai/gpt-4o:online", true),
            ("gpt-4o-mini-search-preview", true),
            ("o4-mini-deep-research", true),
            ("perplexity/sonar-pro", true),
            ("openrouter/auto", true),
            ("gpt-6-luna", false),
            ("vendor/auto", false),
            ("gemini-3.8-flash", false),
        ] {
            assert_eq!(unbounded_model_effect(name).is_some(), is_unbounded, "{name}");
        }
    }

    #[test]
    fn answers_pictures_and_the_one_hour_cache_are_read_from_the_body() {
        let cost_factors = |body: &Value| {
            let cost_factors = CostFactors::of_body(body.as_object().unwrap());
            (cost_factors.answers, cost_factors.images, cost_factors.writes_1h_cache)
        };
        let image = json!({"type": "image_url", "image_url": {"url": "https://h.dev/a.png"}});
        let cached = |ttl: Value| json!({"system": [{"type": "text", "text": "s", "cache_control": ttl}]});
        let cases = [
            (json!({}), (1, 0, false)),
            (json!({"n": 3, "messages": [{"role": "user", "content": [image, image]}]}), (3, 2, false)),
            (json!({"n": 0, "best_of": 4}), (4, 0, false)),
            (json!({"n": 1_u64 << 40}), (u32::MAX, 0, false)),
            (json!({"generationConfig": {"candidateCount": 5}}), (5, 0, false)),
            (
                json!({"generationConfig": {"candidateCount": 2}, "generation_config": {"candidate_count": 5}}),
                (5, 0, false),
            ),
            (cached(json!({"type": "ephemeral"})), (1, 0, false)),
            (cached(json!({"type": "ephemeral", "ttl": "5m"})), (1, 0, false)),
            (cached(json!({"type": "ephemeral", "ttl": "1h"})), (1, 0, true)),
            (json!({"cache_control": {"type": "ephemeral", "ttl": "1h"}}), (1, 0, true)),
        ];
        for (body, want) in cases {
            assert_eq!(cost_factors(&body), want, "{body}");
        }
    }

    #[test]
    fn of_two_parts_of_a_body_the_dearer_counts() {
        let of = |body: Value| CostFactors::of_body(body.as_object().unwrap());
        let (first, second) = (of(json!({"n": 2})), of(json!({"n": 3, "service_tier": "priority"})));
        let images = CostFactors { images: 4, ..CostFactors::default() };
        let want = CostFactors { images: 4, ..second };
        assert_eq!(first.combined(second).combined(images), want);
        assert_eq!(images.combined(second).combined(first), want);
    }
}
