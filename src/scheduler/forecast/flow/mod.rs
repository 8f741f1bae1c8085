//! The run ahead of the clock: windows, days, cooldowns and the in-flight cap as tanks that items flow through.
//!
//! Items are amounts here, not things: ten million cost what ten cost. For the first hours a minute window is
//! followed turn by turn (it opens in steps, which is what decides a short run); after that it is a rate, since a
//! turn more or less no longer shows. Days are followed exactly throughout: their ends are calendar instants.

mod money;
mod tank;

use crate::domain::{
    QuotaDay, SpillTo, WhenLimited,
    forecast::{Constraint, StopReason},
};

use super::{super::day::next_reset, ForecastInput};

use money::Purses;
use tank::{Leak, Tank};

const MINUTE: f64 = 60.0;
const DAY: f64 = 86_400.0;
/// Turns of a window are followed one by one for this long.
const BY_TURNS: f64 = 2.0 * 3_600.0;
/// And for at most so many looks at a pool.
const MOST_LOOKS: usize = 200_000;
/// Changes that come closer together than this are taken together.
const GRAIN: f64 = 0.25;
/// Later, as a share of the time that has passed.
const COARSE: f64 = 0.002;
/// Further ahead the past repeats itself.
const HORIZON: f64 = 366.0 * DAY;
/// Less than this of an item is none.
const CRUMB: f64 = 1e-6;

/// What came of it. Instants are seconds from the start.
#[derive(Clone, Debug, Default)]
pub(super) struct Course {
    /// Infinite where it never ends.
    pub finish: f64,
    pub stop: Option<(f64, StopReason, f64, Option<f64>)>,
    /// (pool, when, when its next day begins).
    pub runs_out: Option<(usize, f64, Option<f64>)>,
    /// (reset, items sent by then).
    pub before_reset: Option<(f64, f64)>,
    /// By constraint: seconds, and the pool that had most of them.
    pub binds: Vec<(Constraint, f64, Option<usize>)>,
    /// Items by lane.
    pub loads: Vec<f64>,
    pub input_tokens: f64,
    pub output_tokens: f64,
    pub usd: f64,
    pub unpriced: bool,
}

pub(super) struct Flow<'a> {
    input: &'a ForecastInput,
    at: f64,
    tanks: Vec<Tank>,
    slots: Leak,
    /// Requests left, by class.
    left: Vec<f64>,
    /// Classes with the fewest lanes first: they catch up whenever one of theirs opens.
    order: Vec<usize>,
    cursor: usize,
    /// The next end of each calendar day that some pool counts.
    resets: Vec<(QuotaDay, f64)>,
    purses: Purses,
    sent: f64,
    looks: usize,
    held_by_cap: f64,
    held_by_money: f64,
    /// The last request so far went out then.
    last_sent: f64,
    course: Course,
}

impl<'a> Flow<'a> {
    pub fn new(input: &'a ForecastInput) -> Self {
        let mut latency = vec![0.0_f64; input.pools.len()];
        for lane in &input.lanes {
            latency[lane.pool] = latency[lane.pool].max(input.models[lane.model].latency);
        }
        let tanks = input.pools.iter().zip(&latency).map(|(pool, latency)| Tank {
            period: MINUTE + latency,
            free: pool.free.iter().copied().collect(),
            left_today: pool.left_today.unwrap_or(f64::INFINITY),
            returns: pool.returns.iter().copied().collect(),
            concurrency: pool.concurrency.map(|most| Leak::new(most, pool.in_flight, *latency)),
            spent: pool.left_today.is_some_and(|left| left < 1.0),
            taken: 0.0,
            room: 0.0,
            by: pool.minute_by,
            held: [0.0; Constraint::ALL.len()],
        });
        let mut days: Vec<QuotaDay> =
            input.pools.iter().filter(|pool| pool.per_day.is_some()).map(|pool| pool.day).collect();
        days.sort_unstable_by_key(|day| *day as u8);
        days.dedup();
        let reset = |day: QuotaDay| Some((day, next_reset(day, input.now)?.since(input.now).as_secs_f64()));
        let mut order: Vec<usize> = (0..input.classes.len()).collect();
        order.sort_by_key(|class| input.classes[*class].lanes.len());
        let open = input.lanes.iter().filter(|lane| lane.opens.is_some());
        let (count, total) = open.fold((0, 0.0), |(n, sum), lane| (n + 1, sum + input.models[lane.model].latency));
        let mean_latency = if count == 0 { 1.0 } else { total / f64::from(count) };
        Self {
            at: 0.0,
            tanks: tanks.collect(),
            slots: Leak::new(f64::from(input.in_flight), f64::from(input.flying), mean_latency),
            left: input.classes.iter().map(|class| class.items * input.effort).collect(),
            order,
            cursor: input.cursor,
            resets: days.into_iter().filter_map(reset).collect(),
            purses: Purses::new(input),
            sent: 0.0,
            looks: 0,
            held_by_cap: 0.0,
            held_by_money: 0.0,
            last_sent: 0.0,
            course: Course { loads: vec![0.0; input.lanes.len()], ..Course::default() },
            input,
        }
    }

    pub fn run(mut self) -> Course {
        // What can go nowhere is left behind; the rest goes on without it.
        let stranded: f64 = (0..self.left.len())
            .filter(|class| self.input.classes[*class].lanes.is_empty())
            .map(|class| std::mem::take(&mut self.left[class]))
            .sum();
        while self.remaining() > CRUMB {
            if self.at >= HORIZON {
                let total = self.sent + self.remaining();
                self.last_sent *= if self.sent > 0.0 { total / self.sent } else { f64::INFINITY };
                break;
            }
            self.turn();
            let by_turns = self.at < BY_TURNS && self.looks < MOST_LOOKS;
            self.looks += self.tanks.len();
            let until = self.next_change(by_turns);
            let span = until - self.at;
            self.open(span, by_turns);
            let (amount, share) = self.allocate(span);
            let took = self.step_time(amount, share, span, by_turns);
            let capped = if self.remaining() > CRUMB {
                amount >= self.slots.within(span) - CRUMB
            } else {
                took > 0.0 && self.slots.time_for(amount) >= took - CRUMB
            };
            self.attribute(if self.remaining() > CRUMB { span } else { took }, capped);
            self.take(span, by_turns, capped);
            if amount > 0.0 {
                self.last_sent = self.at + took;
            }
            self.sent += amount;
            if self.remaining() <= CRUMB {
                break;
            }
            let bankrupt = self.note_stop(took);
            if until.is_infinite() || bankrupt {
                self.last_sent = f64::INFINITY;
                break;
            }
            self.slots.take(amount, span);
            self.at = until;
        }
        if stranded > CRUMB {
            let left = stranded / self.input.effort;
            let at = if self.last_sent.is_finite() { self.last_sent } else { self.at };
            self.course.stop.get_or_insert((at, StopReason::NoRoute, left, None));
            self.last_sent = f64::INFINITY;
        }
        self.close()
    }

    fn remaining(&self) -> f64 {
        self.left.iter().sum()
    }

    /// Days that have ended begin anew.
    fn turn(&mut self) {
        for (day, reset) in &mut self.resets {
            if *reset > self.at + CRUMB {
                continue;
            }
            if self.course.before_reset.is_none() {
                self.course.before_reset = Some((*reset, self.sent / self.input.effort));
            }
            for (tank, pool) in self.tanks.iter_mut().zip(&self.input.pools) {
                if pool.day == *day && pool.per_day.is_some() {
                    tank.left_today = pool.per_day.unwrap_or(f64::INFINITY);
                    tank.spent = false;
                }
            }
            let wall = self.input.now + std::time::Duration::from_secs_f64(*reset + 1.0);
            *reset = next_reset(*day, wall).map_or(f64::INFINITY, |at| at.since(self.input.now).as_secs_f64());
        }
        let midnight = self.purses.midnight();
        if midnight <= self.at + CRUMB {
            if self.resets.is_empty() && self.course.before_reset.is_none() {
                self.course.before_reset = Some((midnight, self.sent / self.input.effort));
            }
            self.purses.begin_day();
        }
        for tank in &mut self.tanks {
            while let Some((at, amount)) = tank.returns.front().copied().filter(|(at, _)| *at <= self.at + CRUMB) {
                debug_assert!(at.is_finite());
                tank.returns.pop_front();
                tank.left_today += amount;
                tank.spent &= tank.left_today < 1.0;
            }
        }
    }

    /// The next instant at which more may go than before; infinite where none is known.
    fn next_change(&self, by_turns: bool) -> f64 {
        let later = |at: &f64| *at > self.at + CRUMB;
        let mut next = f64::INFINITY;
        for (tank, pool) in self.tanks.iter().zip(&self.input.pools) {
            if let Some((at, _)) = tank.returns.front() {
                next = next.min(*at);
            }
            if by_turns {
                // What is free now and taken in this step comes back a turn later.
                let turn = tank.free.front().map(|(at, _)| at.max(self.at - GRAIN) + tank.period);
                let opens = tank.free.iter().map(|(at, _)| *at).find(later);
                next = opens.into_iter().chain(turn).fold(next, f64::min);
            } else if let Some(per_minute) = pool.per_minute
                && tank.left_today.is_finite()
                && tank.left_today >= 1.0
            {
                next = next.min(self.at + tank.left_today * tank.period / per_minute);
            }
        }
        let opens = self.input.lanes.iter().filter_map(|lane| lane.opens).filter(later);
        next = opens.fold(next, f64::min);
        let grain = if by_turns { GRAIN } else { (self.at * COARSE).max(GRAIN) };
        let reset = self.resets.iter().map(|(_, at)| *at).fold(f64::INFINITY, f64::min);
        let next = next.min(self.at + self.money_lasts());
        let next = next.max(self.at + grain).min(reset).min(self.purses.midnight());
        // No step is longer than what is left would take over all that is open: within a step, lanes are filled in
        // turn, and only a short step makes them work side by side.
        let broke = self.broke();
        let tanks = self.tanks.iter().zip(&self.input.pools).zip(&broke);
        let rate: f64 = tanks.filter(|(_, broke)| !**broke).map(|((tank, pool), _)| tank.rate(pool.per_minute)).sum();
        let rate = rate.min(self.slots.rate);
        if rate > 0.0 { next.min(self.at + (self.remaining() / rate).max(GRAIN)) } else { next }
    }

    /// What each pool lets through in the coming step.
    fn open(&mut self, span: f64, by_turns: bool) {
        let at = self.at;
        for (tank, pool) in self.tanks.iter_mut().zip(&self.input.pools) {
            let minute = match pool.per_minute {
                None => f64::INFINITY,
                Some(_) if by_turns => {
                    tank.free.iter().take_while(|(free, _)| *free <= at + CRUMB).map(|(_, amount)| amount).sum()
                }
                Some(per_minute) => per_minute * span / tank.period,
            };
            let together = tank.concurrency.map_or(f64::INFINITY, |leak| leak.within(span));
            let today = if tank.left_today < 1.0 { 0.0 } else { tank.left_today };
            tank.room = minute.min(together).min(today);
            tank.by = if today <= minute && today <= together {
                Constraint::DailyQuota
            } else if together < minute {
                Constraint::Concurrency
            } else {
                pool.minute_by
            };
            tank.taken = 0.0;
        }
    }

    /// Gives room to classes. How much goes, and the largest share that a class takes of what it could have.
    fn allocate(&mut self, span: f64) -> (f64, f64) {
        let (mut amount, mut share) = (0.0, 0.0_f64);
        let slots = self.slots.within(span);
        for index in 0..self.order.len() {
            let class = self.order[index];
            let wanted = self.left[class];
            if wanted <= CRUMB {
                continue;
            }
            let mut could = 0.0;
            // The strict pipeline and same-model spilling move on within a step when a lane is spent.
            for _ in 0..=self.input.lanes.len() {
                let (went, possible, moved) = self.pass(class, slots - amount);
                amount += went;
                could += possible;
                if !moved || self.left[class] <= CRUMB || slots - amount <= CRUMB {
                    break;
                }
            }
            if could.is_finite() && could > 0.0 {
                share = share.max((wanted - self.left[class]) / could);
            }
        }
        (amount, share.min(1.0))
    }

    /// One pass over a class's lanes: what went, what could have gone, and whether other lanes may go now.
    fn pass(&mut self, class: usize, mut slots: f64) -> (f64, f64, bool) {
        let input = self.input;
        let lanes = &input.classes[class].lanes;
        let spent = |tanks: &[Tank], lane: u32| {
            let tank = &tanks[input.lanes[lane as usize].pool];
            tank.left_today - tank.taken < 1.0
        };
        let strict = input.when_limited == WhenLimited::Wait;
        let mut stands = None;
        if strict {
            let count = input.lanes.len();
            let usable = |index: &usize| {
                input.lanes[*index].opens.is_some()
                    && !spent(&self.tanks, *index as u32)
                    && lanes.contains(&(*index as u32))
            };
            match (0..count).map(|step| (self.cursor + step) % count).find(usable) {
                Some(index) => self.cursor = index,
                None => return (0.0, 0.0, false),
            }
            let pays = |index: &usize| usable(index) && self.affordable(class, *index) >= 1.0;
            stands = (0..count).map(|step| (self.cursor + step) % count).find(pays);
        }
        let only_model = (!strict && input.spill == SpillTo::SameModel).then(|| {
            let serves = |lane: &&u32| !spent(&self.tanks, **lane) && self.affordable(class, **lane as usize) >= 1.0;
            lanes.iter().find(serves).map(|lane| input.lanes[*lane as usize].model)
        });
        let (mut went, mut possible) = (0.0, 0.0);
        for &index in lanes {
            let lane = &input.lanes[index as usize];
            let closed = lane.opens.is_none_or(|opens| opens > self.at + CRUMB);
            let barred =
                (strict && Some(index as usize) != stands) || only_model.is_some_and(|only| only != Some(lane.model));
            if closed || barred {
                continue;
            }
            let affordable = self.affordable(class, index as usize);
            if affordable < 1.0 {
                continue;
            }
            let tank = &self.tanks[lane.pool];
            let room = tank.room - tank.taken;
            possible += room.min(slots);
            let take = room.min(slots).min(self.left[class]).min(affordable);
            if take <= 0.0 {
                continue;
            }
            self.tanks[lane.pool].taken += take;
            self.left[class] -= take;
            slots -= take;
            went += take;
            self.book(class, index as usize, take);
            if self.left[class] <= CRUMB || slots <= CRUMB {
                break;
            }
        }
        let moves = (strict || only_model.is_some()) && went > 0.0;
        (went, possible, moves)
    }

    fn book(&mut self, class: usize, lane: usize, amount: f64) {
        let model = &self.input.models[self.input.lanes[lane].model];
        let input = self.input.classes[class].input;
        let course = &mut self.course;
        course.loads[lane] += amount / self.input.effort;
        course.input_tokens += amount * input;
        course.output_tokens += amount * model.output;
        match model.price {
            Some(price) => {
                let usd = amount * (price.input as f64 * input + price.output as f64 * model.output) / 1e12;
                course.usd += usd;
                self.purses.spend(self.input.lanes[lane].key, usd);
            }
            None => course.unpriced = true,
        }
    }

    /// How far into the step its last request goes out.
    fn step_time(&self, amount: f64, share: f64, span: f64, by_turns: bool) -> f64 {
        let mut took = self.slots.time_for(amount);
        for tank in self.tanks.iter().filter(|tank| tank.taken > 0.0) {
            took = took.max(tank.concurrency.map_or(0.0, |leak| leak.time_for(tank.taken)));
        }
        if !by_turns && span.is_finite() {
            took = took.max(span * share);
        }
        took.min(span)
    }

    /// Whom the step's time was lost to.
    fn attribute(&mut self, span: f64, capped: bool) {
        if !span.is_finite() || span <= 0.0 {
            return;
        }
        if capped {
            self.held_by_cap += span;
            return;
        }
        let broke = self.broke();
        let lacks = |(class, lane)| self.cost(class, lane).is_some_and(|cost| self.purses.run_lacks(cost));
        if broke.contains(&true) && self.wants().all(lacks) {
            self.held_by_money += span;
            return;
        }
        let mut weights = 0.0;
        let weight = |input: &ForecastInput, pool: usize| {
            let pool = &input.pools[pool];
            pool.per_minute.or(pool.per_day.map(|per_day| per_day / 1_440.0)).unwrap_or(0.0)
        };
        let mut cooling = vec![false; self.tanks.len()];
        let mut used = vec![false; self.tanks.len()];
        for lane in &self.input.lanes {
            let Some(opens) = lane.opens else { continue };
            if !std::mem::replace(&mut used[lane.pool], true) {
                weights += weight(self.input, lane.pool).max(CRUMB);
            }
            cooling[lane.pool] |= opens > self.at + CRUMB;
        }
        for (index, tank) in self.tanks.iter_mut().enumerate().filter(|(index, _)| used[*index]) {
            let by = if tank.left_today < 1.0 {
                Constraint::DailyQuota
            } else if cooling[index] {
                Constraint::Cooldown
            } else if broke[index] {
                Constraint::Money
            } else if tank.by == Constraint::DailyQuota && tank.taken < tank.room {
                self.input.pools[index].minute_by
            } else {
                tank.by
            };
            tank.held[by as usize] += span * weight(self.input, index).max(CRUMB) / weights;
        }
    }

    /// What went leaves the tanks, and comes back when its window or rolling day has passed.
    fn take(&mut self, span: f64, by_turns: bool, capped: bool) {
        let (at, reset_of) = (self.at, &self.resets);
        for (index, (tank, pool)) in self.tanks.iter_mut().zip(&self.input.pools).enumerate() {
            if let Some(leak) = &mut tank.concurrency {
                leak.take(tank.taken, span);
            }
            if tank.taken <= 0.0 {
                continue;
            }
            if by_turns && pool.per_minute.is_some() {
                let mut left = tank.taken;
                while let Some((free, amount)) = tank.free.front().copied().filter(|_| left > CRUMB) {
                    let take = amount.min(left);
                    left -= take;
                    // Taken the moment it was free, unless the step began later, or slots were lacking.
                    let sent = if capped && span.is_finite() { at + span / 2.0 } else { free.max(at - GRAIN) };
                    tank.free.pop_front();
                    if take < amount - CRUMB {
                        tank.free.push_front((free, amount - take));
                    }
                    let back = sent + tank.period;
                    let place = tank.free.partition_point(|(other, _)| *other <= back);
                    match tank.free.get_mut(place.wrapping_sub(1)) {
                        Some((other, amount)) if back - *other < GRAIN / 8.0 && *other > at => *amount += take,
                        _ => tank.free.insert(place, (back, take)),
                    }
                }
            }
            if tank.left_today.is_finite() {
                tank.left_today -= tank.taken;
                if pool.day == QuotaDay::Rolling {
                    let back = at + DAY;
                    match tank.returns.back_mut() {
                        Some((other, amount)) if back - *other < DAY / 48.0 => *amount += tank.taken,
                        _ => tank.returns.push_back((back, tank.taken)),
                    }
                }
                if tank.left_today < 1.0 && !tank.spent {
                    tank.spent = true;
                    let reset = reset_of.iter().find(|(day, _)| *day == pool.day).map(|(_, reset)| *reset);
                    if self.course.runs_out.is_none() {
                        self.course.runs_out = Some((index, at, reset));
                    }
                }
            }
        }
    }

    /// Where nothing more goes today, or for this money, the run stops. Whether no day to come has money for the rest.
    fn note_stop(&mut self, took: f64) -> bool {
        if self.course.stop.is_some() && !self.purses.is_capped() {
            return false;
        }
        let (mut any_lane, mut any_spent, mut all_spent) = (false, false, true);
        let (mut all_out, mut pays_some_day) = (true, false);
        for (class, index) in self.wants() {
            let lane = &self.input.lanes[index];
            let spent = self.tanks[lane.pool].left_today < 1.0;
            let affordable = self.affordable(class, index) >= 1.0;
            any_lane = true;
            any_spent |= spent;
            all_spent &= spent;
            all_out &= spent || !affordable;
            let ever = || self.cost(class, index).is_none_or(|cost| self.purses.ever_covers(lane.key, cost));
            pays_some_day |= affordable || ever();
        }
        let (left, at) = (self.remaining() / self.input.effort, self.at + took);
        let bankrupt = any_lane && !pays_some_day;
        if bankrupt {
            self.course.stop.get_or_insert((at, StopReason::Budget, left, None));
        } else if any_lane && all_out && self.input.stops_when_exhausted {
            let calendar = self.resets.iter().map(|(_, reset)| *reset);
            let rolling = self.tanks.iter().filter_map(|tank| tank.returns.front()).map(|(at, _)| *at);
            let quota = calendar.chain(rolling).filter(|_| any_spent);
            let money = Some(self.purses.midnight()).filter(|_| !all_spent);
            let returns = quota.chain(money).min_by(f64::total_cmp);
            let why = if all_spent { StopReason::Quota } else { StopReason::Budget };
            self.course.stop.get_or_insert((at, why, left, returns));
        }
        bankrupt
    }

    fn close(mut self) -> Course {
        // The last answer: of the slowest route that has part in it.
        let loads = self.course.loads.iter().zip(&self.input.lanes);
        let used = loads.filter(|(load, _)| **load > 0.0).map(|(_, lane)| self.input.models[lane.model].latency);
        let answer = used.fold(0.0, f64::max);
        self.course.finish = self.last_sent + answer;
        let mut binds: Vec<(Constraint, f64, Option<usize>)> = Constraint::ALL
            .into_iter()
            .filter(|what| *what != Constraint::MaxInFlight)
            .map(|what| {
                let by = what as usize;
                let total: f64 = self.tanks.iter().map(|tank| tank.held[by]).sum();
                let most = (0..self.tanks.len())
                    .max_by(|one, two| self.tanks[*one].held[by].total_cmp(&self.tanks[*two].held[by]));
                match what {
                    // A key's money, and the run's, which is no pool's.
                    Constraint::Money if self.held_by_money > total => (what, total + self.held_by_money, None),
                    Constraint::Money => (what, total + self.held_by_money, most),
                    _ => (what, total, most),
                }
            })
            .collect();
        binds.push((Constraint::MaxInFlight, self.held_by_cap, None));
        binds.retain(|(_, seconds, _)| *seconds > 0.0);
        binds.sort_by(|one, two| two.1.total_cmp(&one.1));
        self.course.binds = binds;
        self.course
    }
}
