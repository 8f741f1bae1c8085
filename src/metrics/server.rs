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
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
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
        let (final_scrape_tx, final_scrape) = watch::channel(false);
        let service = Arc::new(MetricsService {
            hosts: self.hosts,
            clock: self.clock,
            snapshots,
            rendered: Arc::default(),
            final_scrape_tx,
        });
        MetricsServer { task: tokio::spawn(accept_connections(self.listener, service)), final_scrape }
    }
}

/// A running server. Dropping it closes the port.
#[derive(Debug)]
pub struct MetricsServer {
    task: JoinHandle<()>,
    final_scrape: watch::Receiver<bool>,
}

impl MetricsServer {
    /// Whether the final state of the run was served.
    pub fn has_served_final_state(&self) -> bool {
        *self.final_scrape.borrow()
    }

    /// Waits until the final state of the run was served once.
    pub async fn wait_for_final_scrape(&mut self) {
        // The sender lives as long as the server.
        let _ = self.final_scrape.wait_for(|is_done| *is_done).await;
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
                    serve_connection(stream, &service, CONNECTION_TIMEOUT).await;
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

/// Answers the one request of a connection, within `timeout`.
async fn serve_connection(stream: impl AsyncRead + AsyncWrite + Unpin, service: &MetricsService, timeout: Duration) {
    // Whether the response had the final state of the run; `None` if it had no metrics.
    let is_final_state = std::sync::Mutex::new(None);
    let respond = service_fn(|request| async {
        let (response, has_final_state) = service.respond(request).await;
        *is_final_state.lock().unwrap_or_else(PoisonError::into_inner) = has_final_state;
        Ok::<_, Infallible>(response)
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), respond);
    // A client that breaks off or is too slow gets no response; it may scrape again.
    let is_delivered = matches!(tokio::time::timeout(timeout, connection).await, Ok(Ok(())));
    let is_final_state = is_final_state.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let (true, Some(is_final_state)) = (is_delivered, is_final_state) {
        service.final_scrape_tx.send_replace(is_final_state);
    }
}

/// A text and what it was rendered for.
#[derive(Debug)]
struct RenderedText {
    format: TextFormat,
    snapshot: Arc<Snapshot>,
    rendered_at: Instant,
    text: Bytes,
}

impl RenderedText {
    /// Whether this is recent enough for a client that scrapes at `snapshot`. The final state must not be missing, and
    /// its text is rendered once.
    fn is_current(&self, snapshot: &Arc<Snapshot>) -> bool {
        if snapshot.state.is_over() {
            Arc::ptr_eq(&self.snapshot, snapshot)
        } else {
            self.rendered_at.elapsed() < MAX_TEXT_AGE
        }
    }
}

#[derive(Debug)]
struct MetricsService {
    hosts: AllowedHosts,
    clock: Clock,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    /// The last text. Locked while a text is rendered, so that only one is at a time.
    rendered: Arc<Mutex<Option<RenderedText>>>,
    /// Whether the last metrics that a client got had the final state of the run.
    final_scrape_tx: watch::Sender<bool>,
}

impl MetricsService {
    /// The response, and for metrics whether they are of the run's final state.
    async fn respond(&self, request: Request<Incoming>) -> (Response<Full<Bytes>>, Option<bool>) {
        if let Some(refusal) = self.refusal(&request) {
            return (refusal, None);
        }
        let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
        let format = TextFormat::for_accept(accept);
        let (text, is_final_state) = self.text(format).await;
        (respond_with(StatusCode::OK, format.content_type(), text), Some(is_final_state))
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
        let mut rendered = Arc::clone(&self.rendered).lock_owned().await;
        let snapshot = Arc::clone(&self.snapshots.borrow());
        let is_over = snapshot.state.is_over();
        if let Some(last) = rendered.as_ref()
            && last.format == format
            && last.is_current(&snapshot)
        {
            return (last.text.clone(), is_over);
        }
        let now: WallTime = if is_over { snapshot.at } else { self.clock.now().wall };
        // The lock is the closure's, so that clients that break off don't start a second rendering.
        let render_text = move || {
            let text = Bytes::from(render(Arc::clone(&snapshot), now, format));
            *rendered = Some(RenderedText { format, snapshot, rendered_at: Instant::now(), text: text.clone() });
            text
        };
        // A large fleet has thousands of samples: the engine's thread is not kept.
        let text = tokio::task::spawn_blocking(render_text).await.unwrap_or_default();
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;
    use crate::domain::snapshot::RunState;

    const REQUEST: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";

    fn finished_run() -> MetricsService {
        let snapshot = Snapshot { state: RunState::Finished, ..Snapshot::empty("r", WallTime::default(), 1.0) };
        MetricsService {
            hosts: AllowedHosts::new("127.0.0.1:9464".parse().unwrap(), std::iter::empty()),
            clock: Clock::real(),
            snapshots: watch::channel(Arc::new(snapshot)).1,
            rendered: Arc::default(),
            final_scrape_tx: watch::channel(false).0,
        }
    }

    #[tokio::test]
    async fn a_client_that_reads_has_the_final_state() {
        let service = finished_run();
        let (mut client, server) = duplex(256);
        client.write_all(REQUEST).await.unwrap();
        let mut response = String::new();
        let (read, ()) =
            tokio::join!(client.read_to_string(&mut response), serve_connection(server, &service, CONNECTION_TIMEOUT));
        read.unwrap();
        assert!(response.ends_with("# EOF\n"), "{response}");
        assert!(*service.final_scrape_tx.borrow());
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_is_given_up() {
        let service = finished_run();
        let (mut client, server) = duplex(256);
        client.write_all(REQUEST).await.unwrap();
        serve_connection(server, &service, Duration::from_millis(50)).await;
        assert!(!*service.final_scrape_tx.borrow(), "the response was not delivered");
        drop(client);
    }

    #[tokio::test]
    async fn an_endless_head_is_refused() {
        let service = finished_run();
        let (mut client, server) = duplex(256);
        let endless = async {
            client.write_all(b"GET /metrics HTTP/1.1\r\nX: ").await.unwrap();
            let mut sent = 0;
            while client.write_all(&[b'x'; 64]).await.is_ok() {
                sent += 64;
            }
            sent
        };
        let (sent, ()) = tokio::join!(endless, serve_connection(server, &service, CONNECTION_TIMEOUT));
        assert!(sent < 2 * MAX_HEAD_BYTES, "{sent} bytes");
    }

    #[tokio::test]
    async fn a_rendering_goes_on_without_its_client() {
        let service = finished_run();
        let _ = tokio::time::timeout(Duration::ZERO, service.text(TextFormat::OpenMetrics)).await;
        let kept = service.rendered.lock().await.as_ref().map(|rendered| rendered.text.clone()).unwrap();
        let (text, is_final_state) = service.text(TextFormat::OpenMetrics).await;
        assert!(is_final_state);
        assert_eq!(text.as_ptr(), kept.as_ptr(), "rendered once");
    }
}
