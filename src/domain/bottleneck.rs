//! What holds the work back, and for how much of the last minutes: the answer to "why not faster?".

use serde::{Deserialize, Serialize};

/// One answer at a time: what keeps a route, or the run, from sending the next request now.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bottleneck {
    /// Nothing: requests are out, and no item waits that could go.
    Sending,
    RequestsPerMinute,
    TokensPerMinute,
    #[serde(alias = "day")]
    DailyQuota,
    Cooldown,
    #[serde(alias = "breaker")]
    CircuitOpen,
    /// The provider's concurrency limit, or a ramp after trouble.
    Concurrency,
    SwitchedOff,
    /// Dead key, missing model, or a route that waits for the operator's judgement.
    #[serde(alias = "dead")]
    Disabled,
    /// The run's cap on requests in flight.
    #[serde(alias = "in_flight")]
    MaxInFlight,
    Budget,
    Paused,
    /// Every waiting item sits out a delay after a failure.
    RetryDelay,
    /// It is ready, but the items that wait may not or need not go there.
    #[serde(alias = "not_its_turn")]
    NotSelected,
    NothingToSend,
}

impl Bottleneck {
    pub const ALL: [Self; 15] = [
        Self::Sending,
        Self::RequestsPerMinute,
        Self::TokensPerMinute,
        Self::DailyQuota,
        Self::Cooldown,
        Self::CircuitOpen,
        Self::Concurrency,
        Self::SwitchedOff,
        Self::Disabled,
        Self::MaxInFlight,
        Self::Budget,
        Self::Paused,
        Self::RetryDelay,
        Self::NotSelected,
        Self::NothingToSend,
    ];

    pub const COUNT: usize = Self::ALL.len();

    /// As it is said to people: "held by requests a minute 62%".
    pub const fn label(self) -> &'static str {
        match self {
            Self::Sending => "nothing, it is sending",
            Self::RequestsPerMinute => "requests a minute",
            Self::TokensPerMinute => "tokens a minute",
            Self::DailyQuota => "the daily quota",
            Self::Cooldown => "cooldowns",
            Self::CircuitOpen => "open breakers",
            Self::Concurrency => "concurrency limits",
            Self::SwitchedOff => "what is switched off",
            Self::Disabled => "dead keys and models",
            Self::MaxInFlight => "the in-flight cap",
            Self::Budget => "the budget",
            Self::Paused => "the pause",
            Self::RetryDelay => "retry delays",
            Self::NotSelected => "the strategy",
            Self::NothingToSend => "nothing to send",
        }
    }
}

/// A share of the last minutes: 0 to 1.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct BottleneckShare {
    #[serde(alias = "what")]
    pub bottleneck: Bottleneck,
    pub share: f64,
}
