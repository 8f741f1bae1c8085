//! The HTTP server of the metrics: `GET /metrics` and nothing else, with bounds on everything a client can use up.
//!
//! It reads the snapshots that the dashboard reads too, so nothing that a client does reaches the engine.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode, Version,
    body::{Bytes, Incoming},
    header::{self, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Mutex, Semaphore, watch},
    task::JoinHandle,
};

use super::{content_type::TextFormat, host_check::AllowedHosts, text::render};
use crate::{
    clock::Clock,
    config::{MetricsAddress, MetricsSettings},
    domain::{Snapshot, WallTime},
};

/// Maximum number of open connections. Further ones wait in the system's queue.
const MAX_CONNECTIONS: usize = 16;
/// Maximum time of a connection: for reading its one request and writing the response.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum size of a request's head.
const MAX_HEAD_BYTES: usize = 16 * 1_024;
/// Age up to which a rendered text is served again, so that scraping in a loop costs the run nothing.
const MAX_TEXT_AGE: Duration = Duration::from_millis(500);
/// Pause after a connection could not be accepted, as when there are no file handles.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// An open port that is not served yet. Clients that connect wait until it is.
#[derive(Debug)]
pub struct MetricsListener {
    listener: TcpListener,
    address: SocketAddr,
    hosts: AllowedHosts,
    clock: Clock,
}

impl MetricsListener {
    /// Opens the port of `address`. `settings` name the hosts under which it may be addressed; `clock` is the engine's.
    ///
    /// # Errors
    /// If the port is taken, or the address is not one of this machine.
    pub async fn bind(address: &MetricsAddress, settings: &MetricsSettings, clock: Clock) -> io::Result<Self> {
        let listener = TcpListener::bind((address.host(), address.port())).await?;
        let local_address = listener.local_addr()?;
        // A machine's own name leads to it from the network, not to its loopback interface.
        let own_name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        let own_name = own_name.filter(|_| !local_address.ip().is_loopback());
        let names = settings.hosts.iter().cloned().chain([address.host().to_owned()]).chain(own_name);
        Ok(Self { hosts: AllowedHosts::new(local_address, names), listener, address: local_address, clock })
    }

    /// The address in use, with the port that the system chose if the setting was 0.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves the newest of `snapshots` until the returned server is dropped.
    pub fn serve(self, snapshots: watch::Receiver<Arc<Snapshot>>) -> MetricsServer {
        let (last_scrape_tx, last_scrape) = watch::channel(false);
        let service = Arc::new(MetricsService {
            hosts: self.hosts,
            clock: self.clock,
            snapshots,
            rendered: Mutex::new(None),
            last_scrape_tx,
        });
        MetricsServer { task: tokio::spawn(accept_connections(self.listener, service)), last_scrape }
    }
}

/// A running server. Dropping it closes the port.
#[derive(Debug)]
pub struct MetricsServer {
    task: JoinHandle<()>,
    last_scrape: watch::Receiver<bool>,
}

impl MetricsServer {
    /// Whether the final state of the run was served.
    pub fn has_served_end(&self) -> bool {
        *self.last_scrape.borrow()
    }

    /// Waits until the final state of the run was served once.
    pub async fn wait_for_last_scrape(&mut self) {
        // The sender lives as long as the server.
        let _ = self.last_scrape.wait_for(|is_done| *is_done).await;
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept_connections(listener: TcpListener, service: Arc<MetricsService>) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let service = Arc::clone(&service);
                tokio::spawn(async move {
                    serve_connection(stream, &service).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::debug!("can't accept a connection for metrics: {error}");
                tokio::time::sleep(ACCEPT_RETRY_INTERVAL).await;
            }
        }
    }
}

/// Answers the one request of a connection.
async fn serve_connection(stream: TcpStream, service: &Arc<MetricsService>) {
    // Whether the response had the final state of the run; `None` if it had no metrics.
    let is_final = std::sync::Mutex::new(None);
    let respond = service_fn(|request| async {
        let (response, has_final_state) = service.respond(request).await;
        *is_final.lock().unwrap_or_else(PoisonError::into_inner) = has_final_state;
        Ok::<_, Infallible>(response)
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), respond);
    // A client that breaks off or is too slow gets no response; it may scrape again.
    let is_delivered = matches!(tokio::time::timeout(CONNECTION_TIMEOUT, connection).await, Ok(Ok(())));
    if let (true, Some(is_final)) = (is_delivered, is_final.into_inner().unwrap_or_else(PoisonError::into_inner)) {
        service.last_scrape_tx.send_replace(is_final);
    }
}

/// A text and what it was rendered for.
#[derive(Debug)]
struct RenderedText {
    format: TextFormat,
    rendered_at: Instant,
    text: Bytes,
}

#[derive(Debug)]
struct MetricsService {
    hosts: AllowedHosts,
    clock: Clock,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    /// The last text. Locked while a text is rendered, so that only one is at a time.
    rendered: Mutex<Option<RenderedText>>,
    /// Whether the last metrics that a client got had the final state of the run.
    last_scrape_tx: watch::Sender<bool>,
}

impl MetricsService {
    /// The response, and for metrics whether they are of the run's final state.
    async fn respond(&self, request: Request<Incoming>) -> (Response<Full<Bytes>>, Option<bool>) {
        if let Some(refusal) = self.refusal(&request) {
            return (refusal, None);
        }
        let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
        let format = TextFormat::for_accept(accept);
        let (text, is_final) = self.text(format).await;
        (respond_with(StatusCode::OK, format.content_type(), text), Some(is_final))
    }

    fn refusal(&self, request: &Request<Incoming>) -> Option<Response<Full<Bytes>>> {
        if !self.is_addressed(request) {
            let message = "this server is not known under the name in Host";
            return Some(refuse(StatusCode::MISDIRECTED_REQUEST, message));
        }
        if request.uri().path() != "/metrics" {
            return Some(refuse(StatusCode::NOT_FOUND, "only /metrics is here"));
        }
        if request.method() != Method::GET {
            let mut response = refuse(StatusCode::METHOD_NOT_ALLOWED, "only GET is allowed");
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
            return Some(response);
        }
        None
    }

    /// Whether the request is for this server. Only HTTP/1.0 may leave out `Host`.
    fn is_addressed(&self, request: &Request<Incoming>) -> bool {
        let mut hosts = request.headers().get_all(header::HOST).iter();
        let is_allowed = |host: &HeaderValue| host.to_str().is_ok_and(|host| self.hosts.allows(host));
        let has_allowed_host = match (hosts.next(), hosts.next()) {
            (Some(host), None) => is_allowed(host),
            (None, _) => request.version() == Version::HTTP_10,
            (Some(_), Some(_)) => false,
        };
        let authority = request.uri().authority();
        has_allowed_host && authority.is_none_or(|authority| self.hosts.allows(authority.as_str()))
    }

    /// The text of the newest snapshot, and whether the run is over.
    async fn text(&self, format: TextFormat) -> (Bytes, bool) {
        let mut rendered = self.rendered.lock().await;
        let snapshot = Arc::clone(&self.snapshots.borrow());
        let is_over = snapshot.state.is_over();
        // The values at the end of a run must not be missing.
        if let Some(last) = rendered.as_ref()
            && !is_over
            && last.format == format
            && last.rendered_at.elapsed() < MAX_TEXT_AGE
        {
            return (last.text.clone(), false);
        }
        let now: WallTime = if is_over { snapshot.at } else { self.clock.now().wall };
        // A large fleet has thousands of samples: the engine's thread is not kept.
        let text = tokio::task::spawn_blocking(move || render(snapshot, now, format)).await.unwrap_or_default();
        let text = Bytes::from(text);
        *rendered = Some(RenderedText { format, rendered_at: Instant::now(), text: text.clone() });
        (text, is_over)
    }
}

fn refuse(status: StatusCode, message: &'static str) -> Response<Full<Bytes>> {
    let body = Bytes::from(format!("{message}\n"));
    respond_with(status, "text/plain; charset=utf-8", body)
}

fn respond_with(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
