//! Builds snapshots from the state of the engine and the scheduler.

use std::{sync::Arc, time::Instant};

use super::{
    budget_message::budget_message,
    event_loop::{Engine, Phase},
    item_table::SentAttempt,
    key_budget::key_statuses,
};
use crate::{
    domain::{
        Money, Now, RouteId, Snapshot,
        bottleneck::Bottleneck,
        snapshot::{
            Condition, CurrentRoute, InFlightView, KeyView, MetricsView, ModelView, ProviderOutage, RouteView,
            RunState, Spend, Throughput, Totals, WaitingItems,
        },
    },
    scheduler::StallReason,
};

/// Maximum number of requests in flight in a snapshot.
const MAX_IN_FLIGHT_SHOWN: usize = 64;

impl Engine {
    pub(super) fn publish(&mut self, now: Now) {
        let begun = Instant::now();
        let snapshot = self.build_snapshot(now);
        let build_time = begun.elapsed();
        // While nothing can be recorded, samples would only pile up.
        if self.journal.write_fault().is_none()
            && let Some(op) = self.sampler.take_op(&snapshot, false)
        {
            self.journal.record(op);
        }
        self.publisher.publish(snapshot, build_time);
    }

    /// Why the budget blocks the run.
    pub(super) fn budget_message(&self, cheapest_item: Option<Money>) -> String {
        let now = self.clock.now().wall;
        let budgets = self.keys.iter().zip(&self.stats.key_budgets);
        let reached = budgets.filter_map(|(key, budget)| budget.reached_cap_text(now, &key.name, cheapest_item));
        let reached_caps: Vec<String> = reached.collect();
        budget_message(self.scheduler.run_spend(), self.scheduler.policy().max_usd, cheapest_item, &reached_caps)
    }

    pub(super) fn build_snapshot(&mut self, now: Now) -> Snapshot {
        let policy = self.scheduler.policy();
        let (strategy, cascade_order, when_limited) = (policy.strategy, policy.order, policy.when_limited);
        let (on_exhausted, max_in_flight, budget) = (policy.on_exhausted, policy.max_in_flight, policy.max_usd);
        let money = self.scheduler.run_spend();
        let (routes, outages) = (self.route_views(now), self.scheduler.outages(now));
        let is_down = !outages.is_empty() && !self.has_other_route(&routes, &outages);
        let throughput = self.current_throughput(now);
        let state = self.run_state(now);
        // Nothing ends before a wait that is known.
        let known_wait = if let RunState::Waiting { until, .. } = &state { *until } else { None };
        Snapshot {
            run: self.run_name.clone(),
            state,
            at: now.wall,
            elapsed: self.stats.active_time.total(now.mono),
            clock_speed: self.clock.speed(),
            strategy,
            cascade_order,
            when_limited,
            on_exhausted,
            totals: self.shown_totals(),
            max_in_flight,
            spend: Spend { reserved: money.reserved, budget, ..self.stats.spend },
            throughput: Throughput {
                finish_at: throughput
                    .finish_at
                    .filter(|_| !is_down)
                    .map(|at| known_wait.map_or(at, |until| at.max(until))),
                ..throughput
            },
            forecast: self.forecaster.latest().filter(|_| self.can_foretell() && !is_down).cloned(),
            bottlenecks: self.scheduler.run_bottlenecks(now),
            current_route: self.current_route(now),
            silence: self.silence_message(now),
            keys: self.key_views(now),
            models: self.model_views(now),
            routes,
            attempts_in_flight: self.attempts_in_flight(),
            outages,
            cooldowns: self.scheduler.cooldowns(now),
            events: self.event_log.newest().cloned().collect(),
            metrics: self.metrics_view(now),
        }
    }

    /// The oldest requests in flight.
    fn attempts_in_flight(&self) -> Vec<InFlightView> {
        let mut sent: Vec<_> = self.items.sent().collect();
        let order = |sent: &&SentAttempt| (sent.sent_at.wall, sent.planned.attempt);
        if sent.len() > MAX_IN_FLIGHT_SHOWN {
            sent.select_nth_unstable_by_key(MAX_IN_FLIGHT_SHOWN, order);
            sent.truncate(MAX_IN_FLIGHT_SHOWN);
        }
        sent.sort_unstable_by_key(order);
        let view = |sent: &SentAttempt| InFlightView {
            seq: sent.planned.seq.0,
            item_id: self.items.spec(sent.planned.seq).map_or_else(String::new, |spec| spec.id.clone()),
            route: self.scheduler.route_name(sent.planned.route),
            sent_at: sent.sent_at.wall,
        };
        sent.into_iter().map(view).collect()
    }

    /// Whether there is a route that work can go to, besides those of providers that are down.
    fn has_other_route(&self, routes: &[RouteView], outages: &[ProviderOutage]) -> bool {
        let is_of = |view: &RouteView, outage: &ProviderOutage| {
            let mut keys = self.keys.iter().filter(|key| key.name == view.key);
            keys.any(|key| self.providers[key.provider.index()].name == outage.provider)
        };
        routes.iter().any(|view| {
            let condition = &view.condition;
            let is_usable = !matches!(
                condition,
                Condition::Exhausted { .. } | Condition::Disabled { .. } | Condition::SwitchedOff { .. }
            );
            is_usable && !outages.iter().any(|outage| is_of(view, outage))
        })
    }

    fn metrics_view(&self, now: Now) -> MetricsView {
        let bottleneck = if self.is_paused { Some(Bottleneck::Paused) } else { self.scheduler.current_bottleneck() };
        MetricsView {
            counts: Arc::clone(&self.stats.metric_counts),
            pools: self.scheduler.pool_views(now),
            waiting: WaitingItems {
                held_back: self.intake.held_back_items,
                retry_delay: self.scheduler.backing_off_count(),
                bottleneck,
            },
        }
    }

    /// The totals, with items whose end is not on disk yet counted as in flight.
    fn shown_totals(&self) -> Totals {
        let ended = self.stats.totals.done + self.stats.totals.failed;
        let open = self.stats.totals.total.saturating_sub(ended);
        let in_flight = (self.items.in_flight_count() as u64 + self.uncommitted).min(open);
        Totals { waiting: open - in_flight, in_flight, ingesting: self.intake.is_reading, ..self.stats.totals }
    }

    fn run_state(&self, now: Now) -> RunState {
        match &self.phase {
            Phase::Closing { run_outcome, .. } | Phase::Idle { run_outcome } => return run_outcome.run_state(),
            Phase::Draining { .. } => return RunState::Draining,
            Phase::Running => {}
        }
        if let Some(reason) = self.journal.write_fault() {
            return RunState::NeedsOperator { reason: reason.to_owned() };
        }
        if let Some(reason) = self.disk_fault.reason() {
            return RunState::NeedsOperator { reason: reason.to_owned() };
        }
        if let Some(fault) = &self.check_fault {
            return RunState::NeedsOperator { reason: fault.message.clone() };
        }
        if self.is_paused {
            return if self.items.in_flight_count() == 0 { RunState::Paused } else { RunState::Pausing };
        }
        match self.scheduler.stall_reason(now) {
            StallReason::Working | StallReason::NothingToDo => RunState::Running,
            StallReason::WaitingUntil { at, reason } => RunState::Waiting { reason, until: Some(at) },
            StallReason::SwitchedOff => {
                RunState::Waiting { reason: "every usable route is switched off".to_owned(), until: None }
            }
            StallReason::Budget { min_cost } => RunState::NeedsOperator { reason: self.budget_message(min_cost) },
            StallReason::Exhausted { reason, .. } if self.scheduler.needs_operator() => {
                RunState::NeedsOperator { reason }
            }
            StallReason::Exhausted { resumes_at, reason } => RunState::Waiting { reason, until: resumes_at },
        }
    }

    fn current_throughput(&mut self, now: Now) -> Throughput {
        let items_per_second = self.stats.throughput.per_second(now.mono, self.started_at.mono);
        let is_sending = !self.is_paused && self.can_dispatch();
        let finish_at = self.forecaster.finish_at(now.wall).filter(|_| is_sending && self.can_foretell());
        Throughput { items_per_second, finish_at }
    }

    /// Whether the forecast describes what will happen: some request was answered, no provider is silent, and no fault
    /// keeps the run from sending.
    fn can_foretell(&self) -> bool {
        let is_held = matches!(self.phase, Phase::Running) && !self.can_dispatch();
        self.stats.totals.has_answers() && !is_held && self.silence.longest().is_none()
    }

    /// The current route, if it backs off.
    pub(super) fn current_backoff(&self, now: Now) -> Option<CurrentRoute> {
        self.scheduler.running_backoff(now, self.items.last_planned()?.route)?;
        self.current_route(now)
    }

    /// The current route, numbered for people: key 1 of 3, model 2 of 4. While it backs off, the retries are the steps
    /// of the backoff schedule.
    fn current_route(&self, now: Now) -> Option<CurrentRoute> {
        let planned = self.items.last_planned()?;
        let (key, model) = (planned.key.index(), planned.model.index());
        let provider = self.keys[key].provider;
        let models: Vec<usize> =
            (0..self.models.len()).filter(|index| self.models[*index].provider == provider).collect();
        let position = models.iter().position(|index| *index == model)?;
        let policy = self.scheduler.policy();
        let (retry_number, max_retries, backoff) = match self.scheduler.running_backoff(now, planned.route) {
            Some((step, wait)) => (step, policy.backoff.len() as u32, Some(wait)),
            None => (planned.retry, policy.retries_per_model, None),
        };
        Some(CurrentRoute {
            key: self.keys[key].name.clone(),
            key_number: key as u32 + 1,
            key_count: self.keys.len() as u32,
            model: self.models[model].name.clone(),
            model_number: position as u32 + 1,
            model_count: models.len() as u32,
            retry_number,
            max_retries,
            backoff,
        })
    }

    fn silence_message(&self, now: Now) -> Option<String> {
        let provider = self.silence.longest()?;
        let message = self.silence.message(provider, &self.providers[provider.index()].name, now.mono);
        Some(match self.health_checks.responds(provider) {
            Some(true) => format!("{message}; its health check responds: trial requests are sent"),
            Some(false) if self.health_checks.is_down(provider) => format!("{message}; its health check fails too"),
            Some(false) => format!("{message}; asking its health check"),
            None => message,
        })
    }

    fn key_views(&self, now: Now) -> Vec<KeyView> {
        let status = key_statuses(now, &self.scheduler, &self.stats.key_budgets);
        self.keys
            .iter()
            .zip(status)
            .zip(&self.stats.keys)
            .map(|((key, status), counts)| KeyView {
                name: key.name.clone(),
                provider: self.providers[key.provider.index()].name.clone(),
                project: key.project.clone(),
                role: key.role,
                health: status.health,
                ok: counts.ok,
                failed: counts.failed,
                in_flight: status.in_flight,
                condition: status.condition,
                usage: counts.usage,
                cost: counts.cost,
                cost_by_kind: counts.cost_by_kind,
                last_error: counts.last_error.clone(),
            })
            .collect()
    }

    fn model_views(&self, now: Now) -> Vec<ModelView> {
        let status = self.scheduler.model_statuses(now);
        self.models
            .iter()
            .zip(status)
            .zip(&self.stats.models)
            .map(|((model, status), counts)| {
                let provider = &self.providers[model.provider.index()];
                ModelView {
                    name: model.name.clone(),
                    provider: provider.name.clone(),
                    api: provider.api,
                    vision: model.vision,
                    on: status.is_switched_on,
                    rpm: status.rpm,
                    tpm: status.tpm,
                    rpd: status.rpd,
                    day: status.day,
                    day_resets_at: status.day_resets_at,
                    in_flight: status.in_flight,
                    ok: counts.ok,
                    failed: counts.failed,
                    invalid_outputs: counts.invalid_outputs,
                    mean_ms: counts.latencies.mean_ms(),
                    p50_ms: counts.latencies.percentile_ms(50),
                    p95_ms: counts.latencies.percentile_ms(95),
                    usage: counts.usage,
                    cost: counts.cost,
                    cost_by_kind: counts.cost_by_kind,
                    is_unpriced: model.price.is_none(),
                }
            })
            .collect()
    }

    fn route_views(&mut self, now: Now) -> Vec<RouteView> {
        let status = self.scheduler.route_statuses(now);
        status
            .into_iter()
            .zip(&self.stats.routes)
            .enumerate()
            .map(|(index, (status, (ok, failed)))| RouteView {
                key: self.keys[status.key].name.clone(),
                model: self.models[status.model].name.clone(),
                on: status.is_switched_on,
                condition: self.stats.key_budgets[status.key].apply_to(now, status.condition),
                rpm: status.rpm,
                rpd: status.rpd,
                in_flight: status.in_flight,
                ok: *ok,
                failed: *failed,
                bottlenecks: self.scheduler.route_bottlenecks(now, RouteId(index as u32)),
            })
            .collect()
    }
}
