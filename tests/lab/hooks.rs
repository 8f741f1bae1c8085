//! A server that webhooks lead to: keeps what it is sent, answers as it is told.

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

use super::until;

/// What the next request gets.
#[derive(Clone, Debug)]
pub enum Answer {
    Status(u16),
    /// A status, a header, and the path of the request as the body.
    With(u16, &'static str, String),
    /// None at all.
    Hang,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Sent {
    pub path: String,
    pub content_type: String,
    pub body: String,
}

#[derive(Default)]
struct Desk {
    sent: Mutex<Vec<Sent>>,
    answers: Mutex<VecDeque<Answer>>,
}

pub struct Hooks {
    runtime: Option<tokio::runtime::Runtime>,
    address: SocketAddr,
    desk: Arc<Desk>,
}

impl Hooks {
    /// Takes everything.
    pub fn open() -> Self {
        Self::answering([])
    }

    /// Gives these answers first, and takes everything after them.
    pub fn answering(answers: impl IntoIterator<Item = Answer>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let desk = Arc::new(Desk { answers: Mutex::new(answers.into_iter().collect()), ..Desk::default() });
        let router = Router::new().fallback(any(take)).with_state(Arc::clone(&desk));
        let listener = runtime.block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { runtime: Some(runtime), address, desk }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// A `[[webhook]]` that leads here, with more settings.
    pub fn table(&self, name: &str, more: &str) -> String {
        format!("\n[[webhook]]\nname = \"{name}\"\nurl = \"{}\"\n{more}\n", self.url(name))
    }

    pub fn sent(&self) -> Vec<Sent> {
        self.desk.sent.lock().unwrap().clone()
    }

    /// Everything that was sent, as JSON.
    pub fn messages(&self) -> Vec<Value> {
        self.sent().iter().map(|sent| serde_json::from_str(&sent.body).unwrap()).collect()
    }

    /// The events of the messages, in the order in which they came.
    pub fn events(&self) -> Vec<String> {
        self.messages().iter().map(|message| message["event"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits for a message of that event.
    #[track_caller]
    pub fn until(&self, event: &str) -> Value {
        until(&format!("a message: {event}"), || self.events().iter().any(|sent| sent == event));
        self.messages().into_iter().find(|message| message["event"] == event).unwrap()
    }
}

impl Drop for Hooks {
    fn drop(&mut self) {
        // Requests that hang are not waited for.
        self.runtime.take().unwrap().shutdown_background();
    }
}

async fn take(State(desk): State<Arc<Desk>>, uri: Uri, headers: HeaderMap, body: String) -> axum::response::Response {
    let content_type = headers.get("content-type").map(|kind| kind.to_str().unwrap().to_owned()).unwrap_or_default();
    let answer = desk.answers.lock().unwrap().pop_front();
    desk.sent.lock().unwrap().push(Sent { path: uri.path().to_owned(), content_type, body });
    let status = |number| StatusCode::from_u16(number).unwrap();
    match answer {
        None => StatusCode::NO_CONTENT.into_response(),
        Some(Answer::Status(number)) => status(number).into_response(),
        Some(Answer::With(number, header, value)) => {
            (status(number), [(header, value)], format!("Cannot POST {uri}")).into_response()
        }
        Some(Answer::Hang) => std::future::pending().await,
    }
}
