//! Sends one message to one webhook, once, and says whether it was delivered, may be retried, or was rejected.
//!
//! The webhook's URL is a secret: it never appears in the texts returned here, even if the server repeats it.

use std::time::Duration;

use jiff::fmt::rfc2822;
use reqwest::{Client, Response, StatusCode, Url, header};
use secrecy::{ExposeSecret as _, SecretString};

use super::message::MessageBody;
use crate::{
    config::Webhook,
    domain::event::format_duration,
    provider::{HiddenSecret, describe_transport_error, redact},
};

/// Timeouts for connecting and for the whole request.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait that is used. A longer one that a server states is reduced to this.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// Maximum number of bytes that are read of an error response.
const MAX_ERROR_BYTES: usize = 4 * 1024;
/// Maximum number of characters that are quoted of an error response.
const MAX_ERROR_CHARS: usize = 120;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Delivery {
    Delivered,
    /// A failure that may be temporary.
    Retry {
        reason: String,
        /// The wait that the server stated.
        retry_after: Option<Duration>,
    },
    /// The server would reject the same message again.
    Rejected {
        reason: String,
    },
}

/// Why a webhook did not get a message, as a phrase that follows the webhook's name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WebhookError {
    #[error("can't be used: no HTTP client ({0}); check the proxy settings")]
    NoHttpClient(String),
    /// The reason of the last attempt.
    #[error("{0}")]
    NotDelivered(String),
}

/// The HTTP client of one webhook.
#[derive(Debug)]
pub(super) struct WebhookClient {
    client: Client,
    url: SecretString,
    /// Parts of the URL that must not appear in any text.
    secret_parts: Vec<HiddenSecret>,
}

impl WebhookClient {
    /// # Errors
    /// If the HTTP client can't be set up.
    pub fn new(webhook: &Webhook) -> Result<Self, WebhookError> {
        // rustls accepts one crypto provider per process. A second installation has no effect.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = Client::builder()
            .user_agent(concat!("cascadeck/", env!("CARGO_PKG_VERSION")))
            // The address is a secret, so redirects are not followed.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT);
        let builder = if webhook.is_local { builder.no_proxy() } else { builder };
        let client = builder.build().map_err(|error| WebhookError::NoHttpClient(describe_transport_error(&error)))?;
        Ok(Self { client, url: webhook.url.clone(), secret_parts: secret_parts(webhook.url.expose_secret()) })
    }

    pub async fn send(&self, body: MessageBody) -> Delivery {
        let request = self
            .client
            .post(self.url.expose_secret())
            .header(header::CONTENT_TYPE, body.content_type)
            .body(body.bytes)
            .send();
        match request.await {
            Ok(response) => self.classify(response).await,
            Err(error) if error.is_timeout() && !error.is_connect() => Delivery::Retry {
                reason: format!("did not answer within {}", format_duration(REQUEST_TIMEOUT)),
                retry_after: None,
            },
            Err(error) => {
                let problem = if error.is_connect() { "can't be reached" } else { "broke the connection" };
                let reason = format!(
                    "{problem}: {}",
                    redact(&describe_transport_error(&error.without_url()), &self.secret_parts)
                );
                Delivery::Retry { reason, retry_after: None }
            }
        }
    }

    async fn classify(&self, response: Response) -> Delivery {
        let status = response.status();
        if status.is_success() {
            return Delivery::Delivered;
        }
        if status.is_redirection() {
            let reason = format!(
                "redirects ({}), which is not followed: set url to the target of the redirect",
                status.as_u16()
            );
            return Delivery::Rejected { reason };
        }
        let retry_after =
            response.headers().get(header::RETRY_AFTER).and_then(|value| parse_retry_after(value.to_str().ok()?));
        let error_text = self.read_error_text(response).await;
        let reason = format!("answered {}{error_text}", status.as_u16());
        let temporary_statuses = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
        if status.is_server_error() || temporary_statuses.contains(&status) {
            Delivery::Retry { reason, retry_after }
        } else {
            Delivery::Rejected { reason }
        }
    }

    /// Reads the server's error text and puts a colon before it: `: no_service`. Empty if there is none.
    async fn read_error_text(&self, mut response: Response) -> String {
        let mut bytes = Vec::new();
        // If the response breaks off, the part received so far is used.
        while let Ok(Some(chunk)) = response.chunk().await {
            bytes.extend_from_slice(&chunk[..chunk.len().min(MAX_ERROR_BYTES - bytes.len())]);
            if bytes.len() >= MAX_ERROR_BYTES {
                break;
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        // An HTML page says nothing that the status doesn't.
        if text.trim_start().starts_with('<') {
            return String::new();
        }
        let message = super::outbox::shorten(&redact(&text, &self.secret_parts), MAX_ERROR_CHARS);
        if message.is_empty() { message } else { format!(": {message}") }
    }
}

/// Parses `Retry-After`, which is in seconds or a date. The wait is at most [`MAX_RETRY_AFTER`].
fn parse_retry_after(value: &str) -> Option<Duration> {
    let wait = match value.trim().parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok()?,
        Err(_) => Duration::try_from(
            rfc2822::parse(value).ok()?.timestamp().duration_since(crate::clock::system_time().timestamp()),
        )
        .ok()?,
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// The parts of a URL that may be secret: all that can differ between two URLs of the same service.
fn secret_parts(text: &str) -> Vec<HiddenSecret> {
    let mut parts = vec![text.to_owned()];
    if let Ok(url) = Url::parse(text) {
        parts.push(url.to_string());
        parts.push(url.path().to_owned());
        parts.extend(url.path_segments().into_iter().flatten().map(str::to_owned));
        parts.extend(url.query().map(str::to_owned));
        parts.extend(url.query_pairs().map(|(_, value)| value.into_owned()));
        parts.push(url.username().to_owned());
        parts.extend(url.password().map(str::to_owned));
    }
    parts.iter().map(|part| HiddenSecret::new(part)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_seconds_or_as_a_date() {
        assert_eq!(parse_retry_after("30"), Some(Duration::from_secs(30)));
        assert_eq!(parse_retry_after(" 0.5"), Some(Duration::from_millis(500)));
        assert_eq!(parse_retry_after("Fri, 01 Jan 2100 00:00:00 GMT"), Some(MAX_RETRY_AFTER));
        for text in ["", "-1", "soon", "NaN", "Sun, 06 Nov 1994 08:49:37 GMT"] {
            assert_eq!(parse_retry_after(text), None, "{text}");
        }
    }

    #[test]
    fn no_part_of_an_address_is_shown() {
        let url = "https://user:passw0rd@hooks.example/services/T0001/swordfish?token=letmein-now";
        for text in ["/services/T0001/swordfish", "swordfish", "token letmein-now", "user passw0rd", url] {
            let redacted = redact(text, &secret_parts(url));
            for piece in ["swordfish", "letmein", "passw0rd"] {
                assert!(!redacted.contains(piece), "{text}: {redacted}");
            }
        }
    }
}
