//! The state for screens: gauges and conditions, and what limits the run. The engine keeps the totals of the run (ok,
//! failed, latency).

use crate::{
    domain::{
        ModelId, Now, Outcome, ProviderId, QuotaDay, RouteId, RouteTarget, WallTime,
        bottleneck::{Bottleneck, BottleneckShare},
        snapshot::{BackoffWait, Cause, CauseSource, Condition, CooldownView, Gauge, PoolView, ProviderOutage},
    },
    forecast::{Assumptions, ForecastInput},
};

use super::{
    Scheduler,
    admission::{Availability, Cooldown, LimitKind, daily_limit_cause},
    forecast_input::ForecastSource,
    health::breaker::Breaker,
    limits::pool::QuotaPool,
    stall::{StallCheck, StallReason},
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
        self.fleet.routes().len()
    }

    /// The key and model of a route, as indices into the configuration.
    pub fn route_indices(&self, id: RouteId) -> (usize, usize) {
        let route = self.fleet.route(id);
        (route.key.index(), route.model.index())
    }

    pub fn key_and_model_names(&self, id: RouteId) -> (String, String) {
        (self.fleet.key_of(id).key.name.clone(), self.fleet.model_of(id).name.clone())
    }

    /// The model of this name of this provider.
    pub fn find_model(&self, provider: &str, model: &str) -> Option<ModelId> {
        self.fleet.find_model(provider, model)
    }

    pub fn key_statuses(&self, now: Now) -> Vec<KeyStatus> {
        self.fleet
            .keys()
            .iter()
            .map(|state| {
                let condition = if let Some(since) = state.switched_off_at {
                    Condition::SwitchedOff { since }
                } else if let Some(cause) = &state.disabled {
                    Condition::Disabled { since: cause.since, cause: cause.clone() }
                } else {
                    self.best_condition(now, state.routes())
                };
                KeyStatus { condition, health: state.health.score(), in_flight: state.in_flight() }
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
            .fleet
            .models()
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
        let model_count = statuses.len();
        let mut counted = vec![false; self.fleet.pools().len() * model_count];
        for route in self.fleet.routes() {
            let status = &mut statuses[route.model.index()];
            status.in_flight += route.in_flight();
            let is_counted = &mut counted[route.pool.index() * model_count + route.model.index()];
            let is_usable = self.fleet.key(route.key).disabled.is_none() && route.unavailable.is_none();
            if is_usable && !std::mem::replace(is_counted, true) {
                let pool = self.fleet.pool(route.pool);
                status.rpm += pool.requests_gauge(now);
                status.tpm += pool.tokens_gauge(now);
                status.rpd += pool.day_gauge(now);
            }
        }
        statuses
    }

    pub fn route_statuses(&self, now: Now) -> Vec<RouteStatus> {
        let status = |id| {
            let route = self.fleet.route(id);
            let pool = self.fleet.pool(route.pool);
            RouteStatus {
                key: route.key.index(),
                model: route.model.index(),
                is_switched_on: route.switched_off_at.is_none(),
                condition: self.route_condition(now, id),
                rpm: pool.requests_gauge(now),
                rpd: pool.day_gauge(now),
                in_flight: route.in_flight(),
            }
        };
        self.fleet.route_ids().map(status).collect()
    }

    pub fn route_condition(&self, now: Now, id: RouteId) -> Condition {
        let availability = self.fleet.availability(now, id);
        let condition = availability.condition(now);
        match (condition, self.fleet.pool_of(id).limits.slow_start_limit()) {
            (Condition::Limited { limit, until }, Some(in_flight))
                if availability.limit_kind() == Some(LimitKind::SlowStart) =>
            {
                Condition::Limited { limit: format!("{limit} (now {in_flight})"), until }
            }
            (condition, _) => condition,
        }
    }

    /// The quota pools that have routes, with their known limits.
    pub fn pool_views(&self, now: Now) -> Vec<PoolView> {
        let view = |pool: &QuotaPool| {
            let provider = self.fleet.provider_of(*pool.routes.first()?).name.clone();
            let quotas = pool.quota_gauges(now).into_iter().filter(|(_, gauge)| gauge.limit.is_some()).collect();
            Some(PoolView { provider, name: pool.label.clone(), quotas })
        };
        self.fleet.pools().iter().filter_map(view).collect()
    }

    /// The number of items in a retry delay.
    pub fn backing_off_count(&self) -> u64 {
        self.queue.backoff().len() as u64
    }

    /// The run's bottleneck now; `None` before the first one.
    pub fn current_bottleneck(&self) -> Option<Bottleneck> {
        self.bottlenecks.current()
    }

    /// The providers that are down.
    pub fn outages(&self, now: Now) -> Vec<ProviderOutage> {
        self.fleet.provider_ids().filter_map(|id| self.fleet.outage(now, id)).collect()
    }

    /// Number of requests to a provider that have failed one after another.
    pub fn failed_in_a_row(&self, provider: ProviderId) -> u64 {
        self.fleet.failed_in_a_row(provider)
    }

    /// All running cooldowns and open breakers, sorted by their end. Those of a provider that is down are one.
    pub fn cooldowns(&self, now: Now) -> Vec<CooldownView> {
        let mut views = Vec::new();
        let mut push = |subject: &str, started_at: WallTime, until: WallTime, cause: &Cause| {
            views.push(CooldownView { subject: subject.to_owned(), started_at, until, cause: cause.clone() });
        };
        let pools = self.fleet.pools().iter().map(|pool| (&pool.label, [&pool.cooldown, &pool.day_cooldown]));
        let of_pools = pools.flat_map(|(label, slots)| slots.map(|slot| (label, slot.as_ref())));
        let of_projects = self.fleet.projects().iter().map(|project| (&project.name, project.out_of_credit.as_ref()));
        let providers = self.fleet.providers().iter();
        let outages = self.outages(now);
        let is_down = |name: &str| outages.iter().any(|outage| outage.provider == name);
        let of_providers = providers
            .filter(|provider| !is_down(&provider.name))
            .map(|provider| (&provider.name, provider.connection.unreachable()));
        for (subject, slot) in of_pools.chain(of_projects).chain(of_providers) {
            if let Some(cooldown) = Cooldown::running(slot, now) {
                push(subject, cooldown.since.wall, cooldown.deadline().to_wall(now), &cooldown.cause);
            }
        }
        for pool in self.fleet.pools() {
            // If the provider said so, the pool is exhausted instead.
            if let Availability::DailyLimitReached { until, used, limit } = pool.availability(now) {
                push(&pool.label, now.wall, until, &daily_limit_cause(now, used, limit));
            }
        }
        for id in self.fleet.route_ids() {
            if let Breaker::Open { since, until, cause, .. } = &self.fleet.route(id).breaker
                && until.mono > now.mono
                && !is_down(&self.fleet.provider_of(id).name)
            {
                push(&self.fleet.route_name(id), since.wall, now.wall + until.mono.since(now.mono), cause);
            }
        }
        for outage in &outages {
            if let Some(until) = outage.next_trial {
                let message = outage.summary();
                let (outcome, source) = (outage.last_outcome, CauseSource::Backoff);
                let cause = Cause { outcome, source, message, since: outage.since, status: None };
                push(&outage.provider, outage.since, until, &cause);
            }
        }
        views.sort_by_key(|view| view.until);
        views
    }

    /// The input of a forecast.
    pub fn forecast_input(&self, now: Now, assumptions: &Assumptions) -> ForecastInput {
        let in_flight: Vec<_> = self.reservations.values().map(|one| (one.route, one.max_cost)).collect();
        let (view, in_flight) = (self.view(), &in_flight);
        ForecastSource { now, view, queue: &self.queue, routing: &self.routing, in_flight, assumptions }.input()
    }

    /// Why waiting items are not sent. Checks all candidates, so call it only when nothing moves.
    pub fn stall_reason(&self, now: Now) -> StallReason {
        if !self.reservations.is_empty() {
            return StallReason::Working;
        }
        if self.unfinished_items() == 0 {
            return StallReason::NothingToDo;
        }
        let next_wakeup = self.next_wakeup().map(|at| now.wall + at.since(now.mono));
        StallCheck { now, view: self.view(), queue: &self.queue, routing: &self.routing, next_wakeup }.reason()
    }

    /// Whether some route waits for the operator after identical rejections.
    pub fn needs_operator(&self) -> bool {
        self.fleet.routes().iter().any(|route| route.needs_operator.is_some())
    }

    /// The outcome that makes the target permanently unusable, if all of its routes are disabled.
    pub fn permanent_failure(&self, now: Now, target: &RouteTarget) -> Option<Outcome> {
        let mut cause = None;
        for id in self.fleet.route_ids().filter(|id| self.fleet.matches_target(*id, target)) {
            let Availability::Disabled(disabled) = self.fleet.availability(now, id) else { return None };
            cause = cause.or(Some(disabled.outcome));
        }
        cause
    }

    /// The running cooldown of the route's pool, if it is by the backoff schedule: the step of the schedule, counted
    /// from 1, and its end and reason. After the last step, the number stays that of the last step.
    pub fn running_backoff(&self, now: Now, route: RouteId) -> Option<(u32, BackoffWait)> {
        let pool = self.fleet.pool_of(route);
        let cooldown = Cooldown::running(pool.cooldown.as_ref(), now)?;
        let Cause { outcome, source, status, .. } = cooldown.cause;
        let step = pool.backoff_step.clamp(1, self.policy.backoff.len().max(1)) as u32;
        let wait = BackoffWait { until: cooldown.deadline().to_wall(now), outcome, status };
        (source == CauseSource::Backoff).then_some((step, wait))
    }

    /// The bottlenecks of the run over the last five minutes, the largest share first.
    pub fn run_bottlenecks(&mut self, now: Now) -> Vec<BottleneckShare> {
        self.bottlenecks.tick(now.mono);
        self.bottlenecks.run_shares()
    }

    /// The bottlenecks of a route over the last five minutes, the largest share first.
    pub fn route_bottlenecks(&mut self, now: Now, route: RouteId) -> Vec<BottleneckShare> {
        self.bottlenecks.tick(now.mono);
        self.bottlenecks.route_shares(route)
    }

    /// `model@key`.
    pub fn route_name(&self, route: RouteId) -> String {
        self.fleet.route_name(route)
    }
}
