//! A webhook server: stores the messages it receives, and sends the replies that the test chooses.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::IntoResponse as _,
    routing::any,
};
use serde_json::Value;

use super::wait_until;

/// Reply to the next request.
#[derive(Clone, Debug)]
pub enum WebhookReply {
    Status(u16),
    /// A status, a header, and the request's path in the body.
    StatusWithHeader(u16, &'static str, String),
    /// No reply; the connection stays open.
    Hang,
}

/// One received message.
#[derive(Clone, Debug)]
pub struct ReceivedMessage {
    pub path: String,
    pub content_type: String,
    pub body: String,
}

#[derive(Default)]
struct ServerState {
    received: Mutex<Vec<ReceivedMessage>>,
    replies: Mutex<VecDeque<WebhookReply>>,
}

pub struct WebhookServer {
    runtime: Option<tokio::runtime::Runtime>,
    address: SocketAddr,
    state: Arc<ServerState>,
}

impl WebhookServer {
    /// A server that accepts every message.
    pub fn accepting_all() -> Self {
        Self::with_replies([])
    }

    /// A server that gives these replies first, and accepts every message after them.
    pub fn with_replies(replies: impl IntoIterator<Item = WebhookReply>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let state =
            Arc::new(ServerState { replies: Mutex::new(replies.into_iter().collect()), ..ServerState::default() });
        let router = Router::new().fallback(any(receive)).with_state(Arc::clone(&state));
        let listener = runtime.block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { runtime: Some(runtime), address, state }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// A `[[webhook]]` table for this server, with extra settings.
    pub fn webhook_toml(&self, name: &str, extra_settings: &str) -> String {
        format!("\n[[webhook]]\nname = \"{name}\"\nurl = \"{}\"\n{extra_settings}\n", self.url(name))
    }

    pub fn received(&self) -> Vec<ReceivedMessage> {
        self.state.received.lock().unwrap().clone()
    }

    /// All received messages, as JSON.
    pub fn messages(&self) -> Vec<Value> {
        self.received().iter().map(|sent| serde_json::from_str(&sent.body).unwrap()).collect()
    }

    /// The events of the messages, in the order of arrival.
    pub fn events(&self) -> Vec<String> {
        self.messages().iter().map(|message| message["event"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits for a message of that event, and returns it.
    #[track_caller]
    pub fn wait_for_event(&self, event: &str) -> Value {
        wait_until(&format!("a message: {event}"), || self.events().iter().any(|sent| sent == event));
        self.messages().into_iter().find(|message| message["event"] == event).unwrap()
    }
}

impl Drop for WebhookServer {
    fn drop(&mut self) {
        // Doesn't wait for requests that hang.
        self.runtime.take().unwrap().shutdown_background();
    }
}

async fn receive(
    State(state): State<Arc<ServerState>>,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> axum::response::Response {
    let content_type = headers.get("content-type").map(|kind| kind.to_str().unwrap().to_owned()).unwrap_or_default();
    let answer = state.replies.lock().unwrap().pop_front();
    state.received.lock().unwrap().push(ReceivedMessage { path: uri.path().to_owned(), content_type, body });
    let status = |number| StatusCode::from_u16(number).unwrap();
    match answer {
        None => StatusCode::NO_CONTENT.into_response(),
        Some(WebhookReply::Status(number)) => status(number).into_response(),
        Some(WebhookReply::StatusWithHeader(number, header, value)) => {
            (status(number), [(header, value)], format!("Cannot POST {uri}")).into_response()
        }
        Some(WebhookReply::Hang) => std::future::pending().await,
    }
}
