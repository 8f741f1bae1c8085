//! Whether any provider has responded to this process.

use crate::domain::{AttemptResult, MonoTime, Outcome};

/// Whether any provider has responded to this process, with any status.
#[derive(Debug)]
pub(super) enum ProviderContact {
    /// No request has ended yet.
    Untried,
    /// Every request so far ended without a response.
    Failing {
        /// When the first of them was sent.
        since: MonoTime,
        /// Number of requests that ended without a response.
        requests: u64,
        /// Why the last one got no response.
        message: String,
    },
    Reached,
}

impl ProviderContact {
    /// When the first of the requests without a response was sent; `None` if a provider has responded, or nothing was
    /// sent.
    pub const fn failing_since(&self) -> Option<MonoTime> {
        match self {
            Self::Failing { since, .. } => Some(*since),
            Self::Untried | Self::Reached => None,
        }
    }

    pub fn on_sent(&mut self, now: MonoTime) {
        if matches!(self, Self::Untried) {
            *self = Self::Failing { since: now, requests: 0, message: String::new() };
        }
    }

    /// Handles the end of an attempt. `in_flight` is the number of other attempts in flight.
    pub fn record(&mut self, in_flight: usize, provider: &str, result: &AttemptResult) {
        let Self::Failing { requests, message, .. } = self else { return };
        if result.status.is_some() || result.outcome.is_answered() {
            *self = Self::Reached;
        } else if matches!(result.outcome, Outcome::ClientTrouble | Outcome::ServerError | Outcome::Timeout) {
            *requests += 1;
            *message = format!("{provider}: {}", result.message);
        } else if *requests == 0 && in_flight == 0 {
            // Other outcomes without a status come from this program, so they say nothing about the provider.
            *self = Self::Untried;
        }
    }
}
