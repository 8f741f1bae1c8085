//! The three wire APIs, and the only place that interprets providers' responses.
//!
//! Outgoing: `wire` turns a [`Request`](crate::domain::Request), which is independent of any API, into the JSON of one
//! of them, or says what this API does not support. Just before that, `pictures`
//! reads the request's pictures and checks them, and `picture_check` decodes each picture once, on the threads of a
//! `worker_pool`. `endpoint` holds what is the same for every attempt: addresses, headers, the secret.
//!
//! Incoming: `client` receives a [`TransportResult`]; `classification` turns it into an
//! [`AttemptResult`](crate::domain::AttemptResult). Answers are read by `decoded_answer`, errors by `error_body`, and
//! the ordered table in `error_rules` decides. `retry_after` finds the wait that the provider asks for;
//! `rate_limit_headers` and `quota_errors` read its limits. `redact` removes credentials from its messages, with
//! `encoded_secrets` for encoded ones; `tls_errors` describes certificate errors. `explain` shows a classification to a
//! person.
//!
//! No other module interprets a provider's status codes. This module keeps no state about items, quotas or retries: an
//! attempt's result says what came back, and the callers decide what follows.

mod classification;
mod client;
mod decoded_answer;
mod encoded_secrets;
mod endpoint;
mod error_body;
mod error_rules;
mod explain;
mod html;
mod picture_check;
mod pictures;
mod quota_errors;
mod rate_limit_headers;
mod redact;
mod retry_after;
mod tls_errors;
mod transport;
mod wire;
mod worker_pool;

pub use classification::classify;
pub use client::{Client, ClientError, ModelListAccess, describe_transport_error};
pub use endpoint::{Endpoint, EndpointError};
pub use explain::explain;
pub use redact::redact;
pub use transport::{ProviderResponse, TransportFailure, TransportResult};
pub use wire::check_supported;
pub use worker_pool::{WorkerPool, WorkerPoolError};
