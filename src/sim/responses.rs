//! HTTP responses: complete, truncated or interrupted.

use std::io;

use axum::{
    body::{Body as HttpBody, Bytes},
    http::{HeaderValue, Response, StatusCode, header},
};
use futures_util::{StreamExt, stream};

use super::wire::{SimBody, SimResponse};

const JSON: &str = "application/json; charset=UTF-8";
const HTML: &str = "text/html; charset=UTF-8";

pub(super) fn body_bytes(body: &SimBody) -> Bytes {
    match body {
        SimBody::Json(value) => value.to_string().into(),
        SimBody::Html(page) => Bytes::from_static(page.as_bytes()),
    }
}

/// The complete response.
pub(super) fn complete_response(response: &SimResponse) -> Response<HttpBody> {
    build_response(response, HttpBody::from(body_bytes(&response.body)))
}

/// The first three fifths of the body, sent as if it were complete.
pub(super) fn truncated_response(response: &SimResponse) -> Response<HttpBody> {
    let bytes = body_bytes(&response.body);
    build_response(response, HttpBody::from(bytes.slice(..bytes.len() * 3 / 5)))
}

/// A 200 that announces `content_length` bytes and breaks off after `bytes`.
pub(super) fn interrupted_response(bytes: &[u8], content_length: usize) -> Response<HttpBody> {
    let sent = stream::iter([Ok(Bytes::copy_from_slice(bytes))]);
    let disconnect = stream::once(async {
        // A pending body makes the server flush what was already sent.
        tokio::task::yield_now().await;
        Err(io::Error::from(io::ErrorKind::ConnectionReset))
    });
    let mut response = Response::new(HttpBody::from_stream(sent.chain(disconnect)));
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
