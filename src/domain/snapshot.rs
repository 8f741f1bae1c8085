//! The engine's state for operators: aggregates only, bounded in size however long the run is.

use std::{ops, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    attempt_result::{AttemptResult, Usage},
    bottleneck::{Bottleneck, BottleneckShare},
    event::Event,
    fleet::{Api, KeyRole},
    forecast::Forecast,
    metric_counts::MetricCounts,
    money::Money,
    named::names,
    outcome::Outcome,
    plural::plural,
    policy::{CascadeOrder, OnExhausted, WhenLimited},
    price::CostByKind,
    quota_day::QuotaDay,
    response_meta::{LimitDimension, LimitSource},
    strategy::Strategy,
    time::WallTime,
};

/// Published by the engine when something changed: at most 10 times a second, and also after each command.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Snapshot {
    pub run: String,
    pub state: RunState,
    /// Engine time; on a sped-up clock, the simulated time.
    pub at: WallTime,
    pub elapsed: Duration,
    /// 1, except on a sped-up clock.
    #[serde(alias = "speed")]
    pub clock_speed: f64,
    pub strategy: Strategy,
    #[serde(alias = "order")]
    pub cascade_order: CascadeOrder,
    pub when_limited: WhenLimited,
    pub on_exhausted: OnExhausted,
    pub totals: Totals,
    #[serde(alias = "in_flight_cap")]
    pub max_in_flight: u32,
    pub spend: Spend,
    #[serde(alias = "pace")]
    pub throughput: Throughput,
    /// The forecast for the rest of the run; `None` before the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast: Option<Forecast>,
    /// The run's bottlenecks over the last five minutes, largest share first; the shares add up to 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[serde(alias = "holding")]
    pub bottlenecks: Vec<BottleneckShare>,
    /// The route of the attempt sent last.
    #[serde(alias = "place")]
    pub current_route: Option<CurrentRoute>,
    /// The longest silence of a provider with requests in flight, if it is longer than normal: a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silence: Option<String>,
    /// The requests in flight that were sent first, the oldest first; at most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts_in_flight: Vec<InFlightView>,
    /// The providers that are down.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outages: Vec<ProviderOutage>,
    pub keys: Vec<KeyView>,
    pub models: Vec<ModelView>,
    pub routes: Vec<RouteView>,
    pub cooldowns: Vec<CooldownView>,
    /// The newest events, oldest first; at most 256.
    pub events: Vec<Arc<Event>>,
    /// Values for the metrics only; not in the JSON.
    #[serde(skip)]
    pub metrics: MetricsView,
}

impl Snapshot {
    /// A snapshot of a run at `at`, without items, keys or models.
    pub fn empty(run: &str, at: WallTime, clock_speed: f64) -> Self {
        Self { run: run.to_owned(), at, clock_speed, ..Self::default() }
    }
}

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum RunState {
    /// Requests are being sent, or could be.
    #[default]
    Running,
    /// Nothing can be sent before `until`. `None`: only the operator or an answer can change that.
    Waiting {
        #[serde(alias = "why")]
        reason: String,
        until: Option<WallTime>,
    },
    /// The operator paused the run; requests in flight finish.
    Pausing,
    Paused,
    /// The run can't go on until an operator acts (full disk, used-up budget, items refused in the same way).
    #[serde(alias = "held")]
    NeedsOperator {
        #[serde(alias = "why")]
        reason: String,
    },
    /// Finishing what is in flight before stopping.
    Draining,
    /// Stopped with work left.
    Stopped {
        #[serde(alias = "why")]
        reason: String,
    },
    Finished,
}

impl RunState {
    /// The run's `state` in JSON; a contract.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting { .. } => "waiting",
            Self::Pausing => "pausing",
            Self::Paused => "paused",
            Self::NeedsOperator { .. } => "held",
            Self::Draining => "draining",
            Self::Stopped { .. } => "stopped",
            Self::Finished => "finished",
        }
    }

    /// The label for people. [`Self::name`] is a contract.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::NeedsOperator { .. } => "halted",
            other => other.name(),
        }
    }

    pub const fn is_over(&self) -> bool {
        matches!(self, Self::Stopped { .. } | Self::Finished)
    }
}

/// Items by state, and requests. `total` still grows while `ingesting`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Totals {
    pub total: u64,
    pub waiting: u64,
    pub in_flight: u64,
    pub done: u64,
    pub failed: u64,
    /// Part of `done`: answers cut off at a token limit.
    pub truncated: u64,
    pub ingesting: bool,
    /// Part of `total`: items whose rows are no longer in the input.
    #[serde(default)]
    pub not_in_input: u64,
    /// HTTP requests sent over the whole run.
    pub attempts: u64,
    /// Part of `attempts`: those answered with a per-minute or per-day refusal.
    pub rate_limited: u64,
    /// Part of `attempts`: answers that failed a check.
    #[serde(default)]
    pub invalid_outputs: u64,
}

impl Totals {
    /// Whether any request was answered. Before that, nothing is known of how long an answer takes.
    pub const fn has_answers(&self) -> bool {
        self.done > 0 || self.invalid_outputs > 0
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Spend {
    pub usage: Usage,
    pub cost: Money,
    /// `cost` by kind. Attempts of earlier versions are missing here.
    #[serde(default)]
    pub cost_by_kind: CostByKind,
    /// Worst-case cost of the requests in flight.
    pub reserved: Money,
    /// Worst-case cost of attempts that ended without an answer and may have been billed.
    pub at_risk: Money,
    pub budget: Option<Money>,
}

#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Throughput {
    /// Items that ended per second, over the last minute of engine time.
    pub items_per_second: f64,
    /// Finish time by the forecast; `None` if the run stops earlier, does not progress, or has no answer yet.
    pub finish_at: Option<WallTime>,
}

/// Shown as "key 1/3, model 2/4, retry 2/5". Keys are counted over all providers, models within the key's provider.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CurrentRoute {
    pub key: String,
    pub key_number: u32,
    #[serde(alias = "keys")]
    pub key_count: u32,
    pub model: String,
    pub model_number: u32,
    #[serde(alias = "models")]
    pub model_count: u32,
    #[serde(alias = "retry")]
    pub retry_number: u32,
    #[serde(alias = "retries")]
    pub max_retries: u32,
    /// The running cooldown by the backoff schedule, if there is one. Then the retries are the schedule's steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<BackoffWait>,
}

/// A cooldown by the backoff schedule. Shown as `in 10s: 429`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BackoffWait {
    /// When the cooldown ends.
    pub until: WallTime,
    /// The outcome that started it, and its HTTP status.
    pub outcome: Outcome,
    pub status: Option<u16>,
}

impl BackoffWait {
    /// Why there is a cooldown: the HTTP status, or the outcome's name if there is none.
    pub fn reason(&self) -> String {
        self.status.map_or_else(|| self.outcome.to_string(), |status| status.to_string())
    }
}

/// The limit of [`Condition::Limited`] if a key's money cap leaves too little for another request. Also the name of
/// that condition.
pub const BUDGET_REACHED: &str = "budget reached";

/// A request in flight.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InFlightView {
    pub seq: u64,
    pub item_id: String,
    /// `model@key`.
    pub route: String,
    /// Nothing has come back since then.
    pub sent_at: WallTime,
}

/// A provider that is down: it can't be reached, or all of its usable routes fail.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProviderOutage {
    pub provider: String,
    /// How its requests end: `HTTP 503`, `connection refused`.
    pub fault: String,
    /// The outcome of the last of them.
    #[serde(default = "server_error")]
    pub last_outcome: Outcome,
    /// When the first request failed after which none succeeded.
    pub since: WallTime,
    pub failing_routes: u64,
    /// Its routes that are neither switched off, disabled nor without quota.
    pub routes: u64,
    /// When the next request is tried; `None` while one is in flight.
    pub next_trial: Option<WallTime>,
    /// Requests that have failed since then.
    pub failed_requests: u64,
}

/// Snapshots of earlier versions do not say it.
const fn server_error() -> Outcome {
    Outcome::ServerError
}

impl ProviderOutage {
    /// `HTTP 503 on 4 of 4 routes`.
    pub fn summary(&self) -> String {
        let Self { fault, failing_routes, routes, .. } = self;
        format!("{fault} on {failing_routes} of {routes} {}", plural(*routes, "route"))
    }
}

/// The state of a key, model or route, and the cause.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "condition", rename_all = "snake_case")]
pub enum Condition {
    Ready,
    /// A local limit is full. There is room again at `until`; `None`: when a request in flight ends.
    #[serde(alias = "full")]
    Limited {
        #[serde(alias = "what")]
        limit: String,
        until: Option<WallTime>,
    },
    #[serde(alias = "cooling")]
    CoolingDown {
        until: WallTime,
        cause: Cause,
    },
    /// The day's quota is used up.
    Exhausted {
        until: WallTime,
        cause: Cause,
    },
    /// The circuit breaker is open; one probe is sent at `until`.
    #[serde(alias = "broken")]
    CircuitOpen {
        until: WallTime,
        cause: Cause,
    },
    /// Disabled until the secret changes, or until the operator switches it on.
    Disabled {
        since: WallTime,
        cause: Cause,
    },
    /// Switched off by the operator.
    #[serde(alias = "off")]
    SwitchedOff {
        since: WallTime,
    },
}

impl Condition {
    /// The `state` of a key in JSON; a contract.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Limited { .. } if self.is_budget_reached() => BUDGET_REACHED,
            Self::Limited { .. } => "full",
            Self::CoolingDown { .. } => "cooling",
            Self::Exhausted { .. } => "exhausted",
            Self::CircuitOpen { .. } => "broken",
            Self::Disabled { .. } => "disabled",
            Self::SwitchedOff { .. } => "off",
        }
    }

    /// The [`Self::name`] to show once the run is over. Minute limits, pacing and leases are over with it.
    pub fn final_name(&self) -> &'static str {
        match self {
            Self::Limited { .. } if !self.is_budget_reached() => Self::Ready.name(),
            other => other.name(),
        }
    }

    /// Whether a money cap of the key is reached.
    pub fn is_budget_reached(&self) -> bool {
        matches!(self, Self::Limited { limit, .. } if limit == BUDGET_REACHED)
    }

    /// The label for people of the condition with this [`Self::name`]; the name itself if there is none.
    pub fn label_of(name: &str) -> &str {
        match name {
            "full" => "limit reached",
            "cooling" => "cooling down",
            "exhausted" => "quota spent",
            "broken" => "circuit open",
            other => other,
        }
    }

    pub const fn until(&self) -> Option<WallTime> {
        match self {
            Self::Limited { until, .. } => *until,
            Self::CoolingDown { until, .. } | Self::Exhausted { until, .. } | Self::CircuitOpen { until, .. } => {
                Some(*until)
            }
            Self::Ready | Self::Disabled { .. } | Self::SwitchedOff { .. } => None,
        }
    }
}

/// The cause of unavailability: the outcome, its source, and the message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Cause {
    pub outcome: Outcome,
    pub source: CauseSource,
    /// The provider's own text or a local reason, redacted; may be empty.
    #[serde(alias = "words")]
    pub message: String,
    pub since: WallTime,
    /// The HTTP status, if a response is the cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

impl Cause {
    /// The result of an attempt as a cause.
    pub fn from_result(result: &AttemptResult, source: CauseSource, since: WallTime) -> Self {
        Self { outcome: result.outcome, source, message: result.message.clone(), since, status: result.status }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CauseSource {
    /// Stated by the provider.
    #[serde(alias = "stated")]
    Provider,
    /// Measured by our own counters.
    Measured,
    /// From the backoff schedule: no duration was stated.
    #[serde(alias = "guessed")]
    Backoff,
}

names!(CauseSource { Provider = "provider", Measured = "measured", Backoff = "our backoff" });

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct KeyView {
    pub name: String,
    pub provider: String,
    pub project: String,
    pub role: KeyRole,
    /// 0 to 100.
    pub health: u8,
    pub ok: u64,
    /// Attempts without an answer, refusals included. Those that say nothing about the key don't count; see
    /// [`Outcome::is_unattributed`].
    pub failed: u64,
    pub in_flight: u32,
    /// The best condition among the key's routes, or the key's own if the key itself is unavailable.
    pub condition: Condition,
    pub usage: Usage,
    pub cost: Money,
    /// `cost` by kind. Attempts of earlier versions are missing here.
    #[serde(default)]
    pub cost_by_kind: CostByKind,
    /// The last failure, with the provider's own text.
    pub last_error: Option<String>,
}

/// A counter and its limit. `limit` is `None` if it is unlimited or unknown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Gauge {
    pub used: u64,
    pub limit: Option<u64>,
    /// The source of the limit; `None` if there is no limit, or none is known.
    #[serde(default)]
    #[serde(alias = "provenance")]
    pub source: Option<LimitSource>,
}

impl ops::AddAssign for Gauge {
    fn add_assign(&mut self, other: Self) {
        self.used += other.used;
        self.limit = match (self.limit, other.limit) {
            (Some(one), Some(two)) => Some(one + two),
            (one, two) => one.or(two),
        };
        // The source of a sum is that of its least certain part.
        self.source = self.source.max(other.source);
    }
}

/// One model over all its keys. Gauges are sums over the pools of different projects.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ModelView {
    pub name: String,
    pub provider: String,
    pub api: Api,
    pub vision: bool,
    /// Switched on by the operator (the default).
    pub on: bool,
    pub rpm: Gauge,
    pub tpm: Gauge,
    pub rpd: Gauge,
    pub day: QuotaDay,
    /// When the daily counter resets; set for calendar days with a daily limit.
    pub day_resets_at: Option<WallTime>,
    pub in_flight: u32,
    pub ok: u64,
    pub failed: u64,
    /// Part of `failed`: answers that failed a check.
    #[serde(default)]
    pub invalid_outputs: u64,
    pub mean_ms: Option<u64>,
    pub p50_ms: Option<u64>,
    pub p95_ms: Option<u64>,
    pub usage: Usage,
    pub cost: Money,
    /// `cost` by kind. Attempts of earlier versions are missing here.
    #[serde(default)]
    pub cost_by_kind: CostByKind,
    /// It has no price, so that its cost is unknown.
    #[serde(default)]
    pub is_unpriced: bool,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RouteView {
    pub key: String,
    pub model: String,
    pub on: bool,
    pub condition: Condition,
    pub rpm: Gauge,
    pub rpd: Gauge,
    pub in_flight: u32,
    pub ok: u64,
    pub failed: u64,
    /// The route's bottlenecks over the last five minutes, largest share first; the shares add up to 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[serde(alias = "holding")]
    pub bottlenecks: Vec<BottleneckShare>,
}

/// One timer of the cooldown pane.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CooldownView {
    /// `model@key`, `model@project` or a key's alias.
    #[serde(alias = "what")]
    pub subject: String,
    #[serde(alias = "from")]
    pub started_at: WallTime,
    pub until: WallTime,
    pub cause: Cause,
}

/// The part of a snapshot that only the metrics show.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct MetricsView {
    pub counts: Arc<MetricCounts>,
    pub pools: Vec<PoolView>,
    pub waiting: WaitingItems,
}

/// One quota pool with those of its limits that are known.
#[derive(Clone, PartialEq, Debug)]
pub struct PoolView {
    pub provider: String,
    /// `model@project`; for a shared pool its own name replaces the model.
    pub name: String,
    pub quotas: Vec<(LimitDimension, Gauge)>,
}

/// Why items wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WaitingItems {
    /// Items that this start does not send, because it is limited to the first rows.
    pub held_back: u64,
    /// Items in a retry delay.
    pub retry_delay: u64,
    /// The run's bottleneck now, for which all others wait; `None` before the first one.
    pub bottleneck: Option<Bottleneck>,
}
