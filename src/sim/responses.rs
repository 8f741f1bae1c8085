//! HTTP responses: complete, truncated or interrupted.

use std::io;

use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Response, StatusCode,
    body::{Bytes, Frame},
    header::{self, HeaderValue},
};

use super::wire::{SimBody, SimResponse};

const JSON: &str = "application/json; charset=UTF-8";
const HTML: &str = "text/html; charset=UTF-8";

pub(super) type HttpBody = UnsyncBoxBody<Bytes, io::Error>;

/// A body whose length is announced.
pub(super) fn full_body(bytes: impl Into<Bytes>) -> HttpBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body that is sent chunk by chunk. If a chunk is an error, the connection is closed.
pub(super) fn streamed_body(chunks: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> HttpBody {
    StreamBody::new(chunks.map_ok(Frame::data)).boxed_unsync()
}

pub(super) fn body_bytes(body: &SimBody) -> Bytes {
    match body {
        SimBody::Json(value) => value.to_string().into(),
        SimBody::Html(page) => Bytes::from_static(page.as_bytes()),
    }
}

/// The complete response.
pub(super) fn complete_response(response: &SimResponse) -> Response<HttpBody> {
    build_response(response, full_body(body_bytes(&response.body)))
}

/// The first three fifths of the body, sent as if it were complete.
pub(super) fn truncated_response(response: &SimResponse) -> Response<HttpBody> {
    let bytes = body_bytes(&response.body);
    build_response(response, full_body(bytes.slice(..bytes.len() * 3 / 5)))
}

/// A 200 that announces `content_length` bytes and breaks off after `bytes`.
pub(super) fn interrupted_response(bytes: &[u8], content_length: usize) -> Response<HttpBody> {
    let sent = stream::iter([Ok(Bytes::copy_from_slice(bytes))]);
    let disconnect = stream::once(async {
        // A pending body makes the server flush what was already sent.
        tokio::task::yield_now().await;
        Err(io::Error::from(io::ErrorKind::ConnectionReset))
    });
    let mut response = Response::new(streamed_body(sent.chain(disconnect)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(content_length));
    response
}

/// A response with the given body and the status and headers of `sim_response`.
pub(super) fn build_response(sim_response: &SimResponse, body: HttpBody) -> Response<HttpBody> {
    let content_type = if matches!(sim_response.body, SimBody::Json(_)) { JSON } else { HTML };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(sim_response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    for (name, value) in &sim_response.headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(*name, value);
        }
    }
    response
}
