//! The forecast: the scheduler's own limits, run ahead of the clock with what is left to do.
//!
//! [`Scheduler::forecast_input`](super::Scheduler::forecast_input) copies the state into plain data (`outlook`);
//! [`forecast`] reckons on that copy, wherever the caller likes, with the same windows, days, cooldowns and caps as
//! dispatch itself (`flow`). It works on classes of items and on amounts, not on each item, so its cost goes by
//! pools and days ahead: some milliseconds for ten million items over a thousand routes.
//!
//! Strategies order the ready routes; which of them is taken first changes the cost a little and the end hardly, so
//! the cascade's order stands for all of them.

mod flow;
mod outlook;

use std::time::Duration;

use crate::domain::{
    Money, WallTime,
    forecast::{BeforeReset, Constraint, ConstraintShare, Forecast, ForecastStop, KeySaving, QuotaExhaustion},
};

use flow::{Course, Flow};

pub use outlook::{
    ASSUMED_LATENCY, Assumptions, Cap, ClassOutlook, ForecastInput, KeyOutlook, Lane, ModelOutlook, PoolOutlook,
    PurseOutlook,
};

/// How far answers may differ from the assumed: faster, and slower or larger.
const KINDLY: f64 = 0.7;
const UNKINDLY: f64 = 1.5;
/// How far the reckoning itself may be off: a share of the whole, and a turn of a window.
const BLUR: f64 = 0.01;
const TURN: f64 = 62.0;
/// Kinds of keys that one more is tried of.
const KINDS: usize = 3;

/// A forecast and what it is made of.
#[derive(Clone, PartialEq, Debug)]
pub struct Reckoning {
    pub forecast: Forecast,
    /// Items by lane of the input.
    pub loads: Vec<f64>,
}

/// Reckons ahead. Blocking work of some milliseconds: not for the engine's task.
pub fn forecast(input: &ForecastInput) -> Reckoning {
    let likely = Flow::new(input).run();
    let blur = likely.finish * BLUR + (likely.finish * 0.1).clamp(1.0, TURN);
    let early = Flow::new(&varied(input, KINDLY, 1.0)).run().finish.min(likely.finish - blur);
    let late = Flow::new(&varied(input, UNKINDLY, 1.05)).run().finish.max(likely.finish + blur);
    let wall = |seconds: f64| at(input.now, seconds);
    let items: f64 = input.classes.iter().map(|class| class.items).sum();
    let stop = |(when, reason, left, returns): (f64, _, f64, Option<f64>)| ForecastStop {
        at: wall(when).unwrap_or(input.now),
        reason,
        items_left: left.ceil() as u64,
        resumes_at: returns.and_then(wall),
    };
    let forecast = Forecast {
        at: input.now,
        items: items as u64 + u64::from(input.flying),
        finish: wall(likely.finish),
        earliest_finish: wall(early),
        latest_finish: wall(late),
        stop: likely.stop.map(stop),
        constraints: binds(input, &likely),
        first_exhausted: likely.runs_out.map(|(pool, when, returns)| QuotaExhaustion {
            pool: input.pools[pool].label.clone(),
            at: wall(when).unwrap_or(input.now),
            resets_at: returns.and_then(wall),
        }),
        before_reset: likely.before_reset.and_then(|(when, items)| {
            Some(BeforeReset { at: wall(when)?, items: items.floor() as u64 + u64::from(input.flying) })
        }),
        savings: savings(input, likely.finish),
        input_tokens: likely.input_tokens.round() as u64,
        output_tokens: likely.output_tokens.round() as u64,
        cost: Money::from_usd(likely.usd).unwrap_or_default(),
        has_unpriced_items: likely.unpriced,
    };
    Reckoning { forecast, loads: likely.loads }
}

/// Seconds ahead as an instant; `None` beyond what a calendar is good for.
fn at(now: WallTime, seconds: f64) -> Option<WallTime> {
    const CENTURIES: f64 = 500.0 * 366.0 * 86_400.0;
    (seconds < CENTURIES).then(|| now + Duration::from_secs_f64(seconds.max(0.0)))
}

fn binds(input: &ForecastInput, course: &Course) -> Vec<ConstraintShare> {
    let total: f64 = course.binds.iter().map(|(_, seconds, _)| seconds).sum();
    let bind = |(what, seconds, pool): &(Constraint, f64, Option<usize>)| ConstraintShare {
        constraint: *what,
        pool: pool.map(|pool| input.pools[pool].label.clone()),
        share: seconds / total,
    };
    course.binds.iter().map(bind).collect()
}

/// The same with answers that take `slower` times as long, and items that take `harder` times the requests.
fn varied(input: &ForecastInput, slower: f64, harder: f64) -> ForecastInput {
    let mut varied = input.clone();
    varied.models.iter_mut().for_each(|model| model.latency *= slower);
    varied.effort *= harder;
    // Token windows go by estimates as well.
    for pool in varied.pools.iter_mut().filter(|pool| pool.minute_by == Constraint::TokensPerMinute) {
        pool.per_minute = pool.per_minute.map(|per_minute| per_minute / slower.sqrt());
        pool.free.iter_mut().for_each(|(_, amount)| *amount /= slower.sqrt());
    }
    varied
}

/// What one more key of each kind would save, the most useful first.
fn savings(input: &ForecastInput, finish: f64) -> Vec<KeySaving> {
    let mut kinds: Vec<usize> = Vec::new();
    for (index, key) in input.keys.iter().enumerate() {
        if kinds.len() < KINDS && kinds.iter().all(|other| input.keys[*other].kind != key.kind) {
            kinds.push(index);
        }
    }
    let mut savings: Vec<(f64, KeySaving)> = kinds
        .into_iter()
        .filter_map(|key| {
            let richer = Flow::new(&with_one_more(input, key)?).run().finish;
            let time_saved = (finish.is_finite() && richer.is_finite())
                .then(|| Duration::from_secs_f64((finish - richer).clamp(0.0, 1e11)));
            let saving =
                KeySaving { similar_to: input.keys[key].name.clone(), finish: at(input.now, richer), time_saved };
            Some((richer, saving))
        })
        .collect();
    savings.sort_by(|one, two| one.0.total_cmp(&two.0));
    savings.into_iter().map(|(_, saving)| saving).collect()
}

/// The fleet with a fresh key like `key`, in a project of its own. `None` where such a key serves no model.
fn with_one_more(input: &ForecastInput, key: usize) -> Option<ForecastInput> {
    let mut richer = input.clone();
    let like = &input.keys[key];
    let twin = KeyOutlook { purse: like.purse.untouched(), ..like.clone() };
    richer.keys.push(twin);
    let mut pools: Vec<(usize, usize)> = Vec::new();
    let mut lanes = Vec::new();
    for (index, lane) in input.lanes.iter().enumerate().filter(|(_, lane)| lane.key == key) {
        let known = pools.iter().find(|(old, _)| *old == lane.pool).map(|(_, new)| *new);
        let pool = known.unwrap_or_else(|| {
            let fresh = fresh(&input.pools[lane.pool]);
            richer.pools.push(fresh);
            pools.push((lane.pool, richer.pools.len() - 1));
            richer.pools.len() - 1
        });
        richer.lanes.push(Lane { key: input.keys.len(), pool, opens: Some(0.0), ..lane.clone() });
        lanes.push((index as u32, richer.lanes.len() as u32 - 1));
    }
    for class in &mut richer.classes {
        // A lane that is out has no place in the class, but its twin may.
        let serves = |twin: &u32| class.models[richer.lanes[*twin as usize].model];
        class.lanes.extend(lanes.iter().map(|(_, twin)| *twin).filter(serves));
    }
    (!lanes.is_empty()).then_some(richer)
}

fn fresh(pool: &PoolOutlook) -> PoolOutlook {
    PoolOutlook {
        free: pool.per_minute.map(|per_minute| (0.0, per_minute)).into_iter().collect(),
        in_flight: 0.0,
        left_today: pool.per_day,
        returns: Vec::new(),
        ..pool.clone()
    }
}
