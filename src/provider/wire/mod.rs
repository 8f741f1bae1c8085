//! The wire formats of the three APIs. Encodes a request for one of them, or says why this API cannot express it, and
//! decodes an answer.
//!
//! Each API has a file with its types and how they are filled and read. `translated` encodes a request for any API,
//! `native` sends a body to the API that it was written for, and `parts` reads the parts of an answer besides its text.
//! `common` holds what these files share, and `lenient_int` reads numbers as providers write them.

mod anthropic;
mod common;
mod gemini;
mod lenient_int;
mod native;
mod openai;
mod parts;
mod translated;

use serde::{Deserialize as _, de::DeserializeOwned};
use serde_json::Value;

use crate::domain::{Api, Image, PictureType, Request, known_param};

use super::pictures::{self, EncodedPicture};

pub use common::{AttemptRequest, DecodedAnswer, Dialect, EncodedRequest, Unsupported, sent_max_tokens_field};
pub use lenient_int::whole_number;
pub use parts::read_parts;

/// Checks that `api` supports the request, so that its routes are candidates for it.
///
/// A picture file is checked by its name. If the name suggests an unsupported format, the first bytes of the file
/// decide. The whole file is read only when the attempt is made.
///
/// # Errors
///
/// A sentence that says what the API does not support.
pub fn check_supported(api: Api, request: &Request) -> Result<(), String> {
    let check_has_message = |request: &Request| {
        let is_empty = request.messages.iter().all(|message| message.parts.is_empty());
        if is_empty { Err("the request has no message to send".to_owned()) } else { Ok(()) }
    };
    check_has_message(request)?;
    // The URLs in a body for this API are the provider's business.
    let is_native = request.native.as_ref().is_some_and(|native| native.api == api);
    for image in request.images().filter(|image| !(is_native && matches!(image, Image::Url(_)))) {
        check_picture_supported(api, image)?;
    }
    check_extra_body_supported(api, request)?;
    if let Some(native) = &request.native {
        if native.api == api {
            // The body is the provider's business, but not what is added to it.
            let added = Request { params: native.defaults.clone(), ..Request::from_prompt("") };
            return check_translated_supported(api, &added);
        }
        if let Some(field) = native.first_native_only_field() {
            let own = native.api.name();
            return Err(format!(
                "`{field}` can go only to a provider with the {own} API: add a model of one, or remove the field"
            ));
        }
    }
    check_translated_supported(api, request)
}

fn check_translated_supported(api: Api, request: &Request) -> Result<(), String> {
    match api {
        Api::Gemini => gemini::check_supported(request),
        Api::OpenAi => openai::check_supported(request),
        Api::Anthropic => anthropic::check_supported(request),
    }
}

/// Checks that this API has the parameters of the row's `extra_body`, as far as they are known.
fn check_extra_body_supported(api: Api, request: &Request) -> Result<(), String> {
    for name in request.extra_body.keys() {
        if let Some(apis) = known_param::apis_with_param(name)
            && !apis.contains(&api)
        {
            let owners: Vec<&str> = apis.iter().map(|api| api.name()).collect();
            return Err(format!(
                "`extra_body.{name}` can go only to a provider with the {} API: add a model of one, or remove the field",
                owners.join(" or ")
            ));
        }
    }
    Ok(())
}

fn check_picture_supported(api: Api, image: &Image) -> Result<(), String> {
    match image {
        Image::File(path) => match PictureType::from_path(path) {
            // The file name may be wrong, so the content decides if the file can be read.
            Some(type_by_name) if !pictures::can_be_sent_to(type_by_name, api) => {
                match pictures::detect_file(path).unwrap_or(type_by_name) {
                    picture_type if pictures::can_be_sent_to(picture_type, api) => Ok(()),
                    picture_type => Err(format!("{} does not accept {} pictures", api.name(), picture_type.name())),
                }
            }
            _ => Ok(()),
        },
        Image::Url(url) if api == Api::Gemini && !url.starts_with("data:") && !gemini::is_google_file(url) => {
            Err("gemini does not download pictures from URLs; give the file or its data".to_owned())
        }
        Image::Url(_) | Image::Inline { .. } => Ok(()),
    }
}

/// Encodes an attempt. `pictures` are the request's pictures, already read, in the order of the request.
///
/// # Errors
///
/// If the API cannot express the request, or the encoded body is larger than the API accepts.
pub fn encode(
    dialect: impl Into<Dialect>,
    attempt: &AttemptRequest<'_>,
    pictures: &[EncodedPicture<'_>],
) -> Result<EncodedRequest, Unsupported> {
    let dialect = dialect.into();
    check_supported(dialect.api(), attempt.request).map_err(Unsupported)?;
    if attempt.request.images().count() != pictures.len() {
        return Err(Unsupported::new("the request's pictures have not been read"));
    }
    let native = attempt.request.native.as_deref().filter(|native| native.api == dialect.api());
    let encoded = match native {
        Some(native) => native::encode(dialect, native, attempt, pictures)?,
        None => translated::encode(dialect, attempt, pictures)?,
    };
    if let Some(max_bytes) = pictures::max_request_bytes(dialect.api())
        && encoded.body.len() as u64 > max_bytes
    {
        let mib = |bytes: u64| bytes.div_ceil(1024 * 1024);
        return Err(Unsupported::new(format_args!(
            "the request is {} MiB, but {} accepts at most {} MiB; make the request or its pictures smaller",
            mib(encoded.body.len() as u64),
            dialect.api().name(),
            mib(max_bytes)
        )));
    }
    Ok(encoded)
}

/// Decodes the body of a 2xx response. `None` if it is not an ordinary answer of this API.
pub fn decode_answer(api: Api, body: &[u8]) -> Option<DecodedAnswer> {
    match api {
        Api::Gemini => parse_body(body).and_then(gemini::ResponseBody::into_answer),
        Api::OpenAi => parse_body(body).and_then(openai::ResponseBody::into_answer),
        Api::Anthropic => parse_body(body).and_then(anthropic::ResponseBody::into_answer),
    }
}

/// Parses a body. Of a text, not each string is looked at whether it is one, as it is of bytes.
fn parse_body<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    match std::str::from_utf8(body) {
        Ok(text) => serde_json::from_str(text).ok(),
        // The fault may be in a field that isn't read.
        Err(_) => serde_json::from_slice(body).ok(),
    }
}

/// Decodes the body of a 2xx response that is known to be no error. At Gemini and OpenAI, a body without candidates or
/// choices counts as an empty answer.
pub fn decode_answer_or_empty(api: Api, body: &Value) -> Option<DecodedAnswer> {
    match api {
        Api::Gemini => {
            gemini::ResponseBody::deserialize(body).ok().and_then(gemini::ResponseBody::into_answer_or_empty)
        }
        Api::OpenAi => {
            openai::ResponseBody::deserialize(body).ok().and_then(openai::ResponseBody::into_answer_or_empty)
        }
        Api::Anthropic => {
            anthropic::ResponseBody::deserialize(body).ok().and_then(anthropic::ResponseBody::into_answer)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::domain::{JsonMode, Message, MessageRole, Params, Part, Thinking};

    use super::*;

    const APIS: [Api; 3] = [Api::Gemini, Api::OpenAi, Api::Anthropic];

    #[test]
    fn bytes_that_are_no_text_matter_only_in_fields_that_are_read() {
        let answer = |id: &[u8], text: &[u8]| {
            let parts: [&[u8]; 5] =
                [b"{\"id\":\"", id, b"\",\"choices\":[{\"message\":{\"content\":\"", text, b"\"}}]}"];
            decode_answer(Api::OpenAi, &parts.concat()).map(|answer| answer.text)
        };
        assert_eq!(answer(b"1", "h\u{e9}".as_bytes()).as_deref(), Some("h\u{e9}"));
        assert_eq!(answer(b"\xff", b"hi").as_deref(), Some("hi"));
        assert_eq!(answer(b"1", b"\xff"), None);
    }

    fn encode_to_json(dialect: impl Into<Dialect>, request: &Request, max_output: Option<u32>) -> (String, Value) {
        let attempt = AttemptRequest::new("m-1", request, max_output);
        let picture = EncodedPicture::Data { mime: "image/png", base64: "QUJD".into() };
        let pictures = vec![picture; request.images().count()];
        let encoded_request = encode(dialect, &attempt, &pictures).unwrap();
        (encoded_request.path.into_owned(), serde_json::from_slice(&encoded_request.body).unwrap())
    }

    fn full_request() -> Request {
        Request {
            system: Some("be brief".to_owned()),
            messages: vec![
                Message {
                    role: MessageRole::User,
                    parts: vec![Part::Text("what is \"this\"?".to_owned()), Part::Image(Image::File("a.png".into()))],
                },
                Message { role: MessageRole::Assistant, parts: vec![Part::Text("a cat".to_owned())] },
                Message { role: MessageRole::User, parts: vec![Part::Text("sure?".to_owned())] },
            ],
            params: Params {
                temperature: Some(0.5),
                top_p: Some(0.9),
                max_output_tokens: Some(2_000),
                stop: vec!["END".to_owned()],
                json: Some(JsonMode::Schema(json!({"type": "object"}))),
                ..Params::default()
            },
            ..Request::default()
        }
    }

    #[test]
    fn a_prompt_alone_is_encoded_without_optional_fields() {
        let request = Request::from_prompt("hi");
        let cases = [
            (
                Dialect::Gemini,
                "/v1beta/models/m-1:generateContent",
                json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}),
            ),
            (
                Dialect::OpenAi,
                "/chat/completions",
                json!({"model": "m-1", "messages": [{"role": "user", "content": "hi"}]}),
            ),
            (
                Dialect::Anthropic,
                "/v1/messages",
                json!({"model": "m-1", "max_tokens": 4096, "messages": [{"role": "user", "content": "hi"}]}),
            ),
        ];
        for (dialect, path, body) in cases {
            assert_eq!(encode_to_json(dialect, &request, None), (path.to_owned(), body));
        }
    }

    #[test]
    fn gemini_encodes_all_parameters() {
        let mut request = full_request();
        request.params.seed = Some(7);
        request.params.thinking = Some(Thinking::Level("low".to_owned()));
        let want = json!({
            "systemInstruction": {"parts": [{"text": "be brief"}]},
            "contents": [
                {"role": "user", "parts": [
                    {"text": "what is \"this\"?"},
                    {"inlineData": {"mimeType": "image/png", "data": "QUJD"}}
                ]},
                {"role": "model", "parts": [{"text": "a cat"}]},
                {"role": "user", "parts": [{"text": "sure?"}]}
            ],
            "generationConfig": {
                "temperature": 0.5, "topP": 0.9, "maxOutputTokens": 2000, "stopSequences": ["END"], "seed": 7,
                "responseMimeType": "application/json", "responseJsonSchema": {"type": "object"},
                "thinkingConfig": {"thinkingLevel": "LOW"}
            }
        });
        assert_eq!(encode_to_json(Api::Gemini, &request, None).1, want);
    }

    #[test]
    fn openai_encodes_all_parameters_and_compatible_servers_get_max_tokens() {
        let mut request = full_request();
        request.params.seed = Some(7);
        request.params.thinking = Some(Thinking::Level("low".to_owned()));
        let mut want = json!({
            "model": "m-1",
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": [
                    {"type": "text", "text": "what is \"this\"?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}
                ]},
                {"role": "assistant", "content": "a cat"},
                {"role": "user", "content": "sure?"}
            ],
            "temperature": 0.5, "top_p": 0.9, "max_completion_tokens": 2000, "stop": ["END"], "seed": 7,
            "reasoning_effort": "low",
            "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}}
        });
        assert_eq!(encode_to_json(Dialect::OpenAi, &request, None).1, want);
        let fields = want.as_object_mut().unwrap();
        let limit = fields.remove("max_completion_tokens").unwrap();
        fields.insert("max_tokens".to_owned(), limit);
        assert_eq!(encode_to_json(Dialect::OpenAiCompatible, &request, None).1, want);
    }

    #[test]
    fn anthropic_encodes_the_parameters_it_supports() {
        let mut request = full_request();
        request.params.thinking = Some(Thinking::Budget(1_024));
        let want = json!({
            "model": "m-1", "max_tokens": 2000, "system": "be brief",
            "messages": [
                {"role": "user", "content": [
                    {"type": "text", "text": "what is \"this\"?"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}}
                ]},
                {"role": "assistant", "content": "a cat"},
                {"role": "user", "content": "sure?"}
            ],
            "temperature": 0.5, "top_p": 0.9, "stop_sequences": ["END"],
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}
        });
        assert_eq!(encode_to_json(Api::Anthropic, &request, None).1, want);
    }

    #[test]
    fn the_models_output_limit_is_the_default_and_the_maximum() {
        let mut request = Request::from_prompt("hi");
        for (requested, model_limit, want) in
            [(None, Some(500), 500), (Some(100), Some(500), 100), (Some(900), Some(500), 500)]
        {
            request.params.max_output_tokens = requested;
            assert_eq!(encode_to_json(Dialect::Anthropic, &request, model_limit).1["max_tokens"], want);
            assert_eq!(encode_to_json(Dialect::OpenAi, &request, model_limit).1["max_completion_tokens"], want);
            assert_eq!(
                encode_to_json(Dialect::Gemini, &request, model_limit).1["generationConfig"]["maxOutputTokens"],
                want
            );
        }
    }

    #[test]
    fn thinking_is_encoded_where_the_api_supports_it() {
        let mut request = Request::from_prompt("hi");
        let mut with = |thinking| {
            request.params.thinking = Some(thinking);
            APIS.map(|api| check_supported(api, &request).is_ok().then(|| encode_to_json(api, &request, Some(9_000)).1))
        };
        let level = |name: &str| Thinking::Level(name.to_owned());
        let [gemini, openai, anthropic] = with(level("high"));
        assert_eq!(gemini.unwrap()["generationConfig"]["thinkingConfig"], json!({"thinkingLevel": "HIGH"}));
        assert_eq!(openai.unwrap()["reasoning_effort"], "high");
        assert_eq!(anthropic.unwrap()["output_config"], json!({"effort": "high"}));
        let [gemini, openai, anthropic] = with(level("none"));
        assert_eq!(gemini.unwrap()["generationConfig"]["thinkingConfig"], json!({"thinkingBudget": 0}));
        assert_eq!(openai.unwrap()["reasoning_effort"], "none");
        assert_eq!(anthropic.unwrap()["thinking"], json!({"type": "disabled"}));
        let [gemini, openai, anthropic] = with(Thinking::Budget(2_000));
        assert_eq!(gemini.unwrap()["generationConfig"]["thinkingConfig"], json!({"thinkingBudget": 2000}));
        assert!(openai.is_none());
        assert_eq!(anthropic.unwrap()["thinking"], json!({"type": "enabled", "budget_tokens": 2000}));
        assert!(with(level("a lot")).iter().all(Option::is_none));
    }

    #[test]
    fn unsupported_requests_are_rejected_with_a_reason() {
        fn with(change: impl FnOnce(&mut Request)) -> Request {
            let mut request = Request::from_prompt("hi");
            change(&mut request);
            request
        }
        fn picture(image: Image) -> Request {
            with(|request| request.messages[0].parts.push(Part::Image(image)))
        }
        let cases = [
            (with(|request| request.params.seed = Some(7)), [None, None, Some("support a seed")]),
            (with(|request| request.params.seed = Some(1 << 40)), [Some("32 bits"), None, Some("support a seed")]),
            (with(|request| request.params.temperature = Some(1.5)), [None, None, Some("maximum temperature is 1")]),
            (with(|request| request.params.json = Some(JsonMode::Object)), [None, None, Some("without a schema")]),
            (with(|request| request.messages.clear()), [Some("no message"), Some("no message"), Some("no message")]),
            (picture(Image::File("a.AVIF".into())), [Some("AVIF"); 3]),
            (picture(Image::File("a.heic".into())), [None, Some("HEIC"), Some("HEIC")]),
            (picture(Image::Url("https://h.dev/a.png".to_owned())), [Some("from URLs"), None, None]),
            (
                with(|request| {
                    request.messages[0].role = MessageRole::Assistant;
                    request.messages[0].parts = vec![Part::Image(Image::File("a.png".into()))];
                }),
                [None, Some("only in the user's messages"), Some("only in the user's messages")],
            ),
        ];
        for (request, expected) in cases {
            for (api, want) in APIS.into_iter().zip(expected) {
                let message = check_supported(api, &request).err();
                assert_eq!(message.is_some(), want.is_some(), "{api:?} {request:?}: {message:?}");
                assert!(message.unwrap_or_default().contains(want.unwrap_or_default()));
            }
        }
    }

    #[test]
    fn a_thinking_budget_must_fit_under_anthropics_limit() {
        let mut request = Request::from_prompt("hi");
        request.params.thinking = Some(Thinking::Budget(5_000));
        let attempt = AttemptRequest::new("m", &request, None);
        assert!(encode(Api::Anthropic, &attempt, &[]).unwrap_err().0.contains("5000"));
    }

    #[test]
    fn a_request_larger_than_its_api_accepts_is_rejected() {
        let request = Request::from_prompt("x".repeat(33 << 20));
        let attempt = AttemptRequest::new("m", &request, None);
        let message = encode(Api::Anthropic, &attempt, &[]).unwrap_err().0;
        assert_eq!(
            message,
            "the request is 34 MiB, but anthropic accepts at most 32 MiB; make the request or its pictures smaller"
        );
        assert!(encode(Api::Gemini, &attempt, &[]).is_ok());
        assert!(encode(Api::OpenAi, &attempt, &[]).is_ok());
    }
}
