//! Classifies what came back from an attempt: the only place that interprets providers' responses.
//!
//! `response` turns a response or a transport failure into an [`AttemptResult`](crate::domain::AttemptResult). `answer`
//! classifies decoded answers. `error_body` reads errors, with `html` for pages, and the ordered table in `error_rules`
//! decides. `retry_after` finds the wait that the provider asks for; `rate_limit_headers` and `quota_errors` read its
//! limits. `redact` removes credentials from its messages. `explain` shows a classification to a person. `max_tokens_refusal` reads refusals of the output limit's name.

mod answer;
mod error_body;
mod error_rules;
mod explain;
mod html;
mod max_tokens_refusal;
mod quota_errors;
mod rate_limit_headers;
mod redact;
mod response;
mod retry_after;

pub use explain::explain;
pub use max_tokens_refusal::MaxTokensRefusal;
pub use rate_limit_headers::{Vendor, read_response_meta};
pub use redact::{redact, redact_secrets_in};
pub use response::{classify, result_without_answer};
