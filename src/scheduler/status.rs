//! Gauges and conditions for screens. The engine keeps the totals of the run (ok, failed, latency).

use crate::domain::Outcome;
use crate::domain::{
    Now, QuotaDay, RouteId, WallTime,
    snapshot::{Cause, CauseSource, Condition, CooldownView, Gauge},
};

use super::{
    Scheduler,
    fleet::availability::Availability,
    health::breaker::Breaker,
    limits::cooldown::{Cooldown, Wakeup},
};

#[derive(Clone, PartialEq, Debug)]
pub struct KeyStatus {
    pub condition: Condition,
    pub health: u8,
    pub in_flight: u32,
}

#[derive(Clone, PartialEq, Debug)]
pub struct ModelStatus {
    pub is_switched_on: bool,
    pub rpm: Gauge,
    pub tpm: Gauge,
    pub rpd: Gauge,
    pub day: QuotaDay,
    pub day_resets_at: Option<WallTime>,
    pub in_flight: u32,
}

#[derive(Clone, PartialEq, Debug)]
pub struct RouteStatus {
    pub key: usize,
    pub model: usize,
    pub is_switched_on: bool,
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
    pub fn route_indices(&self, id: RouteId) -> (usize, usize) {
        let route = &self.routes[id.index()];
        (route.key, route.model)
    }

    pub fn key_and_model_names(&self, id: RouteId) -> (String, String) {
        let route = &self.routes[id.index()];
        (self.keys[route.key].key.name.clone(), self.models[route.model].model.name.clone())
    }

    pub fn key_statuses(&self, now: Now) -> Vec<KeyStatus> {
        self.keys
            .iter()
            .map(|state| {
                let condition = if let Some(since) = state.switched_off_at {
                    Condition::SwitchedOff { since }
                } else if let Some(cause) = &state.disabled {
                    Condition::Disabled { since: cause.since, cause: cause.clone() }
                } else {
                    self.best_condition(now, &state.routes)
                };
                KeyStatus { condition, health: state.health.score(), in_flight: state.in_flight }
            })
            .collect()
    }

    /// The condition of a key: that of its best route. Among equally good routes, the one whose condition ends first
    /// counts.
    fn best_condition(&self, now: Now, routes: &[RouteId]) -> Condition {
        let rank = |condition: &Condition| {
            let severity = match condition {
                Condition::Ready => 0,
                Condition::Limited { .. } => 1,
                Condition::CoolingDown { .. } | Condition::CircuitOpen { .. } => 2,
                Condition::Exhausted { .. } => 3,
                Condition::SwitchedOff { .. } => 4,
                Condition::Disabled { .. } => 5,
            };
            (severity, condition.until())
        };
        let conditions = routes.iter().map(|route| self.route_condition(now, *route));
        conditions.min_by_key(rank).unwrap_or(Condition::Ready)
    }

    pub fn model_statuses(&self, now: Now) -> Vec<ModelStatus> {
        let mut statuses: Vec<ModelStatus> = self
            .models
            .iter()
            .map(|state| ModelStatus {
                is_switched_on: state.switched_off_at.is_none(),
                rpm: Gauge::default(),
                tpm: Gauge::default(),
                rpd: Gauge::default(),
                day: state.model.limits.quota_day,
                day_resets_at: (state.model.limits.quota_day.next_reset(now.wall))
                    .filter(|_| state.model.limits.rpd.is_some() || state.model.limits.tpd.is_some()),
                in_flight: 0,
            })
            .collect();
        let mut counted = vec![false; self.pools.len() * self.models.len()];
        for route in &self.routes {
            let status = &mut statuses[route.model];
            status.in_flight += route.in_flight;
            let is_counted = &mut counted[route.pool * self.models.len() + route.model];
            let is_usable = self.keys[route.key].disabled.is_none() && route.unavailable.is_none();
            if is_usable && !std::mem::replace(is_counted, true) {
                let pool = &self.pools[route.pool];
                add_gauge(&mut status.rpm, pool.requests_gauge(now));
                add_gauge(&mut status.tpm, pool.tokens_gauge(now));
                add_gauge(&mut status.rpd, pool.day_gauge(now));
            }
        }
        statuses
    }

    pub fn route_statuses(&self, now: Now) -> Vec<RouteStatus> {
        let ids = (0..self.routes.len() as u32).map(RouteId);
        ids.map(|id| {
            let route = &self.routes[id.index()];
            let pool = &self.pools[route.pool];
            RouteStatus {
                key: route.key,
                model: route.model,
                is_switched_on: route.switched_off_at.is_none(),
                condition: self.route_condition(now, id),
                rpm: pool.requests_gauge(now),
                rpd: pool.day_gauge(now),
                in_flight: route.in_flight,
            }
        })
        .collect()
    }

    pub fn route_condition(&self, now: Now, id: RouteId) -> Condition {
        match self.availability(now, id) {
            Availability::Ready => Condition::Ready,
            Availability::SwitchedOff { since } => Condition::SwitchedOff { since },
            Availability::Disabled(cause) => Condition::Disabled { since: cause.since, cause: cause.clone() },
            Availability::CoolingDown(cooldown) => {
                Condition::CoolingDown { until: until_wall(now, cooldown), cause: cooldown.cause.clone() }
            }
            Availability::Exhausted(cooldown) => {
                Condition::Exhausted { until: until_wall(now, cooldown), cause: cooldown.cause.clone() }
            }
            Availability::DailyLimitReached { until, used, limit } => {
                Condition::Exhausted { until, cause: daily_limit_cause(now, used, limit) }
            }
            Availability::CircuitOpen { until, cause } => {
                Condition::CircuitOpen { until: now.wall + until.mono.since(now.mono), cause: cause.clone() }
            }
            Availability::Limited { kind, wakeup } => {
                let until = match wakeup {
                    Wakeup::Mono(at) => Some(now.wall + at.since(now.mono)),
                    Wakeup::Wall(at) => Some(at),
                    Wakeup::OnCompletion | Wakeup::OnOperator => None,
                };
                Condition::Limited { limit: kind.label().to_owned(), until }
            }
        }
    }

    /// All running cooldowns and open breakers, sorted by their end.
    pub fn cooldowns(&self, now: Now) -> Vec<CooldownView> {
        let mut views = Vec::new();
        let mut push = |subject: &str, cooldown: &Cooldown| {
            if !cooldown.is_over(now) {
                views.push(CooldownView {
                    subject: subject.to_owned(),
                    started_at: cooldown.since.wall,
                    until: until_wall(now, cooldown),
                    cause: cooldown.cause.clone(),
                });
            }
        };
        for pool in &self.pools {
            pool.cooldown.iter().chain(&pool.day_exhausted).for_each(|cooldown| push(&pool.label, cooldown));
        }
        for project in &self.projects {
            project.out_of_credit.iter().for_each(|cooldown| push(&project.name, cooldown));
        }
        for provider in &self.providers {
            provider.unreachable.iter().for_each(|cooldown| push(&provider.name, cooldown));
        }
        for pool in &self.pools {
            let is_exhausted_by_provider = pool.day_exhausted.as_ref().is_some_and(|cooldown| !cooldown.is_over(now));
            if let (false, Some(crate::scheduler::limits::pool::PoolBlock::DailyLimitReached { until, used, limit })) =
                (is_exhausted_by_provider, pool.current_block(now))
            {
                views.push(CooldownView {
                    subject: pool.label.clone(),
                    started_at: now.wall,
                    until,
                    cause: daily_limit_cause(now, used, limit),
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

/// The end of a cooldown by the current wall clock. A cooldown that ends by the monotonic clock is converted.
fn until_wall(now: Now, cooldown: &Cooldown) -> WallTime {
    if cooldown.ends_by_calendar { cooldown.until.wall } else { now.wall + cooldown.until.mono.since(now.mono) }
}

fn daily_limit_cause(now: Now, used: u64, limit: u64) -> Cause {
    Cause {
        outcome: Outcome::QuotaExhaustedDay,
        source: CauseSource::Measured,
        message: format!("{used} of {limit} used today by our own count"),
        since: now.wall,
    }
}

fn add_gauge(sum: &mut Gauge, gauge: Gauge) {
    sum.used += gauge.used;
    sum.limit = match (sum.limit, gauge.limit) {
        (Some(one), Some(two)) => Some(one + two),
        (one, two) => one.or(two),
    };
    // The source of a sum is that of its least certain part.
    sum.source = sum.source.max(gauge.source);
}
