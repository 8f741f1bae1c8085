//! The unclassified result of one HTTP request.

use std::fmt;

use reqwest::header::HeaderMap;

use crate::domain::WallTime;

use super::hidden_secret::HiddenSecret;

/// A response of any kind, or the failure that prevented one.
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
    /// Time of arrival. Waits until an absolute time are computed from it if the response has no `Date` header.
    pub received_at: WallTime,
    /// Secrets to remove from the provider's messages, which may echo them.
    pub secrets: &'a [HiddenSecret],
}

impl ProviderResponse<'_> {
    pub const fn is_success(&self) -> bool {
        self.status >= 200 && self.status < 300
    }
}

/// A request that ended without a response. The variants tell whether the provider may have received, and billed, it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TransportFailure {
    /// Nothing was sent: DNS error, refused or timed-out connection, TLS error, no file handles.
    Unreachable(String),
    /// The connection was lost after the request was sent, or during the response.
    ConnectionLost(String),
    /// No data arrived for too long, or the whole attempt took too long.
    TimedOut(String),
}

impl fmt::Display for TransportFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(message) | Self::ConnectionLost(message) | Self::TimedOut(message) => {
                f.write_str(message)
            }
        }
    }
}
