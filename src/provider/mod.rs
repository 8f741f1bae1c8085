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
mod client;
mod completion;
mod count;
mod encodings;
mod endpoint;
mod explain;
mod express;
mod gemini;
mod hint;
mod html;
mod limits;
mod openai;
mod outcome;
mod picture_check;
mod pictures;
mod quota;
mod redact;
mod refusal;
mod reply;
mod rules;
mod tls;
mod worker_pool;

pub use client::{Audience, Call, Client, ClientError, in_words as transport_words};
pub use endpoint::{Endpoint, EndpointError};
pub use explain::explain;
pub use express::{Dialect, Outgoing, Unsendable, can_express, encode};
pub use outcome::classify;
pub use pictures::{Picture, PictureError};
pub use redact::redact;
pub use reply::{Reply, Response, TransportFailure};
pub use worker_pool::{PoolError, WorkerPool};
