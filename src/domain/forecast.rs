//! What is expected of the rest of a run: when it ends, what binds it, what runs out. Plain data for screens and JSON.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{money::Money, time::WallTime};

/// Reckoned from the state at `at`; bounded in size however large the fleet is.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Forecast {
    pub at: WallTime,
    /// Items that were neither done nor failed, those in flight included.
    pub items: u64,
    /// When the last of them ends. Where the run stops before (see `stops`) and is resumed at every reset, this is
    /// when it ends then. `None` where it can't end: the money is too little, or no route is left.
    pub finish: Option<WallTime>,
    /// The range around `finish`.
    #[serde(rename = "earliest")]
    pub earliest_finish: Option<WallTime>,
    #[serde(rename = "latest")]
    pub latest_finish: Option<WallTime>,
    /// Where work will be left behind: quota or a day's money spent under `on_exhausted = "stop"`, the budget used up, no
    /// route left.
    #[serde(rename = "stops")]
    pub stop: Option<ForecastStop>,
    /// What holds the work back until then, the largest share first. Shares add up to 1; empty where nothing does.
    #[serde(rename = "binds")]
    pub constraints: Vec<ConstraintShare>,
    /// The first daily quota to be used up.
    #[serde(rename = "runs_out")]
    pub first_exhausted: Option<QuotaExhaustion>,
    /// How much fits before the next day's quota begins; `None` where all is done by then, or no day is limited.
    pub before_reset: Option<BeforeReset>,
    /// What one more key would save, the most useful first; one entry per kind of key.
    pub savings: Vec<KeySaving>,
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// What models with a price will cost.
    pub cost: Money,
    /// Some of the items go to models without a price.
    #[serde(rename = "unpriced")]
    pub has_unpriced_items: bool,
}

/// What keeps requests from going out faster.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Constraint {
    RequestsPerMinute,
    TokensPerMinute,
    #[serde(rename = "day")]
    DailyQuota,
    /// Money: of the run, of a key, or of their days.
    Money,
    /// Cooling down, or a breaker is open.
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

    /// As it is said to people: "bound by requests a minute".
    pub const fn label(self) -> &'static str {
        match self {
            Self::RequestsPerMinute => "requests a minute",
            Self::TokensPerMinute => "tokens a minute",
            Self::DailyQuota => "the daily quota",
            Self::Money => "the money caps",
            Self::Cooldown => "cooldowns",
            Self::Concurrency => "the provider's concurrency limit",
            Self::MaxInFlight => "the run's in-flight cap",
        }
    }
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ConstraintShare {
    #[serde(rename = "what")]
    pub constraint: Constraint,
    /// The pool that it holds back most, `model@project`; `None` for what belongs to the whole run.
    pub pool: Option<String>,
    /// Of the time until the last request goes out: 0 to 1.
    pub share: f64,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct QuotaExhaustion {
    /// `model@project`.
    pub pool: String,
    pub at: WallTime,
    /// When its next day begins; `None` for rolling days, which open little by little.
    #[serde(rename = "returns")]
    pub resets_at: Option<WallTime>,
}

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
    /// Items that are left then.
    #[serde(rename = "left")]
    pub items_left: u64,
    /// When quota, or the money of a day, returns.
    #[serde(rename = "returns")]
    pub resumes_at: Option<WallTime>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// Every route is out for the day.
    Quota,
    /// The next request's worst case is over a cap of money: for good, or for today where something returns.
    Budget,
    /// What is left has no route that could ever take it as things stand.
    NoRoute,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct KeySaving {
    /// The alias of a key that the new one would be like, in a project of its own.
    #[serde(rename = "like")]
    pub similar_to: String,
    pub finish: Option<WallTime>,
    /// Time saved; `None` where the batch could not end at all without it.
    #[serde(rename = "saves")]
    pub time_saved: Option<Duration>,
}
