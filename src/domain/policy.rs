//! How the run is conducted. Every number of the design is a field here, with the design's default.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{money::Money, rule::RoutingRule, strategy::Strategy};

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CascadeOrder {
    /// Every model of the first key, then of the second.
    #[default]
    KeyFirst,
    /// The best model on every key, then the next model.
    ModelFirst,
}

impl CascadeOrder {
    pub const ALL: [Self; 2] = [Self::KeyFirst, Self::ModelFirst];

    pub const fn name(self) -> &'static str {
        match self {
            Self::KeyFirst => "key_first",
            Self::ModelFirst => "model_first",
        }
    }
}

/// What a full or cooling route means for the item in hand.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenLimited {
    /// Take the next ready route, and come back.
    #[default]
    Spill,
    /// The strict pipeline: one cursor, which waits a minute limit out and moves on only after the ladder or a spent day.
    Wait,
}

impl WhenLimited {
    pub const ALL: [Self; 2] = [Self::Spill, Self::Wait];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Spill => "spill",
            Self::Wait => "wait",
        }
    }
}

/// Where a spilled item may go.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpillTo {
    #[default]
    Any,
    /// Only to other keys of the model it prefers.
    SameModel,
}

impl SpillTo {
    pub const ALL: [Self; 2] = [Self::Any, Self::SameModel];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::SameModel => "same_model",
        }
    }
}

/// What happens when every candidate of every waiting item is out for the day, out of credit or dead.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnExhausted {
    /// Stop cleanly, resumable, exit status 4.
    #[default]
    Stop,
    /// Sleep to the reset and go on.
    Wait,
}

impl OnExhausted {
    pub const ALL: [Self; 2] = [Self::Stop, Self::Wait];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Wait => "wait",
        }
    }
}

/// How much each of its three concerns counts under [`Strategy::Balanced`], against each other.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct BalanceWeights {
    pub quality: f64,
    pub price: f64,
    pub wait: f64,
}

impl Default for BalanceWeights {
    fn default() -> Self {
        Self { quality: 1.0, price: 1.0, wait: 1.0 }
    }
}

/// More requests in flight than this nobody means.
pub const MAX_IN_FLIGHT: u32 = 100_000;

#[derive(Clone, PartialEq, Debug)]
pub struct Policy {
    pub strategy: Strategy,
    pub order: CascadeOrder,
    /// The first key of the order gives way to the second at 00:00 UTC, and so on: today's first is tomorrow's last.
    pub rotate_keys_daily: bool,
    pub balance_weights: BalanceWeights,
    /// Under [`Strategy::Fastest`], one request in so many goes to the next route in turn.
    pub explore_every: u32,
    /// The first that fits an item says where it may go.
    pub rules: Vec<RoutingRule>,
    pub when_limited: WhenLimited,
    pub spill_to: SpillTo,
    /// How long an item holds out for its preferred route before it spills.
    pub spill_after: Duration,
    pub on_exhausted: OnExhausted,
    /// Most attempts in flight over the whole run.
    pub max_in_flight: u32,
    /// Hard cap on the run's spend, by worst-case reservation.
    pub max_usd: Option<Money>,
    /// The same for each UTC day of the run.
    pub max_usd_per_day: Option<Money>,
    /// Cooldowns after per-minute refusals without a usable hint; one step per episode.
    pub backoff: Vec<Duration>,
    /// The pool's rest after the ladder.
    pub backoff_rest: Duration,
    /// Stated waits are clamped to this.
    pub max_retry_after: Duration,
    /// Delays between tries after a provider's fault; the last one repeats.
    pub retry_delays: Vec<Duration>,
    /// Tries after provider faults per model, before the next model.
    pub retries_per_model: u32,
    /// Quick tries after empty answers, before the next model.
    pub max_empty_retries: u32,
    /// After `truncated` without text, one more try with the output limit times this. `None`: the item fails.
    pub truncated_retry_factor: Option<u32>,
    /// A blocked item goes on to the next model instead of failing.
    pub next_model_when_blocked: bool,
    /// Items refused alike, with none accepted, before the route holds and asks the operator.
    pub max_identical_rejections: u32,
    /// A breaker opens after this many provider faults in a row.
    pub breaker_threshold: u32,
    /// First open time; doubles up to `breaker_max`.
    pub breaker_open_time: Duration,
    pub breaker_max_open_time: Duration,
    /// How often a project without credit is tried again, with one real item.
    pub billing_retry_interval: Duration,
    /// Deadline of a TCP and TLS connection.
    pub connect_timeout: Duration,
    /// Longest silence on an open response.
    pub idle_timeout: Duration,
    /// Deadline of a whole attempt; half as long again after each timeout of the item.
    pub total_timeout: Duration,
    /// How long a stop waits for what is in flight.
    pub drain_timeout: Duration,
    /// A run that nobody watches stops where no request has an answer so long after the first one was sent. Any HTTP response is an answer. Zero: never.
    pub give_up_after: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            strategy: Strategy::Cascade,
            order: CascadeOrder::KeyFirst,
            rotate_keys_daily: false,
            balance_weights: BalanceWeights::default(),
            explore_every: 16,
            rules: Vec::new(),
            when_limited: WhenLimited::Spill,
            spill_to: SpillTo::Any,
            spill_after: Duration::ZERO,
            on_exhausted: OnExhausted::Stop,
            max_in_flight: 16,
            max_usd: None,
            max_usd_per_day: None,
            backoff: [5, 10, 20, 40, 80].map(seconds).to_vec(),
            backoff_rest: seconds(600),
            max_retry_after: seconds(3_600),
            retry_delays: vec![seconds(2)],
            retries_per_model: 5,
            max_empty_retries: 2,
            truncated_retry_factor: None,
            next_model_when_blocked: false,
            max_identical_rejections: 5,
            breaker_threshold: 5,
            breaker_open_time: seconds(30),
            breaker_max_open_time: seconds(600),
            billing_retry_interval: seconds(3_600),
            connect_timeout: seconds(10),
            idle_timeout: seconds(300),
            total_timeout: seconds(600),
            drain_timeout: seconds(60),
            give_up_after: seconds(900),
        }
    }
}

impl Policy {
    /// Why a strategy other than the cascade can't go with `when_limited = "wait"`, in words for the operator;
    /// `None` where nothing is amiss.
    pub fn wait_conflict(&self) -> Option<String> {
        if self.when_limited != WhenLimited::Wait {
            return None;
        }
        let explanation = "wait is the strict pipeline over the cascade's order";
        if !self.strategy.supports_wait() {
            let name = self.strategy.name();
            return Some(format!(
                "strategy {name} does not go with when_limited = wait: {explanation}; use spill, or cascade"
            ));
        }
        let rule = self.rules.iter().find(|rule| rule.strategy.is_some_and(|strategy| !strategy.supports_wait()))?;
        let strategy = rule.strategy.map_or("", Strategy::name);
        Some(format!(
            "rule {} asks for {strategy}, which does not go with when_limited = wait: {explanation}",
            rule.name
        ))
    }
}
