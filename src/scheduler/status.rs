//! Copies of the state: gauges and conditions for screens, and the input of a forecast. The engine keeps the totals of
//! the run (ok, failed, latency).

use std::time::Duration;

use crate::{
    domain::{
        Now, OnExhausted, Outcome, QuotaDay, RouteId, WallTime,
        snapshot::{Cause, CauseSource, Condition, CooldownView, Gauge},
    },
    forecast::{
        ASSUMED_LATENCY, Assumptions, BudgetCap, BudgetInput, ClassInput, ForecastInput, ForecastRoute, KeyInput,
        ModelInput,
    },
};

use super::{
    Scheduler,
    availability::Availability,
    cooldown::Cooldown,
    health::breaker::Breaker,
    limits::pool::{QuotaPool, TokenEstimate},
    routing::model_score::TYPICAL_OUTPUT_TOKENS,
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
            Availability::Limited { kind, admission } => {
                let until = admission.deadline().map(|deadline| deadline.to_wall(now));
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
            if let (false, Availability::DailyLimitReached { until, used, limit }) =
                (is_exhausted_by_provider, pool.availability(now))
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
            pool.forecast_input(now, estimate, latency_by_pool[index])
        };
        let committed = self.run_spend.spent + self.run_spend.reserved + self.run_spend.at_risk;
        ForecastInput {
            now: now.wall,
            max_in_flight: self.policy.max_in_flight,
            in_flight_now: self.reservations.len() as u32,
            when_limited: self.policy.when_limited,
            spill_to: self.policy.spill_to,
            stops_when_exhausted: self.policy.on_exhausted == OnExhausted::Stop,
            budget: BudgetInput {
                total: BudgetCap::new(self.policy.max_usd, committed),
                ..self.day_budget.forecast_input(now.wall)
            },
            requests_per_item: assumptions.requests_per_item.max(1.0),
            keys: self
                .keys
                .iter()
                .map(|state| KeyInput {
                    name: state.key.name.clone(),
                    kind: (state.key.provider.index(), state.key.models.clone()),
                    budget: state.budget.forecast_input(now.wall),
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
