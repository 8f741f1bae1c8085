//! Replies as HTTP responses: whole, cut short, or broken off.

use std::io;

use axum::{
    body::{Body as HttpBody, Bytes},
    http::{HeaderValue, Response, StatusCode, header},
};
use futures_util::{StreamExt, stream};

use super::wire::{Body, Reply};

const JSON: &str = "application/json; charset=UTF-8";
const HTML: &str = "text/html; charset=UTF-8";

pub(super) fn bytes_of(body: &Body) -> Bytes {
    match body {
        Body::Json(value) => value.to_string().into(),
        Body::Html(page) => Bytes::from_static(page.as_bytes()),
    }
}

/// A reply sent as it is.
pub(super) fn whole(reply: &Reply) -> Response<HttpBody> {
    respond(reply, HttpBody::from(bytes_of(&reply.body)))
}

/// The first part of a reply, as if it were all of it.
pub(super) fn cut_off(reply: &Reply) -> Response<HttpBody> {
    let bytes = bytes_of(&reply.body);
    respond(reply, HttpBody::from(bytes.slice(..bytes.len() * 3 / 5)))
}

/// A 200 that promises `promised` bytes and breaks off after these.
pub(super) fn broken(bytes: &[u8], promised: usize) -> Response<HttpBody> {
    let sent = stream::iter([Ok(Bytes::copy_from_slice(bytes))]);
    let gone = stream::once(async {
        // While the body has nothing to say, what it has said is flushed.
        tokio::task::yield_now().await;
        Err(io::Error::from(io::ErrorKind::ConnectionReset))
    });
    let mut response = Response::new(HttpBody::from_stream(sent.chain(gone)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(promised));
    response
}

/// A reply's status and headers over any body.
pub(super) fn respond(reply: &Reply, body: HttpBody) -> Response<HttpBody> {
    let kind = if matches!(reply.body, Body::Json(_)) { JSON } else { HTML };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    for (name, value) in &reply.headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(*name, value);
        }
    }
    response
}
