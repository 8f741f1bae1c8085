//! Sends requests to providers and receives their responses. However an attempt ends, [`Client::send_attempt`] returns
//! an [`AttemptResult`], never an error.
//!
//! `endpoint` holds what is the same for every attempt: addresses, headers, the secret. `http_client` makes the
//! connections. `model_list` asks for a
//! provider's models, and `health` whether it responds. `request_model` is the model's part of the settings, and
//! `learned_max_tokens_fields` the names of the output limit that providers asked for. `transport_errors` describes why a request
//! failed.

mod endpoint;
mod health;
mod http_client;
mod learned_max_tokens_fields;
mod model_list;
mod request_model;
mod transport_errors;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{HeaderMap, Method, Request as HttpRequest, Uri, http::uri::InvalidUri};
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Url;
use tokio::time::timeout;

use crate::domain::{AnswerParts, AttemptResult, ItemSpec, KeptParts, Outcome, OutcomeAction, PictureSettings};

use super::{
    classify::{MaxTokensRefusal, classify, read_response_meta, redact, redact_secrets_in, result_without_answer},
    pictures::{self, CheckedPictureCache, PictureError},
    transport::{ProviderResponse, TransportFailure, TransportResult},
    wire::{AttemptRequest, EncodedRequest, Unsupported, encode, read_parts, sent_max_tokens_field},
    worker_pool::{WorkerPool, WorkerPoolError},
};

use http_client::{HttpClient, tls_config};
use learned_max_tokens_fields::LearnedMaxTokensFields;
use transport_errors::{timed_out, transport_failure};

pub use endpoint::{Endpoint, EndpointError};
pub use learned_max_tokens_fields::LearnedMaxTokensField;
pub use model_list::ModelListAccess;
pub use request_model::RequestModel;
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
    remote: HttpClient,
    local: HttpClient,
    /// Longest time without any bytes of a response, also before the first one.
    idle_timeout: Duration,
    /// Threads that read, check and encode pictures.
    picture_worker_pool: Arc<WorkerPool>,
    checked_pictures: Arc<CheckedPictureCache>,
    /// True once the head of any response was received, whatever its status.
    has_received_response: Arc<AtomicBool>,
    max_tokens_fields: LearnedMaxTokensFields,
    kept_parts: KeptParts,
    picture_settings: PictureSettings,
}

#[derive(Debug, thiserror::Error)]
#[error("the HTTP client can't be set up: the certificates that this system trusts can't be used: {0}")]
pub struct ClientError(#[from] rustls::Error);

impl Client {
    /// Creates a client. `connect_timeout` limits DNS, TCP and TLS together; `idle_timeout` limits the time without any
    /// bytes, also before the first one.
    pub fn new(connect_timeout: Duration, idle_timeout: Duration) -> Result<Self, ClientError> {
        let tls = tls_config()?;
        Ok(Self {
            remote: HttpClient::new(connect_timeout, &tls, Some(Matcher::from_system())),
            local: HttpClient::new(connect_timeout, &tls, None),
            idle_timeout,
            picture_worker_pool: Arc::new(WorkerPool::per_core("pictures", MAX_PICTURE_THREADS)),
            checked_pictures: Arc::default(),
            has_received_response: Arc::default(),
            max_tokens_fields: LearnedMaxTokensFields::default(),
            kept_parts: KeptParts::default(),
            picture_settings: PictureSettings::default(),
        })
    }

    /// Sets how pictures are changed before they are sent.
    #[must_use]
    pub const fn with_pictures(mut self, settings: PictureSettings) -> Self {
        self.picture_settings = settings;
        self
    }

    /// Sets how much of an answer is kept.
    #[must_use]
    pub fn keeping(mut self, kept_parts: KeptParts) -> Self {
        self.kept_parts = kept_parts;
        self
    }

    /// The names of the output limit that providers asked for, in this process or before.
    pub fn learned_max_tokens_fields(&self) -> Vec<LearnedMaxTokensField> {
        self.max_tokens_fields.all()
    }

    /// Restores the names of the output limit that an earlier process learned.
    pub fn restore_max_tokens_fields(&self, fields: Vec<LearnedMaxTokensField>) {
        self.max_tokens_fields.restore(fields);
    }

    /// Whether the head of any response was received, whatever its status.
    pub fn has_received_response(&self) -> bool {
        self.has_received_response.load(Ordering::Relaxed)
    }

    /// Sends one request for one item on one route.
    ///
    /// `total_timeout` is the time limit from connecting to the last byte of the answer. Reading pictures happens before
    /// that and is not included.
    pub async fn send_attempt(
        &self,
        endpoint: &Endpoint,
        item: &Arc<ItemSpec>,
        model: &RequestModel,
        total_timeout: Duration,
    ) -> AttemptResult {
        let max_tokens_field = self.max_tokens_fields.find(endpoint, model).or(model.max_tokens_field);
        let attempt = AttemptRequest {
            max_tokens_field: max_tokens_field.or(endpoint.provider().max_tokens_field),
            extra_body: Some(&model.extra_body),
            ..AttemptRequest::new(&model.name, &item.request, model.max_output)
        };
        let encoded = match self.encode_request(endpoint, item, model, &attempt).await {
            Ok(encoded) => encoded,
            Err(error) => return error.to_attempt_result(),
        };
        let (uri, body) = (endpoint.attempt_uri(&encoded.path), Bytes::from(encoded.body));
        let received = match self.send_http(endpoint, Method::POST, uri, body, total_timeout).await {
            Ok(received) => received,
            Err(failure) => return classify(endpoint.api(), &TransportResult::Failed(failure)),
        };
        let mut result = received.classify(endpoint);
        if let Some(sent) = sent_max_tokens_field(endpoint.dialect(), &attempt)
            && let Some(refusal) = MaxTokensRefusal::read(&result, &received.body, sent)
            && self.max_tokens_fields.learn(endpoint, model, sent, refusal.requested)
        {
            return refusal.into_retry(result);
        }
        self.add_parts(&mut result, &received, endpoint, &attempt);
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

    /// Adds what the answer has besides its text, if it may have any. An answer without a text is empty if the request
    /// asks for nothing else.
    fn add_parts(
        &self,
        result: &mut AttemptResult,
        received: &ReceivedResponse,
        endpoint: &Endpoint,
        attempt: &AttemptRequest<'_>,
    ) {
        let Some(answer) = &mut result.answer else { return };
        let is_native = attempt.request.native.as_ref().is_some_and(|native| !native.native_only_fields.is_empty());
        let asks_for_parts = is_native || attempt.has_extra_fields();
        if asks_for_parts || self.kept_parts == KeptParts::Message {
            let mut parts = read_parts(endpoint.api(), &received.body, self.kept_parts);
            let AnswerParts { tool_calls, message, choices, embedding } = &mut parts;
            for value in [tool_calls, message, choices, embedding].into_iter().flatten() {
                redact_secrets_in(value, endpoint.secrets());
            }
            answer.parts = (!parts.is_empty()).then(|| Box::new(parts));
        }
        if answer.text.trim().is_empty() && !asks_for_parts {
            let rule = "a call of a tool that the request doesn't have, and no text".to_owned();
            result.answer = None;
            result.outcome = Outcome::EmptyOutput;
            result.action = OutcomeAction::Retry;
            result.message.clone_from(&rule);
            result.rule = rule;
        }
    }

    /// Encodes the request. A request with pictures is encoded on the picture threads, so that only as many pictures as
    /// there are threads are encoded at the same time: they take more memory than anything else.
    async fn encode_request(
        &self,
        endpoint: &Endpoint,
        item: &Arc<ItemSpec>,
        model: &RequestModel,
        attempt: &AttemptRequest<'_>,
    ) -> Result<EncodedRequest, PrepareError> {
        let (dialect, max_bytes) = (endpoint.dialect(), endpoint.max_picture_bytes());
        if attempt.request.images().next().is_none() {
            return Ok(encode(dialect, attempt, &[])?);
        }
        let (model, item, checked_pictures) = (model.clone(), Arc::clone(item), Arc::clone(&self.checked_pictures));
        let (max_tokens_field, settings) = (attempt.max_tokens_field, self.picture_settings);
        let encoded = self.picture_worker_pool.run(move || {
            let attempt = AttemptRequest {
                max_tokens_field,
                extra_body: Some(&model.extra_body),
                ..AttemptRequest::new(&model.name, &item.request, model.max_output)
            };
            let pictures = pictures::load(dialect.api(), max_bytes, &item.request, settings, &checked_pictures)?;
            Ok(encode(dialect, &attempt, &pictures)?)
        });
        encoded.await?
    }

    async fn get(
        &self,
        endpoint: &Endpoint,
        url: &Url,
        total_timeout: Duration,
    ) -> Result<ReceivedResponse, TransportFailure> {
        self.send_http(endpoint, Method::GET, url.as_str().parse(), Bytes::new(), total_timeout).await
    }

    async fn send_http(
        &self,
        endpoint: &Endpoint,
        method: Method,
        uri: Result<Uri, InvalidUri>,
        body: Bytes,
        total_timeout: Duration,
    ) -> Result<ReceivedResponse, TransportFailure> {
        let uri = uri.map_err(|error| transport_failure(&endpoint.host(), &error, true))?;
        let make_request = || {
            let mut request = HttpRequest::new(Full::new(body.clone()));
            *request.method_mut() = method.clone();
            *request.uri_mut() = uri.clone();
            *request.headers_mut() = endpoint.headers();
            request
        };
        let client = if endpoint.is_loopback() { &self.local } else { &self.remote };
        let started = Instant::now();
        let next_timeout = || total_timeout.saturating_sub(started.elapsed()).min(self.idle_timeout);
        let response = match timeout(next_timeout(), client.send(make_request)).await {
            Ok(response) => {
                response.map_err(|error| transport_failure(&endpoint.host(), &error, error.is_connect()))?
            }
            Err(_) => return Err(timed_out(&endpoint.host(), "operation timed out")),
        };
        self.has_received_response.store(true, Ordering::Relaxed);
        let (head, mut incoming) = response.into_parts();
        let status = head.status.as_u16();
        let mut body = Vec::new();
        loop {
            match timeout(next_timeout(), incoming.frame()).await {
                Ok(Some(Ok(frame))) => {
                    // Trailers are ignored.
                    let Ok(chunk) = frame.into_data() else { continue };
                    let remaining_bytes = MAX_RESPONSE_BYTES - body.len();
                    body.extend_from_slice(&chunk[..chunk.len().min(remaining_bytes)]);
                    if chunk.len() >= remaining_bytes {
                        break;
                    }
                }
                Ok(None) => break,
                // The status of an error response is enough to classify it, even if its body breaks off.
                _ if !(200..300).contains(&status) => break,
                Ok(Some(Err(error))) => return Err(transport_failure(&endpoint.host(), &error, false)),
                Err(_) => return Err(timed_out(&endpoint.host(), "operation timed out")),
            }
        }
        Ok(ReceivedResponse { status, headers: head.headers, body })
    }
}

struct ReceivedResponse {
    status: u16,
    headers: HeaderMap,
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
        let response_meta = read_response_meta(endpoint.vendor(), &self.headers, response.received_at);
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
        let item = Arc::new(ItemSpec { id: "a".to_owned(), request, line: 1, ..ItemSpec::default() });
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
                let model = RequestModel::new("m", None);
                client.send_attempt(&endpoint, &item, &model, Duration::from_secs(1)).await;
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
