//! What holds the work back, and for how much of the last minutes: the answer to "why not faster?".

use serde::{Deserialize, Serialize};

/// One answer at a time: what keeps a route, or the run, from sending the next request now.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// Nothing: requests are out, and no item waits that could go.
    Sending,
    RequestsPerMinute,
    TokensPerMinute,
    Day,
    Cooldown,
    Breaker,
    /// The provider's concurrency limit, or a ramp after trouble.
    Concurrency,
    SwitchedOff,
    /// Dead key, missing model, or a route that waits for the operator's judgement.
    Dead,
    /// The run's cap on requests in flight.
    InFlight,
    Budget,
    Paused,
    /// Every waiting item sits out a delay after a failure.
    RetryDelay,
    /// It is ready, but the items that wait may not or need not go there.
    NotItsTurn,
    NothingToSend,
}

impl Hold {
    pub const ALL: [Self; 15] = [
        Self::Sending,
        Self::RequestsPerMinute,
        Self::TokensPerMinute,
        Self::Day,
        Self::Cooldown,
        Self::Breaker,
        Self::Concurrency,
        Self::SwitchedOff,
        Self::Dead,
        Self::InFlight,
        Self::Budget,
        Self::Paused,
        Self::RetryDelay,
        Self::NotItsTurn,
        Self::NothingToSend,
    ];

    pub const COUNT: usize = Self::ALL.len();

    /// As it is said to people: "held by requests a minute 62%".
    pub const fn words(self) -> &'static str {
        match self {
            Self::Sending => "nothing, it is sending",
            Self::RequestsPerMinute => "requests a minute",
            Self::TokensPerMinute => "tokens a minute",
            Self::Day => "the daily quota",
            Self::Cooldown => "cooldowns",
            Self::Breaker => "open breakers",
            Self::Concurrency => "concurrency limits",
            Self::SwitchedOff => "what is switched off",
            Self::Dead => "dead keys and models",
            Self::InFlight => "the in-flight cap",
            Self::Budget => "the budget",
            Self::Paused => "the pause",
            Self::RetryDelay => "retry delays",
            Self::NotItsTurn => "the strategy",
            Self::NothingToSend => "nothing to send",
        }
    }
}

/// A share of the last minutes: 0 to 1.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct HoldShare {
    pub what: Hold,
    pub share: f64,
}
