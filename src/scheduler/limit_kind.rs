//! What can be full of our own accord: a counter of a pool, or a trial that goes one request at a time.

use crate::domain::bottleneck::Bottleneck;

/// Of what there is no more right now.
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
    /// The block in hand of a day that is shared with other processes: the next is being leased.
    Lease,
    Concurrency,
    /// The way back up after trouble.
    Ramp,
    /// The way up to a limit that isn't known yet.
    SlowStart,
    /// One request tries whether the project has credit again.
    CreditProbe,
    /// One request tries whether the provider can be reached again.
    ConnectionProbe,
    /// One request tries a route whose breaker was open.
    Probe,
}

impl LimitKind {
    /// As it is said on the screen.
    pub const fn label(self) -> &'static str {
        match self {
            Self::RequestsPerMinute => "requests/min",
            Self::TokensPerMinute => "tokens/min",
            Self::InputTokensPerMinute => "input tokens/min",
            Self::OutputTokensPerMinute => "output tokens/min",
            Self::Pacing => "pacing",
            Self::RequestsPerDay => "requests/day",
            Self::TokensPerDay => "tokens/day",
            Self::Lease => "requests/day, to be leased from the ledger",
            Self::Concurrency => "concurrency",
            Self::Ramp => "ramping up",
            Self::SlowStart => "finding its pace",
            Self::CreditProbe => "trying the project's credit",
            Self::ConnectionProbe => "trying the connection",
            Self::Probe => "probing",
        }
    }

    /// Where the time goes that it holds a route back for.
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
