//! Snapshots: the engine's state and the scheduler's, put together for whoever watches.

use std::{sync::Arc, time::Instant};

use super::core::{Engine, Phase};
use crate::{
    domain::{
        Key, Now, RouteId, Snapshot,
        snapshot::{CurrentRoute, KeyView, ModelView, RouteView, RunState, Spend, Throughput, Totals},
    },
    scheduler::{KeyStatus, StallReason},
    store::report::KeyStanding,
};

impl Engine {
    pub(super) fn publish(&mut self, now: Now) {
        let snapshot = Arc::new(self.snapshot(now));
        // Nobody watching is no reason not to work.
        let _ = self.snapshots.send(snapshot);
        self.dirty = false;
        self.published = Instant::now();
    }

    fn snapshot(&mut self, now: Now) -> Snapshot {
        let policy = self.scheduler.policy();
        let (strategy, cascade_order, when_limited) = (policy.strategy, policy.order, policy.when_limited);
        let (on_exhausted, max_in_flight, budget) = (policy.on_exhausted, policy.max_in_flight, policy.max_usd);
        let money = self.scheduler.run_spend();
        Snapshot {
            run: self.run.clone(),
            state: self.state(now),
            at: now.wall,
            elapsed: self.worked.span(now.mono),
            clock_speed: self.clock.speed(),
            strategy,
            cascade_order,
            when_limited,
            on_exhausted,
            totals: self.shown_totals(),
            max_in_flight,
            spend: Spend { reserved: money.reserved, budget, ..self.spend },
            throughput: self.pace(now),
            forecast: self.ahead.forecast.clone(),
            bottlenecks: self.scheduler.run_bottlenecks(now),
            current_route: self.place(),
            keys: self.key_views(now),
            models: self.model_views(now),
            routes: self.route_views(now),
            cooldowns: self.scheduler.cooldowns(now),
            events: self.events.iter().cloned().collect(),
        }
    }

    /// Items whose end is not on disk yet still count as in flight.
    fn shown_totals(&self) -> Totals {
        let ended = self.totals.done + self.totals.failed;
        let open = self.totals.total.saturating_sub(ended);
        let in_flight = (self.flights.len() as u64 + self.settling).min(open);
        Totals { waiting: open - in_flight, in_flight, ingesting: self.intake.reading, ..self.totals }
    }

    fn state(&self, now: Now) -> RunState {
        match &self.phase {
            Phase::Ending { ending, .. } | Phase::Resting { ending } => return ending.state(),
            Phase::Draining { .. } => return RunState::Draining,
            Phase::Going => {}
        }
        if let Some(why) = self.journal.stuck() {
            return RunState::NeedsOperator { reason: why.to_owned() };
        }
        if let Some((why, _)) = &self.trouble {
            return RunState::NeedsOperator { reason: why.clone() };
        }
        if self.paused {
            return if self.flights.is_empty() { RunState::Paused } else { RunState::Pausing };
        }
        match self.scheduler.stall_reason(now) {
            StallReason::Working | StallReason::NothingToDo => RunState::Running,
            StallReason::WaitingUntil { at, reason } => RunState::Waiting { reason, until: Some(at) },
            StallReason::SwitchedOff => {
                RunState::Waiting { reason: "everything that could take work is switched off".to_owned(), until: None }
            }
            StallReason::Budget { min_cost } => RunState::NeedsOperator { reason: self.budget_words(min_cost) },
            StallReason::Exhausted { reason, .. } if self.scheduler.needs_operator() => {
                RunState::NeedsOperator { reason }
            }
            StallReason::Exhausted { resumes_at, reason } => RunState::Waiting { reason, until: resumes_at },
        }
    }

    fn pace(&mut self, now: Now) -> Throughput {
        let items_per_second = self.throughput.per_second(now.mono, self.began.mono);
        Throughput { items_per_second, finish_at: self.finish_at(now) }
    }

    /// Counted as people count: key 1 of 3, model 2 of 4.
    fn place(&self) -> Option<CurrentRoute> {
        let dispatch = self.last_dispatch.as_ref()?;
        let (key, model) = (dispatch.key.index(), dispatch.model.index());
        let provider = self.keys[key].provider;
        let models: Vec<usize> =
            (0..self.models.len()).filter(|index| self.models[*index].provider == provider).collect();
        let position = models.iter().position(|index| *index == model)?;
        Some(CurrentRoute {
            key: self.keys[key].name.clone(),
            key_number: key as u32 + 1,
            key_count: self.keys.len() as u32,
            model: self.models[model].name.clone(),
            model_number: position as u32 + 1,
            model_count: models.len() as u32,
            retry_number: dispatch.retry,
            max_retries: self.scheduler.policy().retries_per_model,
        })
    }

    /// What `status` in another process says of the keys.
    pub(super) fn key_standings(&self, now: Now) -> Vec<KeyStanding> {
        let standing = |(key, facts): (&Key, KeyStatus)| KeyStanding {
            name: key.name.clone(),
            state: facts.condition.label().to_owned(),
            health: facts.health,
        };
        self.keys.iter().zip(self.scheduler.key_statuses(now)).map(standing).collect()
    }

    fn key_views(&self, now: Now) -> Vec<KeyView> {
        let facts = self.scheduler.key_statuses(now);
        self.keys
            .iter()
            .zip(facts)
            .zip(&self.key_tallies)
            .map(|((key, facts), tally)| KeyView {
                name: key.name.clone(),
                provider: self.providers[key.provider.index()].name.clone(),
                project: key.project.clone(),
                role: key.role,
                health: facts.health,
                ok: tally.ok,
                failed: tally.failed,
                in_flight: facts.in_flight,
                condition: facts.condition,
                usage: tally.usage,
                cost: tally.cost,
                last_error: tally.last_error.clone(),
            })
            .collect()
    }

    fn model_views(&self, now: Now) -> Vec<ModelView> {
        let facts = self.scheduler.model_statuses(now);
        self.models
            .iter()
            .zip(facts)
            .zip(&self.model_tallies)
            .map(|((model, facts), tally)| {
                let provider = &self.providers[model.provider.index()];
                ModelView {
                    name: model.name.clone(),
                    provider: provider.name.clone(),
                    api: provider.api,
                    vision: model.vision,
                    on: facts.is_switched_on,
                    rpm: facts.rpm,
                    tpm: facts.tpm,
                    rpd: facts.rpd,
                    day: facts.day,
                    day_resets_at: facts.day_resets_at,
                    in_flight: facts.in_flight,
                    ok: tally.ok,
                    failed: tally.failed,
                    mean_ms: tally.latencies.mean_ms(),
                    p50_ms: tally.latencies.percentile_ms(50),
                    p95_ms: tally.latencies.percentile_ms(95),
                    usage: tally.usage,
                    cost: tally.cost,
                }
            })
            .collect()
    }

    fn route_views(&mut self, now: Now) -> Vec<RouteView> {
        let facts = self.scheduler.route_statuses(now);
        facts
            .into_iter()
            .zip(&self.route_counts)
            .enumerate()
            .map(|(index, (facts, (ok, failed)))| RouteView {
                key: self.keys[facts.key].name.clone(),
                model: self.models[facts.model].name.clone(),
                on: facts.is_switched_on,
                condition: facts.condition,
                rpm: facts.rpm,
                rpd: facts.rpd,
                in_flight: facts.in_flight,
                ok: *ok,
                failed: *failed,
                bottlenecks: self.scheduler.route_bottlenecks(now, RouteId(index as u32)),
            })
            .collect()
    }
}
