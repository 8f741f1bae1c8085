//! Local limits that can block a route: a counter of a pool, a ramp, or a probe that allows one request at a time.

use crate::domain::bottleneck::Bottleneck;

/// The kind of the limit that is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LimitKind {
    RequestsPerMinute,
    TokensPerMinute,
    InputTokensPerMinute,
    OutputTokensPerMinute,
    /// Requests are spread over the minute.
    Pacing,
    RequestsPerDay,
    TokensPerDay,
    /// The leased part of a daily quota shared with other processes is used up; the next lease is requested.
    Lease,
    Concurrency,
    /// Concurrency ramp after a failure.
    Ramp,
    /// Concurrency ramp towards a limit that isn't known yet.
    SlowStart,
    /// One request in flight checks whether the project has credit again.
    CreditProbe,
    /// One request in flight checks whether the provider can be reached again.
    ConnectionProbe,
    /// One request in flight probes a route whose breaker was open.
    Probe,
}

impl LimitKind {
    /// The text shown on the screen.
    pub const fn label(self) -> &'static str {
        match self {
            Self::RequestsPerMinute => "RPM limit reached",
            Self::TokensPerMinute => "TPM limit reached",
            Self::InputTokensPerMinute => "input TPM limit reached",
            Self::OutputTokensPerMinute => "output TPM limit reached",
            Self::Pacing => "pacing requests",
            Self::RequestsPerDay => "day quota of requests reached",
            Self::TokensPerDay => "day quota of tokens reached",
            Self::Lease => "syncing day quota with other runs",
            Self::Concurrency => "concurrency limit reached",
            Self::Ramp => "ramping up after a failure",
            Self::SlowStart => "learning the concurrency limit",
            Self::CreditProbe => "trial request in flight: credit",
            Self::ConnectionProbe => "trial request in flight: connection",
            Self::Probe => "trial request in flight",
        }
    }

    /// The bottleneck that time blocked by this limit is counted under.
    pub const fn bottleneck(self) -> Bottleneck {
        match self {
            Self::RequestsPerMinute | Self::Pacing => Bottleneck::RequestsPerMinute,
            Self::TokensPerMinute | Self::InputTokensPerMinute | Self::OutputTokensPerMinute => {
                Bottleneck::TokensPerMinute
            }
            Self::RequestsPerDay | Self::TokensPerDay | Self::Lease => Bottleneck::DailyQuota,
            Self::Concurrency | Self::Ramp | Self::SlowStart => Bottleneck::Concurrency,
            Self::CreditProbe | Self::ConnectionProbe | Self::Probe => Bottleneck::CircuitOpen,
        }
    }
}
