//! The simulator's HTTP server: routes, listening and stopping.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::{JoinHandle, JoinSet},
};

use super::{
    handler::{IncomingRequest, SimService},
    profile::Profile,
    responses::{HttpBody, complete_response, full_body},
    stats::ServerStats,
    wire::SimResponse,
};
use crate::{clock::Clock, domain::Api};

/// Larger than Gemini's limit of 100 MB for a request with inline data.
const MAX_BODY_BYTES: usize = 128 * 1_024 * 1_024;
/// Time that stopping waits for open connections, in real time.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);
/// Pause after a connection could not be accepted, as when there are no file handles.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// A simulator on its own port, in its own task. Dropping it stops it too.
#[derive(Debug)]
pub struct Simulator {
    addr: SocketAddr,
    sim: Arc<SimService>,
    task: JoinHandle<()>,
    stop_sender: oneshot::Sender<()>,
}

impl Simulator {
    /// Starts on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// If the profile is inconsistent, or no port can be opened.
    pub async fn start(profile: Profile, clock: Clock) -> io::Result<Self> {
        Self::start_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?, profile, clock)
    }

    /// Starts on `listener`.
    ///
    /// # Errors
    /// If the profile is inconsistent, or the listener has no address.
    pub fn start_on(listener: TcpListener, profile: Profile, clock: Clock) -> io::Result<Self> {
        let addr = listener.local_addr()?;
        let sim = new_service(profile, clock)?;
        let (stop_sender, stop_receiver) = oneshot::channel();
        let shared_service = Arc::clone(&sim);
        let task = tokio::spawn(async move {
            // The server also stops if the sender is dropped.
            let shutdown = async { drop(stop_receiver.await) };
            run_server(listener, shared_service, shutdown).await;
        });
        Ok(Self { addr, sim, task, stop_sender })
    }

    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn stats(&self) -> ServerStats {
        self.sim.stats()
    }

    /// Stops listening, waits at most one second for all connections to close, and returns the final statistics.
    ///
    /// # Errors
    /// If the server panicked.
    pub async fn stop(self) -> io::Result<ServerStats> {
        drop(self.stop_sender);
        self.task.await.map_err(io::Error::other)?;
        Ok(self.sim.stats())
    }
}

fn new_service(profile: Profile, clock: Clock) -> io::Result<Arc<SimService>> {
    SimService::new(profile, clock).map(Arc::new).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// Serves until `shutdown` completes. Then ends every wait, so that the requests in flight are answered at once, and
/// closes.
async fn run_server(listener: TcpListener, sim: Arc<SimService>, shutdown: impl Future<Output = ()>) {
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            // Without this arm, the results of closed connections would pile up.
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(serve_connection(stream, Arc::clone(&sim)))),
                Err(error) => {
                    tracing::debug!("the simulator can't accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_RETRY_INTERVAL).await;
                }
            },
        }
    }
    drop(listener);
    sim.stop();
    let _ = tokio::time::timeout(SHUTDOWN_GRACE, async { while connections.join_next().await.is_some() {} }).await;
}

/// Answers the requests of a connection until the client closes it, or until the simulator stops.
async fn serve_connection(stream: TcpStream, sim: Arc<SimService>) {
    // Without this, a small response that is sent in several writes would wait for the client's acknowledgements.
    let _ = stream.set_nodelay(true);
    let respond = service_fn(|request| respond(Arc::clone(&sim), request));
    let mut connection = pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), respond));
    tokio::select! {
        _ = &mut connection => return,
        () = sim.wait_for_stop() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

async fn respond(sim: Arc<SimService>, request: Request<Incoming>) -> io::Result<Response<HttpBody>> {
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, MAX_BODY_BYTES).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Ok(empty_response(StatusCode::PAYLOAD_TOO_LARGE)),
        Err(error) => return Err(io::Error::other(error)),
    };
    let query = head.uri.query().map(str::to_owned);
    let Some(endpoint) = find_endpoint(head.uri.path()) else {
        return Ok(complete_response(&SimResponse::unknown_path()));
    };
    let headers = head.headers;
    Ok(match (head.method, endpoint) {
        (Method::GET | Method::HEAD, Endpoint::GeminiModels(name)) => {
            sim.handle_models(request_without_body(Api::Gemini, headers, query), name).await
        }
        (Method::GET | Method::HEAD, Endpoint::Models(name)) => {
            sim.handle_models(request_without_body(detect_api(&headers), headers, query), name).await
        }
        (Method::POST, Endpoint::GeminiModels(Some(call)) | Endpoint::Models(Some(call))) => {
            post_gemini(sim, &call, query, headers, body).await
        }
        (Method::POST, Endpoint::ChatCompletions) => {
            sim.handle_generate(post_request(Api::OpenAi, headers, body)).await
        }
        (Method::POST, Endpoint::Messages) => sim.handle_generate(post_request(Api::Anthropic, headers, body)).await,
        (Method::GET | Method::HEAD, Endpoint::Stats) => complete_response(&SimResponse::json(200, json!(sim.stats()))),
        (Method::GET | Method::HEAD, Endpoint::Health) => {
            complete_response(&SimResponse::json(200, json!({ "status": "ok" })))
        }
        _ => empty_response(StatusCode::METHOD_NOT_ALLOWED),
    })
}

/// The endpoint that a path names.
#[derive(Debug, PartialEq, Eq)]
enum Endpoint {
    /// Gemini's models, or one model. A `POST` has `{model}:{verb}` there.
    GeminiModels(Option<String>),
    /// The models of the API that the headers tell, or one model. Google's SDK uses it for Gemini's calls where most of
    /// its users use v1beta.
    Models(Option<String>),
    ChatCompletions,
    Messages,
    Stats,
    Health,
}

fn find_endpoint(path: &str) -> Option<Endpoint> {
    let name = |rest: &str| {
        let name = percent_decode_str(rest).decode_utf8_lossy().into_owned();
        (!name.is_empty()).then_some(Some(name))
    };
    match path {
        "/v1beta/models" => Some(Endpoint::GeminiModels(None)),
        "/v1/models" => Some(Endpoint::Models(None)),
        "/v1/chat/completions" => Some(Endpoint::ChatCompletions),
        "/v1/messages" => Some(Endpoint::Messages),
        "/sim/books" => Some(Endpoint::Stats),
        "/sim/health" => Some(Endpoint::Health),
        _ => {
            if let Some(rest) = path.strip_prefix("/v1beta/models/") {
                if rest.contains('/') { None } else { name(rest).map(Endpoint::GeminiModels) }
            } else {
                name(path.strip_prefix("/v1/models/")?).map(Endpoint::Models)
            }
        }
    }
}

/// Handles `{model}:{verb}`.
async fn post_gemini(
    sim: Arc<SimService>,
    model_and_verb: &str,
    query: Option<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<HttpBody> {
    let Some((model, verb)) = model_and_verb.rsplit_once(':') else {
        return complete_response(&SimResponse::unknown_path());
    };
    let incoming = IncomingRequest { api: Api::Gemini, headers, query, model_in_path: Some(model.to_owned()), body };
    match verb {
        "generateContent" => sim.handle_generate(incoming).await,
        "countTokens" => sim.handle_count_tokens(incoming).await,
        "streamGenerateContent" => sim.reject_streaming(incoming).await,
        _ => complete_response(&SimResponse::unknown_path()),
    }
}

/// Detects the API by the headers, because all three APIs list their models at `/v1/models`.
fn detect_api(headers: &HeaderMap) -> Api {
    if headers.contains_key("x-goog-api-key") {
        Api::Gemini
    } else if headers.contains_key("anthropic-version") || headers.contains_key("x-api-key") {
        Api::Anthropic
    } else {
        Api::OpenAi
    }
}

const fn post_request(api: Api, headers: HeaderMap, body: Bytes) -> IncomingRequest {
    IncomingRequest { api, headers, query: None, model_in_path: None, body }
}

fn request_without_body(api: Api, headers: HeaderMap, query: Option<String>) -> IncomingRequest {
    IncomingRequest { api, headers, query, model_in_path: None, body: Bytes::new() }
}

fn empty_response(status: StatusCode) -> Response<HttpBody> {
    let mut response = Response::new(full_body(Bytes::new()));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stands_for_an_endpoint_and_a_decoded_name() {
        let gemini = |name: &str| Some(Endpoint::GeminiModels(Some(name.to_owned())));
        let any = |name: &str| Some(Endpoint::Models(Some(name.to_owned())));
        for (path, endpoint) in [
            ("/v1beta/models", Some(Endpoint::GeminiModels(None))),
            ("/v1beta/models/flash:generateContent", gemini("flash:generateContent")),
            ("/v1beta/models/flash%3AcountTokens", gemini("flash:countTokens")),
            ("/v1beta/models/a/b", None),
            ("/v1beta/models/", None),
            ("/v1/models", Some(Endpoint::Models(None))),
            ("/v1/models/meta/llama%20x", any("meta/llama x")),
            ("/v1/models/", None),
            ("/v1/chat/completions", Some(Endpoint::ChatCompletions)),
            ("/v1/chat/completions/", None),
            ("/v1/messages", Some(Endpoint::Messages)),
            ("/", None),
        ] {
            assert_eq!(find_endpoint(path), endpoint, "{path}");
        }
    }
}
