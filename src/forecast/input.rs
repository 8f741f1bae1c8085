//! The plain data that a forecast computes on. The scheduler fills it, so that the forecast can run outside the
//! engine's task.

use std::time::Duration;

use crate::domain::{Money, Price, QuotaDay, SpillTo, WallTime, WhenLimited, bottleneck::Bottleneck};

/// Assumed latency before anything is measured.
pub const ASSUMED_LATENCY: Duration = Duration::from_secs(2);

/// Inputs of a forecast apart from limits: how long answers take and how large they are.
#[derive(Clone, PartialEq, Debug)]
pub struct Assumptions {
    /// By model; `None` stands for the mean of the known ones, or else [`ASSUMED_LATENCY`].
    pub latency_by_model: Vec<Option<Duration>>,
    /// Mean input tokens of an item; `None`: estimated from the first loaded items of each class.
    pub mean_input_tokens: Option<f64>,
    /// Mean output tokens of an answer, including thinking, for models without a running mean; `None`: 256.
    pub mean_output_tokens: Option<f64>,
    /// Mean number of requests per item; at least 1.
    pub requests_per_item: f64,
}

impl Default for Assumptions {
    fn default() -> Self {
        Self { latency_by_model: Vec::new(), mean_input_tokens: None, mean_output_tokens: None, requests_per_item: 1.0 }
    }
}

/// Everything a forecast depends on. Instants are seconds from `now`.
#[derive(Clone, PartialEq, Debug)]
pub struct ForecastInput {
    pub now: WallTime,
    /// The run's cap on requests in flight, and the number in flight now.
    pub max_in_flight: u32,
    pub in_flight_now: u32,
    pub when_limited: WhenLimited,
    pub spill_to: SpillTo,
    /// Whether the run stops, with items left, when every route is exhausted for the day.
    pub stops_when_exhausted: bool,
    /// The run's own caps.
    pub budget: BudgetInput,
    pub requests_per_item: f64,
    pub keys: Vec<KeyInput>,
    pub models: Vec<ModelInput>,
    pub pools: Vec<PoolInput>,
    /// All routes in the cascade's order.
    pub routes: Vec<ForecastRoute>,
    /// Position of strict order's cursor in `routes`.
    pub cursor: usize,
    pub classes: Vec<ClassInput>,
}

impl ForecastInput {
    /// The output tokens of a class's answers on a route: the mean and the maximum.
    pub(super) fn output_tokens(&self, class: usize, route: usize) -> (f64, f64) {
        let model = &self.models[self.routes[route].model];
        let limit = self.classes[class].max_output_tokens.unwrap_or(f64::INFINITY);
        (model.mean_output_tokens.min(limit), model.max_output_tokens.min(limit))
    }

    /// The instant `seconds` from `now`; `None` beyond 500 years, which calendars don't support.
    pub(super) fn wall_time_in(&self, seconds: f64) -> Option<WallTime> {
        const MAX_SECS: f64 = 500.0 * 366.0 * 86_400.0;
        (seconds < MAX_SECS).then(|| self.now + Duration::from_secs_f64(seconds.max(0.0)))
    }
}

#[derive(Clone, PartialEq, Debug)]
pub struct KeyInput {
    pub name: String,
    /// The provider and the models it may use; `None`: all. Keys with equal values are of the same kind.
    pub kind: (usize, Option<Vec<String>>),
    pub budget: BudgetInput,
}

/// Money caps; `None` for no cap.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct BudgetInput {
    pub total: Option<BudgetCap>,
    /// Per UTC day.
    pub day: Option<BudgetCap>,
}

/// In dollars: the limit, and what may still be committed.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct BudgetCap {
    pub limit: f64,
    pub left: f64,
}

impl BudgetCap {
    /// `None` without a limit.
    pub fn new(limit: Option<Money>, committed: Money) -> Option<Self> {
        limit.map(|limit| Self { limit: limit.as_usd(), left: limit.saturating_sub(committed).as_usd() })
    }
}

impl BudgetInput {
    /// The same caps with nothing spent yet.
    pub(super) fn unspent(self) -> Self {
        let full = |cap: BudgetCap| BudgetCap { left: cap.limit, ..cap };
        Self { total: self.total.map(full), day: self.day.map(full) }
    }
}

#[derive(Clone, PartialEq, Debug)]
pub struct ModelInput {
    pub name: String,
    pub price: Option<Price>,
    pub latency_secs: f64,
    /// Output tokens of an answer: the mean and the maximum.
    pub mean_output_tokens: f64,
    pub max_output_tokens: f64,
}

#[derive(Clone, PartialEq, Debug)]
pub struct ForecastRoute {
    pub key: usize,
    pub model: usize,
    pub pool: usize,
    /// Seconds until it can be used; `None` if it is switched off or disabled.
    pub available_in: Option<f64>,
}

/// A quota pool. Its amounts are in requests, whatever its tightest limit counts.
#[derive(Clone, PartialEq, Debug)]
pub struct PoolInput {
    pub label: String,
    /// Requests that one minute admits; `None` without a limit.
    pub per_minute: Option<f64>,
    /// The tightest limit of the minute.
    pub minute_constraint: Bottleneck,
    /// (seconds from now, requests) that become free in the minute window.
    pub minute_releases: Vec<(f64, f64)>,
    pub concurrency: Option<f64>,
    pub in_flight: f64,
    pub day: QuotaDay,
    /// Requests that a day admits, and what is left of today.
    pub per_day: Option<f64>,
    pub left_today: Option<f64>,
    /// Rolling days: (seconds from now, requests) that become free.
    pub day_releases: Vec<(f64, f64)>,
}

/// Items that may use the same routes.
#[derive(Clone, PartialEq, Debug)]
pub struct ClassInput {
    pub items: f64,
    pub mean_input_tokens: f64,
    /// The most output tokens that an item's own parameters allow; `None` if some item has no limit of its own.
    pub max_output_tokens: Option<f64>,
    /// Indices into `routes`, in order of preference; without routes that are switched off or disabled.
    pub routes: Vec<u32>,
    /// Those of `routes` that are of the model that the items' rows name.
    pub row_model_routes: Vec<u32>,
    /// By model: whether it can serve these items, even if all of its routes are unavailable.
    pub can_serve: Vec<bool>,
}
