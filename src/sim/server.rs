//! The simulator's socket: routes, listening and stopping.

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
    books::Books,
    exchange::{Arrival, Sim},
    profile::Profile,
    sending::whole,
    wire::Reply,
};
use crate::{clock::Clock, domain::Api};

/// Gemini's inline limit is 100 MB.
const MOST_BODY_BYTES: usize = 128 * 1_024 * 1_024;
/// How long, in real time, a stop waits for connections that don't close.
const GRACE: Duration = Duration::from_secs(1);

/// Serves until `shutdown` ends; then answers what is in flight at once and closes.
pub async fn serve(
    listener: TcpListener,
    profile: Profile,
    clock: Clock,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    run(listener, new_sim(profile, clock)?, shutdown).await
}

/// A simulator on a port of its own, in a task of its own. Dropping it stops it as well.
#[derive(Debug)]
pub struct Simulator {
    addr: SocketAddr,
    sim: Arc<Sim>,
    task: JoinHandle<io::Result<()>>,
    stop: oneshot::Sender<()>,
}

impl Simulator {
    /// On a free port of 127.0.0.1.
    pub async fn start(profile: Profile, clock: Clock) -> io::Result<Self> {
        Self::start_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?, profile, clock)
    }

    pub fn start_on(listener: TcpListener, profile: Profile, clock: Clock) -> io::Result<Self> {
        let addr = listener.local_addr()?;
        let sim = new_sim(profile, clock)?;
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&sim);
        let task = tokio::spawn(async move {
            // A dropped sender is a stop too.
            let shutdown = async { drop(stopped.await) };
            run(listener, served, shutdown).await
        });
        Ok(Self { addr, sim, task, stop })
    }

    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn books(&self) -> Books {
        self.sim.books()
    }

    /// Stops listening and waits until nothing is open; the last books.
    pub async fn stop(self) -> io::Result<Books> {
        drop(self.stop);
        self.task.await.map_err(io::Error::other)??;
        Ok(self.sim.books())
    }
}

fn new_sim(profile: Profile, clock: Clock) -> io::Result<Arc<Sim>> {
    Sim::new(profile, clock).map(Arc::new).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

async fn run(listener: TcpListener, sim: Arc<Sim>, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    // Small answers in several writes would wait for the client's acknowledgements.
    let listener = listener.tap_io(|socket| drop(socket.set_nodelay(true)));
    let stopped = {
        let sim = Arc::clone(&sim);
        async move { sim.stopped().await }
    };
    let server = axum::serve(listener, router(Arc::clone(&sim))).with_graceful_shutdown(stopped);
    let mut server = pin!(server.into_future());
    tokio::select! {
        ended = &mut server => return ended,
        () = shutdown => sim.stop(),
    }
    tokio::time::timeout(GRACE, server).await.unwrap_or(Ok(()))
}

fn router(sim: Arc<Sim>) -> Router {
    Router::new()
        .route("/v1beta/models", get(gemini_models))
        .route("/v1beta/models/{call}", get(gemini_model).post(gemini_call))
        .route("/v1/chat/completions", post(chat_completion))
        .route("/v1/messages", post(message))
        .route("/v1/models", get(models))
        // Google's SDK says v1 where most of its users say v1beta.
        .route("/v1/models/{*name}", get(model).post(gemini_call))
        .route("/sim/books", get(books))
        .route("/sim/health", get(health))
        .fallback(async || whole(&Reply::no_such_path()))
        .layer(DefaultBodyLimit::max(MOST_BODY_BYTES))
        .with_state(sim)
}

/// `{model}:{verb}`, which no router splits.
async fn gemini_call(
    State(sim): State<Arc<Sim>>,
    Path(call): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let Some((model, verb)) = call.rsplit_once(':') else { return whole(&Reply::no_such_path()) };
    let arrival = Arrival { api: Api::Gemini, headers, query, model_in_path: Some(model.to_owned()), body };
    match verb {
        "generateContent" => sim.generate(arrival).await,
        "countTokens" => sim.count_tokens(arrival).await,
        "streamGenerateContent" => sim.refuse_to_stream(arrival).await,
        _ => whole(&Reply::no_such_path()),
    }
}

async fn chat_completion(State(sim): State<Arc<Sim>>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    sim.generate(Arrival { api: Api::OpenAi, headers, query: None, model_in_path: None, body }).await
}

async fn message(State(sim): State<Arc<Sim>>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    sim.generate(Arrival { api: Api::Anthropic, headers, query: None, model_in_path: None, body }).await
}

async fn gemini_models(State(sim): State<Arc<Sim>>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response<Body> {
    sim.models(bodiless(Api::Gemini, headers, query), None).await
}

async fn gemini_model(
    State(sim): State<Arc<Sim>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response<Body> {
    sim.models(bodiless(Api::Gemini, headers, query), Some(name)).await
}

async fn models(State(sim): State<Arc<Sim>>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response<Body> {
    sim.models(bodiless(api_of(&headers), headers, query), None).await
}

async fn model(
    State(sim): State<Arc<Sim>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response<Body> {
    sim.models(bodiless(api_of(&headers), headers, query), Some(name)).await
}

/// All three list their models at `/v1/models`.
fn api_of(headers: &HeaderMap) -> Api {
    if headers.contains_key("x-goog-api-key") {
        Api::Gemini
    } else if headers.contains_key("anthropic-version") || headers.contains_key("x-api-key") {
        Api::Anthropic
    } else {
        Api::OpenAi
    }
}

fn bodiless(api: Api, headers: HeaderMap, query: Option<String>) -> Arrival {
    Arrival { api, headers, query, model_in_path: None, body: Bytes::new() }
}

async fn books(State(sim): State<Arc<Sim>>) -> Response<Body> {
    whole(&Reply::json(200, json!(sim.books())))
}

async fn health() -> Response<Body> {
    whole(&Reply::json(200, json!({ "status": "ok" })))
}
