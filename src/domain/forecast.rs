//! The forecast for the rest of a run: when it ends, what limits it, which quota runs out. Plain data for screens and
//! JSON. Some fields have other names in the JSON, which are a contract.

use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use super::{bottleneck::Bottleneck, money::Money, time::WallTime};

/// A forecast, computed from the state at `at`. Its size is bounded, however large the fleet (the keys, models and
/// routes) is.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Forecast {
    pub at: WallTime,
    /// Items that were neither done nor failed, including those in flight.
    #[serde(rename = "items")]
    pub items_left: u64,
    /// When the last item ends. If the run stops earlier (see `stop`), this assumes that it is resumed at every reset.
    /// `None` if it can't end: the budget is too small, or no route is left.
    pub finish: Option<WallTime>,
    /// Start of the range around `finish`; `latest_finish` is its end.
    #[serde(rename = "earliest")]
    pub earliest_finish: Option<WallTime>,
    #[serde(rename = "latest")]
    pub latest_finish: Option<WallTime>,
    /// Set if the run will stop with work left: quota or a day's budget is used up under `on_exhausted = "stop"`, the
    /// budget is used up, or no route is left.
    #[serde(rename = "stops")]
    pub stop: Option<ForecastStop>,
    /// The constraints from `at` until the last request is sent, largest share first. The shares add up to 1; empty if
    /// nothing limits the run.
    #[serde(rename = "binds")]
    pub constraints: Vec<ConstraintShare>,
    /// The first daily quota that will be used up.
    #[serde(rename = "runs_out")]
    pub first_exhausted: Option<QuotaExhaustion>,
    /// The items that will end before the next daily reset; `None` if all are done by then, or no daily limit is known.
    pub before_reset: Option<ItemsBeforeReset>,
    /// The forecasts with one more key, earliest finish first; one entry per kind of key. Keys of the same provider
    /// that may use the same models are of one kind.
    pub savings: Vec<KeySaving>,
    /// Expected input tokens of the items left.
    pub input_tokens: u64,
    /// Expected output tokens of the items left, thinking included.
    pub output_tokens: u64,
    /// Expected cost of the items left, at models that have a price.
    pub cost: Money,
    /// Some of the items go to models without a price.
    #[serde(rename = "unpriced")]
    pub has_unpriced_items: bool,
}

/// A limit on how fast the forecast's requests are sent, and its share of the time. What was measured in the last
/// minutes is a [`BottleneckShare`](super::bottleneck::BottleneckShare).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ConstraintShare {
    /// One of the bottlenecks that a forecast can predict.
    #[serde(rename = "what", serialize_with = "serialize_constraint")]
    pub constraint: Bottleneck,
    /// The pool that is limited most, as `model@project`; `None` for a constraint of the whole run.
    pub pool: Option<String>,
    /// Part of the time until the last request is sent: 0 to 1.
    pub share: f64,
}

impl ConstraintShare {
    /// Label for people, as in "limited by RPM".
    pub const fn label(&self) -> &'static str {
        match self.constraint {
            Bottleneck::Concurrency => "the provider's concurrency limit",
            other => other.label(),
        }
    }
}

/// In a forecast's JSON, three bottlenecks have other names, which are a contract.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn serialize_constraint<S: Serializer>(constraint: &Bottleneck, serializer: S) -> Result<S::Ok, S::Error> {
    match constraint {
        Bottleneck::DailyQuota => serializer.serialize_str("day"),
        Bottleneck::Budget => serializer.serialize_str("money"),
        Bottleneck::MaxInFlight => serializer.serialize_str("in_flight"),
        other => other.serialize(serializer),
    }
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

/// The number of items that will end before the next daily reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ItemsBeforeReset {
    /// The time of the reset.
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
    /// When quota, or a day's budget, is available again.
    #[serde(rename = "returns")]
    pub resumes_at: Option<WallTime>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// Every route's daily quota is used up.
    Quota,
    /// The worst case of the next request exceeds a budget: of the run, or of the day if `resumes_at` is set.
    Budget,
    /// No route can take the remaining items, unless settings change or the operator acts.
    NoRoute,
}

/// The forecast with one more key, and how much time that key would save.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct KeySaving {
    /// The alias of the key that the additional key would equal, in a project of its own.
    #[serde(rename = "like")]
    pub similar_to: String,
    /// When the last item ends with the additional key; `None` if it can't end.
    pub finish: Option<WallTime>,
    /// How much earlier the run ends with the additional key: zero if the key doesn't help. `None` if the run can't end
    /// without it, or not even with it.
    #[serde(rename = "saves")]
    pub time_saved: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constraints_of_a_forecast_keep_their_names() {
        let names = [
            (Bottleneck::RequestsPerMinute, "requests_per_minute"),
            (Bottleneck::TokensPerMinute, "tokens_per_minute"),
            (Bottleneck::DailyQuota, "day"),
            (Bottleneck::Budget, "money"),
            (Bottleneck::Cooldown, "cooldown"),
            (Bottleneck::Concurrency, "concurrency"),
            (Bottleneck::MaxInFlight, "in_flight"),
        ];
        for (constraint, name) in names {
            let written = serde_json::to_value(ConstraintShare { constraint, pool: None, share: 1.0 }).unwrap();
            assert_eq!(written["what"], name);
            assert_eq!(serde_json::from_value::<ConstraintShare>(written).unwrap().constraint, constraint);
        }
    }
}
