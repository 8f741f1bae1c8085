//! The three wire APIs: how each decodes a request and encodes an answer, an error and rate-limit headers. There is one
//! file per API. They get models, limits and times only as arguments.
//!
//! The bodies imitate responses of the real providers, including their mistakes.

mod anthropic;
mod api;
mod gemini;
mod openai;

use crate::domain::Api;

pub(super) use self::api::{Rejection, RequestHead, ResponseContext, RetryAdvice, SimBody, SimResponse, WireApi};

pub(super) fn wire_api(api: Api) -> &'static dyn WireApi {
    match api {
        Api::Gemini => &gemini::Gemini,
        Api::OpenAi => &openai::OpenAi,
        Api::Anthropic => &anthropic::Anthropic,
    }
}
