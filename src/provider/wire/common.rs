//! The parts that the three wire formats share: the attempt to encode, the encoded request, the decoded answer.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::domain::{Api, MaxTokensField, Request, Usage, merge_over, merge_under};

use super::super::pictures::EncodedPicture;

/// Content of one attempt.
#[derive(Clone, Copy, Debug)]
pub struct AttemptRequest<'a> {
    /// Model id as the provider spells it.
    pub model: &'a str,
    pub request: &'a Request,
    /// Output token limit of the model. It is sent where the request sets no limit, and caps the request's own.
    pub max_output: Option<u32>,
    /// Name of the output limit at OpenAI-compatible APIs. `None`: the body's own, or that of the dialect.
    pub max_tokens_field: Option<MaxTokensField>,
    /// Fields of the model to add to the body. The body's own take precedence.
    pub extra_body: Option<&'a Map<String, Value>>,
}

impl<'a> AttemptRequest<'a> {
    /// An attempt without settings of the model.
    pub const fn new(model: &'a str, request: &'a Request, max_output: Option<u32>) -> Self {
        Self { model, request, max_output, max_tokens_field: None, extra_body: None }
    }

    /// Whether the row, the model or the provider adds fields to the body.
    pub fn has_extra_fields(&self) -> bool {
        !self.request.extra_body.is_empty() || self.extra_body.is_some_and(|extra| !extra.is_empty())
    }
}

/// A wire API with its variants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    Gemini,
    /// OpenAI itself, which expects `max_completion_tokens`: its reasoning models reject `max_tokens`.
    OpenAi,
    /// Compatible servers, most of which only know `max_tokens`.
    OpenAiCompatible,
    Anthropic,
}

impl Dialect {
    pub const fn api(self) -> Api {
        match self {
            Self::Gemini => Api::Gemini,
            Self::OpenAi | Self::OpenAiCompatible => Api::OpenAi,
            Self::Anthropic => Api::Anthropic,
        }
    }
}

impl From<Api> for Dialect {
    fn from(api: Api) -> Self {
        match api {
            Api::Gemini => Self::Gemini,
            Api::OpenAi => Self::OpenAi,
            Api::Anthropic => Self::Anthropic,
        }
    }
}

/// A request ready to be sent: the path below the provider's base URL, and the JSON body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EncodedRequest {
    pub path: Cow<'static, str>,
    pub body: Vec<u8>,
}

/// The reason why an API cannot express a request, as a sentence.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unsupported(pub String);

impl Unsupported {
    pub(super) fn new(message: impl fmt::Display) -> Self {
        Self(message.to_string())
    }
}

/// Content of a well-formed response body, as the API's adapter decoded it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct DecodedAnswer {
    pub text: String,
    /// The provider's finish reason, unchanged.
    pub finish_reason: Option<String>,
    pub model_version: Option<String>,
    pub usage: Usage,
    /// Set if the prompt was blocked or the model declined: the reason as text.
    pub block_reason: Option<String>,
    /// The provider's explanation of the finish reason.
    pub finish_message: Option<String>,
    /// An empty answer that stays empty: sending the request again does not help.
    pub is_permanently_empty: bool,
    /// The answer calls tools or is an embedding, so it is complete without a text.
    pub has_other_content: bool,
}

/// The output token limit to send: the smaller of the request's limit and the model's, or the one that is set.
pub(super) fn effective_max_output(attempt: &AttemptRequest<'_>) -> Option<u32> {
    match (attempt.request.params.max_output_tokens, attempt.max_output) {
        (Some(requested), Some(model_limit)) => Some(requested.min(model_limit)),
        (requested, model_limit) => requested.or(model_limit),
    }
}

/// The name of the output limit at an OpenAI-compatible API: as set or learned, else that of the row's own body, else
/// the usual one.
pub(super) fn max_tokens_field(dialect: Dialect, attempt: &AttemptRequest<'_>) -> MaxTokensField {
    if let Some(field) = attempt.max_tokens_field {
        return field;
    }
    if dialect == Dialect::OpenAi {
        return MaxTokensField::MaxCompletionTokens;
    }
    let own = attempt.request.native.as_ref().filter(|native| native.api == Api::OpenAi);
    match own {
        Some(native) if native.body.contains_key(MaxTokensField::MaxCompletionTokens.name()) => {
            MaxTokensField::MaxCompletionTokens
        }
        _ => MaxTokensField::MaxTokens,
    }
}

/// The name under which the attempt's body has an output limit; `None` if it has none, or if its API has only one name.
pub fn sent_max_tokens_field(dialect: Dialect, attempt: &AttemptRequest<'_>) -> Option<MaxTokensField> {
    effective_max_output(attempt)?;
    if attempt.request.native.as_ref().is_some_and(|native| native.is_embedding) {
        return None;
    }
    matches!(dialect, Dialect::OpenAi | Dialect::OpenAiCompatible).then(|| max_tokens_field(dialect, attempt))
}

/// Adds the fields of `extra_body`. The row's take precedence over the body, and the body over the model's.
pub(super) fn merge_extra_fields(api: Api, attempt: &AttemptRequest<'_>, body: &mut Map<String, Value>) {
    merge_over(body, &attempt.request.extra_body, api);
    if let Some(extra) = attempt.extra_body {
        merge_under(body, extra, api);
    }
}

/// Serializes a body to JSON. `size_hint` is the expected number of bytes.
pub(super) fn to_json(body: &impl serde::Serialize, size_hint: usize) -> Result<Vec<u8>, Unsupported> {
    let mut bytes = Vec::with_capacity(size_hint);
    serde_json::to_writer(&mut bytes, body)
        .map_err(|error| Unsupported::new(format_args!("the request can't be written as JSON: {error}")))?;
    Ok(bytes)
}

/// Estimated size of the encoded body in bytes: texts (with an eighth more for escapes), pictures, and the JSON around
/// them.
pub(super) fn body_size_hint(request: &Request, pictures: &[EncodedPicture<'_>]) -> usize {
    let texts: usize = request.texts().map(|text| text.len() + text.len() / 8).sum();
    let pictures: usize = pictures.iter().map(EncodedPicture::encoded_len).sum();
    texts + pictures + 256
}

/// Deserializes a list. `Some` if the field is present, even if it is `null`.
pub(super) fn deserialize_present_list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error> {
    Option::deserialize(deserializer).map(|list: Option<Vec<T>>| Some(list.unwrap_or_default()))
}

/// Joins texts. Usually there is one, which is moved without a copy.
pub(super) fn join_texts(mut texts: impl Iterator<Item = String>) -> String {
    let mut joined = texts.next().unwrap_or_default();
    texts.for_each(|text| joined.push_str(&text));
    joined
}
