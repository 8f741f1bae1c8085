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

use super::{Scheduler, availability::Availability, breaker::Breaker, pool::PoolBlock};

/// Time is kept in this many parts of this length: shares are about the last five minutes.
const BUCKET_COUNT: usize = 5;
const BUCKET_MICROS: u64 = 60_000_000;

/// All parts together.
const WINDOW_MICROS: u64 = BUCKET_COUNT as u64 * BUCKET_MICROS;

type MicrosByBottleneck = [u64; Bottleneck::COUNT];

/// A ring of times by what they were lost to.
#[derive(Clone, Debug)]
struct TimeBuckets {
    /// Microseconds; a part is at most a minute.
    buckets: [[u32; Bottleneck::COUNT]; BUCKET_COUNT],
    /// The number of the newest part, counted from the beginning of the clock.
    newest: u64,
}

impl TimeBuckets {
    const fn new(now: MonoTime) -> Self {
        Self { buckets: [[0; Bottleneck::COUNT]; BUCKET_COUNT], newest: now.0 / BUCKET_MICROS }
    }

    fn advance(&mut self, now: MonoTime) {
        let bucket = now.0 / BUCKET_MICROS;
        let skipped = bucket.saturating_sub(self.newest).min(BUCKET_COUNT as u64);
        for step in 0..skipped {
            self.buckets[((bucket - step) % BUCKET_COUNT as u64) as usize] = [0; Bottleneck::COUNT];
        }
        self.newest = self.newest.max(bucket);
    }

    /// Books the time from `since` to `now`; what is older than the ring is forgotten.
    fn add_span(&mut self, since: MonoTime, now: MonoTime, bottleneck: Bottleneck) {
        self.advance(now);
        let mut from = since.0.max((self.newest + 1).saturating_sub(BUCKET_COUNT as u64) * BUCKET_MICROS);
        while from < now.0 {
            let bucket = from / BUCKET_MICROS;
            let until = now.0.min((bucket + 1) * BUCKET_MICROS);
            self.add(bucket, bottleneck, until - from);
            from = until;
        }
    }

    fn add(&mut self, bucket: u64, bottleneck: Bottleneck, amount: u64) {
        let slot = &mut self.buckets[(bucket % BUCKET_COUNT as u64) as usize][bottleneck as usize];
        *slot = slot.saturating_add(u32::try_from(amount).unwrap_or(u32::MAX));
    }

    /// The largest first; they add up to 1, unless nothing is known yet.
    fn shares(&self) -> Vec<BottleneckShare> {
        let total = |bottleneck: &Bottleneck| {
            self.buckets.iter().map(|part| u64::from(part[*bottleneck as usize])).sum::<u64>()
        };
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
struct RouteTimeline {
    buckets: TimeBuckets,
    since: MonoTime,
    /// `None`: free, so that whatever holds the run holds it.
    blocked_by: Option<Bottleneck>,
    /// The gates' clocks when it became free, or was last read.
    run_clocks: MicrosByBottleneck,
    has_in_flight: bool,
}

/// The books of a scheduler.
#[derive(Debug, Default)]
pub struct BottleneckTracker {
    timelines: Vec<RouteTimeline>,
    /// By hold: how many routes it has.
    blocked_counts: [u32; Bottleneck::COUNT],
    unblocked_count: u32,
    run_buckets: Option<TimeBuckets>,
    /// Why the last poll ended, and since when.
    run_bottleneck: Option<Bottleneck>,
    run_since: MonoTime,
    run_clocks: MicrosByBottleneck,
    /// The instant of the last poll or settlement.
    now: MonoTime,
    /// Holds weigh on the run by routes; fractions of microseconds are carried.
    carried_micros: [f64; Bottleneck::COUNT],
}

impl BottleneckTracker {
    pub fn set_routes(&mut self, routes: usize) {
        let new_timeline = || RouteTimeline {
            buckets: TimeBuckets::new(self.now),
            since: self.now,
            blocked_by: None,
            run_clocks: self.run_clocks,
            has_in_flight: false,
        };
        self.timelines = (0..routes).map(|_| new_timeline()).collect();
        self.blocked_counts = [0; Bottleneck::COUNT];
        self.unblocked_count = routes as u32;
    }

    /// Time has passed: the gate's is booked. The first call begins the books.
    fn tick(&mut self, now: MonoTime) {
        let Some(run) = &mut self.run_buckets else {
            self.run_buckets = Some(TimeBuckets::new(now));
            (self.now, self.run_since) = (now, now);
            self.timelines.iter_mut().for_each(|post| post.since = now);
            return;
        };
        let span = now.0.saturating_sub(self.run_since.0).min(WINDOW_MICROS);
        if span > 0
            && let Some(bottleneck) = self.run_bottleneck
        {
            let index = bottleneck as usize;
            self.run_clocks[index] += span;
            let blocked_count: u32 = self.blocked_counts.iter().sum();
            // Stuck: the routes' own holds are the run's.
            if bottleneck == Bottleneck::NotSelected && blocked_count > 0 {
                for kind in Bottleneck::ALL.into_iter().filter(|what| self.blocked_counts[*what as usize] > 0) {
                    let share = f64::from(self.blocked_counts[kind as usize]) / f64::from(blocked_count);
                    let exact = span as f64 * share + self.carried_micros[kind as usize];
                    self.carried_micros[kind as usize] = exact.fract();
                    run.add_span(MonoTime(now.0 - exact as u64), now, kind);
                }
            } else {
                run.add_span(self.run_since, now, bottleneck);
            }
        }
        (self.now, self.run_since) = (now, now);
    }

    /// Closes the route's time so far.
    fn flush(&mut self, route: usize) {
        let timeline = &mut self.timelines[route];
        if let Some(bottleneck) = timeline.blocked_by {
            timeline.buckets.add_span(timeline.since, self.now, bottleneck);
        } else {
            timeline.buckets.advance(self.now);
            let bucket = self.now.0 / BUCKET_MICROS;
            // What lies longer back than the ring reaches has no say, however long nobody has asked.
            let total: u64 = self.run_clocks.iter().zip(&timeline.run_clocks).map(|(to, from)| to - from).sum();
            let scale = if total > WINDOW_MICROS { WINDOW_MICROS as f64 / total as f64 } else { 1.0 };
            for (index, bottleneck) in Bottleneck::ALL.into_iter().enumerate() {
                let passed = ((self.run_clocks[index] - timeline.run_clocks[index]) as f64 * scale) as u64;
                if passed > 0 {
                    // A route at work is not what lacks work.
                    let is_sending = timeline.has_in_flight
                        && matches!(bottleneck, Bottleneck::MaxInFlight | Bottleneck::NothingToSend);
                    timeline.buckets.add(bucket, if is_sending { Bottleneck::Sending } else { bottleneck }, passed);
                }
            }
        }
        timeline.run_clocks = self.run_clocks;
        timeline.since = self.now;
    }

    fn set_blocked_by(&mut self, route: RouteId, blocked_by: Option<Bottleneck>) {
        let index = route.index();
        let before = self.timelines[index].blocked_by;
        if before == blocked_by {
            return;
        }
        self.flush(index);
        match before {
            Some(before) => self.blocked_counts[before as usize] -= 1,
            None => self.unblocked_count -= 1,
        }
        match blocked_by {
            Some(held) => self.blocked_counts[held as usize] += 1,
            None => self.unblocked_count += 1,
        }
        self.timelines[index].blocked_by = blocked_by;
    }

    /// The route can't take anything now.
    pub fn mark_blocked(&mut self, route: RouteId, by: Bottleneck) {
        self.set_blocked_by(route, Some(by));
    }

    /// Nothing is known against the route.
    pub fn mark_unblocked(&mut self, route: RouteId) {
        self.set_blocked_by(route, None);
    }

    /// Whether the route has requests in flight.
    pub fn set_has_in_flight(&mut self, route: RouteId, in_flight: bool) {
        if self.timelines[route.index()].has_in_flight != in_flight {
            self.flush(route.index());
            self.timelines[route.index()].has_in_flight = in_flight;
        }
    }

    fn set_run_bottleneck(&mut self, gate: Bottleneck) {
        self.run_bottleneck = Some(gate);
    }
}

impl Bottleneck {
    /// What a standing amounts to; `None` where the route is ready.
    pub(super) fn from_availability(availability: &Availability<'_>) -> Option<Self> {
        match availability {
            Availability::Ready => None,
            Availability::SwitchedOff { .. } => Some(Self::SwitchedOff),
            Availability::Disabled(_) => Some(Self::Disabled),
            Availability::CoolingDown(_) => Some(Self::Cooldown),
            Availability::Exhausted(_) | Availability::DailyLimitReached { .. } => Some(Self::DailyQuota),
            Availability::CircuitOpen { .. } => Some(Self::CircuitOpen),
            Availability::Limited { kind, .. } => Some(kind.bottleneck()),
        }
    }

    pub(super) fn from_pool_block(block: &PoolBlock<'_>) -> Self {
        match block {
            PoolBlock::Limited { kind, .. } | PoolBlock::TooLarge { kind } => kind.bottleneck(),
            PoolBlock::DailyLimitReached { .. } | PoolBlock::Exhausted(_) => Self::DailyQuota,
            PoolBlock::CoolingDown(_) => Self::Cooldown,
        }
    }
}

impl Scheduler {
    /// Books the time until `now`, before anything changes.
    pub(super) fn tick_bottlenecks(&mut self, now: Now) {
        self.bottlenecks.tick(now.mono);
    }

    /// A poll has ended without a step: for what reason?
    pub(super) fn record_run_bottleneck(&mut self) {
        let has_waiting = self.classes.iter().any(|class| class.loaded_count() > 0);
        let bottleneck = if self.is_paused {
            Bottleneck::Paused
        } else if !has_waiting && !self.backing_off.is_empty() {
            Bottleneck::RetryDelay
        } else if !has_waiting && !self.reservations.is_empty() {
            Bottleneck::Sending
        } else if !has_waiting {
            Bottleneck::NothingToSend
        } else if self.reservations.len() >= self.policy.max_in_flight as usize {
            Bottleneck::MaxInFlight
        } else {
            Bottleneck::NotSelected
        };
        self.bottlenecks.set_run_bottleneck(bottleneck);
    }

    /// What held the run over the last five minutes, the largest share first.
    pub fn run_bottlenecks(&mut self, now: Now) -> Vec<BottleneckShare> {
        self.tick_bottlenecks(now);
        self.bottlenecks.run_buckets.as_ref().map(TimeBuckets::shares).unwrap_or_default()
    }

    /// What held a route over the last five minutes, the largest share first.
    pub fn route_bottlenecks(&mut self, now: Now, route: RouteId) -> Vec<BottleneckShare> {
        self.tick_bottlenecks(now);
        self.bottlenecks.flush(route.index());
        self.bottlenecks.timelines[route.index()].buckets.shares()
    }

    /// The hold that parking a route comes from.
    pub(super) fn record_parked(&mut self, now: Now, route: RouteId) {
        let blocked_by = Bottleneck::from_availability(&self.availability(now, route));
        let is_probing = matches!(self.routes[route.index()].breaker, Breaker::HalfOpen { .. });
        match blocked_by {
            Some(Bottleneck::Concurrency) if is_probing => {
                self.bottlenecks.mark_blocked(route, Bottleneck::CircuitOpen)
            }
            Some(held) => self.bottlenecks.mark_blocked(route, held),
            None => self.bottlenecks.mark_unblocked(route),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(minutes: u64) -> MonoTime {
        MonoTime(minutes * BUCKET_MICROS)
    }

    #[test]
    fn shares_are_of_the_last_five_minutes() {
        let mut buckets = TimeBuckets::new(minutes(0));
        buckets.add_span(minutes(0), minutes(10), Bottleneck::DailyQuota);
        assert_eq!(buckets.shares(), [BottleneckShare { bottleneck: Bottleneck::DailyQuota, share: 1.0 }]);
        buckets.add_span(minutes(10), minutes(11), Bottleneck::Cooldown);
        let shares = buckets.shares();
        assert_eq!(shares[0].bottleneck, Bottleneck::DailyQuota);
        assert!(shares[1].share > 0.19 && shares[1].share < 0.26, "{shares:?}");
        buckets.add_span(minutes(11), minutes(20), Bottleneck::Cooldown);
        assert_eq!(buckets.shares(), [BottleneckShare { bottleneck: Bottleneck::Cooldown, share: 1.0 }]);
    }
}
