//! "Why not faster?": what holds each route and the run, by time.
//!
//! Nothing is scanned. A route's state is noted where dispatch finds it out anyway: parked for a reason, or worth a
//! look again. The run has a *gate*: why the last poll sent nothing more. Time is booked when one of them changes.
//!
//! A route that is free is held by whatever holds the run. So the gates keep clocks of their own, and a free route's
//! time is the difference of two readings of them: a gate that changes a thousand times a second costs one addition
//! each, however many routes are free.

use crate::domain::{
    MonoTime, Now, RouteId,
    bottleneck::{Bottleneck, BottleneckShare},
};

use super::{Scheduler, breaker::Breaker, pool::Block, standing::Standing};

/// Time is kept in this many parts of this length: shares are about the last five minutes.
const PARTS: usize = 5;
const PART: u64 = 60_000_000;

/// All parts together.
const LENGTH: u64 = PARTS as u64 * PART;

type Times = [u64; Bottleneck::COUNT];

/// A ring of times by what they were lost to.
#[derive(Clone, Debug)]
struct Ring {
    /// Microseconds; a part is at most a minute.
    parts: [[u32; Bottleneck::COUNT]; PARTS],
    /// The number of the newest part, counted from the beginning of the clock.
    newest: u64,
}

impl Ring {
    const fn new(now: MonoTime) -> Self {
        Self { parts: [[0; Bottleneck::COUNT]; PARTS], newest: now.0 / PART }
    }

    fn turn(&mut self, now: MonoTime) {
        let part = now.0 / PART;
        let ahead = part.saturating_sub(self.newest).min(PARTS as u64);
        for step in 0..ahead {
            self.parts[((part - step) % PARTS as u64) as usize] = [0; Bottleneck::COUNT];
        }
        self.newest = self.newest.max(part);
    }

    /// Books the time from `since` to `now`; what is older than the ring is forgotten.
    fn book(&mut self, since: MonoTime, now: MonoTime, what: Bottleneck) {
        self.turn(now);
        let mut from = since.0.max((self.newest + 1).saturating_sub(PARTS as u64) * PART);
        while from < now.0 {
            let part = from / PART;
            let until = now.0.min((part + 1) * PART);
            self.add(part, what, until - from);
            from = until;
        }
    }

    fn add(&mut self, part: u64, what: Bottleneck, amount: u64) {
        let slot = &mut self.parts[(part % PARTS as u64) as usize][what as usize];
        *slot = slot.saturating_add(u32::try_from(amount).unwrap_or(u32::MAX));
    }

    /// The largest first; they add up to 1, unless nothing is known yet.
    fn shares(&self) -> Vec<BottleneckShare> {
        let total = |what: &Bottleneck| self.parts.iter().map(|part| u64::from(part[*what as usize])).sum::<u64>();
        let all: u64 = Bottleneck::ALL.iter().map(total).sum();
        let mut shares: Vec<BottleneckShare> = Bottleneck::ALL
            .iter()
            .map(|what| BottleneckShare { bottleneck: *what, share: total(what) as f64 / all.max(1) as f64 })
            .filter(|share| share.share > 0.0)
            .collect();
        shares.sort_by(|one, two| two.share.total_cmp(&one.share));
        shares
    }
}

/// Where a route stands, and since when.
#[derive(Debug)]
struct Post {
    ring: Ring,
    since: MonoTime,
    /// `None`: free, so that whatever holds the run holds it.
    held: Option<Bottleneck>,
    /// The gates' clocks when it became free, or was last read.
    clocks: Times,
    in_flight: bool,
}

/// The books of a scheduler.
#[derive(Debug, Default)]
pub struct Holding {
    posts: Vec<Post>,
    /// By hold: how many routes it has.
    counts: [u32; Bottleneck::COUNT],
    free: u32,
    run: Option<Ring>,
    /// Why the last poll ended, and since when.
    gate: Option<Bottleneck>,
    since: MonoTime,
    clocks: Times,
    /// The instant of the last poll or settlement.
    now: MonoTime,
    /// Holds weigh on the run by routes; fractions of microseconds are carried.
    remainder: [f64; Bottleneck::COUNT],
}

impl Holding {
    pub fn set_routes(&mut self, routes: usize) {
        let post =
            || Post { ring: Ring::new(self.now), since: self.now, held: None, clocks: self.clocks, in_flight: false };
        self.posts = (0..routes).map(|_| post()).collect();
        self.counts = [0; Bottleneck::COUNT];
        self.free = routes as u32;
    }

    /// Time has passed: the gate's is booked. The first call begins the books.
    fn tick(&mut self, now: MonoTime) {
        let Some(run) = &mut self.run else {
            self.run = Some(Ring::new(now));
            (self.now, self.since) = (now, now);
            self.posts.iter_mut().for_each(|post| post.since = now);
            return;
        };
        let span = now.0.saturating_sub(self.since.0).min(LENGTH);
        if span > 0
            && let Some(gate) = self.gate
        {
            let index = gate as usize;
            self.clocks[index] += span;
            let held: u32 = self.counts.iter().sum();
            // Stuck: the routes' own holds are the run's.
            if gate == Bottleneck::NotSelected && held > 0 {
                for what in Bottleneck::ALL.into_iter().filter(|what| self.counts[*what as usize] > 0) {
                    let share = f64::from(self.counts[what as usize]) / f64::from(held);
                    let exact = span as f64 * share + self.remainder[what as usize];
                    self.remainder[what as usize] = exact.fract();
                    run.book(MonoTime(now.0 - exact as u64), now, what);
                }
            } else {
                run.book(self.since, now, gate);
            }
        }
        (self.now, self.since) = (now, now);
    }

    /// Closes the route's time so far.
    fn close(&mut self, route: usize) {
        let post = &mut self.posts[route];
        if let Some(held) = post.held {
            post.ring.book(post.since, self.now, held);
        } else {
            post.ring.turn(self.now);
            let part = self.now.0 / PART;
            // What lies longer back than the ring reaches has no say, however long nobody has asked.
            let whole: u64 = self.clocks.iter().zip(&post.clocks).map(|(to, from)| to - from).sum();
            let scale = if whole > LENGTH { LENGTH as f64 / whole as f64 } else { 1.0 };
            for (index, what) in Bottleneck::ALL.into_iter().enumerate() {
                let passed = ((self.clocks[index] - post.clocks[index]) as f64 * scale) as u64;
                if passed > 0 {
                    // A route at work is not what lacks work.
                    let at_work = post.in_flight && matches!(what, Bottleneck::MaxInFlight | Bottleneck::NothingToSend);
                    post.ring.add(part, if at_work { Bottleneck::Sending } else { what }, passed);
                }
            }
        }
        post.clocks = self.clocks;
        post.since = self.now;
    }

    fn set(&mut self, route: RouteId, held: Option<Bottleneck>) {
        let index = route.index();
        let before = self.posts[index].held;
        if before == held {
            return;
        }
        self.close(index);
        match before {
            Some(before) => self.counts[before as usize] -= 1,
            None => self.free -= 1,
        }
        match held {
            Some(held) => self.counts[held as usize] += 1,
            None => self.free += 1,
        }
        self.posts[index].held = held;
    }

    /// The route can't take anything now.
    pub fn held(&mut self, route: RouteId, by: Bottleneck) {
        self.set(route, Some(by));
    }

    /// Nothing is known against the route.
    pub fn freed(&mut self, route: RouteId) {
        self.set(route, None);
    }

    /// Whether the route has requests in flight.
    pub fn at_work(&mut self, route: RouteId, in_flight: bool) {
        if self.posts[route.index()].in_flight != in_flight {
            self.close(route.index());
            self.posts[route.index()].in_flight = in_flight;
        }
    }

    fn gate(&mut self, gate: Bottleneck) {
        self.gate = Some(gate);
    }
}

impl Bottleneck {
    /// What a standing amounts to; `None` where the route is ready.
    pub(super) fn of(standing: &Standing<'_>) -> Option<Self> {
        match standing {
            Standing::Ready => None,
            Standing::Off { .. } => Some(Self::SwitchedOff),
            Standing::Dead(_) => Some(Self::Disabled),
            Standing::Cooling(_) => Some(Self::Cooldown),
            Standing::Spent(_) | Standing::DayFull { .. } => Some(Self::DailyQuota),
            Standing::Broken { .. } => Some(Self::CircuitOpen),
            Standing::Full { what, .. } => Some(what.hold()),
        }
    }

    pub(super) fn of_block(block: &Block<'_>) -> Self {
        match block {
            Block::Full { what, .. } | Block::TooLarge { what } => what.hold(),
            Block::DayFull { .. } | Block::Spent(_) => Self::DailyQuota,
            Block::Cooling(_) => Self::Cooldown,
        }
    }
}

impl Scheduler {
    /// Books the time until `now`, before anything changes.
    pub(super) fn tick_holding(&mut self, now: Now) {
        self.holding.tick(now.mono);
    }

    /// A poll has ended without a step: for what reason?
    pub(super) fn note_gate(&mut self) {
        let waits = self.classes.iter().any(|class| class.loaded() > 0);
        let gate = if self.paused {
            Bottleneck::Paused
        } else if !waits && !self.backing_off.is_empty() {
            Bottleneck::RetryDelay
        } else if !waits && !self.flights.is_empty() {
            Bottleneck::Sending
        } else if !waits {
            Bottleneck::NothingToSend
        } else if self.flights.len() >= self.policy.max_in_flight as usize {
            Bottleneck::MaxInFlight
        } else {
            Bottleneck::NotSelected
        };
        self.holding.gate(gate);
    }

    /// What held the run over the last five minutes, the largest share first.
    pub fn run_holding(&mut self, now: Now) -> Vec<BottleneckShare> {
        self.tick_holding(now);
        self.holding.run.as_ref().map(Ring::shares).unwrap_or_default()
    }

    /// What held a route over the last five minutes, the largest share first.
    pub fn route_holding(&mut self, now: Now, route: RouteId) -> Vec<BottleneckShare> {
        self.tick_holding(now);
        self.holding.close(route.index());
        self.holding.posts[route.index()].ring.shares()
    }

    /// The hold that parking a route comes from.
    pub(super) fn note_parked(&mut self, now: Now, route: RouteId) {
        let held = Bottleneck::of(&self.standing(now, route));
        let probing = matches!(self.routes[route.index()].breaker, Breaker::HalfOpen { .. });
        match held {
            Some(Bottleneck::Concurrency) if probing => self.holding.held(route, Bottleneck::CircuitOpen),
            Some(held) => self.holding.held(route, held),
            None => self.holding.freed(route),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(minutes: u64) -> MonoTime {
        MonoTime(minutes * PART)
    }

    #[test]
    fn shares_are_of_the_last_five_minutes() {
        let mut ring = Ring::new(minutes(0));
        ring.book(minutes(0), minutes(10), Bottleneck::DailyQuota);
        assert_eq!(ring.shares(), [BottleneckShare { bottleneck: Bottleneck::DailyQuota, share: 1.0 }]);
        ring.book(minutes(10), minutes(11), Bottleneck::Cooldown);
        let shares = ring.shares();
        assert_eq!(shares[0].bottleneck, Bottleneck::DailyQuota);
        assert!(shares[1].share > 0.19 && shares[1].share < 0.26, "{shares:?}");
        ring.book(minutes(11), minutes(20), Bottleneck::Cooldown);
        assert_eq!(ring.shares(), [BottleneckShare { bottleneck: Bottleneck::Cooldown, share: 1.0 }]);
    }
}
