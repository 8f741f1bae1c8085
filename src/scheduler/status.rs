//! Copies of the state: gauges and conditions for screens, why the run is stalled, and the input of a forecast. The
//! engine keeps the totals of the run (ok, failed, latency).

use std::{fmt, time::Duration};

use crate::{
    domain::{
        KeyId, Money, Now, OnExhausted, Outcome, QuotaDay, RouteId, RouteTarget, WallTime,
        bottleneck::BottleneckShare,
        plural,
        snapshot::{Condition, CooldownView, Gauge},
    },
    forecast::{
        ASSUMED_LATENCY, Assumptions, BudgetCap, BudgetInput, ClassInput, ForecastInput, ForecastRoute, KeyInput,
        ModelInput,
    },
};

use super::{
    Scheduler,
    admission::{Admission, Availability, Cooldown, daily_limit_cause},
    fleet::TYPICAL_OUTPUT_TOKENS,
    health::breaker::Breaker,
    limits::{pool::QuotaPool, pool_limits::TokenEstimate},
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

/// Why nothing is being sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StallReason {
    /// Something can be sent or is in flight.
    Working,
    /// No item is waiting.
    NothingToDo,
    /// All routes are unavailable until `at`; `reason` names the first one to become available.
    WaitingUntil { at: WallTime, reason: String },
    /// Everything usable is switched off, so only the operator can help.
    SwitchedOff,
    /// The worst-case cost of every waiting item exceeds the money left. `min_cost` is the lowest of these costs.
    Budget { min_cost: Option<Money> },
    /// Every candidate of every waiting item is out of daily quota, out of credit or disabled. `resumes_at` is the
    /// first reset; `None` if all are disabled.
    Exhausted { resumes_at: Option<WallTime>, reason: String },
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
                add_gauge(&mut status.rpm, pool.requests_gauge(now));
                add_gauge(&mut status.tpm, pool.tokens_gauge(now));
                add_gauge(&mut status.rpd, pool.day_gauge(now));
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
        self.fleet.availability(now, id).condition(now)
    }

    /// All running cooldowns and open breakers, sorted by their end.
    pub fn cooldowns(&self, now: Now) -> Vec<CooldownView> {
        let mut views = Vec::new();
        let mut push = |subject: &str, cooldown: &Cooldown| {
            if !cooldown.is_over(now) {
                views.push(CooldownView {
                    subject: subject.to_owned(),
                    started_at: cooldown.since.wall,
                    until: cooldown.deadline().to_wall(now),
                    cause: cooldown.cause.clone(),
                });
            }
        };
        for pool in self.fleet.pools() {
            pool.cooldown.iter().chain(&pool.day_exhausted).for_each(|cooldown| push(&pool.label, cooldown));
        }
        for project in self.fleet.projects() {
            project.out_of_credit.iter().for_each(|cooldown| push(&project.name, cooldown));
        }
        for provider in self.fleet.providers() {
            provider.connection.unreachable().into_iter().for_each(|cooldown| push(&provider.name, cooldown));
        }
        for pool in self.fleet.pools() {
            // If the provider said so, the pool is exhausted instead.
            if let Availability::DailyLimitReached { until, used, limit } = pool.availability(now) {
                views.push(CooldownView {
                    subject: pool.label.clone(),
                    started_at: now.wall,
                    until,
                    cause: daily_limit_cause(now, used, limit),
                });
            }
        }
        for id in self.fleet.route_ids() {
            if let Breaker::Open { since, until, cause, .. } = &self.fleet.route(id).breaker
                && until.mono > now.mono
            {
                views.push(CooldownView {
                    subject: self.fleet.route_name(id),
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
        let mut index_by_route = vec![0_u32; self.route_count()];
        let forecast_routes: Vec<ForecastRoute> = self
            .routing
            .ranking()
            .iter()
            .enumerate()
            .map(|(index, id)| {
                index_by_route[id.index()] = index as u32;
                let route = self.fleet.route(*id);
                ForecastRoute {
                    key: route.key.index(),
                    model: route.model.index(),
                    pool: route.pool.index(),
                    available_in: self.route_available_in(now, *id),
                }
            })
            .collect();
        let classes = self.class_inputs(assumptions, &forecast_routes, &index_by_route);
        let items: f64 = classes.iter().map(|class| class.items).sum();
        let mean_input =
            classes.iter().map(|class| class.items * class.mean_input_tokens).sum::<f64>() / items.max(1.0);
        let mut output_by_pool = vec![0.0; self.fleet.pools().len()];
        let mut latency_by_pool = vec![0.0; self.fleet.pools().len()];
        for route in &forecast_routes {
            output_by_pool[route.pool] = models[route.model].mean_output_tokens;
            latency_by_pool[route.pool] = models[route.model].latency_secs;
        }
        let to_pool_input = |(index, pool): (usize, &QuotaPool)| {
            let estimate =
                TokenEstimate { input: mean_input.ceil() as u64, output: f64::ceil(output_by_pool[index]) as u64 };
            pool.forecast_input(now, estimate, latency_by_pool[index])
        };
        ForecastInput {
            now: now.wall,
            max_in_flight: self.policy.max_in_flight,
            in_flight_now: self.reservations.len() as u32,
            when_limited: self.policy.when_limited,
            spill_to: self.policy.spill_to,
            stops_when_exhausted: self.policy.on_exhausted == OnExhausted::Stop,
            budget: BudgetInput {
                total: BudgetCap::new(self.policy.max_usd, self.budget.spend().committed()),
                ..self.budget.day().forecast_input(now.wall)
            },
            requests_per_item: assumptions.requests_per_item.max(1.0),
            keys: self.fleet.key_ids().map(|id| self.key_input(now, id)).collect(),
            models,
            pools: self.fleet.pools().iter().enumerate().map(to_pool_input).collect(),
            routes: forecast_routes,
            cursor: self.routing.cursor(),
            classes,
        }
    }

    fn key_input(&self, now: Now, id: KeyId) -> KeyInput {
        let key = &self.fleet.key(id).key;
        KeyInput {
            name: key.name.clone(),
            kind: (key.provider.index(), key.models.clone()),
            budget: self.budget.key(id).map(|budget| budget.forecast_input(now.wall)).unwrap_or_default(),
        }
    }

    fn model_inputs(&self, assumptions: &Assumptions) -> Vec<ModelInput> {
        // A model that has not answered yet is assumed to be like those that have.
        let measured: Vec<Duration> = assumptions.latency_by_model.iter().copied().flatten().collect();
        let default_latency = match measured.len() as u32 {
            0 => ASSUMED_LATENCY,
            count => measured.iter().sum::<Duration>() / count,
        };
        self.fleet
            .models()
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
        let availability = self.fleet.availability(now, id);
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
        let backing_off = self.queue.backoff_counts();
        let classes = self.queue.classes().iter().zip(self.routing.classes()).zip(backing_off);
        classes
            .map(|((queue, routes), backing_off)| {
                let sizes: Vec<u64> = queue.pending().take(64).map(|item| item.input_tokens).collect();
                let sampled_mean = (!sizes.is_empty()).then(|| sizes.iter().sum::<u64>() as f64 / sizes.len() as f64);
                let mut can_serve = vec![false; self.fleet.models().len()];
                for route in routes.candidates() {
                    can_serve[self.fleet.route(*route).model.index()] = true;
                }
                ClassInput {
                    items: (queue.backlog + queue.loaded_count() as u64 + backing_off) as f64,
                    mean_input_tokens: assumptions.mean_input_tokens.or(sampled_mean).unwrap_or(0.0),
                    routes: routes
                        .candidates()
                        .iter()
                        .map(|route| index_by_route[route.index()])
                        .filter(|index| forecast_routes[*index as usize].available_in.is_some())
                        .collect(),
                    can_serve,
                }
            })
            .collect()
    }

    /// Why waiting items are not sent. Checks all candidates, so call it only when nothing moves.
    pub fn stall_reason(&self, now: Now) -> StallReason {
        if !self.reservations.is_empty() {
            return StallReason::Working;
        }
        if self.unfinished_items() == 0 {
            return StallReason::NothingToDo;
        }
        let (mut soonest, mut resumes_at): (Option<(WallTime, String)>, Option<WallTime>) = (None, None);
        let (mut has_candidate, mut all_exhausted, mut any_switched_off) = (false, true, false);
        let (mut any_ready, mut any_over_budget) = (false, false);
        let mut disabled_reason = String::new();
        let mut exhausted = ExhaustedRoutes::default();
        for route in self.fleet.route_ids() {
            let Some(admission) = self.best_admission(now, route) else { continue };
            has_candidate = true;
            let availability = self.fleet.availability(now, route);
            exhausted.count(&availability);
            // The route is out of budget for good, whatever else it waits for.
            if admission == Admission::Never
                && !matches!(availability, Availability::SwitchedOff { .. } | Availability::Disabled(_))
            {
                any_over_budget = true;
                continue;
            }
            match &availability {
                Availability::SwitchedOff { .. } => any_switched_off = true,
                Availability::Ready => match admission {
                    Admission::Now => any_ready = true,
                    // Only money or daily tokens are missing, which counts as exhausted.
                    later => {
                        any_over_budget = true;
                        resumes_at = resumes_at.into_iter().chain(later.deadline().map(|at| at.to_wall(now))).min();
                        continue;
                    }
                },
                Availability::Disabled(cause) => disabled_reason = self.describe(route, cause.outcome.name()),
                _ => {}
            }
            let at = availability.admission().deadline().map(|deadline| deadline.to_wall(now));
            if availability.is_exhausted() {
                resumes_at = resumes_at.into_iter().chain(at).min();
            } else {
                all_exhausted = false;
                if let Some(at) = at
                    && soonest.as_ref().is_none_or(|(earlier, _)| at < *earlier)
                {
                    soonest = Some((at, self.describe(route, availability.label())));
                }
            }
        }
        if any_ready {
            let next = self.next_wakeup().map(|at| now.wall + at.since(now.mono));
            return match next {
                Some(at) if at > now.wall => {
                    StallReason::WaitingUntil { at, reason: "a retry delay or token limit".to_owned() }
                }
                _ => StallReason::Working,
            };
        }
        if !has_candidate {
            // No route can ever serve the waiting items; each is rejected when it is loaded.
            return StallReason::Working;
        }
        if all_exhausted {
            let reason = match resumes_at {
                None if any_over_budget => return StallReason::Budget { min_cost: self.min_worst_case(now) },
                Some(_) if any_over_budget => {
                    "what is left of today, in money or tokens, is less than any waiting item needs".to_owned()
                }
                Some(_) => exhausted.to_string(),
                None => format!("no route is left: {disabled_reason}"),
            };
            return StallReason::Exhausted { resumes_at, reason };
        }
        match soonest {
            Some((at, reason)) => StallReason::WaitingUntil { at, reason },
            None if any_switched_off => StallReason::SwitchedOff,
            None => StallReason::Working,
        }
    }

    /// Whether the money and daily tokens left allow the use of this route, apart from its availability. `Now` if a
    /// waiting item that may use it fits, or else a later day on which one fits, or `Never`. `None` if no waiting item
    /// may use it.
    fn best_admission(&self, now: Now, id: RouteId) -> Option<Admission> {
        let mut best = None;
        for class in self.routing.classes_with(id) {
            if self.queue.is_loading(class) {
                return Some(Admission::Now);
            }
            for admission in self.queue.items(class).filter_map(|item| self.view().eligibility(now, id, item)) {
                match (admission, best) {
                    (Admission::Now, _) => return Some(Admission::Now),
                    (Admission::Never, Some(_)) => {}
                    (later, _) => best = Some(later),
                }
            }
        }
        best
    }

    /// The lowest worst-case cost of any waiting item on the ready routes that can serve it. If no route is ready, the
    /// routes that will become ready again count.
    fn min_worst_case(&self, now: Now) -> Option<Money> {
        let (mut ready, mut unavailable): (Option<Money>, Option<Money>) = (None, None);
        for id in self.fleet.route_ids() {
            let min_cost = match self.fleet.availability(now, id) {
                Availability::SwitchedOff { .. } | Availability::Disabled(_) => continue,
                Availability::Ready => &mut ready,
                _ => &mut unavailable,
            };
            *min_cost = (*min_cost).into_iter().chain(self.min_worst_case_on(id)).min();
        }
        ready.or(unavailable)
    }

    fn min_worst_case_on(&self, id: RouteId) -> Option<Money> {
        let view = self.view();
        let items = self.routing.classes_with(id).flat_map(|class| self.queue.items(class));
        items.filter(|item| view.is_eligible(id, item)).map(|item| view.worst_case_cost(id, item)).min()
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

    fn describe(&self, route: RouteId, label: &str) -> String {
        format!("{}: {label}", self.fleet.route_name(route))
    }
}

/// How many routes are exhausted, by reason. Shown as `day quota spent on 3 of 4 routes, 1 disabled`.
#[derive(Clone, Copy, Default)]
struct ExhaustedRoutes {
    total: usize,
    day_quota: usize,
    credit: usize,
    disabled: usize,
}

impl ExhaustedRoutes {
    const fn count(&mut self, availability: &Availability<'_>) {
        self.total += 1;
        match availability {
            Availability::Exhausted(cooldown) if cooldown.is_out_of_credit() => self.credit += 1,
            Availability::Exhausted(_) | Availability::DailyLimitReached { .. } => self.day_quota += 1,
            Availability::Disabled(_) => self.disabled += 1,
            _ => {}
        }
    }
}

impl fmt::Display for ExhaustedRoutes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let routes = plural(self.total as u64, "route");
        let reasons = [(self.day_quota, "day quota spent"), (self.credit, "no credit"), (self.disabled, "disabled")];
        let mut reasons = reasons.into_iter().filter(|(count, _)| *count > 0);
        if let Some((count, reason)) = reasons.next() {
            write!(f, "{reason} on {count} of {} {routes}", self.total)?;
        }
        reasons.try_for_each(|(count, reason)| write!(f, ", {reason} on {count}"))
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
