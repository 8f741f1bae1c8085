//! `settle`: what a verdict changes, for the item, its route and everything that the route stands on.
//!
//! Here are the books: what was reserved goes back, and the item ends or waits. What an outcome does to the pool, key,
//! route or provider is by its kind: `success`, `quota`, `fault`.

mod fault;
mod quota;
mod success;

use std::{cmp::Reverse, time::Duration};

use crate::domain::{
    AttemptId, AttemptResult, EventKind, ModelId, Money, Now, Outcome, OutcomeAction, RouteId, Seq,
    snapshot::{Cause, CauseSource},
};

use super::{
    Flight, Scheduler,
    pool::{Counting, Need, Timing},
    standing::Standing,
};

/// What becomes of the item.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fate {
    Done {
        truncated: bool,
    },
    Failed,
    /// Back in the queue, after `wait` where there is one.
    Waits {
        wait: Option<Duration>,
        to: Option<RouteId>,
    },
}

/// The consequences of one verdict.
#[derive(Clone, PartialEq, Debug)]
pub struct Settlement {
    pub seq: Seq,
    pub route: RouteId,
    pub fate: Fate,
    /// Requests for this item so far.
    pub attempts: u32,
    /// What the attempt cost for certain.
    pub cost: Money,
    /// What it may have cost: sent, and never answered.
    pub at_risk: Money,
    /// For the log, in order. An event of the item itself comes from the owner, who knows its name.
    pub events: Vec<EventKind>,
}

/// How far a request got: all that the books need to know of its outcome.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reach {
    /// The provider took it on and worked on it.
    Accepted,
    /// Turned down for quota.
    OutOfQuota,
    /// Turned down for its key, its model, or what it asks.
    TurnedDown,
    /// The provider failed at it, or its answer can't be read.
    Faulted,
    /// Sent, and nobody saw what came of it.
    Unseen,
    /// It never left.
    Unsent,
}

impl Reach {
    const fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Ok | Outcome::Truncated | Outcome::EmptyOutput | Outcome::ContentBlocked => Self::Accepted,
            Outcome::RateLimitedMinute
            | Outcome::TokensLimitedMinute
            | Outcome::QuotaExhaustedDay
            | Outcome::QuotaExhaustedBilling => Self::OutOfQuota,
            Outcome::InvalidKey | Outcome::KeyForbidden | Outcome::ModelNotFound | Outcome::BadRequest => {
                Self::TurnedDown
            }
            Outcome::ServerError | Outcome::Overloaded | Outcome::Timeout | Outcome::MalformedResponse => Self::Faulted,
            Outcome::Lost => Self::Unseen,
            Outcome::UnreadableInput | Outcome::OverBudget | Outcome::NoRoute | Outcome::ClientTrouble => Self::Unsent,
        }
    }
}

impl Scheduler {
    /// Takes the verdict on `attempt`. `None` where no such attempt is in flight.
    pub fn settle(&mut self, now: Now, attempt: AttemptId, verdict: &AttemptResult) -> Option<Settlement> {
        let mut flight = self.flights.remove(&attempt)?;
        self.tick_holding(now);
        // A trial that succeeds lifts the hold before the end of this: every route it held has to be looked at again.
        let on_trial = self.on_trial(flight.route);
        self.take_statements(&flight, verdict);
        let reach = Reach::of(verdict.outcome);
        let (cost, at_risk) = self.settle_counters(now, &flight, verdict, reach);
        let key = self.routes[flight.route.index()].key;
        let health_before = self.keys[key].health;
        let course_attempts = flight.ticket.attempts() + 1;
        let mut events = Vec::new();
        match reach {
            Reach::Accepted => self.accepted(now, &flight, &mut events),
            Reach::OutOfQuota | Reach::TurnedDown => self.answered(&flight, &mut events),
            Reach::Faulted | Reach::Unseen | Reach::Unsent => {}
        }
        if verdict.outcome.is_answered() {
            self.succeeded(now, &flight, &mut events);
        }
        let fate = self.act_on(now, &mut flight, verdict, &mut events);
        if !matches!(fate, Fate::Waits { .. }) {
            self.suspects.remove(&flight.ticket.seq);
        }
        self.time(now, &flight, verdict.outcome);
        if self.keys[key].health != health_before {
            self.measure_key(key);
        }
        self.park_used_up(now, &flight, verdict);
        if on_trial {
            self.look_again();
        } else {
            self.look_again_after(&flight);
        }
        Some(Settlement {
            seq: flight.ticket.seq,
            route: flight.route,
            fate,
            attempts: course_attempts,
            cost,
            at_risk,
            events,
        })
    }

    /// What the outcome does to the item, and to whatever was at fault.
    fn act_on(&mut self, now: Now, flight: &mut Flight, verdict: &AttemptResult, events: &mut Vec<EventKind>) -> Fate {
        let cause =
            |source| Cause { outcome: verdict.outcome, source, message: verdict.message.clone(), since: now.wall };
        match verdict.outcome {
            Outcome::Ok => return Fate::Done { truncated: false },
            Outcome::Truncated => return self.truncated(now, flight, verdict),
            Outcome::EmptyOutput => return self.empty(now, flight, verdict),
            Outcome::ContentBlocked if self.policy.next_model_when_blocked => return self.next_model(now, flight),
            Outcome::ContentBlocked | Outcome::UnreadableInput | Outcome::OverBudget => return Fate::Failed,
            Outcome::RateLimitedMinute | Outcome::TokensLimitedMinute => self.limited(now, flight, verdict, events),
            Outcome::QuotaExhaustedDay => self.day_spent(now, flight, verdict, events),
            Outcome::QuotaExhaustedBilling if !verdict.limit_is_zero => {
                self.out_of_credit(now, flight, cause(CauseSource::Backoff), events);
            }
            // A quota of nothing is no quota that returns.
            Outcome::QuotaExhaustedBilling | Outcome::ModelNotFound => {
                self.route_gone(flight.route, &cause(CauseSource::Provider), events);
            }
            Outcome::InvalidKey | Outcome::KeyForbidden => {
                self.key_dead(flight.route, cause(CauseSource::Provider), events);
            }
            Outcome::ServerError | Outcome::Overloaded | Outcome::Timeout | Outcome::MalformedResponse => {
                return self.provider_fault(now, flight, verdict, cause(CauseSource::Backoff), events);
            }
            Outcome::BadRequest if verdict.action == OutcomeAction::NextModel => return self.next_model(now, flight),
            Outcome::BadRequest if verdict.exceeds_context => return self.larger_model(now, flight),
            // Not one of the refusals that are alike: what it refuses is the item's own.
            Outcome::BadRequest if verdict.picture_refused => return Fate::Failed,
            Outcome::BadRequest => {
                self.refused(flight, verdict, cause(CauseSource::Backoff), events);
                return Fate::Failed;
            }
            Outcome::NoRoute => return self.next_model(now, flight),
            Outcome::ClientTrouble => self.unreachable(now, flight.route, cause(CauseSource::Backoff), events),
            Outcome::Lost => {}
        }
        self.wait(now, flight, None)
    }

    /// Room and money back from their reservations: what is certain, and what is at risk.
    fn settle_counters(&mut self, now: Now, flight: &Flight, verdict: &AttemptResult, reach: Reach) -> (Money, Money) {
        let used = Need { input: verdict.usage.input_tokens, output: verdict.usage.billed_output() };
        let counting = match reach {
            Reach::OutOfQuota => Counting::Refused,
            Reach::Unsent => Counting::NotSent,
            Reach::Faulted | Reach::Unseen => Counting::Unknown,
            Reach::Accepted | Reach::TurnedDown if verdict.status.is_none() => Counting::Unknown,
            // Answered, and not a word on what it used: all that was reserved stays, and may have been billed.
            Reach::Accepted | Reach::TurnedDown if used == Need::default() => Counting::Untold,
            Reach::Accepted | Reach::TurnedDown => Counting::Actual(used),
        };
        let route = &mut self.routes[flight.route.index()];
        route.in_flight -= 1;
        self.holding.at_work(flight.route, route.in_flight > 0);
        self.keys[route.key].in_flight -= 1;
        let model = &mut self.models[route.model];
        let mut head_start = Duration::ZERO;
        if verdict.status.is_some() {
            let latency = now.mono.since(flight.sent_at.mono);
            let transit = &mut self.families[self.pools[route.pool].family].transit;
            transit.answered(latency);
            head_start = transit.head_start(latency, verdict.response_meta.server_time);
        }
        let timing = Timing { reserved: flight.reserved_at, sent: flight.sent_at, head_start };
        self.pools[route.pool].settle(now, flight.taken, counting, timing);
        if verdict.outcome == Outcome::Ok {
            let mean = model.mean_output.unwrap_or(used.output as f64);
            model.mean_output = Some(mean + (used.output as f64 - mean) * 0.05);
        }
        let price = model.model.price;
        let cost = price.map_or(Money::ZERO, |price| price.cost(used.input, used.output));
        // No status: sent, or nearly, and never answered. An answer that nobody can read was billed all the same.
        let unanswered = verdict.status.is_none() && counting == Counting::Unknown;
        let unreadable = verdict.outcome == Outcome::MalformedResponse && used == Need::default();
        let untold = verdict.outcome.is_answered() && used == Need::default();
        let at_risk = if unanswered || unreadable || untold { flight.cost } else { Money::ZERO };
        self.money.reserved = self.money.reserved.saturating_sub(flight.cost);
        self.money.spent += cost;
        self.money.at_risk += at_risk;
        self.settle_purses(now, flight, cost + at_risk);
        (cost, at_risk)
    }

    fn settle_purses(&mut self, now: Now, flight: &Flight, gone: Money) {
        self.purse.settle(now.wall, flight.cost, gone);
        let key = self.routes[flight.route.index()].key;
        self.keys[key].purse.settle(now.wall, flight.cost, gone);
    }

    /// How long the answer took, for strategies that go by it. Refusals say nothing about speed.
    fn time(&mut self, now: Now, flight: &Flight, outcome: Outcome) {
        let took = now.mono.since(flight.reserved_at.mono);
        let route = &mut self.routes[flight.route.index()];
        let of_model = &mut self.models[route.model].latency;
        let is_first = of_model.mean().is_none();
        if outcome.is_answered() {
            route.latency.answered(now.mono, took);
            of_model.answered(now.mono, took);
        } else if outcome.is_provider_error() {
            route.latency.failed(now.mono, took, *of_model);
        }
        if is_first && of_model.mean().is_some() {
            let model = route.model;
            // What one key's route has shown is expected of the others'.
            for index in 0..self.routes.len() {
                if self.routes[index].model == model {
                    self.measure(RouteId(index as u32));
                }
            }
        }
        self.measure(flight.route);
    }

    /// Its provider can't be reached, or its project is out of credit, as far as is known.
    fn on_trial(&self, route: RouteId) -> bool {
        let route = &self.routes[route.index()];
        let project = self.keys[route.key].project;
        self.providers[route.provider].hold.is_some() || self.projects[project].billing.is_some()
    }

    /// What a settled request may have made room for.
    fn look_again_after(&mut self, flight: &Flight) {
        if self.on_trial(flight.route) {
            self.look_again();
        } else {
            self.unpark_pool(self.routes[flight.route.index()].pool);
        }
    }

    /// Back to the queue, at once or after a delay.
    fn wait(&mut self, now: Now, flight: &mut Flight, delay: Option<Duration>) -> Fate {
        flight.ticket.course().attempts += 1;
        let (class, ticket) = (flight.class, flight.ticket.clone());
        // A limit that was learned meanwhile may have closed the last way.
        if let Some(refusal) = self.never(class, &ticket) {
            self.refused.push(refusal);
            return Fate::Waits { wait: None, to: None };
        }
        if let Some(delay) = delay.filter(|delay| !delay.is_zero()) {
            let at = now.mono + delay;
            self.backoff.push(Reverse((at, ticket.seq)));
            self.backing_off.insert(ticket.seq, (class, ticket));
            return Fate::Waits { wait: Some(delay), to: None };
        }
        let to = self.preview(now, class, &ticket);
        self.classes[class].retries.push_back(ticket);
        self.classes[class].stuck_at = None;
        Fate::Waits { wait: None, to }
    }

    /// On to the next model that may serve it; where none is left, it fails.
    fn next_model(&mut self, now: Now, flight: &mut Flight) -> Fate {
        let model = ModelId(self.routes[flight.route.index()].model as u32);
        if !flight.ticket.has_given_up(model) {
            flight.ticket.course().given_up.push(model);
        }
        self.suspects.remove(&flight.ticket.seq);
        let left = self.classes[flight.class].candidates.iter().any(|&route| {
            let dead = matches!(self.standing(now, route), Standing::Dead(_));
            !dead && self.unfit(route, &flight.ticket).is_none()
        });
        if left { self.wait(now, flight, None) } else { Fate::Failed }
    }

    /// On to a model that is known to have a larger context than this one, or than the request.
    fn larger_model(&mut self, now: Now, flight: &mut Flight) -> Fate {
        let least = self.models[self.routes[flight.route.index()].model].model.context.unwrap_or(flight.ticket.input);
        for (index, state) in self.models.iter().enumerate() {
            let model = ModelId(index as u32);
            if state.model.context.is_none_or(|context| context <= least) && !flight.ticket.has_given_up(model) {
                flight.ticket.course().given_up.push(model);
            }
        }
        self.next_model(now, flight)
    }

    /// Takes back a dispatch that was never sent: the run is stopping, or its intent could not be recorded.
    pub fn unsend(&mut self, now: Now, attempt: AttemptId) {
        let Some(flight) = self.flights.remove(&attempt) else { return };
        self.tick_holding(now);
        let route = &mut self.routes[flight.route.index()];
        route.in_flight -= 1;
        self.holding.at_work(flight.route, route.in_flight > 0);
        self.keys[route.key].in_flight -= 1;
        let timing = Timing { reserved: flight.reserved_at, sent: flight.sent_at, head_start: Duration::ZERO };
        self.pools[route.pool].settle(now, flight.taken, Counting::NotSent, timing);
        self.money.reserved = self.money.reserved.saturating_sub(flight.cost);
        self.settle_purses(now, &flight, Money::ZERO);
        self.look_again_after(&flight);
        self.classes[flight.class].retries.push_front(flight.ticket);
        self.classes[flight.class].stuck_at = None;
    }
}
