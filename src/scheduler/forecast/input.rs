//! Copies the scheduler's state into the plain data of a forecast, so that the forecast can run outside the engine's
//! task.

use std::time::Duration;

use crate::domain::{Money, Now, Price, QuotaDay, RouteId, SpillTo, WallTime, WhenLimited, forecast::Constraint};

use crate::scheduler::{
    Scheduler,
    availability::Availability,
    budget::Budget,
    limits::{
        daily_quota::DailyQuota,
        pool::{PoolCounters, QuotaPool, TokenEstimate},
        window::SlidingWindow,
    },
    routing::model_score::TYPICAL_OUTPUT_TOKENS,
};

/// Assumed latency before anything is measured.
pub const ASSUMED_LATENCY: Duration = Duration::from_secs(2);

/// Number of steps into which the releases of a minute or a rolling day are merged.
const STEPS_PER_WINDOW: usize = 24;

/// What a forecast must know apart from limits: how long answers take and how large they are.
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
    /// Position of the strict pipeline's cursor in `routes`.
    pub cursor: usize,
    pub classes: Vec<ClassInput>,
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
    fn new(limit: Option<Money>, left: Option<Money>) -> Option<Self> {
        limit.zip(left).map(|(limit, left)| Self { limit: limit.as_usd(), left: left.as_usd() })
    }
}

impl BudgetInput {
    fn new(budget: &Budget, now: WallTime) -> Self {
        let (total, today) = budget.remaining(now);
        Self {
            total: BudgetCap::new(budget.caps.max_usd, total),
            day: BudgetCap::new(budget.caps.max_usd_per_day, today),
        }
    }

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
    pub minute_constraint: Constraint,
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
    /// Indices into `routes`, in order of preference; without routes that are switched off or disabled.
    pub routes: Vec<u32>,
    /// By model: whether it can serve these items, even if all of its routes are unavailable.
    pub can_serve: Vec<bool>,
}

impl Scheduler {
    /// Copies what a forecast needs. Its cost depends on the number of routes, classes and items that are backing off,
    /// not on that of all items.
    pub fn forecast_input(&self, now: Now, assumptions: &Assumptions) -> ForecastInput {
        let models = self.model_inputs(assumptions);
        let mut index_by_route = vec![0_u32; self.routes.len()];
        let forecast_routes: Vec<ForecastRoute> = self
            .ranking
            .iter()
            .enumerate()
            .map(|(index, id)| {
                index_by_route[id.index()] = index as u32;
                let route = &self.routes[id.index()];
                ForecastRoute {
                    key: route.key,
                    model: route.model,
                    pool: route.pool,
                    available_in: self.route_available_in(now, *id),
                }
            })
            .collect();
        let classes = self.class_inputs(assumptions, &forecast_routes, &index_by_route);
        let items: f64 = classes.iter().map(|class| class.items).sum();
        let mean_input =
            classes.iter().map(|class| class.items * class.mean_input_tokens).sum::<f64>() / items.max(1.0);
        let mut output_by_pool = vec![0.0; self.pools.len()];
        let mut latency_by_pool = vec![0.0; self.pools.len()];
        for route in &forecast_routes {
            output_by_pool[route.pool] = models[route.model].mean_output_tokens;
            latency_by_pool[route.pool] = models[route.model].latency_secs;
        }
        let to_pool_input = |(index, pool): (usize, &QuotaPool)| {
            let estimate =
                TokenEstimate { input: mean_input.ceil() as u64, output: f64::ceil(output_by_pool[index]) as u64 };
            pool_input(now, pool, estimate, latency_by_pool[index])
        };
        let committed = self.run_spend.spent + self.run_spend.reserved + self.run_spend.at_risk;
        ForecastInput {
            now: now.wall,
            max_in_flight: self.policy.max_in_flight,
            in_flight_now: self.reservations.len() as u32,
            when_limited: self.policy.when_limited,
            spill_to: self.policy.spill_to,
            stops_when_exhausted: self.policy.on_exhausted == crate::domain::OnExhausted::Stop,
            budget: BudgetInput {
                total: BudgetCap::new(
                    self.policy.max_usd,
                    self.policy.max_usd.map(|cap| cap.saturating_sub(committed)),
                ),
                ..BudgetInput::new(&self.day_budget, now.wall)
            },
            requests_per_item: assumptions.requests_per_item.max(1.0),
            keys: self
                .keys
                .iter()
                .map(|state| KeyInput {
                    name: state.key.name.clone(),
                    kind: (state.key.provider.index(), state.key.models.clone()),
                    budget: BudgetInput::new(&state.budget, now.wall),
                })
                .collect(),
            models,
            pools: self.pools.iter().enumerate().map(to_pool_input).collect(),
            routes: forecast_routes,
            cursor: self.cursor,
            classes,
        }
    }

    fn model_inputs(&self, assumptions: &Assumptions) -> Vec<ModelInput> {
        // A model that has not answered yet is assumed to be like those that have.
        let measured: Vec<Duration> = assumptions.latency_by_model.iter().copied().flatten().collect();
        let default_latency = match measured.len() as u32 {
            0 => ASSUMED_LATENCY,
            count => measured.iter().sum::<Duration>() / count,
        };
        self.models
            .iter()
            .enumerate()
            .map(|(index, state)| {
                let latency = assumptions.latency_by_model.get(index).copied().flatten().unwrap_or(default_latency);
                let max_output = state.model.max_output.map_or(f64::INFINITY, f64::from);
                let mean = state.mean_output_tokens.or(assumptions.mean_output_tokens).unwrap_or(TYPICAL_OUTPUT_TOKENS);
                ModelInput {
                    name: state.model.name.clone(),
                    price: state.model.price,
                    latency_secs: latency.as_secs_f64(),
                    mean_output_tokens: mean.min(max_output),
                    max_output_tokens: if max_output.is_finite() { max_output } else { mean },
                }
            })
            .collect()
    }

    /// Seconds until the route can be used, apart from minute and daily limits; `None` if it never becomes available by
    /// itself.
    fn route_available_in(&self, now: Now, id: RouteId) -> Option<f64> {
        let availability = self.availability(now, id);
        match &availability {
            Availability::SwitchedOff { .. } | Availability::Disabled(_) => None,
            // Minute windows and daily limits are simulated per pool.
            Availability::Ready | Availability::Limited { .. } | Availability::DailyLimitReached { .. } => Some(0.0),
            Availability::CoolingDown(_) | Availability::Exhausted(_) | Availability::CircuitOpen { .. } => {
                let left = availability.admission().deadline().map(|deadline| deadline.to_mono(now).since(now.mono));
                Some(left.unwrap_or_default().as_secs_f64())
            }
        }
    }

    fn class_inputs(
        &self,
        assumptions: &Assumptions,
        forecast_routes: &[ForecastRoute],
        index_by_route: &[u32],
    ) -> Vec<ClassInput> {
        let mut backing_off = vec![0_u64; self.classes.len()];
        for (class, _) in self.backing_off.values() {
            backing_off[*class] += 1;
        }
        self.classes
            .iter()
            .zip(backing_off)
            .map(|(class, backing_off)| {
                let input_sizes: Vec<u64> = class.pending.iter().take(64).map(|item| item.input_tokens).collect();
                let mut can_serve = vec![false; self.models.len()];
                for route in &class.candidates {
                    can_serve[self.routes[route.index()].model] = true;
                }
                let sampled_mean = (!input_sizes.is_empty())
                    .then(|| input_sizes.iter().sum::<u64>() as f64 / input_sizes.len() as f64);
                ClassInput {
                    items: (class.backlog + class.loaded_count() as u64 + backing_off) as f64,
                    mean_input_tokens: assumptions.mean_input_tokens.or(sampled_mean).unwrap_or(0.0),
                    routes: class
                        .candidates
                        .iter()
                        .map(|route| index_by_route[route.index()])
                        .filter(|index| forecast_routes[*index as usize].available_in.is_some())
                        .collect(),
                    can_serve,
                }
            })
            .collect()
    }
}

fn pool_input(now: Now, pool: &QuotaPool, estimate: TokenEstimate, latency: f64) -> PoolInput {
    let counters = pool.counters();
    let minute = tightest_minute(&counters, estimate);
    let (per_minute, minute_constraint, minute_releases) = match minute {
        None => (None, Constraint::RequestsPerMinute, Vec::new()),
        Some((window, amount, minute_constraint)) => {
            let limit_in_requests = window.limit().unwrap_or_default() as f64 / amount;
            // Room that is too small for one more request can't be used.
            let per_minute = if limit_in_requests > 1.0 { limit_in_requests.floor() } else { limit_in_requests };
            (Some(per_minute), minute_constraint, minute_releases(now, &counters, window, amount, latency))
        }
    };
    let tokens = estimate.counted_as(counters.token_counting).max(1) as f64;
    let day = |quota: &DailyQuota, amount: f64| {
        let limit = quota.limit()? as f64;
        Some((limit / amount, (limit - quota.used(now.wall) as f64).max(0.0) / amount))
    };
    let days = [day(counters.day_requests, 1.0), day(counters.day_tokens, tokens)];
    let is_exhausted = pool.day_exhausted.as_ref().is_some_and(|cooldown| !cooldown.is_over(now));
    let daily = days.into_iter().flatten().reduce(|one, two| (one.0.min(two.0), one.1.min(two.1)));
    let releases =
        counters.day_requests.releases(now.wall).map(|(at, count)| (at.since(now.wall).as_secs_f64(), count));
    PoolInput {
        label: pool.label.clone(),
        per_minute,
        minute_constraint,
        minute_releases,
        concurrency: counters.concurrency.map(|max| max as f64),
        in_flight: f64::from(pool.in_flight),
        day: pool.day(),
        per_day: daily.map(|(per_day, _)| per_day),
        left_today: if is_exhausted { Some(0.0) } else { daily.map(|(_, left)| left) },
        day_releases: if daily.is_some() { merge_releases(releases, 86_400.0) } else { Vec::new() },
    }
}

/// The window that admits the fewest requests of this size, the amount one request takes of it, and its constraint.
fn tightest_minute<'a>(
    counters: &PoolCounters<'a>,
    estimate: TokenEstimate,
) -> Option<(&'a SlidingWindow, f64, Constraint)> {
    let windows = [
        (counters.request_window, 1, Constraint::RequestsPerMinute),
        (counters.token_window, estimate.counted_as(counters.token_counting), Constraint::TokensPerMinute),
        (counters.input_token_window, estimate.input, Constraint::TokensPerMinute),
        (counters.output_token_window, estimate.output, Constraint::TokensPerMinute),
    ];
    windows
        .into_iter()
        .filter(|(window, amount, _)| window.limit().is_some() && *amount > 0)
        .map(|(window, amount, constraint)| (window, amount as f64, constraint))
        .min_by(|one, two| {
            let requests = |(window, amount, _): &(&SlidingWindow, f64, Constraint)| {
                window.limit().unwrap_or(u64::MAX) as f64 / amount
            };
            requests(one).total_cmp(&requests(two))
        })
}

/// (seconds from now, requests) that become free in the minute window. A paced pool frees them in steps of its burst.
fn minute_releases(
    now: Now,
    counters: &PoolCounters<'_>,
    window: &SlidingWindow,
    amount: f64,
    latency: f64,
) -> Vec<(f64, f64)> {
    let limit = window.limit().unwrap_or_default();
    let used = window.used(now.mono);
    let room = limit.saturating_sub(used) as f64 / amount;
    let mut steps = Vec::new();
    match counters.pacing.map(crate::scheduler::limits::window::Gcra::burst) {
        Some(burst) if f64::from(burst) < room => {
            let per_minute = limit as f64 / amount;
            let (step, mut left, mut at) = (f64::from(burst).max(per_minute / STEPS_PER_WINDOW as f64), room, 0.0);
            while left > 0.0 {
                steps.push((at, step.min(left)));
                at += 60.0 * step / per_minute;
                left -= step;
            }
        }
        _ => steps.push((0.0, room)),
    }
    let mut completed = 0;
    let releases = window.releases(now.mono).map(|(at, count)| {
        completed += count;
        (at.since(now.mono).as_secs_f64(), count)
    });
    steps.extend(merge_releases(releases, 60.0).into_iter().map(|(at, count)| (at, count / amount)));
    // Requests in flight occupy the window until a minute after their answer, which is expected after half of the
    // latency.
    let in_flight = used.saturating_sub(completed) as f64 / amount;
    steps.push((60.0 + latency / 2.0, in_flight));
    steps.retain(|(_, count)| *count > 0.0);
    steps.sort_by(|one, two| one.0.total_cmp(&two.0));
    steps
}

/// Merges the releases of a window of `span_secs` into a few steps. Each step gets the instant of its last release.
fn merge_releases(releases: impl Iterator<Item = (f64, u64)>, span_secs: f64) -> Vec<(f64, f64)> {
    let step_secs = span_secs / STEPS_PER_WINDOW as f64;
    let mut steps: Vec<(f64, f64)> = Vec::new();
    let mut step_start = f64::NEG_INFINITY;
    for (at, count) in releases {
        match steps.last_mut() {
            Some(step) if at - step_start < step_secs => *step = (at, step.1 + count as f64),
            _ => {
                step_start = at;
                steps.push((at, count as f64));
            }
        }
    }
    steps
}
