//! The HTTP client of requests to providers: TLS, proxies, the time limit of a connection, and nothing else. No redirect
//! is followed.
//!
//! It is hyper's own client, since `reqwest` would parse the URL twice for each request and move each through five more
//! layers: a tenth of all instructions that an item takes.

use std::{
    error::Error,
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Request, Response, Uri,
    body::Incoming,
    header::{HeaderValue, PROXY_AUTHORIZATION, USER_AGENT as USER_AGENT_HEADER},
    http::uri::Scheme,
    rt::{Read, ReadBufCursor, Write},
};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::{
    client::{
        legacy::{
            self,
            connect::{Connected, Connection, HttpConnector, proxy::Tunnel},
        },
        proxy::matcher::Matcher,
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use rustls::{ClientConfig, crypto};
use rustls_platform_verifier::ConfigVerifierExt as _;
use tokio::net::TcpStream;
use tower_service::Service;

use super::endpoint::USER_AGENT;

/// How long a connection without a request is kept.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// A connection on which nothing arrives for this long is probed, and again as often as [`KEEPALIVE_RETRIES`] says.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_RETRIES: u32 = 3;
/// How long sent bytes may stay unacknowledged.
#[cfg(target_os = "linux")]
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a request is sent again that the server has certainly not looked at.
const MAX_UNSEEN_RETRIES: usize = 2;

type BoxError = Box<dyn Error + Send + Sync>;
type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// Sends requests over connections that it keeps. Cheap to clone; clones share the connections.
#[derive(Clone, Debug)]
pub(super) struct HttpClient {
    client: legacy::Client<TimedConnector, Full<Bytes>>,
    proxies: Option<Arc<Matcher>>,
}

impl HttpClient {
    /// `tls` is that of [`tls_config`]. `proxies` says which requests go through a proxy; `None`: none does.
    pub fn new(connect_timeout: Duration, tls: &ClientConfig, proxies: Option<Matcher>) -> Self {
        let proxies = proxies.map(Arc::new);
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        // Shared by the addresses of a host, so that the next one is tried if one does not respond.
        tcp.set_connect_timeout(Some(connect_timeout));
        tcp.set_keepalive(Some(KEEPALIVE_INTERVAL));
        tcp.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
        tcp.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
        #[cfg(target_os = "linux")]
        tcp.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT));
        // A proxy gets requests of HTTP/1.1.
        let mut to_proxy = tls.clone();
        to_proxy.alpn_protocols.clear();
        let connector =
            ProxyConnector { to_proxy: HttpsConnector::from((tcp.clone(), to_proxy)), tcp, proxies: proxies.clone() };
        let connector = TimedConnector { inner: HttpsConnector::from((connector, tls.clone())), connect_timeout };
        let client = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .build(connector);
        Self { client, proxies }
    }

    /// Sends the request that `make_request` makes. It is made and sent again if the server has certainly not looked at
    /// it.
    ///
    /// # Errors
    /// If no response came.
    pub async fn send(
        &self,
        make_request: impl Fn() -> Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, legacy::Error> {
        let mut retries = 0;
        loop {
            let mut request = make_request();
            if let Some(authorization) = self.proxy_authorization(request.uri()) {
                request.headers_mut().entry(PROXY_AUTHORIZATION).or_insert(authorization);
            }
            match self.client.request(request).await {
                Err(error) if retries < MAX_UNSEEN_RETRIES && is_unseen(&error) => retries += 1,
                sent => return sent,
            }
        }
    }

    /// The credentials for the proxy of a request over plain HTTP. For HTTPS they are sent when the tunnel is made.
    fn proxy_authorization(&self, uri: &Uri) -> Option<HeaderValue> {
        let proxies = self.proxies.as_ref().filter(|_| uri.scheme() == Some(&Scheme::HTTP))?;
        proxies.intercept(uri)?.basic_auth().cloned()
    }
}

/// The settings of TLS: the certificates that this system trusts, and HTTP/2 where a server has it.
///
/// # Errors
/// If the system's certificates can't be used.
pub(super) fn tls_config() -> Result<ClientConfig, rustls::Error> {
    // rustls accepts one crypto provider per process. A second installation fails, which does no harm.
    let _ = crypto::ring::default_provider().install_default();
    let mut config = ClientConfig::with_platform_verifier()?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Whether the server has refused the request without looking at it, as HTTP/2 lets it say.
fn is_unseen(error: &legacy::Error) -> bool {
    let cause = error.source().and_then(Error::source).and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.filter(|cause| cause.is_remote()).is_some_and(|cause| {
        (cause.is_go_away() && cause.reason() == Some(h2::Reason::NO_ERROR))
            || (cause.is_reset() && cause.reason() == Some(h2::Reason::REFUSED_STREAM))
    })
}

/// Makes connections within a time limit: DNS, TCP, proxy and TLS together.
#[derive(Clone, Debug)]
struct TimedConnector {
    inner: HttpsConnector<ProxyConnector>,
    connect_timeout: Duration,
}

impl Service<Uri> for TimedConnector {
    type Response = MaybeHttpsStream<RouteStream>;
    type Error = BoxError;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, destination: Uri) -> Self::Future {
        let connecting = tokio::time::timeout(self.connect_timeout, self.inner.call(destination));
        Box::pin(async move {
            connecting
                .await
                .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "operation timed out").into()))
        })
    }
}

/// Connects to the destination, or to the proxy that is set for it. A tunnel leads through a proxy to an HTTPS
/// destination.
#[derive(Clone)]
struct ProxyConnector {
    tcp: HttpConnector,
    to_proxy: HttpsConnector<HttpConnector>,
    proxies: Option<Arc<Matcher>>,
}

impl Service<Uri> for ProxyConnector {
    type Response = RouteStream;
    type Error = BoxError;
    type Future = Connecting<RouteStream>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        ready!(self.tcp.poll_ready(cx))?;
        self.to_proxy.poll_ready(cx)
    }

    fn call(&mut self, destination: Uri) -> Self::Future {
        let Some(proxy) = self.proxies.as_ref().and_then(|proxies| proxies.intercept(&destination)) else {
            let connecting = self.tcp.call(destination);
            return Box::pin(async move {
                Ok(RouteStream { stream: MaybeHttpsStream::Http(connecting.await?), is_proxied: false })
            });
        };
        if destination.scheme() != Some(&Scheme::HTTPS) {
            let connecting = self.to_proxy.call(proxy.uri().clone());
            return Box::pin(async move { Ok(RouteStream { stream: connecting.await?, is_proxied: true }) });
        }
        let headers = HeaderMap::from_iter([(USER_AGENT_HEADER, HeaderValue::from_static(USER_AGENT))]);
        let mut tunnel = Tunnel::new(proxy.uri().clone(), self.to_proxy.clone()).with_headers(headers);
        if let Some(authorization) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(authorization.clone());
        }
        let connecting = tunnel.call(destination);
        Box::pin(async move { Ok(RouteStream { stream: connecting.await?, is_proxied: false }) })
    }
}

impl fmt::Debug for ProxyConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyConnector").finish_non_exhaustive()
    }
}

/// A connection to a server or to a proxy.
struct RouteStream {
    stream: MaybeHttpsStream<TokioIo<TcpStream>>,
    /// The other end is a proxy that gets whole URLs.
    is_proxied: bool,
}

impl Connection for RouteStream {
    fn connected(&self) -> Connected {
        self.stream.connected().proxy(self.is_proxied)
    }
}

impl Read for RouteStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl Write for RouteStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, buffers)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    /// Sends a request through a proxy that gives one answer. Returns the head that the proxy gets, and the result.
    async fn send_through_proxy(uri: &str, answer: &'static str) -> (String, Result<Bytes, legacy::Error>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = format!("http://user:pass@{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(head).unwrap().to_lowercase()
        });
        let proxies = Matcher::builder().all(proxy).build();
        let client = HttpClient::new(Duration::from_secs(5), &tls_config().unwrap(), Some(proxies));
        let uri: Uri = uri.parse().unwrap();
        let make_request = || Request::get(uri.clone()).body(Full::default()).unwrap();
        let received = match client.send(make_request).await {
            Ok(response) => Ok(response.into_body().collect().await.unwrap().to_bytes()),
            Err(error) => Err(error),
        };
        (serving.await.unwrap(), received)
    }

    #[tokio::test]
    async fn plain_http_goes_to_the_proxy_with_the_whole_address() {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
        let (head, received) = send_through_proxy("http://models.invalid/v1/models", answer).await;
        assert!(head.starts_with("get http://models.invalid/v1/models http/1.1\r\n"), "{head}");
        assert!(head.contains("\r\nproxy-authorization: basic dxnlcjpwyxnz\r\n"), "{head}");
        assert_eq!(received.unwrap(), "hi");
    }

    #[tokio::test]
    async fn https_goes_through_a_tunnel() {
        let answer = "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n";
        let (head, received) = send_through_proxy("https://models.invalid/v1/models", answer).await;
        assert!(head.starts_with("connect models.invalid:443 http/1.1\r\n"), "{head}");
        assert!(head.contains("\r\nproxy-authorization: basic dxnlcjpwyxnz\r\n"), "{head}");
        assert!(head.contains(&format!("\r\nuser-agent: {USER_AGENT}\r\n")), "{head}");
        assert!(!head.contains("/v1/models"), "{head}");
        assert!(received.unwrap_err().is_connect(), "nothing was sent to the provider");
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let answer = "HTTP/1.1 302 Found\r\nlocation: http://elsewhere.invalid/\r\ncontent-length: 5\r\n\r\nmoved";
        let (_, received) = send_through_proxy("http://models.invalid/", answer).await;
        assert_eq!(received.unwrap(), "moved");
    }

    #[tokio::test]
    async fn a_connection_that_takes_too_long_sends_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        // The TLS handshake never gets an answer.
        let uri: Uri = format!("https://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let client = HttpClient::new(Duration::from_millis(50), &tls_config().unwrap(), None);
        let sent = client.send(|| Request::get(uri.clone()).body(Full::default()).unwrap()).await;
        assert!(sent.unwrap_err().is_connect());
    }
}
