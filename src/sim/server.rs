//! The simulator's HTTP server: routes, listening and stopping.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Path, RawQuery, State},
    http::{HeaderMap, Response},
    routing::{get, post},
    serve::ListenerExt,
};
use serde_json::json;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

use super::{
    handler::{IncomingRequest, SimService},
    profile::Profile,
    responses::complete_response,
    stats::ServerStats,
    wire::SimResponse,
};
use crate::{clock::Clock, domain::Api};

/// Larger than Gemini's limit of 100 MB for a request with inline data.
const MAX_BODY_BYTES: usize = 128 * 1_024 * 1_024;
/// Time that stopping waits for open connections, in real time.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// A simulator on its own port, in its own task. Dropping it stops it too.
#[derive(Debug)]
pub struct Simulator {
    addr: SocketAddr,
    sim: Arc<SimService>,
    task: JoinHandle<io::Result<()>>,
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
            run_server(listener, shared_service, shutdown).await
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
    /// Errors of the listener.
    pub async fn stop(self) -> io::Result<ServerStats> {
        drop(self.stop_sender);
        self.task.await.map_err(io::Error::other)??;
        Ok(self.sim.stats())
    }
}

fn new_service(profile: Profile, clock: Clock) -> io::Result<Arc<SimService>> {
    SimService::new(profile, clock).map(Arc::new).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// Serves until `shutdown` completes. Then ends every wait, so that the requests in flight are answered at once, and
/// closes.
async fn run_server(listener: TcpListener, sim: Arc<SimService>, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    // Without this, a small response that is sent in several writes would wait for the client's acknowledgements.
    let listener = listener.tap_io(|socket| drop(socket.set_nodelay(true)));
    let stop_requested = {
        let sim = Arc::clone(&sim);
        async move { sim.wait_for_stop().await }
    };
    let server = axum::serve(listener, router(Arc::clone(&sim))).with_graceful_shutdown(stop_requested);
    let mut server = pin!(server.into_future());
    tokio::select! {
        result = &mut server => return result,
        () = shutdown => sim.stop(),
    }
    tokio::time::timeout(SHUTDOWN_GRACE, server).await.unwrap_or(Ok(()))
}

fn router(sim: Arc<SimService>) -> Router {
    Router::new()
        .route("/v1beta/models", get(get_gemini_models))
        .route("/v1beta/models/{call}", get(get_gemini_models).post(post_gemini))
        .route("/v1/chat/completions", post(post_chat_completion))
        .route("/v1/messages", post(post_message))
        .route("/v1/models", get(get_models))
        // Google's SDK uses v1 where most of its users use v1beta.
        .route("/v1/models/{*name}", get(get_models).post(post_gemini))
        .route("/sim/books", get(get_stats))
        .route("/sim/health", get(get_health))
        .fallback(async || complete_response(&SimResponse::unknown_path()))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(sim)
}

/// Handles `{model}:{verb}`, which the router cannot split.
async fn post_gemini(
    State(sim): State<Arc<SimService>>,
    Path(model_and_verb): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
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

async fn post_chat_completion(State(sim): State<Arc<SimService>>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    sim.handle_generate(IncomingRequest { api: Api::OpenAi, headers, query: None, model_in_path: None, body }).await
}

async fn post_message(State(sim): State<Arc<SimService>>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    sim.handle_generate(IncomingRequest { api: Api::Anthropic, headers, query: None, model_in_path: None, body }).await
}

async fn get_gemini_models(
    State(sim): State<Arc<SimService>>,
    name: Option<Path<String>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response<Body> {
    sim.handle_models(request_without_body(Api::Gemini, headers, query), name.map(|Path(name)| name)).await
}

async fn get_models(
    State(sim): State<Arc<SimService>>,
    name: Option<Path<String>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response<Body> {
    sim.handle_models(request_without_body(detect_api(&headers), headers, query), name.map(|Path(name)| name)).await
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

fn request_without_body(api: Api, headers: HeaderMap, query: Option<String>) -> IncomingRequest {
    IncomingRequest { api, headers, query, model_in_path: None, body: Bytes::new() }
}

async fn get_stats(State(sim): State<Arc<SimService>>) -> Response<Body> {
    complete_response(&SimResponse::json(200, json!(sim.stats())))
}

async fn get_health() -> Response<Body> {
    complete_response(&SimResponse::json(200, json!({ "status": "ok" })))
}
