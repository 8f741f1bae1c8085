//! Sends requests to providers and receives their responses. However an attempt ends, [`Client::send_attempt`] returns
//! an [`AttemptResult`], never an error.
//!
//! `endpoint` holds what is the same for every attempt: addresses, headers, the secret. `model_list` asks for a
//! provider's models, and `health` whether it responds. `transport_errors` describes why a request failed.

mod endpoint;
mod health;
mod model_list;
mod transport_errors;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use reqwest::{Body, Method, Request as HttpRequest};

use crate::domain::{AttemptResult, ItemSpec, Outcome, OutcomeAction};

use super::{
    classify::{Vendor, classify, read_response_meta, redact, result_without_answer},
    pictures::{self, CheckedPictureCache, PictureError},
    transport::{ProviderResponse, TransportFailure, TransportResult},
    wire::{AttemptRequest, EncodedRequest, Unsupported, encode},
    worker_pool::{WorkerPool, WorkerPoolError},
};

use transport_errors::transport_failure;

pub use endpoint::{Endpoint, EndpointError};
pub use model_list::ModelListAccess;
pub use transport_errors::describe_transport_error;

/// Maximum number of bytes that are read of a response body. A longer body is classified by its beginning.
const MAX_RESPONSE_BYTES: usize = 32 * 1024 * 1024;

/// Maximum number of threads that read, check and encode pictures.
const MAX_PICTURE_THREADS: usize = 8;

/// HTTP client for all providers. Cheap to clone; clones share their connections and the threads that read pictures.
///
/// It holds two HTTP clients. `local` is for servers on this machine and ignores the proxies named in the
/// environment.
#[derive(Clone, Debug)]
pub struct Client {
    remote: reqwest::Client,
    local: reqwest::Client,
    /// Threads that read, check and encode pictures.
    picture_worker_pool: Arc<WorkerPool>,
    checked_pictures: Arc<CheckedPictureCache>,
    /// True once the head of any response was received, whatever its status.
    has_received_response: Arc<AtomicBool>,
}

#[derive(Debug, thiserror::Error)]
#[error("the HTTP client can't be set up: {0}; check the proxy settings in the environment")]
pub struct ClientError(String);

impl Client {
    /// Creates a client. `connect_timeout` limits DNS, TCP and TLS together; `idle_timeout` limits the time without any
    /// bytes, also before the first one.
    pub fn new(connect_timeout: Duration, idle_timeout: Duration) -> Result<Self, ClientError> {
        // rustls accepts one crypto provider per process. A second installation fails, which does no harm.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = || {
            reqwest::Client::builder()
                .user_agent(concat!("cascadeck/", env!("CARGO_PKG_VERSION")))
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(connect_timeout)
                .read_timeout(idle_timeout)
        };
        let build = |builder: reqwest::ClientBuilder| {
            builder.build().map_err(|error| ClientError(describe_transport_error(&error)))
        };
        Ok(Self {
            remote: build(builder())?,
            local: build(builder().no_proxy())?,
            picture_worker_pool: Arc::new(WorkerPool::per_core("pictures", MAX_PICTURE_THREADS)),
            checked_pictures: Arc::default(),
            has_received_response: Arc::default(),
        })
    }

    /// Whether the head of any response was received, whatever its status.
    pub fn has_received_response(&self) -> bool {
        self.has_received_response.load(Ordering::Relaxed)
    }

    /// Sends one request for one item on one route. `model` and `max_output` are those of [`AttemptRequest`].
    ///
    /// `total_timeout` is the time limit from connecting to the last byte of the answer. Reading pictures happens before
    /// that and is not included.
    pub async fn send_attempt(
        &self,
        endpoint: &Endpoint,
        item: &Arc<ItemSpec>,
        model: &str,
        max_output: Option<u32>,
        total_timeout: Duration,
    ) -> AttemptResult {
        let attempt = AttemptRequest { model, request: &item.request, max_output };
        let encoded = match self.encode_request(endpoint, item, &attempt).await {
            Ok(encoded) => encoded,
            Err(error) => return error.to_attempt_result(),
        };
        let mut request = HttpRequest::new(Method::POST, endpoint.url(&encoded.path, None));
        *request.body_mut() = Some(Body::from(encoded.body));
        let result = match self.send_http(endpoint, request, total_timeout).await {
            Ok(received) => received.classify(endpoint),
            Err(failure) => classify(endpoint.api(), &TransportResult::Failed(failure)),
        };
        if result.outcome == Outcome::Ok && result.answer.is_none() {
            // A server's health response is classified as `Ok`, but it is no answer to a prompt.
            let rule = "the server sent a health status instead of a completion";
            return AttemptResult {
                outcome: Outcome::MalformedResponse,
                action: OutcomeAction::Retry,
                rule: rule.to_owned(),
                message: rule.to_owned(),
                ..result
            };
        }
        result
    }

    /// Encodes the request. A request with pictures is encoded on the picture threads, so that only as many pictures as
    /// there are threads are encoded at the same time: they take more memory than anything else.
    async fn encode_request(
        &self,
        endpoint: &Endpoint,
        item: &Arc<ItemSpec>,
        attempt: &AttemptRequest<'_>,
    ) -> Result<EncodedRequest, PrepareError> {
        let (dialect, max_bytes) = (endpoint.dialect(), endpoint.max_picture_bytes());
        if attempt.request.images().next().is_none() {
            return Ok(encode(dialect, attempt, &[])?);
        }
        let (model, item, checked_pictures) =
            (attempt.model.to_owned(), Arc::clone(item), Arc::clone(&self.checked_pictures));
        let max_output = attempt.max_output;
        let encoded = self.picture_worker_pool.run(move || {
            let attempt = AttemptRequest { model: &model, request: &item.request, max_output };
            let pictures = pictures::load(dialect.api(), max_bytes, &item.request, &checked_pictures)?;
            Ok(encode(dialect, &attempt, &pictures)?)
        });
        encoded.await?
    }

    async fn send_http(
        &self,
        endpoint: &Endpoint,
        mut request: HttpRequest,
        total_timeout: Duration,
    ) -> Result<ReceivedResponse, TransportFailure> {
        *request.headers_mut() = endpoint.headers();
        *request.timeout_mut() = Some(total_timeout);
        let client = if endpoint.is_loopback() { &self.local } else { &self.remote };
        let mut response =
            client.execute(request).await.map_err(|error| transport_failure(&endpoint.host(), &error))?;
        self.has_received_response.store(true, Ordering::Relaxed);
        let status = response.status().as_u16();
        let headers = std::mem::take(response.headers_mut());
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    let remaining_bytes = MAX_RESPONSE_BYTES - body.len();
                    body.extend_from_slice(&chunk[..chunk.len().min(remaining_bytes)]);
                    if chunk.len() >= remaining_bytes {
                        break;
                    }
                }
                Ok(None) => break,
                // The status of an error response is enough to classify it, even if its body breaks off.
                Err(_) if !(200..300).contains(&status) => break,
                Err(error) => return Err(transport_failure(&endpoint.host(), &error)),
            }
        }
        Ok(ReceivedResponse { status, headers, body })
    }
}

struct ReceivedResponse {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: Vec<u8>,
}

impl ReceivedResponse {
    fn classify(&self, endpoint: &Endpoint) -> AttemptResult {
        let response = ProviderResponse {
            status: self.status,
            headers: &self.headers,
            body: &self.body,
            received_at: crate::clock::system_time(),
            secrets: endpoint.secrets(),
        };
        let mut result = classify(endpoint.api(), &TransportResult::Response(response));
        let response_meta =
            read_response_meta(Vendor::detect(endpoint.provider()), &self.headers, response.received_at);
        result.response_meta.limits.extend(response_meta.limits);
        result.response_meta.server_time = response_meta.server_time;
        if self.body.len() >= MAX_RESPONSE_BYTES {
            result.rule = format!("{}; the body was cut off after {} MiB", result.rule, MAX_RESPONSE_BYTES >> 20);
        }
        result
    }
}

/// Reason why a request could not be prepared.
#[derive(Debug, thiserror::Error)]
enum PrepareError {
    #[error("{0}")]
    Picture(#[from] PictureError),
    #[error("{0}")]
    Unsupported(#[from] Unsupported),
    #[error("{0}")]
    WorkerPool(#[from] WorkerPoolError),
}

impl PrepareError {
    fn to_attempt_result(&self) -> AttemptResult {
        let message = self.to_string();
        match self {
            Self::Picture(PictureError::Unreadable(_)) => {
                local_result(Outcome::UnreadableInput, OutcomeAction::FailItem, &message, "a picture can't be sent")
            }
            Self::Picture(PictureError::Unsupported(_)) => local_result(
                Outcome::NoRoute,
                OutcomeAction::NextModel,
                &message,
                "this API does not accept one of the pictures",
            ),
            Self::Unsupported(_) => local_result(
                Outcome::NoRoute,
                OutcomeAction::NextModel,
                &message,
                "this API does not support the request",
            ),
            Self::WorkerPool(WorkerPoolError::Panicked) => {
                let message = "the decoder crashed on a picture; see the log for details";
                local_result(Outcome::UnreadableInput, OutcomeAction::FailItem, message, "a picture can't be decoded")
            }
            Self::WorkerPool(WorkerPoolError::SpawnThread(_)) => {
                let message = format!("{message}; check the limit (`ulimit -u`)");
                local_result(
                    Outcome::ClientTrouble,
                    OutcomeAction::Retry,
                    &message,
                    "pictures can't be read at the moment",
                )
            }
        }
    }
}

/// Result of an attempt that failed on this machine: nothing was sent.
fn local_result(outcome: Outcome, action: OutcomeAction, message: &str, rule: &str) -> AttemptResult {
    result_without_answer(outcome, action, None, redact(message, &[]), format!("{rule}: nothing was sent"))
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        sync::atomic::{AtomicBool, Ordering},
        thread,
    };

    use tokio::task::JoinSet;

    use crate::domain::{Api, Image, Part, Provider, Request};

    use super::*;

    #[tokio::test]
    async fn requests_that_wait_for_a_thread_do_not_copy_their_item() {
        const WAITING: usize = 20;
        let mut request = Request::from_prompt("What is this?");
        let picture = Image::Inline { mime: "image/png".to_owned(), data: "AAAA".repeat(1_000) };
        request.messages[0].parts.push(Part::Image(picture));
        let item = Arc::new(ItemSpec {
            id: "a".to_owned(),
            request,
            request_hash: String::new(),
            line: 1,
            preferred_model: None,
            model_pinned: false,
            tier: None,
            max_usd: None,
            rule_fields: BTreeMap::new(),
            caption_path: None,
            picture_stamp: None,
        });
        let provider = Provider::new("p", Api::OpenAi, "http://127.0.0.1:9");
        let endpoint = Endpoint::new(provider, None).unwrap();
        let client = Client::new(Duration::from_secs(1), Duration::from_secs(1)).unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        // Keeps all picture threads busy.
        for _ in 0..32 {
            let (client, is_over) = (client.clone(), Arc::clone(&is_over));
            tasks.spawn(async move {
                let blocking_task = client.picture_worker_pool.run(move || {
                    while !is_over.load(Ordering::Relaxed) {
                        thread::sleep(Duration::from_millis(1));
                    }
                });
                let _ = blocking_task.await;
            });
        }
        for _ in 0..WAITING {
            let (client, endpoint, item) = (client.clone(), endpoint.clone(), Arc::clone(&item));
            tasks.spawn(async move {
                client.send_attempt(&endpoint, &item, "m", None, Duration::from_secs(1)).await;
            });
        }
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        // One reference here, one in each async task, and one in each task that waits in the pool.
        let reference_count = Arc::strong_count(&item);
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(reference_count, 1 + WAITING + WAITING);
    }
}
