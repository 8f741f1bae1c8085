//! Brings one message to one address, once. Its answer is a verdict: delivered, to be tried again, or refused.
//!
//! The address is in none of the words that come out of here, not even where a server repeats it.

use std::time::Duration;

use jiff::fmt::rfc2822;
use reqwest::{Client, Response, StatusCode, Url, header};
use secrecy::{ExposeSecret as _, SecretString};

use super::message::Body;
use crate::{
    config::Webhook,
    domain::event::format_duration,
    provider::{redact, transport_words},
};

/// To connect, and for everything.
const CONNECT: Duration = Duration::from_secs(5);
const TOTAL: Duration = Duration::from_secs(10);

/// Longest pause that a server may ask for.
const LONGEST: Duration = Duration::from_hours(1);

/// What is read of a refusal, in bytes, and told of it, in characters.
const MOST_READ: usize = 4 * 1024;
const MOST_TOLD: usize = 120;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Delivered,
    /// Trouble that may pass.
    Again {
        words: String,
        /// How long the server asked to be left alone.
        after: Option<Duration>,
    },
    /// The same message would be refused again.
    Refused {
        words: String,
    },
}

/// One webhook's way out.
#[derive(Debug)]
pub(super) struct Post {
    client: Client,
    url: SecretString,
    /// What of the address may not be repeated.
    pieces: Vec<SecretString>,
}

impl Post {
    /// # Errors
    /// Where the HTTP client can't be set up, in words.
    pub fn new(webhook: &Webhook) -> Result<Self, String> {
        // One provider for the process; a second attempt to install it finds it there.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = Client::builder()
            .user_agent(concat!("cascadeck/", env!("CARGO_PKG_VERSION")))
            // An address is a secret, and is followed nowhere.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .timeout(TOTAL);
        let builder = if webhook.is_local { builder.no_proxy() } else { builder };
        let client = builder.build().map_err(|error| {
            format!("the HTTP client can't be set up ({}); check the proxy settings", transport_words(&error))
        })?;
        Ok(Self { client, url: webhook.url.clone(), pieces: pieces(webhook.url.expose_secret()) })
    }

    pub async fn send(&self, body: Body) -> Verdict {
        let request = self
            .client
            .post(self.url.expose_secret())
            .header(header::CONTENT_TYPE, body.content_type)
            .body(body.bytes)
            .send();
        match request.await {
            Ok(response) => self.judge(response).await,
            Err(error) if error.is_timeout() && !error.is_connect() => {
                Verdict::Again { words: format!("does not answer within {}", format_duration(TOTAL)), after: None }
            }
            Err(error) => {
                let what = if error.is_connect() { "can't be reached" } else { "broke the connection off" };
                let words = format!("{what}: {}", redact(&transport_words(&error.without_url()), &self.pieces));
                Verdict::Again { words, after: None }
            }
        }
    }

    async fn judge(&self, response: Response) -> Verdict {
        let status = response.status();
        if status.is_success() {
            return Verdict::Delivered;
        }
        if status.is_redirection() {
            let words =
                format!("redirects ({}), which is not followed: put the address it leads to into url", status.as_u16());
            return Verdict::Refused { words };
        }
        let after = response.headers().get(header::RETRY_AFTER).and_then(|value| asked_pause(value.to_str().ok()?));
        let said = self.said(response).await;
        let words = format!("answers {}{said}", status.as_u16());
        let passes = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
        if status.is_server_error() || passes.contains(&status) {
            Verdict::Again { words, after }
        } else {
            Verdict::Refused { words }
        }
    }

    /// `: no_service`, what the service has to say.
    async fn said(&self, mut response: Response) -> String {
        let mut bytes = Vec::new();
        // What breaks off has said enough.
        while let Ok(Some(chunk)) = response.chunk().await {
            bytes.extend_from_slice(&chunk[..chunk.len().min(MOST_READ - bytes.len())]);
            if bytes.len() >= MOST_READ {
                break;
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        // A page for browsers says nothing that its number doesn't.
        if text.trim_start().starts_with('<') {
            return String::new();
        }
        let words = super::outbox::shortened(&redact(&text, &self.pieces), MOST_TOLD);
        if words.is_empty() { words } else { format!(": {words}") }
    }
}

/// `Retry-After`, in seconds or as a date.
fn asked_pause(value: &str) -> Option<Duration> {
    let pause = match value.trim().parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok()?,
        Err(_) => Duration::try_from(
            rfc2822::parse(value).ok()?.timestamp().duration_since(crate::clock::system_time().timestamp()),
        )
        .ok()?,
    };
    Some(pause.min(LONGEST))
}

/// Everything in an address that tells it from another of the same service.
fn pieces(text: &str) -> Vec<SecretString> {
    let mut pieces = vec![text.to_owned()];
    if let Ok(url) = Url::parse(text) {
        pieces.push(url.to_string());
        pieces.push(url.path().to_owned());
        pieces.extend(url.path_segments().into_iter().flatten().map(str::to_owned));
        pieces.extend(url.query().map(str::to_owned));
        pieces.extend(url.query_pairs().map(|(_, value)| value.into_owned()));
        pieces.push(url.username().to_owned());
        pieces.extend(url.password().map(str::to_owned));
    }
    pieces.into_iter().map(SecretString::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_asked_for_in_seconds_or_until_a_date() {
        assert_eq!(asked_pause("30"), Some(Duration::from_secs(30)));
        assert_eq!(asked_pause(" 0.5"), Some(Duration::from_millis(500)));
        assert_eq!(asked_pause("Fri, 01 Jan 2100 00:00:00 GMT"), Some(LONGEST));
        for text in ["", "-1", "soon", "NaN", "Sun, 06 Nov 1994 08:49:37 GMT"] {
            assert_eq!(asked_pause(text), None, "{text}");
        }
    }

    #[test]
    fn no_piece_of_an_address_is_repeated() {
        let url = "https://user:passw0rd@hooks.example/services/T0001/swordfish?token=letmein-now";
        for said in ["/services/T0001/swordfish", "swordfish", "token letmein-now", "user passw0rd", url] {
            let told = redact(said, &pieces(url));
            for piece in ["swordfish", "letmein", "passw0rd"] {
                assert!(!told.contains(piece), "{said}: {told}");
            }
        }
    }
}
