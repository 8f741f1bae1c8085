//! `settle`: what a verdict changes, for the item, its route and everything that the route stands on.

use std::{cmp::Reverse, time::Duration};

use smallvec::SmallVec;

use crate::domain::{
    Action, AttemptId, EventKind, Money, Now, Outcome, RouteId, Seq, Verdict, WhenLimited, counted,
    snapshot::{Cause, Source},
};

use super::{
    Flight, Scheduler, TESTIMONY,
    cooldown::Cooldown,
    day::next_reset,
    pool::{Counting, Need, Timing},
    ramp::Ramp,
};

/// Longest step of a provider's hold while it can't be reached.
const LONGEST_HOLD: Duration = Duration::from_secs(30);

/// A rolling day without a hint is looked at again after this, with a trial.
const ROLLING_GUESS: Duration = Duration::from_secs(3_600);

/// After a hint for a rolling day that proved too short, and twice as long each time.
const MISLED: Duration = Duration::from_secs(5);

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

impl Scheduler {
    /// Takes the verdict on `attempt`. `None` where no such attempt is in flight.
    pub fn settle(&mut self, now: Now, attempt: AttemptId, verdict: &Verdict) -> Option<Settlement> {
        let mut flight = self.flights.remove(&attempt)?;
        self.tick_holding(now);
        // A trial that succeeds lifts the hold before the end of this: every route it held has to be looked at again.
        let on_trial = self.on_trial(flight.route);
        self.take_statements(&flight, verdict);
        let (cost, at_risk) = self.settle_counters(now, &flight, verdict);
        let key = self.routes[flight.route.index()].key;
        let health_before = self.keys[key].health;
        let course_attempts = flight.ticket.attempts() + 1;
        let mut events = Vec::new();
        let cause =
            |source| Cause { outcome: verdict.outcome, source, words: verdict.message.clone(), since: now.wall };
        let fate = match verdict.outcome {
            Outcome::Ok => {
                self.accepted(now, &flight, &mut events);
                self.succeeded(now, &flight, &mut events);
                Fate::Done { truncated: false }
            }
            Outcome::Truncated => {
                self.accepted(now, &flight, &mut events);
                self.succeeded(now, &flight, &mut events);
                self.truncated(now, &mut flight, verdict)
            }
            Outcome::RateLimitedMinute | Outcome::TokensLimitedMinute => {
                self.answered(&flight, &mut events);
                self.limited(now, &flight, verdict, &mut events);
                self.wait(now, &mut flight, None)
            }
            Outcome::QuotaExhaustedDay => {
                self.answered(&flight, &mut events);
                self.day_spent(now, &flight, verdict, &mut events);
                self.wait(now, &mut flight, None)
            }
            Outcome::QuotaExhaustedBilling if verdict.limit_zero => {
                self.answered(&flight, &mut events);
                self.route_gone(flight.route, &cause(Source::Stated), &mut events);
                self.wait(now, &mut flight, None)
            }
            Outcome::QuotaExhaustedBilling => {
                self.answered(&flight, &mut events);
                self.out_of_credit(now, &flight, cause(Source::Guessed), &mut events);
                self.wait(now, &mut flight, None)
            }
            Outcome::InvalidKey | Outcome::KeyForbidden => {
                self.answered(&flight, &mut events);
                self.key_dead(flight.route, cause(Source::Stated), &mut events);
                self.wait(now, &mut flight, None)
            }
            Outcome::ModelNotFound => {
                self.answered(&flight, &mut events);
                self.route_gone(flight.route, &cause(Source::Stated), &mut events);
                self.wait(now, &mut flight, None)
            }
            Outcome::ServerError | Outcome::Overloaded | Outcome::Timeout | Outcome::MalformedResponse => {
                self.provider_fault(now, &mut flight, verdict, cause(Source::Guessed), &mut events)
            }
            Outcome::EmptyOutput => {
                self.accepted(now, &flight, &mut events);
                self.empty(now, &mut flight, verdict)
            }
            Outcome::ContentBlocked => {
                self.accepted(now, &flight, &mut events);
                if self.policy.blocked_next_model { self.next_model(now, &mut flight) } else { Fate::Failed }
            }
            Outcome::BadRequest if verdict.action == Action::NextModel => {
                self.answered(&flight, &mut events);
                self.next_model(now, &mut flight)
            }
            Outcome::BadRequest if verdict.too_long => {
                self.answered(&flight, &mut events);
                self.larger_model(now, &mut flight)
            }
            Outcome::BadRequest => {
                self.answered(&flight, &mut events);
                self.refused(&flight, verdict, cause(Source::Guessed), &mut events);
                Fate::Failed
            }
            Outcome::NoRoute => self.next_model(now, &mut flight),
            Outcome::UnreadableInput | Outcome::OverBudget => Fate::Failed,
            Outcome::ClientTrouble => {
                self.unreachable(now, flight.route, cause(Source::Guessed), &mut events);
                self.wait(now, &mut flight, None)
            }
            Outcome::Lost => self.wait(now, &mut flight, None),
        };
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

    /// Room and money back from their reservations: what is certain, and what is at risk.
    fn settle_counters(&mut self, now: Now, flight: &Flight, verdict: &Verdict) -> (Money, Money) {
        let used = Need { input: verdict.usage.input_tokens, output: verdict.usage.billed_output() };
        let counting = match verdict.outcome {
            outcome if outcome.is_limit() => Counting::Refused,
            Outcome::ClientTrouble | Outcome::UnreadableInput | Outcome::OverBudget | Outcome::NoRoute => {
                Counting::NotSent
            }
            Outcome::Lost => Counting::Unknown,
            _ if verdict.status.is_none() => Counting::Unknown,
            Outcome::ServerError | Outcome::Overloaded | Outcome::Timeout | Outcome::MalformedResponse => {
                Counting::Unknown
            }
            // Answered, and not a word on what it used: all that was reserved stays, and may have been billed.
            _ if used == Need::default() => Counting::Untold,
            _ => Counting::Actual(used),
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
            head_start = transit.head_start(latency, verdict.report.worked);
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
        let untold = matches!(verdict.outcome, Outcome::Ok | Outcome::Truncated) && used == Need::default();
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
        match outcome {
            Outcome::Ok | Outcome::Truncated => {
                route.latency.answered(now.mono, took);
                of_model.answered(now.mono, took);
            }
            _ if outcome.is_provider_fault() => route.latency.failed(now.mono, took, *of_model),
            _ => {}
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
        let model = crate::domain::ModelId(self.routes[flight.route.index()].model as u32);
        if !flight.ticket.has_given_up(model) {
            flight.ticket.course().given_up.push(model);
        }
        self.suspects.remove(&flight.ticket.seq);
        let left = self.classes[flight.class].candidates.iter().any(|&route| {
            let dead = matches!(self.standing(now, route), super::standing::Standing::Dead(_));
            !dead && self.unfit(route, &flight.ticket).is_none()
        });
        if left { self.wait(now, flight, None) } else { Fate::Failed }
    }

    /// On to a model that is known to have a larger context than this one, or than the request.
    fn larger_model(&mut self, now: Now, flight: &mut Flight) -> Fate {
        let least = self.models[self.routes[flight.route.index()].model].model.context.unwrap_or(flight.ticket.input);
        for (index, state) in self.models.iter().enumerate() {
            let model = crate::domain::ModelId(index as u32);
            if state.model.context.is_none_or(|context| context <= least) && !flight.ticket.has_given_up(model) {
                flight.ticket.course().given_up.push(model);
            }
        }
        self.next_model(now, flight)
    }

    /// The provider answered, whatever it said: it is reachable, and this route's breaker can rest.
    fn answered(&mut self, flight: &Flight, events: &mut Vec<EventKind>) {
        let route = &mut self.routes[flight.route.index()];
        if route.breaker.answered() {
            route.ramp = Some(Ramp::PASSED);
            let what = self.route_name(flight.route);
            events.push(EventKind::Recovered { what, words: "its probe was answered".to_owned() });
        }
        let provider = self.routes[flight.route.index()].provider;
        let provider = &mut self.providers[provider];
        provider.hold_step = 0;
        if provider.hold.take().is_some() {
            events.push(EventKind::Recovered { what: provider.name.clone(), words: "it can be reached".to_owned() });
        }
    }

    /// The provider accepted the request and worked on it: the key and the project's credit are good.
    fn accepted(&mut self, now: Now, flight: &Flight, events: &mut Vec<EventKind>) {
        self.answered(flight, events);
        let route = &mut self.routes[flight.route.index()];
        route.ever_accepted = true;
        route.refused_alike = (0, 0);
        route.last_ok = Some(now.mono);
        route.ramp = route.ramp.and_then(Ramp::succeeded);
        let key = route.key;
        let project = &mut self.projects[self.keys[key].project];
        if project.billing.take().is_some() {
            let what = project.name.clone();
            events.push(EventKind::Recovered { what, words: "its credit is good again".to_owned() });
        }
    }

    fn succeeded(&mut self, now: Now, flight: &Flight, events: &mut Vec<EventKind>) {
        let route = &self.routes[flight.route.index()];
        let (key, model, pool) = (route.key, route.model, route.pool);
        self.keys[key].health.success();
        self.keys[key].accusers.dismiss();
        self.acquit_kin(now, pool);
        let witnesses = &mut self.models[model].witnesses;
        if witnesses[0].is_none_or(|(seq, _)| seq != flight.ticket.seq) {
            witnesses[1] = witnesses[0];
        }
        witnesses[0] = Some((flight.ticket.seq, now.mono));
        let pool = &mut self.pools[pool];
        let since_cooldown = pool.cooldown.as_ref().is_none_or(|old| flight.reserved_at.mono >= old.until.mono);
        if since_cooldown {
            pool.succeeded();
            if pool.cooldown.take_if(|cooldown| cooldown.over(now)).is_some() {
                events.push(EventKind::Recovered { what: pool.label.clone(), words: String::new() });
            }
        }
        if pool.spent.take_if(|spent| spent.over(now)).is_some() {
            events.push(EventKind::Recovered { what: pool.label.clone(), words: "a new day".to_owned() });
        }
    }

    fn limited(&mut self, now: Now, flight: &Flight, verdict: &Verdict, events: &mut Vec<EventKind>) {
        let (key, pool) = {
            let route = &self.routes[flight.route.index()];
            (route.key, route.pool)
        };
        let max_hint = self.policy.max_hint;
        let hint = verdict.hint.map(|hint| hint.after.min(max_hint)).filter(|after| !after.is_zero());
        let new_episode = self.pools[pool].is_new_episode(now, flight.reserved_at.mono);
        if new_episode {
            let family = self.pools[pool].family;
            self.families[family].transit.distrust();
            self.suspect_kin(now, pool, events);
            let what = self.refused_dimension(flight, verdict);
            self.pools[pool].refused_unforeseen(now, flight.sent_at, what);
        }
        let state = &mut self.pools[pool];
        if new_episode {
            state.ladder_step += 1;
            self.keys[key].health.own_fault();
        }
        let step = state.ladder_step.max(1);
        let after_ladder = step > self.policy.ladder.len();
        let (span, source) = match hint {
            // A stated wait that is longer than the rest still counts.
            _ if after_ladder => (self.policy.ladder_rest.max(hint.unwrap_or_default()), Source::Guessed),
            Some(hint) => (hint, Source::Stated),
            None => (self.policy.ladder[step - 1], Source::Guessed),
        };
        let cause = Cause { outcome: verdict.outcome, source, words: verdict.message.clone(), since: now.wall };
        // Nobody counts to the microsecond: a moment later than said.
        let jitter =
            if source == Source::Stated { Duration::from_millis(self.random.u64(50..250)) } else { Duration::ZERO };
        let cooldown = Cooldown { since: now, until: now + span + jitter, calendar: false, cause };
        if source == Source::Guessed {
            state.ramp = Some(Ramp::TRIAL);
        }
        Cooldown::extend(&mut state.cooldown, cooldown, now);
        if new_episode {
            events.push(EventKind::Cooldown {
                what: state.label.clone(),
                outcome: verdict.outcome,
                wait: Some(span),
                words: verdict.message.clone(),
            });
            if after_ladder && self.policy.when_limited == WhenLimited::Wait {
                self.leave_cursor(flight.route);
            }
        }
    }

    /// The strict pipeline gives up on the route where it stands.
    fn leave_cursor(&mut self, route: RouteId) {
        if self.ranking.get(self.cursor) == Some(&route) {
            self.cursor = (self.cursor + 1) % self.ranking.len();
        }
    }

    fn day_spent(&mut self, now: Now, flight: &Flight, verdict: &Verdict, events: &mut Vec<EventKind>) {
        let state = &mut self.pools[self.routes[flight.route.index()].pool];
        let was_spent = state.spent.as_ref().is_some_and(|spent| !spent.over(now));
        state.day_step += u32::from(!was_spent);
        let reset = next_reset(state.day(), now.wall);
        let (until, calendar, source) = match (reset, verdict.hint) {
            (Some(reset), _) => (Now { mono: now.mono + reset.since(now.wall), wall: reset }, true, Source::Stated),
            (None, Some(hint)) => {
                // A hint that has proved too short is believed less each time.
                let least = match state.day_step {
                    0 | 1 => Duration::ZERO,
                    step => (MISLED * 2_u32.saturating_pow(step - 2)).min(ROLLING_GUESS),
                };
                let span = hint.after.clamp(least, super::day::ROLLING);
                (now + span, false, Source::Stated)
            }
            (None, None) => (now + ROLLING_GUESS, false, Source::Guessed),
        };
        if source == Source::Guessed {
            state.ramp = Some(Ramp::TRIAL);
        }
        let cause = Cause { outcome: verdict.outcome, source, words: verdict.message.clone(), since: now.wall };
        Cooldown::extend(&mut state.spent, Cooldown { since: now, until, calendar, cause }, now);
        if !was_spent {
            events.push(EventKind::Cooldown {
                what: state.label.clone(),
                outcome: verdict.outcome,
                wait: Some(until.wall.since(now.wall)),
                words: verdict.message.clone(),
            });
        }
    }

    fn out_of_credit(&mut self, now: Now, flight: &Flight, cause: Cause, events: &mut Vec<EventKind>) {
        let project = self.keys[self.routes[flight.route.index()].key].project;
        let state = &mut self.projects[project];
        let was_out = state.billing.as_ref().is_some_and(|billing| !billing.over(now));
        let until = now + self.policy.billing_retry;
        let words = cause.words.clone();
        let outcome = cause.outcome;
        Cooldown::extend(&mut state.billing, Cooldown { since: now, until, calendar: true, cause }, now);
        if !was_out {
            events.push(EventKind::Disabled { what: format!("project {}", state.name), outcome, words });
        }
    }

    fn key_dead(&mut self, route: RouteId, cause: Cause, events: &mut Vec<EventKind>) {
        let key = &mut self.keys[self.routes[route.index()].key];
        key.health.dead();
        if key.dead.is_none() {
            let what = format!("key {}", key.key.name);
            events.push(EventKind::Disabled { what, outcome: cause.outcome, words: cause.words.clone() });
            key.dead = Some(cause);
        }
    }

    /// The project can't use the model: every key of the project learns it at once.
    fn route_gone(&mut self, route: RouteId, cause: &Cause, events: &mut Vec<EventKind>) {
        let (model, project) = {
            let route = &self.routes[route.index()];
            (route.model, self.keys[route.key].project)
        };
        let mut first = true;
        for index in 0..self.routes.len() {
            let same = self.routes[index].model == model && self.keys[self.routes[index].key].project == project;
            if same && self.routes[index].gone.is_none() {
                self.routes[index].gone = Some(cause.clone());
                if std::mem::take(&mut first) {
                    let what = self.route_name(RouteId(index as u32));
                    events.push(EventKind::Disabled { what, outcome: cause.outcome, words: cause.words.clone() });
                }
            }
        }
    }

    fn provider_fault(
        &mut self,
        now: Now,
        flight: &mut Flight,
        verdict: &Verdict,
        cause: Cause,
        events: &mut Vec<EventKind>,
    ) -> Fate {
        let (model, key) = {
            let route = &self.routes[flight.route.index()];
            (route.model, route.key)
        };
        let accusation = cause.clone();
        let policy = &self.policy;
        let opened = self.routes[flight.route.index()].breaker.fault(
            now,
            policy.breaker_after,
            policy.breaker_open,
            policy.breaker_max,
            cause,
        );
        if opened {
            let what = self.route_name(flight.route);
            let wait = match &self.routes[flight.route.index()].breaker {
                super::breaker::Breaker::Open { span, .. } => Some(*span),
                _ => None,
            };
            events.push(EventKind::Cooldown { what, outcome: verdict.outcome, wait, words: verdict.message.clone() });
        }
        // The key's own fault only where another key at the same model succeeds.
        let another_key_succeeds = self.routes.iter().any(|route| {
            route.model == model && route.key != key && route.last_ok.is_some_and(|at| now.mono.since(at) < TESTIMONY)
        });
        if another_key_succeeds {
            self.examine(now, flight, &accusation, events);
        }
        let testified = self.has_witness(now, model, flight.ticket.seq);
        let suspects_only = {
            self.suspects.insert(flight.ticket.seq);
            // The flight itself was already taken out of the books.
            self.suspects.len() as u64 > self.live()
        };
        let retries = self.policy.retries_per_model;
        let course = flight.ticket.course();
        course.last = Some(verdict.outcome);
        let here = course.on_model(crate::domain::ModelId(model as u32));
        here.timeouts += u32::from(verdict.outcome == Outcome::Timeout);
        if testified || (suspects_only && here.uncharged >= retries) {
            here.charged += 1;
        } else {
            here.uncharged += 1;
        }
        let (tries, charged) = (here.faults(), here.charged);
        if charged > 0 && tries > retries {
            return self.next_model(now, flight);
        }
        let delays = &self.policy.retry_delays;
        let step = (tries as usize).clamp(1, delays.len().max(1)) - 1;
        let delay = delays.get(step).copied().unwrap_or_default();
        let jitter = delay.mul_f64(self.random.f64() * 0.25);
        // A provider that says when to come back is not asked before, as long as that is sane.
        let stated = verdict.hint.map(|hint| hint.after.min(self.policy.max_hint)).unwrap_or_default();
        self.wait(now, flight, Some((delay + jitter).max(stated)))
    }

    /// Whether this model answered some other item within the last minute.
    fn has_witness(&self, now: Now, model: usize, seq: Seq) -> bool {
        let recent = |(other, at): &(Seq, crate::domain::Mono)| *other != seq && now.mono.since(*at) < TESTIMONY;
        self.models[model].witnesses.iter().flatten().any(recent)
    }

    fn empty(&mut self, now: Now, flight: &mut Flight, verdict: &Verdict) -> Fate {
        let model = crate::domain::ModelId(self.routes[flight.route.index()].model as u32);
        // Where the provider says why there is nothing, asking again is no use.
        let quick = if verdict.action == Action::FailItem { 0 } else { self.policy.empty_retries };
        let course = flight.ticket.course();
        course.last = Some(Outcome::EmptyOutput);
        let here = course.on_model(model);
        here.empties += 1;
        if here.empties <= quick { self.wait(now, flight, None) } else { self.next_model(now, flight) }
    }

    fn truncated(&mut self, now: Now, flight: &mut Flight, verdict: &Verdict) -> Fate {
        let has_text = verdict.answer.as_ref().is_some_and(|answer| !answer.text.trim().is_empty());
        if has_text && !flight.ticket.caption {
            return Fate::Done { truncated: true };
        }
        if self.policy.retry_truncated_factor.is_none() || flight.ticket.course().enlarged {
            return Fate::Failed;
        }
        let before: SmallVec<[Option<u32>; 8]> = self.most_outputs(flight);
        flight.ticket.course().enlarged = true;
        // Where every model's cap, or the item's money, keeps the limit as it is, the answer would be no longer.
        let helps = self.most_outputs(flight) != before;
        let serves = |route: &RouteId| self.unfit(*route, &flight.ticket).is_none();
        if helps && self.classes[flight.class].candidates.iter().any(serves) {
            return self.wait(now, flight, None);
        }
        Fate::Failed
    }

    fn most_outputs(&self, flight: &Flight) -> SmallVec<[Option<u32>; 8]> {
        self.models.iter().map(|state| self.most_output(&state.model, &flight.ticket)).collect()
    }

    /// Items refused alike and none accepted: one wrong parameter must not fail five thousand.
    fn refused(&mut self, flight: &Flight, verdict: &Verdict, cause: Cause, events: &mut Vec<EventKind>) {
        let after = self.policy.refused_alike;
        let route = &mut self.routes[flight.route.index()];
        if route.ever_accepted || after == 0 {
            return;
        }
        let alike = fingerprint(&verdict.message);
        let (count, last) = &mut route.refused_alike;
        *count = if *last == alike { *count + 1 } else { 1 };
        *last = alike;
        if *count >= after && route.held.is_none() {
            route.held = Some(cause);
            let what = self.route_name(flight.route);
            let words =
                format!("{} refused alike and none accepted: {}", counted(u64::from(after), "item"), verdict.message);
            events.push(EventKind::Disabled { what, outcome: verdict.outcome, words });
        }
    }

    fn unreachable(&mut self, now: Now, route: RouteId, cause: Cause, events: &mut Vec<EventKind>) {
        let provider = self.routes[route.index()].provider;
        let state = &mut self.providers[provider];
        if state.hold.as_ref().is_some_and(|hold| !hold.over(now)) {
            return;
        }
        let span = (Duration::from_secs(1) * 2_u32.saturating_pow(state.hold_step)).min(LONGEST_HOLD);
        state.hold_step = (state.hold_step + 1).min(10);
        let words = cause.words.clone();
        let first = state.hold_step == 1;
        let until = now + span;
        state.hold = Some(Cooldown { since: now, until, calendar: false, cause });
        if first {
            let what = format!("provider {}", state.name);
            events.push(EventKind::Cooldown { what, outcome: Outcome::ClientTrouble, wait: Some(span), words });
        }
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

/// Digits differ between otherwise like messages (sizes, positions, request ids).
fn fingerprint(message: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    for character in message.chars().filter(|character| !character.is_ascii_digit()) {
        character.hash(&mut hasher);
    }
    hasher.finish()
}
