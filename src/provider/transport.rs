//! What came back from one request, before anyone has judged it.

use std::fmt;

use reqwest::header::HeaderMap;
use secrecy::SecretString;

use crate::domain::WallTime;

/// Either a response, however odd, or the way in which there was none.
#[derive(Clone, Debug)]
pub enum TransportResult<'a> {
    Response(ProviderResponse<'a>),
    Failed(TransportFailure),
}

#[derive(Clone, Copy, Debug)]
pub struct ProviderResponse<'a> {
    pub status: u16,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
    /// When it arrived: what absolute reset times are measured from where the response has no `Date` of its own.
    pub received_at: WallTime,
    /// What must never be repeated, even where the provider echoes it.
    pub secrets: &'a [SecretString],
}

impl ProviderResponse<'_> {
    pub const fn is_success(&self) -> bool {
        self.status >= 200 && self.status < 300
    }
}

/// A request that ended without a response. What matters is whether the provider may have seen, and billed, it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TransportFailure {
    /// Not a byte of the request was sent: DNS, refused or timed-out connection, TLS, no file handles.
    Unreachable(String),
    /// The connection broke after the request was sent, or in the middle of the response.
    ConnectionLost(String),
    /// Silence for too long, or the whole attempt took too long.
    TimedOut(String),
}

impl fmt::Display for TransportFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(words) | Self::ConnectionLost(words) | Self::TimedOut(words) => f.write_str(words),
        }
    }
}
