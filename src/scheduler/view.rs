//! Gauges and conditions for screens. What is counted over the whole run (ok, failed, latency) is the engine's.

use crate::domain::Outcome;
use crate::domain::{
    Now, QuotaDay, RouteId, WallTime,
    snapshot::{Cause, CauseSource, Condition, CooldownView, Gauge},
};

use super::{
    Scheduler,
    breaker::Breaker,
    cooldown::{Cooldown, Wake},
    standing::Standing,
};

#[derive(Clone, PartialEq, Debug)]
pub struct KeyFacts {
    pub condition: Condition,
    pub health: u8,
    pub in_flight: u32,
}

#[derive(Clone, PartialEq, Debug)]
pub struct ModelFacts {
    pub on: bool,
    pub rpm: Gauge,
    pub tpm: Gauge,
    pub rpd: Gauge,
    pub day: QuotaDay,
    pub day_resets_at: Option<WallTime>,
    pub in_flight: u32,
}

#[derive(Clone, PartialEq, Debug)]
pub struct RouteFacts {
    pub key: usize,
    pub model: usize,
    pub on: bool,
    pub condition: Condition,
    pub rpm: Gauge,
    pub rpd: Gauge,
    pub in_flight: u32,
}

impl Scheduler {
    pub fn route_count(&self) -> usize {
        self.routes.len()
    }

    /// The key and model of a route, as indices into the configuration.
    pub fn route_parts(&self, id: RouteId) -> (usize, usize) {
        let route = &self.routes[id.index()];
        (route.key, route.model)
    }

    /// The names of a route's key and model.
    pub fn route_names(&self, id: RouteId) -> (String, String) {
        let route = &self.routes[id.index()];
        (self.keys[route.key].key.name.clone(), self.models[route.model].model.name.clone())
    }

    pub fn key_facts(&self, now: Now) -> Vec<KeyFacts> {
        self.keys
            .iter()
            .map(|state| {
                let condition = if let Some(since) = state.off {
                    Condition::SwitchedOff { since }
                } else if let Some(cause) = &state.dead {
                    Condition::Disabled { since: cause.since, cause: cause.clone() }
                } else {
                    self.best_condition(now, &state.routes)
                };
                KeyFacts { condition, health: state.health.score(), in_flight: state.in_flight }
            })
            .collect()
    }

    /// A key is as well as its best route, and back as soon as its first.
    fn best_condition(&self, now: Now, routes: &[RouteId]) -> Condition {
        let rank = |condition: &Condition| {
            let class = match condition {
                Condition::Ready => 0,
                Condition::Limited { .. } => 1,
                Condition::CoolingDown { .. } | Condition::CircuitOpen { .. } => 2,
                Condition::Exhausted { .. } => 3,
                Condition::SwitchedOff { .. } => 4,
                Condition::Disabled { .. } => 5,
            };
            (class, condition.until())
        };
        let conditions = routes.iter().map(|route| self.route_condition(now, *route));
        conditions.min_by_key(rank).unwrap_or(Condition::Ready)
    }

    pub fn model_facts(&self, now: Now) -> Vec<ModelFacts> {
        let mut facts: Vec<ModelFacts> = self
            .models
            .iter()
            .map(|state| ModelFacts {
                on: state.off.is_none(),
                rpm: Gauge::default(),
                tpm: Gauge::default(),
                rpd: Gauge::default(),
                day: state.model.limits.quota_day,
                day_resets_at: super::day::next_reset(state.model.limits.quota_day, now.wall)
                    .filter(|_| state.model.limits.rpd.is_some() || state.model.limits.tpd.is_some()),
                in_flight: 0,
            })
            .collect();
        let mut counted = vec![false; self.pools.len() * self.models.len()];
        for route in &self.routes {
            let facts = &mut facts[route.model];
            facts.in_flight += route.in_flight;
            let seen = &mut counted[route.pool * self.models.len() + route.model];
            let usable = self.keys[route.key].dead.is_none() && route.gone.is_none();
            if usable && !std::mem::replace(seen, true) {
                let pool = &self.pools[route.pool];
                add(&mut facts.rpm, pool.requests_gauge(now));
                add(&mut facts.tpm, pool.tokens_gauge(now));
                add(&mut facts.rpd, pool.day_gauge(now));
            }
        }
        facts
    }

    pub fn route_facts(&self, now: Now) -> Vec<RouteFacts> {
        let ids = (0..self.routes.len() as u32).map(RouteId);
        ids.map(|id| {
            let route = &self.routes[id.index()];
            let pool = &self.pools[route.pool];
            RouteFacts {
                key: route.key,
                model: route.model,
                on: route.off.is_none(),
                condition: self.route_condition(now, id),
                rpm: pool.requests_gauge(now),
                rpd: pool.day_gauge(now),
                in_flight: route.in_flight,
            }
        })
        .collect()
    }

    pub fn route_condition(&self, now: Now, id: RouteId) -> Condition {
        match self.standing(now, id) {
            Standing::Ready => Condition::Ready,
            Standing::Off { since } => Condition::SwitchedOff { since },
            Standing::Dead(cause) => Condition::Disabled { since: cause.since, cause: cause.clone() },
            Standing::Cooling(cooldown) => {
                Condition::CoolingDown { until: until_wall(now, cooldown), cause: cooldown.cause.clone() }
            }
            Standing::Spent(cooldown) => {
                Condition::Exhausted { until: until_wall(now, cooldown), cause: cooldown.cause.clone() }
            }
            Standing::DayFull { until, used, limit } => {
                Condition::Exhausted { until, cause: measured(now, used, limit) }
            }
            Standing::Broken { until, cause } => {
                Condition::CircuitOpen { until: now.wall + until.mono.since(now.mono), cause: cause.clone() }
            }
            Standing::Full { what, wake } => {
                let until = match wake {
                    Wake::Mono(at) => Some(now.wall + at.since(now.mono)),
                    Wake::Wall(at) => Some(at),
                    Wake::Settle | Wake::Operator => None,
                };
                Condition::Limited { limit: what.words().to_owned(), until }
            }
        }
    }

    /// Every timer that runs, the first to end first.
    pub fn cooldowns(&self, now: Now) -> Vec<CooldownView> {
        let mut views = Vec::new();
        let mut push = |what: &str, cooldown: &Cooldown| {
            if !cooldown.over(now) {
                views.push(CooldownView {
                    subject: what.to_owned(),
                    started_at: cooldown.since.wall,
                    until: until_wall(now, cooldown),
                    cause: cooldown.cause.clone(),
                });
            }
        };
        for pool in &self.pools {
            pool.cooldown.iter().chain(&pool.spent).for_each(|cooldown| push(&pool.label, cooldown));
        }
        for project in &self.projects {
            project.billing.iter().for_each(|cooldown| push(&project.name, cooldown));
        }
        for provider in &self.providers {
            provider.hold.iter().for_each(|cooldown| push(&provider.name, cooldown));
        }
        for pool in &self.pools {
            let said = pool.spent.as_ref().is_some_and(|spent| !spent.over(now));
            if let (false, Some(super::pool::Block::DayFull { until, used, limit })) = (said, pool.block(now)) {
                views.push(CooldownView {
                    subject: pool.label.clone(),
                    started_at: now.wall,
                    until,
                    cause: measured(now, used, limit),
                });
            }
        }
        for (index, route) in self.routes.iter().enumerate() {
            if let Breaker::Open { since, until, cause, .. } = &route.breaker
                && until.mono > now.mono
            {
                views.push(CooldownView {
                    subject: self.route_name(RouteId(index as u32)),
                    started_at: since.wall,
                    until: now.wall + until.mono.since(now.mono),
                    cause: cause.clone(),
                });
            }
        }
        views.sort_by_key(|view| view.until);
        views
    }
}

/// The deadline on today's wall: a span that runs on the monotonic clock ends when that does.
fn until_wall(now: Now, cooldown: &Cooldown) -> WallTime {
    if cooldown.calendar { cooldown.until.wall } else { now.wall + cooldown.until.mono.since(now.mono) }
}

fn measured(now: Now, used: u64, limit: u64) -> Cause {
    Cause {
        outcome: Outcome::QuotaExhaustedDay,
        source: CauseSource::Measured,
        message: format!("{used} of {limit} used today by our own count"),
        since: now.wall,
    }
}

fn add(sum: &mut Gauge, gauge: Gauge) {
    sum.used += gauge.used;
    sum.limit = match (sum.limit, gauge.limit) {
        (Some(one), Some(two)) => Some(one + two),
        (one, two) => one.or(two),
    };
    // A sum is as certain as its least certain part.
    sum.source = sum.source.max(gauge.source);
}
