//! `poll`: which ticket goes where, now.

use std::{cmp::Reverse, time::Duration};

use smallvec::SmallVec;

use crate::domain::{
    AttemptId, KeyId, Model, ModelId, Money, Now, Outcome, RouteId, Seq, SpillTo, WhenLimited, bottleneck::Bottleneck,
};

use super::{
    Flight, Scheduler, Ticket,
    breaker::Breaker,
    capacity::Capacity,
    cooldown::Wake,
    pool::{Block, Need},
    purse::Fit,
    scoring::TYPICAL_OUTPUT,
    spill::SpillLimits,
    standing::Standing,
    strategy::Search,
};

/// How many tickets behind a blocked one are looked at for one that fits.
pub(super) const LOOKAHEAD: usize = 32;

/// A ticket that has waited this long for token room is not overtaken any more.
pub(super) const AGED: Duration = Duration::from_secs(60);

/// The output limit reckoned with where neither item nor model states one.
const UNSTATED_OUTPUT: u32 = 8_192;

/// Send this item there; everything it may use is already reserved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dispatch {
    pub attempt: AttemptId,
    pub seq: Seq,
    /// Requests for this item so far, this one included.
    pub number: u32,
    pub route: RouteId,
    pub key: KeyId,
    pub model: ModelId,
    /// Tries on this model after provider faults, this one included; 0 for the first.
    pub retry: u32,
    /// Worst case of this attempt.
    pub reserved: Money,
    pub estimated_input: u64,
    pub timeout: Duration,
    /// Multiplies the output limit, after an answer that thinking ate.
    pub enlarge: Option<u32>,
}

/// An item that ends without being sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    pub seq: Seq,
    pub outcome: Outcome,
    pub words: String,
    pub attempts: u32,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    Send(Dispatch),
    Refuse(Refusal),
}

enum Choice {
    Route(RouteId),
    Blocked(Blocked),
}

/// What keeps a ticket from every route, and so who may pass it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Blocked {
    /// No route is ready: nobody goes.
    Routes,
    /// Token windows have no room for its size yet: smaller ones may pass, for a while, and for ever where they go
    /// elsewhere.
    Size,
    /// Routes are ready that can't serve this ticket, or for which it is too dear: others always may.
    Itself,
    /// Routes are ready that it holds out against: the next may think otherwise.
    Choosy,
}

impl Blocked {
    const fn or_itself(self) -> Self {
        match self {
            Self::Routes => Self::Itself,
            Self::Size | Self::Itself | Self::Choosy => self,
        }
    }

    const fn or_choosy(self) -> Self {
        match self {
            Self::Routes | Self::Itself => Self::Choosy,
            Self::Size | Self::Choosy => self,
        }
    }
}

impl Scheduler {
    /// The next thing to do at `now`; `None` until something settles, is offered, or [`Scheduler::next_wake`].
    pub fn poll(&mut self, now: Now) -> Option<Step> {
        self.tick_holding(now);
        let step = self.next_step(now);
        if step.is_none() {
            self.note_gate();
        }
        step
    }

    fn next_step(&mut self, now: Now) -> Option<Step> {
        self.wake(now);
        if let Some(refusal) = self.refused.pop() {
            return Some(Step::Refuse(refusal));
        }
        if self.paused || self.flights.len() >= self.policy.max_in_flight as usize {
            return None;
        }
        let version = self.version;
        self.classes.iter_mut().for_each(|class| class.look_again_at_aside(version));
        let mut order: SmallVec<[(Seq, usize); 8]> = self
            .classes
            .iter()
            .enumerate()
            .filter(|(_, class)| class.stuck_at != Some(self.version))
            .filter_map(|(index, class)| {
                let head = class.head()?;
                Some((head.seq, index))
            })
            .collect();
        order.sort_unstable();
        for (_, index) in order {
            if let Some(dispatch) = self.poll_class(now, index) {
                return Some(Step::Send(dispatch));
            }
            let version = self.version;
            let state = &mut self.classes[index];
            state.stuck_at = Some(version).filter(|_| !state.left_a_trial);
        }
        None
    }

    /// Time has passed: open breakers, end delays, look again at what was parked until now.
    fn wake(&mut self, now: Now) {
        self.rotate(now);
        // A wall that jumped (suspend, correction) moves every calendar deadline against the monotonic alarms.
        if let Some(last) = self.last_poll.replace(now) {
            let (walked, elapsed) = (now.wall.0 - last.wall.0, now.mono.since(last.mono).as_micros() as i64);
            if (walked - elapsed).abs() > 1_000_000 {
                self.look_again();
            }
        }
        while let Some(Reverse((at, route))) = self.alarms.peek().copied() {
            if at > now.mono {
                break;
            }
            self.alarms.pop();
            let state = &mut self.routes[route.index()];
            state.alarm = state.alarm.filter(|alarm| *alarm > at);
            state.breaker.tick(now);
            self.unpark(route);
        }
        while let Some(Reverse((at, seq))) = self.backoff.peek().copied() {
            if at > now.mono {
                break;
            }
            self.backoff.pop();
            if let Some((class, ticket)) = self.backing_off.remove(&seq) {
                self.classes[class].retries.push_back(ticket);
                self.classes[class].stuck_at = None;
            }
        }
    }

    fn poll_class(&mut self, now: Now, class: usize) -> Option<Dispatch> {
        if let Some(dispatch) = self.poll_retries(now, class, LOOKAHEAD) {
            return Some(dispatch);
        }
        if let Some(dispatch) = self.poll_fresh(now, class) {
            return Some(dispatch);
        }
        if std::mem::take(&mut self.classes[class].left_a_trial) {
            // Those it was left to may be gone, and no change of a route tells.
            self.classes[class].look_again();
        }
        // Nothing may stay unseen where nothing goes.
        self.poll_retries(now, class, usize::MAX)
    }

    fn poll_retries(&mut self, now: Now, class: usize, most: usize) -> Option<Dispatch> {
        for _ in 0..self.classes[class].retries.len().min(most) {
            let ticket = self.classes[class].retries.pop_front()?;
            if self.classes[class].is_known_to_be_kept(&ticket) {
                self.classes[class].set_aside(ticket);
                continue;
            }
            match self.choose(now, class, &ticket) {
                Choice::Route(route) => {
                    let ticket = self.smallest_instead(now, class, route, ticket);
                    return Some(self.reserve(now, class, ticket, route));
                }
                Choice::Blocked(why) => {
                    if why == Blocked::Itself {
                        self.classes[class].note_own_needs(&ticket);
                    }
                    self.classes[class].set_aside(ticket);
                }
            }
        }
        None
    }

    fn poll_fresh(&mut self, now: Now, class: usize) -> Option<Dispatch> {
        let mut position = 0;
        while position < self.classes[class].fresh.len().min(LOOKAHEAD) {
            let ticket = self.classes[class].fresh.remove(position)?;
            match self.choose(now, class, &ticket) {
                Choice::Route(route) => {
                    let ticket = self.smallest_instead(now, class, route, ticket);
                    return Some(self.reserve(now, class, ticket, route));
                }
                Choice::Blocked(Blocked::Itself) if self.classes[class].has_room_aside() => {
                    self.classes[class].note_own_needs(&ticket);
                    self.classes[class].set_aside(ticket);
                }
                Choice::Blocked(why) => {
                    let overtake = match why {
                        Blocked::Routes | Blocked::Itself => false,
                        Blocked::Size | Blocked::Choosy => true,
                    };
                    self.classes[class].fresh.insert(position, ticket);
                    if !overtake {
                        return None;
                    }
                    position += 1;
                }
            }
        }
        None
    }

    /// The ready route that the strategy prefers for this ticket. Routes found not ready are parked on the way.
    fn choose(&mut self, now: Now, class: usize, ticket: &Ticket) -> Choice {
        let limits = self.spill_limits(now, class, ticket);
        let mut search = self.search(class, ticket);
        let choice = self.look_through(now, class, ticket, &limits, &mut search);
        let state = &mut self.classes[class];
        state.picker.end(&state.ready, search);
        choice
    }

    fn look_through(
        &mut self,
        now: Now,
        class: usize,
        ticket: &Ticket,
        limits: &SpillLimits,
        search: &mut Search,
    ) -> Choice {
        let mut why = Blocked::Routes;
        loop {
            let state = &mut self.classes[class];
            let Some(rank) = state.picker.next(&state.ready, search, &mut self.random) else { break };
            let id = state.candidates[rank];
            if state.picker.backups_from.is_some_and(|first| rank >= first) && self.has_primary(now, class, ticket) {
                why = why.or_choosy();
                break;
            }
            if !limits.allow(id, self.routes[id.index()].model) {
                why = why.or_choosy();
                continue;
            }
            if self.is_held(now, id, ticket) {
                why = why.or_choosy();
                continue;
            }
            if self.unfit(id, ticket).is_some() {
                why = why.or_itself();
                continue;
            }
            let standing = self.standing(now, id);
            if matches!(standing, Standing::Full { what: Capacity::Lease, .. }) {
                // A lease is a matter of milliseconds: no reason to move on to the next model.
                self.holding.held(id, Bottleneck::DailyQuota);
                self.want_lease(self.routes[id.index()].pool);
                return Choice::Blocked(Blocked::Routes);
            }
            if let Some(wake) = standing.wake() {
                self.park(now, id, wake);
                continue;
            }
            match self.fits_budget(now, id, ticket) {
                Fit::Now => {}
                fit => {
                    self.holding.held(id, Bottleneck::Budget);
                    if let Fit::Tomorrow(at) = fit {
                        self.set_alarm(now, id, Wake::Wall(at));
                    }
                    why = why.or_itself();
                    continue;
                }
            }
            if self.keeps_trial_from(now, id, ticket) {
                self.classes[class].left_a_trial = true;
                why = why.or_itself();
                continue;
            }
            let need = self.need(id, ticket);
            let pool = self.routes[id.index()].pool;
            let block = self.pools[pool].token_block(now, need);
            if let Some(block) = &block {
                self.holding.held(id, Bottleneck::of_block(block));
            }
            match block {
                None => return Choice::Route(id),
                Some(Block::Full { what: Capacity::Lease, .. }) => {
                    self.note_short(pool, need);
                    return Choice::Blocked(Blocked::Routes);
                }
                Some(Block::Full { wake, .. }) => {
                    why = Blocked::Size;
                    self.set_alarm(now, id, wake);
                    if now.mono.since(ticket.since) >= AGED && !self.is_trial(now, id) {
                        self.classes[class].held.push((id, ticket.seq));
                    }
                }
                Some(Block::DayFull { until, .. }) => {
                    why = why.or_itself();
                    self.set_alarm(now, id, Wake::Wall(until));
                }
                Some(Block::TooLarge { .. } | Block::Cooling(_) | Block::Spent(_)) => why = why.or_itself(),
            }
        }
        Choice::Blocked(why)
    }

    /// Whether an aged ticket keeps its place there. A trial is nobody's.
    fn is_held(&self, now: Now, route: RouteId, ticket: &Ticket) -> bool {
        let pool = |route: RouteId| self.routes[route.index()].pool;
        let by_another = |(held, by): &(RouteId, Seq)| pool(*held) == pool(route) && *by != ticket.seq;
        self.classes.iter().any(|class| class.held.iter().any(by_another)) && !self.is_trial(now, route)
    }

    /// Whether a primary key is in service for this ticket: ready, or merely full for the moment.
    fn has_primary(&mut self, now: Now, class: usize, ticket: &Ticket) -> bool {
        let serves = |rank: &usize| {
            let id = self.classes[class].candidates[*rank];
            let on_trial = !matches!(self.routes[id.index()].breaker, Breaker::Closed { .. });
            let in_service = matches!(self.standing(now, id), Standing::Ready | Standing::Full { .. });
            in_service && !on_trial && self.prospect(now, id, ticket) == Some(Fit::Now)
        };
        let state = &self.classes[class];
        let primaries = 0..state.picker.backups_from.unwrap_or(state.candidates.len());
        // Whoever was found last time is the first to ask.
        let last = Some(state.witness).filter(|rank| primaries.contains(rank));
        let found = last.into_iter().chain(primaries).find(serves);
        self.classes[class].witness = found.unwrap_or_default();
        found.is_some()
    }

    /// Why this route may never serve this ticket, whatever its counters say.
    pub(super) fn unfit(&self, id: RouteId, ticket: &Ticket) -> Option<(Outcome, &'static str)> {
        let route = &self.routes[id.index()];
        let model = &self.models[route.model].model;
        if ticket.has_given_up(ModelId(route.model as u32)) {
            return Some((Outcome::NoRoute, "given up on this model"));
        }
        if ticket.inexpressible.contains(&self.providers[route.provider].api) {
            return Some((Outcome::NoRoute, "the provider's API can't express the request"));
        }
        if model.context.is_some_and(|context| ticket.input / 2 > context) {
            return Some((Outcome::NoRoute, "longer than the model's context"));
        }
        if self.pools[route.pool].is_too_large(Need { input: ticket.input, output: 0 }) {
            return Some((Outcome::NoRoute, "larger than the token limit"));
        }
        if ticket.max_usd.is_some_and(|most| self.worst_case(id, ticket) > most) {
            return Some((Outcome::OverBudget, "its worst case is over the item's max_usd"));
        }
        None
    }

    /// The refusal of a ticket that no candidate may ever serve.
    pub(super) fn never(&self, class: usize, ticket: &Ticket) -> Option<Refusal> {
        let mut reason = (Outcome::NoRoute, self.unrouted(class));
        for &route in &self.classes[class].candidates {
            reason = self.unfit(route, ticket)?;
        }
        let (outcome, why) = reason;
        let words = match outcome {
            Outcome::OverBudget => format!("{why}; raise it, or add a cheaper model"),
            _ => format!("no route may serve it: {why}"),
        };
        let words = match self.classes[class].routing.rule.and_then(|rule| self.policy.rules.get(rule)) {
            Some(rule) => format!("{words} (rule {} applies)", rule.name),
            None => words,
        };
        Some(Refusal { seq: ticket.seq, outcome, words, attempts: ticket.attempts() })
    }

    /// Why a class has no candidates at all.
    fn unrouted(&self, class: usize) -> &'static str {
        let sees = self.models.iter().any(|state| state.model.vision);
        match self.classes[class].routing.vision {
            true if !sees => "it holds a picture, and no model takes pictures; say vision = true for one that does",
            true => "it holds a picture, and no model that it may go to takes pictures",
            false => "no model that it may go to has a key",
        }
    }

    pub(super) fn need(&self, id: RouteId, ticket: &Ticket) -> Need {
        let model = &self.models[self.routes[id.index()].model];
        let mean = model.mean_output.unwrap_or(TYPICAL_OUTPUT);
        let stated = ticket.max_output.map_or(f64::MAX, f64::from);
        Need { input: ticket.input, output: (mean * 1.5).min(stated).ceil() as u64 }
    }

    /// The most that one attempt can cost: estimated input, and all the output it is allowed.
    pub(super) fn worst_case(&self, id: RouteId, ticket: &Ticket) -> Money {
        let model = &self.models[self.routes[id.index()].model].model;
        let output = self.most_output(model, ticket).unwrap_or(UNSTATED_OUTPUT);
        model.price.map_or(Money::ZERO, |price| price.cost(ticket.input, u64::from(output)))
    }

    /// The limit on output tokens that a request for this ticket states: its own, enlarged where that was asked for,
    /// under the model's cap.
    pub(super) fn most_output(&self, model: &Model, ticket: &Ticket) -> Option<u32> {
        let enlarged = ticket.course.as_ref().is_some_and(|course| course.enlarged);
        let factor = if enlarged { self.policy.truncated_retry_factor.unwrap_or(1) } else { 1 };
        match (ticket.max_output.map(|asked| asked.saturating_mul(factor)), model.max_output) {
            (Some(asked), Some(cap)) => Some(asked.min(cap)),
            (asked, cap) => asked.or(cap),
        }
    }

    fn reserve(&mut self, now: Now, class: usize, mut ticket: Ticket, id: RouteId) -> Dispatch {
        let (need, reserved) = (self.need(id, &ticket), self.worst_case(id, &ticket));
        let attempt = AttemptId(self.next_attempt);
        self.next_attempt += 1;
        let route = &mut self.routes[id.index()];
        route.in_flight += 1;
        self.holding.freed(id);
        self.holding.at_work(id, true);
        route.breaker.tick(now);
        self.keys[route.key].in_flight += 1;
        let pool = route.pool;
        let taken = self.pools[pool].reserve(now, need);
        let held = &mut self.classes[class].held;
        let places = held.len();
        held.retain(|(_, by)| *by != ticket.seq);
        // Whoever was kept from its place may go there now.
        self.version += u64::from(held.len() < places);
        self.money.reserved += reserved;
        self.purse.reserve(reserved);
        self.keys[route.key].purse.reserve(reserved);
        let model = ModelId(route.model as u32);
        if let Some(course) = &mut ticket.course {
            course.on_model(model);
        }
        let tries = ticket.tries();
        let enlarged = ticket.course.as_ref().is_some_and(|course| course.enlarged);
        let dispatch = Dispatch {
            attempt,
            seq: ticket.seq,
            number: ticket.attempts() + 1,
            route: id,
            key: KeyId(route.key as u32),
            model,
            retry: tries.faults(),
            reserved,
            estimated_input: need.input,
            timeout: self.policy.total_timeout.mul_f64(1.5_f64.powi(tries.timeouts.min(4) as i32)),
            enlarge: if enlarged { self.policy.truncated_retry_factor } else { None },
        };
        self.note_last(now, id);
        self.want_lease(pool);
        self.flights.insert(
            attempt,
            Flight { class, ticket, route: id, reserved_at: now, sent_at: now, taken, cost: reserved },
        );
        self.took(class, id);
        dispatch
    }

    /// A route that was just used may have had its last room for today, or for a waiting ticket that is larger. Who
    /// insisted on it, or left others alone while it was in service, may go elsewhere now.
    fn note_last(&mut self, now: Now, id: RouteId) {
        let keeps_backups = self.classes.iter().any(|class| class.picker.backups_from.is_some());
        let policy = &self.policy;
        let holds_out = policy.spill_to == SpillTo::SameModel || !policy.spill_after.is_zero();
        let insists = holds_out || policy.when_limited == WhenLimited::Wait;
        if !keeps_backups && !insists {
            return;
        }
        let key = &self.keys[self.routes[id.index()].key];
        let capped = policy.max_usd.is_some() || self.purse.is_capped() || key.purse.is_capped();
        let pool = &self.pools[self.routes[id.index()].pool];
        if capped || pool.counts_days_tokens() || matches!(pool.block(now), Some(Block::DayFull { .. })) {
            self.version += 1;
        }
    }

    /// The route that would take `ticket` at this instant, without taking anything: for the event log. `None` also
    /// where that can't be told beforehand.
    pub(super) fn preview(&self, now: Now, class: usize, ticket: &Ticket) -> Option<RouteId> {
        let ready = |route: &RouteId| {
            self.unfit(*route, ticket).is_none()
                && matches!(self.standing(now, *route), Standing::Ready)
                && self.pools[self.routes[route.index()].pool].token_block(now, self.need(*route, ticket)).is_none()
        };
        let state = &self.classes[class];
        if state.picker.has_favourite() {
            return state.candidates.iter().copied().find(ready);
        }
        let first = state.picker.peek(&state.ready, &self.models_in_order(class, ticket))?;
        Some(state.candidates[first]).filter(ready)
    }

    /// The request of `attempt` leaves the process now.
    pub fn sent(&mut self, now: Now, attempt: AttemptId) {
        if let Some(flight) = self.flights.get_mut(&attempt) {
            flight.sent_at = now;
            let pool = self.routes[flight.route.index()].pool;
            self.pools[pool].sent(now);
        }
    }
}
