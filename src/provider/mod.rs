//! The three wire APIs, and the only place that interprets providers' responses.
//!
//! Outgoing: `client` sends an attempt. `wire` turns its [`Request`](crate::domain::Request), which is independent of
//! any API, into the JSON of one of them, or says what this API does not support. Just before that, `pictures` reads,
//! checks and encodes the request's pictures, on the threads of a `worker_pool`.
//!
//! Incoming: `client` receives a [`TransportResult`], and `classify` turns it into an
//! [`AttemptResult`](crate::domain::AttemptResult), with `wire` for the answers. A `hidden_secret` is removed from all
//! that a provider says.
//!
//! No other module interprets a provider's status codes. This module keeps no state about items, quotas or retries: an
//! attempt's result says what came back, and the callers decide what follows.

mod classify;
mod client;
mod hidden_secret;
mod pictures;
mod transport;
mod wire;
mod worker_pool;

pub use classify::{classify, explain, redact};
pub use client::{
    Client, ClientError, Endpoint, EndpointError, LearnedMaxTokensField, ModelListAccess, RequestModel,
    describe_transport_error,
};
pub use hidden_secret::HiddenSecret;
pub use pictures::{can_be_sent_to, thumbnail};
pub use transport::{ProviderResponse, TransportFailure, TransportResult};
pub use wire::check_supported;
pub use worker_pool::{WorkerPool, WorkerPoolError};
