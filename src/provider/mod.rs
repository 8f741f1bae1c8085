//! The three wire APIs, and the one place where a provider's answer is understood.
//!
//! Out: a [`Request`](crate::domain::Request) in no dialect becomes JSON in one of three
//! (`gemini`, `openai`, `anthropic`; what one of them cannot say is told by `express`), with `pictures` read,
//! decoded (`picture_check`) and checked at the last moment, on the threads of a `worker_pool`. `endpoint` holds what never changes from call to call: addresses, headers, the secret.
//!
//! Back: `client` brings a [`Reply`]; `outcome` turns it into a [`Verdict`](crate::domain::Verdict). It reads
//! answers through `completion` and refusals through `refusal`, judged by the ordered table in `rules`; `hint` finds how long the provider asked us to
//! stay away, `limits` and `quota` what it says of its limits, `redact` makes its words safe to keep (`encodings` knows a secret in other forms), `tls` says what is
//! wrong with a certificate. `explain` shows the same judgement to a person.
//!
//! Nothing outside this module looks at a status code. Nothing in here knows of items, quotas, retries or time passing:
//! a verdict says what came back, others decide what follows.

mod anthropic;
mod classification;
mod client;
mod decoded_answer;
mod encode;
mod encoded_secrets;
mod endpoint;
mod error_body;
mod error_rules;
mod explain;
mod gemini;
mod html;
mod lenient_int;
mod openai;
mod picture_check;
mod pictures;
mod quota_errors;
mod rate_limit_headers;
mod redact;
mod retry_after;
mod tls_errors;
mod transport;
mod worker_pool;

pub use classification::classify;
pub use client::{AttemptRequest, Client, ClientError, ModelListAccess, describe_transport_error as transport_words};
pub use encode::{Dialect, EncodedRequest, Unsupported, encode, supports};
pub use endpoint::{Endpoint, EndpointError};
pub use explain::explain;
pub use pictures::{EncodedPicture, PictureError};
pub use redact::redact;
pub use transport::{ProviderResponse, TransportFailure, TransportResult};
pub use worker_pool::{WorkerPool, WorkerPoolError};
