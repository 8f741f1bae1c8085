//! The forecast for the rest of a run: when it ends, what limits it, which quota runs out. Plain data for screens and
//! JSON.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{money::Money, time::WallTime};

/// Computed from the state at `at`. Its size is bounded, however large the fleet is.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Forecast {
    pub at: WallTime,
    /// Items that were neither done nor failed, including those in flight.
    pub items: u64,
    /// When the last item ends. If the run stops earlier (see `stop`), this assumes that it is resumed at every reset.
    /// `None` if it can't end: the budget is too small, or no route is left.
    pub finish: Option<WallTime>,
    /// Start of the range around `finish`; `latest_finish` is its end.
    #[serde(rename = "earliest")]
    pub earliest_finish: Option<WallTime>,
    #[serde(rename = "latest")]
    pub latest_finish: Option<WallTime>,
    /// Set if the run will stop with work left: quota or a day's money is used up under `on_exhausted = "stop"`, the
    /// budget is used up, or no route is left.
    #[serde(rename = "stops")]
    pub stop: Option<ForecastStop>,
    /// The constraints until then, largest share first. The shares add up to 1; empty if nothing limits the run.
    #[serde(rename = "binds")]
    pub constraints: Vec<ConstraintShare>,
    /// The first daily quota that will be used up.
    #[serde(rename = "runs_out")]
    pub first_exhausted: Option<QuotaExhaustion>,
    /// How many items fit before the next daily reset; `None` if all are done by then, or no daily limit is known.
    pub before_reset: Option<BeforeReset>,
    /// The time that one more key would save, most useful first; one entry per kind of key.
    pub savings: Vec<KeySaving>,
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// Expected cost at models that have a price.
    pub cost: Money,
    /// Some of the items go to models without a price.
    #[serde(rename = "unpriced")]
    pub has_unpriced_items: bool,
}

/// A limit on how fast requests are sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Constraint {
    RequestsPerMinute,
    TokensPerMinute,
    #[serde(rename = "day")]
    DailyQuota,
    /// A spend cap: of the run, of a key, or of one of their days.
    Money,
    /// A cooldown or an open circuit breaker.
    Cooldown,
    Concurrency,
    /// The run's own cap on requests in flight.
    #[serde(rename = "in_flight")]
    MaxInFlight,
}

impl Constraint {
    pub const ALL: [Self; 7] = [
        Self::RequestsPerMinute,
        Self::TokensPerMinute,
        Self::DailyQuota,
        Self::Money,
        Self::Cooldown,
        Self::Concurrency,
        Self::MaxInFlight,
    ];

    /// Label for people, as in "limited by RPM".
    pub const fn label(self) -> &'static str {
        match self {
            Self::RequestsPerMinute => "RPM",
            Self::TokensPerMinute => "TPM",
            Self::DailyQuota => "day quota",
            Self::Money => "spend caps",
            Self::Cooldown => "cooldowns",
            Self::Concurrency => "the provider's concurrency limit",
            Self::MaxInFlight => "in-flight cap",
        }
    }
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ConstraintShare {
    #[serde(rename = "what")]
    pub constraint: Constraint,
    /// The pool that is limited most, as `model@project`; `None` for a constraint of the whole run.
    pub pool: Option<String>,
    /// Part of the time until the last request is sent: 0 to 1.
    pub share: f64,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct QuotaExhaustion {
    /// `model@project`.
    pub pool: String,
    pub at: WallTime,
    /// When the pool's next day begins; `None` for rolling days, which free up gradually.
    #[serde(rename = "returns")]
    pub resets_at: Option<WallTime>,
}

/// Number of items that will end before the next daily reset, and the time of that reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BeforeReset {
    pub at: WallTime,
    pub items: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ForecastStop {
    pub at: WallTime,
    #[serde(rename = "why")]
    pub reason: StopReason,
    /// Items that are left at that time.
    #[serde(rename = "left")]
    pub items_left: u64,
    /// When quota, or the money of a day, is available again.
    #[serde(rename = "returns")]
    pub resumes_at: Option<WallTime>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// Every route's daily quota is used up.
    Quota,
    /// The worst case of the next request exceeds a spend cap: for the run, or for today if `resumes_at` is set.
    Budget,
    /// No route can take the remaining items, unless settings change or the operator acts.
    NoRoute,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct KeySaving {
    /// The alias of the key that the additional key would equal, in a project of its own.
    #[serde(rename = "like")]
    pub similar_to: String,
    pub finish: Option<WallTime>,
    /// Time saved; `None` if the batch could not end at all without the key.
    #[serde(rename = "saves")]
    pub time_saved: Option<Duration>,
}
