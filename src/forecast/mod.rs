//! Forecast of the rest of a run: simulates the scheduler's limits with the remaining items.
//!
//! The scheduler copies its state into a [`ForecastInput`]. [`forecast`] computes on that copy, on any thread, with the
//! same windows, days, cooldowns and caps as dispatch (`fluid`). It works on classes of items and on amounts, not on
//! single items, so its cost depends on the number of pools and of days ahead: some milliseconds for ten million items
//! over a thousand routes.
//!
//! The order in which a strategy uses ready routes changes the cost a little and the finish time hardly at all. So the
//! forecast uses the class's order of preference, whatever the strategy.

mod fluid;
mod input;

use std::time::Duration;

use crate::domain::{
    Money,
    bottleneck::Bottleneck,
    forecast::{Forecast, KeySaving},
};

use fluid::FluidSim;

pub use input::{
    ASSUMED_LATENCY, Assumptions, BudgetCap, BudgetInput, ClassInput, ForecastInput, ForecastRoute, KeyInput,
    ModelInput, PoolInput,
};

/// Factors for the assumed latencies and (as square roots) sizes of answers, for the earliest and the latest finish.
const OPTIMISTIC_LATENCY: f64 = 0.7;
const PESSIMISTIC_LATENCY: f64 = 1.5;
/// Margin for the error of the simulation itself: a share of the time until the finish, and at most one turn of a
/// minute window (in seconds).
const MODEL_ERROR: f64 = 0.01;
const WINDOW_TURN_SECS: f64 = 62.0;
/// The most kinds of keys for which one more key is simulated.
const MAX_KEY_KINDS: usize = 3;

/// A forecast, and how it distributes the items.
#[derive(Clone, PartialEq, Debug)]
pub struct ForecastResult {
    pub forecast: Forecast,
    /// By route of the input: the items it serves.
    pub items_by_route: Vec<f64>,
}

/// Computes a forecast. This takes some milliseconds of CPU time, so it must not run on the engine's task.
pub fn forecast(input: &ForecastInput) -> ForecastResult {
    let likely = FluidSim::new(input).run();
    let margin = likely.finish * MODEL_ERROR + (likely.finish * 0.1).clamp(1.0, WINDOW_TURN_SECS);
    let earliest =
        FluidSim::new(&scaled_input(input, OPTIMISTIC_LATENCY, 1.0)).run().finish.min(likely.finish - margin);
    let latest =
        FluidSim::new(&scaled_input(input, PESSIMISTIC_LATENCY, 1.05)).run().finish.max(likely.finish + margin);
    let items: f64 = input.classes.iter().map(|class| class.items).sum();
    let forecast = Forecast {
        at: input.now,
        items_left: items as u64 + u64::from(input.in_flight_now),
        finish: input.wall_time_in(likely.finish),
        earliest_finish: input.wall_time_in(earliest),
        latest_finish: input.wall_time_in(latest),
        stop: likely.stop,
        constraints: likely.constraints,
        first_exhausted: likely.first_exhausted,
        before_reset: likely.before_reset,
        savings: key_savings(input, likely.finish),
        input_tokens: likely.input_tokens.round() as u64,
        output_tokens: likely.output_tokens.round() as u64,
        cost: Money::from_usd(likely.usd).unwrap_or_default(),
        has_unpriced_items: likely.has_unpriced_items,
    };
    ForecastResult { forecast, items_by_route: likely.items_by_route }
}

/// The same input with latencies multiplied by `latency_factor` and requests per item by `requests_factor`. Limits on
/// tokens per minute are divided by the square root of `latency_factor`.
fn scaled_input(input: &ForecastInput, latency_factor: f64, requests_factor: f64) -> ForecastInput {
    let mut scaled = input.clone();
    scaled.models.iter_mut().for_each(|model| model.latency_secs *= latency_factor);
    scaled.requests_per_item *= requests_factor;
    // How many requests fit into a token window depends on the assumed size of answers too.
    for pool in scaled.pools.iter_mut().filter(|pool| pool.minute_constraint == Bottleneck::TokensPerMinute) {
        pool.per_minute = pool.per_minute.map(|per_minute| per_minute / latency_factor.sqrt());
        pool.minute_releases.iter_mut().for_each(|(_, amount)| *amount /= latency_factor.sqrt());
    }
    scaled
}

/// How much time one more key would save, for the first few kinds of keys. The most useful kind comes first.
fn key_savings(input: &ForecastInput, finish: f64) -> Vec<KeySaving> {
    let mut kinds: Vec<usize> = Vec::new();
    for (index, key) in input.keys.iter().enumerate() {
        if kinds.len() < MAX_KEY_KINDS && kinds.iter().all(|other| input.keys[*other].kind != key.kind) {
            kinds.push(index);
        }
    }
    let mut savings: Vec<(f64, KeySaving)> = kinds
        .into_iter()
        .filter_map(|key| {
            let finish_with_key = FluidSim::new(&with_extra_key(input, key)?).run().finish;
            let time_saved = (finish.is_finite() && finish_with_key.is_finite())
                .then(|| Duration::from_secs_f64((finish - finish_with_key).clamp(0.0, 1e11)));
            let saving = KeySaving {
                similar_to: input.keys[key].name.clone(),
                finish: input.wall_time_in(finish_with_key),
                time_saved,
            };
            Some((finish_with_key, saving))
        })
        .collect();
    savings.sort_by(|one, two| one.0.total_cmp(&two.0));
    savings.into_iter().map(|(_, saving)| saving).collect()
}

/// The fleet with one more, unused key like `key`, in a project of its own. `None` if such a key serves no model.
fn with_extra_key(input: &ForecastInput, key: usize) -> Option<ForecastInput> {
    let mut larger = input.clone();
    let similar = &input.keys[key];
    let new_key = KeyInput { budget: similar.budget.unspent(), ..similar.clone() };
    larger.keys.push(new_key);
    let mut pools: Vec<(usize, usize)> = Vec::new();
    let mut route_pairs = Vec::new();
    for (index, route) in input.routes.iter().enumerate().filter(|(_, route)| route.key == key) {
        let copied = pools.iter().find(|(old, _)| *old == route.pool).map(|(_, new)| *new);
        let pool = copied.unwrap_or_else(|| {
            let unused = unused_pool(&input.pools[route.pool]);
            larger.pools.push(unused);
            pools.push((route.pool, larger.pools.len() - 1));
            larger.pools.len() - 1
        });
        larger.routes.push(ForecastRoute { key: input.keys.len(), pool, available_in: Some(0.0), ..route.clone() });
        route_pairs.push((index as u32, larger.routes.len() as u32 - 1));
    }
    for class in &mut larger.classes {
        // A route that is unavailable is not in the class, but its copy may be.
        let serves = |copy: &u32| class.can_serve[larger.routes[*copy as usize].model];
        class.routes.extend(route_pairs.iter().map(|(_, copy)| *copy).filter(serves));
    }
    (!route_pairs.is_empty()).then_some(larger)
}

fn unused_pool(pool: &PoolInput) -> PoolInput {
    PoolInput {
        minute_releases: pool.per_minute.map(|per_minute| (0.0, per_minute)).into_iter().collect(),
        in_flight: 0.0,
        left_today: pool.per_day,
        day_releases: Vec::new(),
        ..pool.clone()
    }
}
