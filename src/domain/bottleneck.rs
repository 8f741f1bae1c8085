//! Bottlenecks: what kept requests from being sent in the last minutes, and for which share of the time.

use serde::{Deserialize, Serialize};

use super::named::names;

/// The reason why a route, or the run, does not send another request now. Exactly one applies at a time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bottleneck {
    /// No bottleneck: requests are in flight, and nothing else could be sent. For a route this includes a full
    /// in-flight cap.
    Sending,
    RequestsPerMinute,
    TokensPerMinute,
    #[serde(alias = "day")]
    DailyQuota,
    Cooldown,
    #[serde(alias = "breaker")]
    CircuitOpen,
    /// The provider's concurrency limit, or the concurrency ramp after a failure.
    Concurrency,
    /// No limit is known yet, and only as many requests are in flight as the answers so far justify.
    SlowStart,
    SwitchedOff,
    /// A disabled key, a missing model, or a route that needs the operator's decision.
    #[serde(alias = "dead")]
    Disabled,
    /// The run's cap on requests in flight.
    #[serde(alias = "in_flight")]
    MaxInFlight,
    #[serde(alias = "money")]
    Budget,
    Paused,
    /// Every waiting item is in its retry delay.
    RetryDelay,
    /// The route is ready, but the waiting items may not or need not use it.
    #[serde(alias = "not_its_turn")]
    NotSelected,
    NothingToSend,
}

// The names in metrics and in JSON.
names!(Bottleneck {
    Sending = "sending",
    RequestsPerMinute = "requests_per_minute",
    TokensPerMinute = "tokens_per_minute",
    DailyQuota = "daily_quota",
    Cooldown = "cooldown",
    CircuitOpen = "circuit_open",
    Concurrency = "concurrency",
    SlowStart = "slow_start",
    SwitchedOff = "switched_off",
    Disabled = "disabled",
    MaxInFlight = "max_in_flight",
    Budget = "budget",
    Paused = "paused",
    RetryDelay = "retry_delay",
    NotSelected = "not_selected",
    NothingToSend = "nothing_to_send",
});

impl Bottleneck {
    pub const COUNT: usize = Self::ALL.len();

    /// Label for people, as in "limited by RPM 62%".
    pub const fn label(self) -> &'static str {
        match self {
            Self::Sending => "not limited, sending",
            Self::RequestsPerMinute => "RPM",
            Self::TokensPerMinute => "TPM",
            Self::DailyQuota => "day quota",
            Self::Cooldown => "cooldowns",
            Self::CircuitOpen => "circuit open",
            Self::Concurrency => "concurrency limits",
            Self::SlowStart => "raising requests in flight",
            Self::SwitchedOff => "switched off",
            Self::Disabled => "disabled keys and models",
            Self::MaxInFlight => "in-flight cap",
            Self::Budget => "budget",
            Self::Paused => "paused",
            Self::RetryDelay => "retry delays",
            Self::NotSelected => "strategy",
            Self::NothingToSend => "nothing to send",
        }
    }
}

/// A bottleneck's share of the last minutes: 0 to 1.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct BottleneckShare {
    #[serde(alias = "what")]
    pub bottleneck: Bottleneck,
    pub share: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_serde_names() {
        for bottleneck in Bottleneck::ALL {
            assert_eq!(serde_json::to_value(bottleneck).unwrap(), bottleneck.name());
        }
    }
}
