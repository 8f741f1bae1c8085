//! The engine's state as an operator sees it: aggregates only, bounded in size however long the run is.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    attempt_result::Usage,
    bottleneck::BottleneckShare,
    event::Event,
    fleet::{Api, KeyRole, QuotaDay},
    forecast::Forecast,
    money::Money,
    outcome::Outcome,
    policy::{CascadeOrder, OnExhausted, WhenLimited},
    response_meta::LimitSource,
    strategy::Strategy,
    time::WallTime,
};

/// Published by the engine when something changed, at most 30 times a second.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    pub run: String,
    pub state: RunState,
    /// Engine time: on a sped-up clock this is the simulated time.
    pub at: WallTime,
    pub elapsed: Duration,
    /// 1 except on a sped-up clock.
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
    /// What is expected of the rest; `None` before the first look ahead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast: Option<Forecast>,
    /// What held the run over the last five minutes, the largest share first; shares add up to 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[serde(alias = "holding")]
    pub bottlenecks: Vec<BottleneckShare>,
    /// Where the work goes right now: the route of the last dispatch.
    #[serde(alias = "place")]
    pub current_route: Option<CurrentRoute>,
    pub keys: Vec<KeyView>,
    pub models: Vec<ModelView>,
    pub routes: Vec<RouteView>,
    pub cooldowns: Vec<CooldownView>,
    /// The newest events, oldest first; at most 256.
    pub events: Vec<Arc<Event>>,
}

impl Snapshot {
    /// A snapshot before anything is known: a run without items, keys or models, at `at`.
    pub fn empty(run: &str, at: WallTime, clock_speed: f64) -> Self {
        Self {
            run: run.to_owned(),
            state: RunState::Running,
            at,
            elapsed: Duration::ZERO,
            clock_speed,
            strategy: Strategy::default(),
            cascade_order: CascadeOrder::default(),
            when_limited: WhenLimited::default(),
            on_exhausted: OnExhausted::default(),
            totals: Totals::default(),
            max_in_flight: 0,
            spend: Spend::default(),
            throughput: Throughput::default(),
            forecast: None,
            bottlenecks: Vec::new(),
            current_route: None,
            keys: Vec::new(),
            models: Vec::new(),
            routes: Vec::new(),
            cooldowns: Vec::new(),
            events: Vec::new(),
        }
    }
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum RunState {
    /// Work is going out, or could.
    Running,
    /// Nothing can go out before an instant; `until` is `None` where only an operator or an answer can help.
    Waiting {
        #[serde(alias = "why")]
        reason: String,
        until: Option<WallTime>,
    },
    /// The operator paused; in-flight work finishes.
    Pausing,
    Paused,
    /// The run itself holds (disk, network, budget, five items refused alike).
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

    pub const fn is_over(&self) -> bool {
        matches!(self, Self::Stopped { .. } | Self::Finished)
    }
}

/// Items by state. `total` still grows while `ingesting`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Totals {
    pub total: u64,
    pub waiting: u64,
    pub in_flight: u64,
    pub done: u64,
    pub failed: u64,
    /// Of `done`: answers cut off at a token limit.
    pub truncated: u64,
    pub ingesting: bool,
    /// Of `total`: items whose rows the input no longer has.
    #[serde(default)]
    pub not_in_input: u64,
    /// HTTP requests sent over the whole run.
    pub attempts: u64,
    /// Of those: answered with a per-minute or per-day refusal.
    pub rate_limited: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Spend {
    pub usage: Usage,
    pub cost: Money,
    /// Worst case of what is in flight now.
    pub reserved: Money,
    /// Worst case of attempts that ended without an answer and may have been billed.
    pub at_risk: Money,
    pub budget: Option<Money>,
}

#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Throughput {
    /// Items ended per second over the last minute of engine time.
    pub items_per_second: f64,
    /// By the forecast; `None` where the run stops before, or stands still.
    pub finish_at: Option<WallTime>,
}

/// "key 1/3, model 2/4, retry 2/5", counted from 1.
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
}

/// What a key, model or route is doing, in one word and why.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "condition", rename_all = "snake_case")]
pub enum Condition {
    Ready,
    /// Room again at `until` (`None`: when something in flight answers); our own counters say so.
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
    /// The day's quota is spent.
    Exhausted {
        until: WallTime,
        cause: Cause,
    },
    /// A breaker is open; one probe at `until`.
    #[serde(alias = "broken")]
    CircuitOpen {
        until: WallTime,
        cause: Cause,
    },
    /// Dead until the secret changes, or off until the operator says otherwise.
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
    /// The word shown beside the glyph.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Limited { .. } => "full",
            Self::CoolingDown { .. } => "cooling",
            Self::Exhausted { .. } => "exhausted",
            Self::CircuitOpen { .. } => "broken",
            Self::Disabled { .. } => "disabled",
            Self::SwitchedOff { .. } => "off",
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

/// Why something is out: the outcome, on whose word, and the provider's own words.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Cause {
    pub outcome: Outcome,
    pub source: CauseSource,
    /// Redacted; may be empty.
    #[serde(alias = "words")]
    pub message: String,
    pub since: WallTime,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CauseSource {
    /// The provider said so.
    #[serde(alias = "stated")]
    Provider,
    /// Our own counters say so.
    Measured,
    /// A ladder or backoff: nobody said how long.
    #[serde(alias = "guessed")]
    Backoff,
}

impl CauseSource {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Provider => "stated",
            Self::Measured => "measured",
            Self::Backoff => "guessed",
        }
    }
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct KeyView {
    pub name: String,
    pub provider: String,
    pub project: String,
    pub role: KeyRole,
    /// 0 to 100.
    pub health: u8,
    pub ok: u64,
    /// Attempts that did not end ok, refusals included.
    pub failed: u64,
    pub in_flight: u32,
    /// The best condition among its routes, or its own where the key itself is out.
    pub condition: Condition,
    pub usage: Usage,
    pub cost: Money,
    /// The last failure in the provider's words.
    pub last_error: Option<String>,
}

/// A counter against its limit. `limit` is `None` where unlimited or unknown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Gauge {
    pub used: u64,
    pub limit: Option<u64>,
    /// Where the limit comes from; `None` where there is none, or none is known.
    #[serde(default)]
    #[serde(alias = "provenance")]
    pub source: Option<LimitSource>,
}

/// One model over all its keys. Gauges add up the pools of distinct projects.
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
    /// When the day's counter starts anew, for calendar days with a daily limit.
    pub day_resets_at: Option<WallTime>,
    pub in_flight: u32,
    pub ok: u64,
    pub failed: u64,
    pub mean_ms: Option<u64>,
    pub p50_ms: Option<u64>,
    pub p95_ms: Option<u64>,
    pub usage: Usage,
    pub cost: Money,
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
    /// What held it over the last five minutes, the largest share first; shares add up to 1.
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
