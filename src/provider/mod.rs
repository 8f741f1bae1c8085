//! The three wire APIs, and the only place that interprets providers' responses.
//!
//! Outgoing: `wire` turns a [`Request`](crate::domain::Request), which is independent of any API, into the JSON of one
//! of them, or says what this API does not support. Just before that, `pictures`
//! reads the request's pictures and checks them, and `picture_check` decodes each picture once, on the threads of a
//! `worker_pool`. `endpoint` holds what is the same for every attempt: addresses, headers, the secret.
//!
//! Incoming: `client` receives a [`TransportResult`]; `classify` turns it into an
//! [`AttemptResult`](crate::domain::AttemptResult). `tls_errors` describes certificate errors.
//!
//! No other module interprets a provider's status codes. This module keeps no state about items, quotas or retries: an
//! attempt's result says what came back, and the callers decide what follows.

mod classify;
mod client;
mod endpoint;
mod picture_check;
mod pictures;
mod tls_errors;
mod transport;
mod wire;
mod worker_pool;

pub use classify::{classify, explain, redact};
pub use client::{Client, ClientError, ModelListAccess, describe_transport_error};
pub use endpoint::{Endpoint, EndpointError};
pub use transport::{ProviderResponse, TransportFailure, TransportResult};
pub use wire::check_supported;
pub use worker_pool::{WorkerPool, WorkerPoolError};
