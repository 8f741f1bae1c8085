//! The policy of a run: every tunable number is a field here, with its default.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{money::Money, named::names, rule::RoutingRule, strategy::Strategy};

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CascadeOrder {
    /// Every model of the first key, then of the second.
    #[default]
    KeyFirst,
    /// The best model on every key, then the next model.
    ModelFirst,
}

names!(CascadeOrder { KeyFirst = "key_first", ModelFirst = "model_first" });

/// How an item proceeds if its route is full or cooling down.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenLimited {
    /// Take the next ready route, and return to the preferred one later.
    #[default]
    Spill,
    /// Strict order: all items use one current route. The run waits while that route is at a per-minute limit.
    /// It moves to the next route only after the whole backoff schedule, or when the day's quota is used up.
    Wait,
}

names!(WhenLimited { Spill = "spill", Wait = "wait" });

/// Where an item may go if its preferred route is limited.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpillTo {
    #[default]
    Any,
    /// Only to other keys of its preferred model.
    SameModel,
}

names!(SpillTo { Any = "any", SameModel = "same_model" });

/// How the run proceeds if every route of every waiting item is used up for the day, out of credit or disabled.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnExhausted {
    /// Stop cleanly with exit status 4. The run can be resumed.
    #[default]
    Stop,
    /// Sleep until the reset and go on.
    Wait,
}

names!(OnExhausted { Stop = "stop", Wait = "wait" });

/// Weights of the three criteria of [`Strategy::Balanced`], relative to each other.
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

/// Upper bound of the in-flight setting; a larger value is a mistake.
pub const MAX_IN_FLIGHT: u32 = 100_000;

#[derive(Clone, PartialEq, Debug)]
pub struct Policy {
    pub strategy: Strategy,
    pub order: CascadeOrder,
    /// Rotate the order of the keys at each 00:00 UTC: today's first key is last tomorrow.
    pub rotate_keys_daily: bool,
    pub balance_weights: BalanceWeights,
    /// Under [`Strategy::Fastest`], one of this many requests goes to the next route in turn, to measure it.
    pub explore_every: u32,
    /// Routing rules; the first that matches an item decides where it may go.
    pub rules: Vec<RoutingRule>,
    pub when_limited: WhenLimited,
    pub spill_to: SpillTo,
    /// How long an item waits for its preferred route before it takes another.
    pub spill_after: Duration,
    pub on_exhausted: OnExhausted,
    /// Maximum number of attempts in flight over the whole run.
    pub max_in_flight: u32,
    /// Hard cap on the run's spend, enforced by reserving the worst case.
    pub max_usd: Option<Money>,
    /// The same for each UTC day of the run.
    pub max_usd_per_day: Option<Money>,
    /// The backoff schedule: cooldowns after per-minute refusals without a usable stated wait. One step per cooldown
    /// episode.
    pub backoff: Vec<Duration>,
    /// Cooldown of the pool after the last step of `backoff`.
    pub backoff_rest: Duration,
    /// Upper bound for waits that the provider states.
    pub max_retry_after: Duration,
    /// Delays between attempts after a provider's error; the last one repeats.
    pub retry_delays: Vec<Duration>,
    /// Retries after provider errors per model, before the next model. Errors that no other item's success shows to be
    /// the item's don't count, unless this is 0.
    pub retries_per_model: u32,
    /// After this many provider errors on a model, an item moves on to the next one, whatever the cause. `None`: only
    /// `retries_per_model` applies.
    pub max_errors_per_model: Option<u32>,
    /// After this many provider errors and empty answers, over all models, an item fails. Refusals for a quota don't
    /// count. `None`: no limit.
    pub max_attempts: Option<u32>,
    /// Quick retries after empty answers, before the next model.
    pub max_empty_retries: u32,
    /// An answer that is truncated before any text is retried once, with its output limit multiplied by this factor.
    /// `None`: the item fails.
    pub truncated_retry_factor: Option<u32>,
    /// Send a blocked item to the next model instead of failing it.
    pub next_model_when_blocked: bool,
    /// After this many items that a route refused in the same way, with none accepted, the route stops and asks the
    /// operator.
    pub max_identical_rejections: u32,
    /// Number of consecutive provider errors that open a circuit breaker.
    pub breaker_threshold: u32,
    /// How long a breaker stays open at first; doubles up to `breaker_max_open_time`.
    pub breaker_open_time: Duration,
    pub breaker_max_open_time: Duration,
    /// How often a project without credit is tried again, with one real item.
    pub billing_retry_interval: Duration,
    /// Deadline for the TCP and TLS connection.
    pub connect_timeout: Duration,
    /// Longest silence on an open response.
    pub idle_timeout: Duration,
    /// Deadline for a whole attempt; grows by half after each timeout of the item.
    pub total_timeout: Duration,
    /// How long a drain waits for requests in flight.
    pub drain_timeout: Duration,
    /// An unattended run stops if no request has got an answer since its start, and for this long. Zero: never. If it
    /// is not set, it is at least `idle_timeout`.
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
            max_errors_per_model: None,
            max_attempts: None,
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
    /// The reason, as a message for the operator, why the strategy conflicts with `when_limited = "wait"`; `None` if it
    /// does not.
    pub fn wait_conflict(&self) -> Option<String> {
        if self.when_limited != WhenLimited::Wait {
            return None;
        }
        let explanation = "wait always follows the order of the cascade";
        if !self.strategy.supports_wait() {
            let name = self.strategy.name();
            return Some(format!(
                "strategy {name} can't be combined with when_limited = wait: {explanation}; use when_limited = spill, or \
                 strategy cascade"
            ));
        }
        let rule = self.rules.iter().find(|rule| rule.strategy.is_some_and(|strategy| !strategy.supports_wait()))?;
        let strategy = rule.strategy.map_or("", Strategy::name);
        Some(format!(
            "rule {} asks for {strategy}, which can't be combined with when_limited = wait: {explanation}",
            rule.name
        ))
    }
}
