//! Bottlenecks: what kept requests from being sent in the last minutes, and for which share of the time.

use serde::{Deserialize, Serialize};

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

impl Bottleneck {
    pub const ALL: [Self; 16] = [
        Self::Sending,
        Self::RequestsPerMinute,
        Self::TokensPerMinute,
        Self::DailyQuota,
        Self::Cooldown,
        Self::CircuitOpen,
        Self::Concurrency,
        Self::SlowStart,
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

    /// The name used in metrics; the same as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sending => "sending",
            Self::RequestsPerMinute => "requests_per_minute",
            Self::TokensPerMinute => "tokens_per_minute",
            Self::DailyQuota => "daily_quota",
            Self::Cooldown => "cooldown",
            Self::CircuitOpen => "circuit_open",
            Self::Concurrency => "concurrency",
            Self::SlowStart => "slow_start",
            Self::SwitchedOff => "switched_off",
            Self::Disabled => "disabled",
            Self::MaxInFlight => "max_in_flight",
            Self::Budget => "budget",
            Self::Paused => "paused",
            Self::RetryDelay => "retry_delay",
            Self::NotSelected => "not_selected",
            Self::NothingToSend => "nothing_to_send",
        }
    }

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
