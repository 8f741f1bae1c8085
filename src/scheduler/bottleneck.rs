//! Bottlenecks over time: what limited each route and the run, and for how long. They answer "why is it not faster?".
//!
//! No routes are scanned: dispatch reports a route's state whenever it parks or unparks the route. The run has one
//! bottleneck at a time: the reason why the last poll sent nothing more. Time is added when one of these changes.
//!
//! A route that is not blocked is limited by the run's bottleneck. The run therefore keeps a clock per bottleneck, and
//! an unblocked route's time is the difference of two readings. A run bottleneck that changes a thousand times a second
//! costs one addition each time, however many routes are unblocked.

use crate::domain::{
    MonoTime, RouteId,
    bottleneck::{Bottleneck, BottleneckShare},
};

/// Number of time buckets. With buckets of one minute, shares cover about the last five minutes.
const BUCKET_COUNT: usize = 5;
const BUCKET_MICROS: u64 = 60_000_000;

/// Length of all buckets together, in microseconds.
const WINDOW_MICROS: u64 = BUCKET_COUNT as u64 * BUCKET_MICROS;

type MicrosByBottleneck = [u64; Bottleneck::COUNT];

/// A ring buffer of times by bottleneck.
#[derive(Clone, Debug)]
struct TimeBuckets {
    /// Microseconds; at most one minute in a bucket.
    buckets: [[u32; Bottleneck::COUNT]; BUCKET_COUNT],
    /// Number of the newest bucket, counted from the start of the clock.
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

    /// Adds the time from `since` to `now`. Time older than the ring buffer is discarded.
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

    /// Shares of the recorded time, the largest first. They add up to 1, or are empty if nothing is recorded yet.
    fn shares(&self) -> Vec<BottleneckShare> {
        let mut total: MicrosByBottleneck = [0; Bottleneck::COUNT];
        for bucket in &self.buckets {
            total.iter_mut().zip(bucket).for_each(|(sum, micros)| *sum += u64::from(*micros));
        }
        let all = total.iter().sum::<u64>().max(1) as f64;
        let share = |bottleneck: Bottleneck| total[bottleneck as usize] as f64 / all;
        let shares = Bottleneck::ALL.map(|bottleneck| BottleneckShare { bottleneck, share: share(bottleneck) });
        let mut shares: Vec<BottleneckShare> = shares.into_iter().filter(|share| share.share > 0.0).collect();
        shares.sort_by(|one, two| two.share.total_cmp(&one.share));
        shares
    }
}

/// The current state of a route, and the times recorded for it.
#[derive(Clone, Debug)]
struct RouteTimeline {
    buckets: TimeBuckets,
    /// Up to this instant, the time is in `buckets`.
    since: MonoTime,
    /// `None` if the route is not blocked; then the run's bottleneck applies.
    blocked_by: Option<Bottleneck>,
    /// Readings of the run's clocks when the route was unblocked or last read.
    run_clocks: MicrosByBottleneck,
    has_in_flight: bool,
}

/// Tracks the bottlenecks of all routes and of the run.
#[derive(Debug, Default)]
pub struct BottleneckTracker {
    timelines: Vec<RouteTimeline>,
    /// By bottleneck: the number of routes blocked by it.
    blocked_counts: [u32; Bottleneck::COUNT],
    run_buckets: Option<TimeBuckets>,
    /// Why the last poll ended without a step.
    run_bottleneck: Option<Bottleneck>,
    run_since: MonoTime,
    run_clocks: MicrosByBottleneck,
    /// The instant of the last poll or completion.
    now: MonoTime,
    /// Fractions of microseconds carried over when the run's time is split by blocked routes.
    carried_micros: [f64; Bottleneck::COUNT],
}

impl BottleneckTracker {
    pub fn new(routes: usize) -> Self {
        let start = MonoTime::default();
        let timeline = RouteTimeline {
            buckets: TimeBuckets::new(start),
            since: start,
            blocked_by: None,
            run_clocks: MicrosByBottleneck::default(),
            has_in_flight: false,
        };
        Self { timelines: vec![timeline; routes], ..Self::default() }
    }

    /// Adds the time of the run's bottleneck until `now`. Must be called before any state changes. The first call
    /// starts the clock.
    pub fn tick(&mut self, now: MonoTime) {
        let Some(run_buckets) = &mut self.run_buckets else {
            self.run_buckets = Some(TimeBuckets::new(now));
            (self.now, self.run_since) = (now, now);
            self.timelines.iter_mut().for_each(|timeline| timeline.since = now);
            return;
        };
        let span = now.0.saturating_sub(self.run_since.0).min(WINDOW_MICROS);
        if span > 0
            && let Some(bottleneck) = self.run_bottleneck
        {
            let index = bottleneck as usize;
            self.run_clocks[index] += span;
            let blocked_count: u32 = self.blocked_counts.iter().sum();
            // No route was selected: the run's time is split by what blocks the routes.
            if bottleneck == Bottleneck::NotSelected && blocked_count > 0 {
                for kind in Bottleneck::ALL.into_iter().filter(|what| self.blocked_counts[*what as usize] > 0) {
                    let share = f64::from(self.blocked_counts[kind as usize]) / f64::from(blocked_count);
                    let exact = span as f64 * share + self.carried_micros[kind as usize];
                    self.carried_micros[kind as usize] = exact.fract();
                    run_buckets.add_span(MonoTime(now.0 - exact as u64), now, kind);
                }
            } else {
                run_buckets.add_span(self.run_since, now, bottleneck);
            }
        }
        (self.now, self.run_since) = (now, now);
    }

    /// Adds the route's time until now to its buckets.
    fn flush(&mut self, route: usize) {
        let timeline = &mut self.timelines[route];
        if let Some(bottleneck) = timeline.blocked_by {
            timeline.buckets.add_span(timeline.since, self.now, bottleneck);
        } else {
            timeline.buckets.advance(self.now);
            let bucket = self.now.0 / BUCKET_MICROS;
            // Scale down: time older than the ring buffer is discarded, however long ago the route was last read.
            let total: u64 = self.run_clocks.iter().zip(&timeline.run_clocks).map(|(to, from)| to - from).sum();
            let scale = if total > WINDOW_MICROS { WINDOW_MICROS as f64 / total as f64 } else { 1.0 };
            for (index, bottleneck) in Bottleneck::ALL.into_iter().enumerate() {
                let passed = ((self.run_clocks[index] - timeline.run_clocks[index]) as f64 * scale) as u64;
                if passed > 0 {
                    // A route with requests in flight is sending: these two bottlenecks don't limit it.
                    let is_sending = timeline.has_in_flight
                        && matches!(bottleneck, Bottleneck::MaxInFlight | Bottleneck::NothingToSend);
                    timeline.buckets.add(bucket, if is_sending { Bottleneck::Sending } else { bottleneck }, passed);
                }
            }
        }
        timeline.run_clocks = self.run_clocks;
        timeline.since = self.now;
    }

    /// Records what blocks the route; `None` if nothing does.
    pub fn set_blocked_by(&mut self, route: RouteId, blocked_by: Option<Bottleneck>) {
        let index = route.index();
        let before = self.timelines[index].blocked_by;
        if before == blocked_by {
            return;
        }
        self.flush(index);
        if let Some(before) = before {
            self.blocked_counts[before as usize] -= 1;
        }
        if let Some(after) = blocked_by {
            self.blocked_counts[after as usize] += 1;
        }
        self.timelines[index].blocked_by = blocked_by;
    }

    /// Sets whether the route has requests in flight.
    pub fn set_has_in_flight(&mut self, route: RouteId, has_in_flight: bool) {
        if self.timelines[route.index()].has_in_flight != has_in_flight {
            self.flush(route.index());
            self.timelines[route.index()].has_in_flight = has_in_flight;
        }
    }

    /// Sets why the last poll ended without a step.
    pub const fn set_run_bottleneck(&mut self, bottleneck: Bottleneck) {
        self.run_bottleneck = Some(bottleneck);
    }

    /// The run's bottleneck now: why the last poll sent nothing more, or what blocks the most routes if no route was
    /// selected.
    pub fn current(&self) -> Option<Bottleneck> {
        let is_not_selected = self.run_bottleneck == Some(Bottleneck::NotSelected);
        let blocking = Bottleneck::ALL.into_iter().filter(|what| self.blocked_counts[*what as usize] > 0);
        let most = blocking.max_by_key(|what| self.blocked_counts[*what as usize]);
        most.filter(|_| is_not_selected).or(self.run_bottleneck)
    }

    /// The bottlenecks of the run over the last five minutes, the largest share first.
    pub fn run_shares(&self) -> Vec<BottleneckShare> {
        self.run_buckets.as_ref().map(TimeBuckets::shares).unwrap_or_default()
    }

    /// The bottlenecks of a route over the last five minutes, the largest share first.
    pub fn route_shares(&mut self, route: RouteId) -> Vec<BottleneckShare> {
        self.flush(route.index());
        self.timelines[route.index()].buckets.shares()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(minutes: u64) -> MonoTime {
        MonoTime(minutes * BUCKET_MICROS)
    }

    #[test]
    fn shares_cover_the_last_five_minutes() {
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
