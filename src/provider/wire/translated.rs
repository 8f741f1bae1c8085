//! Encodes requests that are independent of an API.

use serde_json::Value;

use crate::domain::parse_with_exact_numbers;

use super::{
    super::pictures::EncodedPicture,
    anthropic,
    common::{AttemptRequest, Dialect, EncodedRequest, Unsupported, merge_extra_fields, to_json},
    gemini, openai,
};

/// Encodes the request, with the fields of the row's, the model's and the provider's `extra_body`.
pub(super) fn encode(
    dialect: Dialect,
    attempt: &AttemptRequest<'_>,
    pictures: &[EncodedPicture<'_>],
) -> Result<EncodedRequest, Unsupported> {
    let encoded = match dialect {
        Dialect::Gemini => gemini::encode(attempt, pictures),
        Dialect::OpenAi | Dialect::OpenAiCompatible => openai::encode(dialect, attempt, pictures),
        Dialect::Anthropic => anthropic::encode(attempt, pictures),
    }?;
    if !attempt.has_extra_fields() {
        return Ok(encoded);
    }
    let mut body = parse_with_exact_numbers(&encoded.body)
        .map_err(|error| Unsupported::new(format_args!("extra_body can't be added: {error}")))?;
    if let Value::Object(fields) = &mut body {
        merge_extra_fields(dialect.api(), attempt, fields);
    }
    Ok(EncodedRequest { body: to_json(&body, encoded.body.len() + 256)?, ..encoded })
}
