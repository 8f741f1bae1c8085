//! From the scheduler's state to the plain data that a forecast is made of: a copy, so that reckoning ahead never
//! happens on the engine's task.

use std::time::Duration;

use crate::domain::{Money, Now, Price, QuotaDay, RouteId, SpillTo, WallTime, WhenLimited, forecast::Constraint};

use super::super::{
    Scheduler,
    cooldown::Wake,
    day::DayMeter,
    pool::{Counters, Need, Pool},
    purse::Purse,
    scoring::TYPICAL_OUTPUT,
    standing::Standing,
    window::Window,
};

/// What is reckoned with where nothing has been measured yet.
pub const ASSUMED_LATENCY: Duration = Duration::from_secs(2);

/// Parts of a minute (or rolling day) that releases are told apart by.
const PARTS: usize = 24;

/// What can't be read off limits: how long answers take and how large they are.
#[derive(Clone, PartialEq, Debug)]
pub struct Assumptions {
    /// By model; `None`: [`ASSUMED_LATENCY`].
    pub latency: Vec<Option<Duration>>,
    /// Mean input tokens of an item; `None`: as estimated from the items loaded.
    pub input: Option<f64>,
    /// Mean output tokens of an answer, thinking included; `None`: the models' running means, or else 256.
    pub output: Option<f64>,
    /// Requests that an item takes on average: at least 1.
    pub effort: f64,
}

impl Default for Assumptions {
    fn default() -> Self {
        Self { latency: Vec::new(), input: None, output: None, effort: 1.0 }
    }
}

/// Everything that a forecast depends on. Instants are seconds from `now`.
#[derive(Clone, PartialEq, Debug)]
pub struct ForecastInput {
    pub now: WallTime,
    /// The run's cap, and what is in flight already.
    pub in_flight: u32,
    pub flying: u32,
    pub when_limited: WhenLimited,
    pub spill: SpillTo,
    /// Work is left behind when every route is out for the day.
    pub stops_when_exhausted: bool,
    /// The run's own money.
    pub purse: PurseOutlook,
    pub effort: f64,
    pub keys: Vec<KeyOutlook>,
    pub models: Vec<ModelOutlook>,
    pub pools: Vec<PoolOutlook>,
    /// Routes, in the cascade's order.
    pub lanes: Vec<Lane>,
    /// Where the strict pipeline stands, in `lanes`.
    pub cursor: usize,
    pub classes: Vec<ClassOutlook>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct KeyOutlook {
    pub name: String,
    /// Keys of one provider that may use the same models are alike.
    pub kind: (usize, Option<Vec<String>>),
    pub purse: PurseOutlook,
}

/// Caps of money; `None` for none.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct PurseOutlook {
    pub total: Option<Cap>,
    /// Of a UTC day.
    pub day: Option<Cap>,
}

/// Dollars: all that is allowed, and what may still be committed.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Cap {
    pub whole: f64,
    pub left: f64,
}

impl Cap {
    fn new(whole: Option<Money>, left: Option<Money>) -> Option<Self> {
        whole.zip(left).map(|(whole, left)| Self { whole: whole.as_usd(), left: left.as_usd() })
    }
}

impl PurseOutlook {
    fn of(purse: &Purse, now: WallTime) -> Self {
        let (total, today) = purse.left(now);
        Self { total: Cap::new(purse.caps.max_usd, total), day: Cap::new(purse.caps.max_usd_per_day, today) }
    }

    /// With nothing spent yet.
    pub(super) fn untouched(self) -> Self {
        let whole = |cap: Cap| Cap { left: cap.whole, ..cap };
        Self { total: self.total.map(whole), day: self.day.map(whole) }
    }
}

#[derive(Clone, PartialEq, Debug)]
pub struct ModelOutlook {
    pub name: String,
    pub price: Option<Price>,
    /// Seconds that an answer takes.
    pub latency: f64,
    /// Output tokens of an answer, on average and at most.
    pub output: f64,
    pub max_output: f64,
}

/// One route.
#[derive(Clone, PartialEq, Debug)]
pub struct Lane {
    pub key: usize,
    pub model: usize,
    pub pool: usize,
    /// When it can be used; `None` where it is switched off or dead.
    pub opens: Option<f64>,
}

/// A quota pool in requests, whatever its tightest limit counts.
#[derive(Clone, PartialEq, Debug)]
pub struct PoolOutlook {
    pub label: String,
    /// Requests that one minute lets through; `None` for no limit.
    pub per_minute: Option<f64>,
    /// What counts that minute.
    pub minute_by: Constraint,
    /// When how much of the minute is free, from now on.
    pub free: Vec<(f64, f64)>,
    pub concurrency: Option<f64>,
    pub in_flight: f64,
    pub day: QuotaDay,
    /// Requests that a day lets through, and what is left of today.
    pub per_day: Option<f64>,
    pub left_today: Option<f64>,
    /// Rolling days: when how much opens again.
    pub returns: Vec<(f64, f64)>,
}

/// Items that may use the same lanes.
#[derive(Clone, PartialEq, Debug)]
pub struct ClassOutlook {
    pub items: f64,
    pub input: f64,
    /// Indices into `lanes`, in order of preference; only those that may open.
    pub lanes: Vec<u32>,
    /// By model: whether it may serve these items, even where its lanes are all out.
    pub models: Vec<bool>,
}

impl Scheduler {
    /// Copies what a forecast needs. Proportional to routes and classes, not to items.
    pub fn forecast_input(&self, now: Now, assume: &Assumptions) -> ForecastInput {
        let models = self.model_outlooks(assume);
        let mut lane_of = vec![0_u32; self.routes.len()];
        let lanes: Vec<Lane> = self
            .ranking
            .iter()
            .enumerate()
            .map(|(index, id)| {
                lane_of[id.index()] = index as u32;
                let route = &self.routes[id.index()];
                Lane { key: route.key, model: route.model, pool: route.pool, opens: self.opens(now, *id) }
            })
            .collect();
        let classes = self.class_outlooks(assume, &lanes, &lane_of);
        let items: f64 = classes.iter().map(|class| class.items).sum();
        let input = classes.iter().map(|class| class.items * class.input).sum::<f64>() / items.max(1.0);
        let mut output_of = vec![0.0; self.pools.len()];
        let mut latency_of = vec![0.0; self.pools.len()];
        for lane in &lanes {
            output_of[lane.pool] = models[lane.model].output;
            latency_of[lane.pool] = models[lane.model].latency;
        }
        let outlook = |(index, pool): (usize, &Pool)| {
            let need = Need { input: input.ceil() as u64, output: f64::ceil(output_of[index]) as u64 };
            pool_outlook(now, pool, need, latency_of[index])
        };
        let committed = self.money.spent + self.money.reserved + self.money.at_risk;
        ForecastInput {
            now: now.wall,
            in_flight: self.policy.max_in_flight,
            flying: self.flights.len() as u32,
            when_limited: self.policy.when_limited,
            spill: self.policy.spill_to,
            stops_when_exhausted: self.policy.on_exhausted == crate::domain::OnExhausted::Stop,
            purse: PurseOutlook {
                total: Cap::new(self.policy.max_usd, self.policy.max_usd.map(|most| most.saturating_sub(committed))),
                ..PurseOutlook::of(&self.purse, now.wall)
            },
            effort: assume.effort.max(1.0),
            keys: self
                .keys
                .iter()
                .map(|state| KeyOutlook {
                    name: state.key.name.clone(),
                    kind: (state.key.provider.index(), state.key.models.clone()),
                    purse: PurseOutlook::of(&state.purse, now.wall),
                })
                .collect(),
            models,
            pools: self.pools.iter().enumerate().map(outlook).collect(),
            lanes,
            cursor: self.cursor,
            classes,
        }
    }

    fn model_outlooks(&self, assume: &Assumptions) -> Vec<ModelOutlook> {
        // A model that has not answered yet is taken to be like those that have.
        let measured: Vec<Duration> = assume.latency.iter().copied().flatten().collect();
        let usual = match measured.len() as u32 {
            0 => ASSUMED_LATENCY,
            count => measured.iter().sum::<Duration>() / count,
        };
        self.models
            .iter()
            .enumerate()
            .map(|(index, state)| {
                let latency = assume.latency.get(index).copied().flatten().unwrap_or(usual);
                let most = state.model.max_output.map_or(f64::INFINITY, f64::from);
                let mean = state.mean_output.or(assume.output).unwrap_or(TYPICAL_OUTPUT);
                ModelOutlook {
                    name: state.model.name.clone(),
                    price: state.model.price,
                    latency: latency.as_secs_f64(),
                    output: mean.min(most),
                    max_output: if most.is_finite() { most } else { mean },
                }
            })
            .collect()
    }

    /// Seconds until the route can be used, windows and days apart; `None` where no clock will open it.
    fn opens(&self, now: Now, id: RouteId) -> Option<f64> {
        let standing = self.standing(now, id);
        match &standing {
            Standing::Off { .. } | Standing::Dead(_) => None,
            // Windows and days are the pool's own.
            Standing::Ready | Standing::Full { .. } | Standing::DayFull { .. } => Some(0.0),
            Standing::Cooling(_) | Standing::Spent(_) | Standing::Broken { .. } => match standing.wake() {
                Some(Wake::Mono(at)) => Some(at.since(now.mono).as_secs_f64()),
                Some(Wake::Wall(at)) => Some(at.since(now.wall).as_secs_f64()),
                _ => Some(0.0),
            },
        }
    }

    fn class_outlooks(&self, assume: &Assumptions, lanes: &[Lane], lane_of: &[u32]) -> Vec<ClassOutlook> {
        let mut backing_off = vec![0_u64; self.classes.len()];
        for (class, _) in self.backing_off.values() {
            backing_off[*class] += 1;
        }
        self.classes
            .iter()
            .zip(backing_off)
            .map(|(class, backing_off)| {
                let sample: Vec<u64> = class.fresh.iter().take(64).map(|ticket| ticket.input).collect();
                let mut serving = vec![false; self.models.len()];
                for route in &class.candidates {
                    serving[self.routes[route.index()].model] = true;
                }
                let sampled = (!sample.is_empty()).then(|| sample.iter().sum::<u64>() as f64 / sample.len() as f64);
                ClassOutlook {
                    items: (class.backlog + class.loaded() as u64 + backing_off) as f64,
                    input: assume.input.or(sampled).unwrap_or(0.0),
                    lanes: class
                        .candidates
                        .iter()
                        .map(|route| lane_of[route.index()])
                        .filter(|lane| lanes[*lane as usize].opens.is_some())
                        .collect(),
                    models: serving,
                }
            })
            .collect()
    }
}

fn pool_outlook(now: Now, pool: &Pool, need: Need, latency: f64) -> PoolOutlook {
    let counters = pool.counters();
    let minute = tightest_minute(&counters, need);
    let (per_minute, minute_by, free) = match minute {
        None => (None, Constraint::RequestsPerMinute, Vec::new()),
        Some((window, amount, by)) => {
            let whole = window.limit().unwrap_or_default() as f64 / amount;
            // What is left of a window is lost where it is too small for one more.
            let per_minute = if whole > 1.0 { whole.floor() } else { whole };
            (Some(per_minute), by, minute_ahead(now, &counters, window, amount, latency))
        }
    };
    let tokens = need.counted(counters.counted).max(1) as f64;
    let day = |meter: &DayMeter, amount: f64| {
        let limit = meter.limit()? as f64;
        Some((limit / amount, (limit - meter.used(now.wall) as f64).max(0.0) / amount))
    };
    let days = [day(counters.day_requests, 1.0), day(counters.day_tokens, tokens)];
    let spent = pool.spent.as_ref().is_some_and(|spent| !spent.over(now));
    let tighter = days.into_iter().flatten().reduce(|one, two| (one.0.min(two.0), one.1.min(two.1)));
    let returns = counters.day_requests.returns(now.wall).map(|(at, count)| (at.since(now.wall).as_secs_f64(), count));
    PoolOutlook {
        label: pool.label.clone(),
        per_minute,
        minute_by,
        free,
        concurrency: counters.concurrency.map(|most| most as f64),
        in_flight: f64::from(pool.in_flight),
        day: pool.day(),
        per_day: tighter.map(|(per_day, _)| per_day),
        left_today: if spent { Some(0.0) } else { tighter.map(|(_, left)| left) },
        returns: if tighter.is_some() { merged(returns, 86_400.0) } else { Vec::new() },
    }
}

/// The window that lets the fewest requests of this size through, what one takes of it, and its name.
fn tightest_minute<'a>(counters: &Counters<'a>, need: Need) -> Option<(&'a Window, f64, Constraint)> {
    let windows = [
        (counters.requests, 1, Constraint::RequestsPerMinute),
        (counters.tokens, need.counted(counters.counted), Constraint::TokensPerMinute),
        (counters.input, need.input, Constraint::TokensPerMinute),
        (counters.output, need.output, Constraint::TokensPerMinute),
    ];
    windows
        .into_iter()
        .filter(|(window, amount, _)| window.limit().is_some() && *amount > 0)
        .map(|(window, amount, by)| (window, amount as f64, by))
        .min_by(|one, two| {
            let requests =
                |(window, amount, _): &(&Window, f64, Constraint)| window.limit().unwrap_or(u64::MAX) as f64 / amount;
            requests(one).total_cmp(&requests(two))
        })
}

/// When how many requests of the minute are free. A paced pool opens in steps of its burst.
fn minute_ahead(now: Now, counters: &Counters<'_>, window: &Window, amount: f64, latency: f64) -> Vec<(f64, f64)> {
    let limit = window.limit().unwrap_or_default();
    let used = window.used(now.mono);
    let room = limit.saturating_sub(used) as f64 / amount;
    let mut free = Vec::new();
    match counters.pace.map(super::super::window::Pace::burst) {
        Some(burst) if f64::from(burst) < room => {
            let per_minute = limit as f64 / amount;
            let (step, mut left, mut at) = (f64::from(burst).max(per_minute / PARTS as f64), room, 0.0);
            while left > 0.0 {
                free.push((at, step.min(left)));
                at += 60.0 * step / per_minute;
                left -= step;
            }
        }
        _ => free.push((0.0, room)),
    }
    let mut settled = 0;
    let releases = window.releases(now.mono).map(|(at, count)| {
        settled += count;
        (at.since(now.mono).as_secs_f64(), count)
    });
    free.extend(merged(releases, 60.0).into_iter().map(|(at, count)| (at, count / amount)));
    // What is in flight is held until a minute after its answer.
    let flying = used.saturating_sub(settled) as f64 / amount;
    free.push((60.0 + latency / 2.0, flying));
    free.retain(|(_, count)| *count > 0.0);
    free.sort_by(|one, two| one.0.total_cmp(&two.0));
    free
}

/// Releases within `span` seconds, merged into a few steps; each step opens with its last release.
fn merged(releases: impl Iterator<Item = (f64, u64)>, span: f64) -> Vec<(f64, f64)> {
    let grain = span / PARTS as f64;
    let mut steps: Vec<(f64, f64)> = Vec::new();
    let mut began = f64::NEG_INFINITY;
    for (at, count) in releases {
        match steps.last_mut() {
            Some(step) if at - began < grain => *step = (at, step.1 + count as f64),
            _ => {
                began = at;
                steps.push((at, count as f64));
            }
        }
    }
    steps
}
