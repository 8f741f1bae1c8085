//! Sliding minute windows and pacing: the counters of a quota pool that cover sixty seconds.

use std::{collections::VecDeque, time::Duration};

use crate::{domain::MonoTime, scheduler::admission::Admission};

/// The interval of limits per minute. No provider counts over a longer one.
pub const MINUTE: Duration = Duration::from_secs(60);

/// A sliding window: an amount (requests or tokens) within any sixty seconds.
///
/// Requests in flight occupy the window until they complete, since the server may count them as late as just before the
/// answer. They are released sixty seconds after the last instant at which the server can have counted them.
#[derive(Clone, Debug, Default)]
pub struct SlidingWindow {
    limit: Option<u64>,
    used: u64,
    /// (release time, amount), in time order.
    releases: VecDeque<(MonoTime, u64)>,
}

impl SlidingWindow {
    pub const fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// Changes the limit. What is counted stays counted.
    pub const fn set_limit(&mut self, limit: Option<u64>) {
        self.limit = limit;
    }

    /// Occupied at `now`: in flight, or completed within the last minute.
    pub fn used(&self, now: MonoTime) -> u64 {
        let expired: u64 = self.releases.iter().take_while(|(at, _)| *at <= now).map(|(_, amount)| amount).sum();
        self.used - expired
    }

    /// (release time, amount) of what is released after `now`, in time order. The rest of the used amount is in flight.
    pub fn releases(&self, now: MonoTime) -> impl Iterator<Item = (MonoTime, u64)> {
        self.releases.iter().copied().filter(move |(at, _)| *at > now)
    }

    fn drop_expired(&mut self, now: MonoTime) {
        while let Some((at, amount)) = self.releases.front().copied() {
            if at > now {
                break;
            }
            self.used -= amount;
            self.releases.pop_front();
        }
    }

    /// Whether `amount` fits at `now`, or when it will.
    pub fn admission(&self, now: MonoTime, amount: u64) -> Admission {
        let Some(limit) = self.limit else { return Admission::Now };
        if amount > limit {
            return Admission::Never;
        }
        let mut used = self.used;
        if used + amount <= limit {
            return Admission::Now;
        }
        for (at, released) in &self.releases {
            used -= released;
            if used + amount <= limit {
                return if *at <= now { Admission::Now } else { Admission::at_mono(*at) };
            }
        }
        Admission::OnCompletion
    }

    /// Reserves an amount. The caller must have checked [`SlidingWindow::admission`] at the same instant.
    pub fn reserve(&mut self, now: MonoTime, amount: u64) {
        self.drop_expired(now);
        self.used += amount;
    }

    /// Replaces a reservation of `reserved` by `actual`, which occupies the window for `occupied_for` from `now`.
    /// `actual` may exceed the limit; the excess blocks later requests, as it does at the provider.
    pub fn commit(&mut self, now: MonoTime, reserved: u64, actual: u64, occupied_for: Duration) {
        self.used = self.used - reserved + actual;
        if actual == 0 {
            return;
        }
        let released_at = now + occupied_for;
        // `occupied_for` differs a little between requests, so a later answer may be released before an earlier one.
        let later_count = self.releases.iter().rev().take_while(|(at, _)| *at > released_at).count();
        // Unlimited windows are counted too, for the screen and for limits learned later. There, entries of the same
        // tenth of a second are merged, so that a fast unlimited route needs at most 600 entries.
        match self.releases.back_mut() {
            Some((at, amount)) if self.limit.is_none() && released_at.since(*at) < Duration::from_millis(100) => {
                *amount += actual;
            }
            _ => self.releases.insert(self.releases.len() - later_count, (released_at, actual)),
        }
    }

    /// Adds what an earlier process used: released at `released_at`, but not before what was restored earlier.
    pub fn restore_usage(&mut self, released_at: MonoTime, amount: u64) {
        self.used += amount;
        let actual_release = self.releases.back().map_or(released_at, |(at, _)| released_at.max(*at));
        self.releases.push_back((actual_release, amount));
    }
}

/// Pacing within the minute by the generic cell rate algorithm (GCRA): at most `burst` at once, the rest evenly spaced.
///
/// Servers that enforce a minute in slices (nginx's `limit_req`, OpenAI's "60 per minute may mean one a second") refuse
/// what a sliding window admits.
#[derive(Clone, Debug)]
pub struct Gcra {
    /// Time between evenly spaced requests.
    interval: Duration,
    /// How far ahead of the even spacing a request may be sent.
    tolerance: Duration,
    /// Theoretical arrival time (TAT) of the next request.
    tat: MonoTime,
}

impl Gcra {
    /// The same state at another rate.
    pub fn with_rate(&self, per_minute: u32, burst: u32) -> Self {
        Self { tat: self.tat, ..Self::new(per_minute, burst) }
    }

    /// `burst` is at least 1; 0 is taken as 1.
    pub fn new(per_minute: u32, burst: u32) -> Self {
        // Rounded up to whole microseconds, the unit of instants. A fraction would schedule a wakeup at the current
        // instant, again and again.
        let interval = Duration::from_micros(60_000_000_u64.div_ceil(u64::from(per_minute.max(1))));
        Self { interval, tolerance: interval * (burst.max(1) - 1), tat: MonoTime::default() }
    }

    /// The most requests that may be sent at once after an idle time.
    pub fn burst(&self) -> u32 {
        (self.tolerance.as_micros() / self.interval.as_micros().max(1)) as u32 + 1
    }

    pub fn admission(&self, now: MonoTime) -> Admission {
        let ahead = self.tat.since(now);
        if ahead <= self.tolerance { Admission::Now } else { Admission::at_mono(now + (ahead - self.tolerance)) }
    }

    pub fn reserve(&mut self, now: MonoTime) {
        self.tat = self.tat.max(now) + self.interval;
    }

    /// Records that a request left only at `now`: the server counts it no earlier, so the TAT is at least one interval
    /// later.
    pub fn on_sent(&mut self, now: MonoTime) {
        self.tat = self.tat.max(now + self.interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::admission::Deadline;

    fn window(limit: u64) -> SlidingWindow {
        SlidingWindow { limit: Some(limit), ..SlidingWindow::default() }
    }

    fn at(seconds: u64) -> MonoTime {
        MonoTime(seconds * 1_000_000)
    }

    #[test]
    fn a_full_window_has_room_a_minute_after_the_first_answer() {
        let mut window = window(2);
        window.reserve(at(0), 1);
        window.reserve(at(0), 1);
        assert_eq!(window.admission(at(0), 1), Admission::OnCompletion);
        window.commit(at(3), 1, 1, MINUTE);
        assert_eq!(window.admission(at(3), 1), Admission::at_mono(at(63)));
        assert_eq!(window.admission(at(63), 1), Admission::Now);
        assert_eq!(window.admission(at(63), 2), Admission::OnCompletion);
    }

    #[test]
    fn amounts_over_the_limit_never_fit_and_actual_amounts_replace_reserved_ones() {
        let mut window = window(100);
        assert_eq!(window.admission(at(0), 101), Admission::Never);
        window.reserve(at(0), 80);
        window.commit(at(1), 80, 95, MINUTE);
        assert_eq!(window.admission(at(1), 6), Admission::at_mono(at(61)));
        window.reserve(at(61), 100);
        window.commit(at(61), 100, 0, MINUTE);
        assert_eq!(window.admission(at(61), 100), Admission::Now, "released at once");
    }

    #[test]
    fn an_unlimited_window_still_counts_in_bounded_space() {
        let mut window = SlidingWindow::default();
        for millisecond in 0..10_000 {
            window.reserve(MonoTime(millisecond * 1_000), 1);
            window.commit(MonoTime(millisecond * 1_000), 1, 1, MINUTE);
        }
        assert_eq!(window.used(at(10)), 10_000);
        assert!(window.releases.len() <= 101, "{} entries", window.releases.len());
        assert_eq!(window.used(at(71)), 0);
    }

    #[test]
    fn pacing_never_schedules_a_wakeup_now() {
        for per_minute in 1..=700 {
            let mut gcra = Gcra::new(per_minute, 2);
            let mut now = MonoTime(1);
            for _ in 0..50 {
                gcra.reserve(now);
                if let Admission::At(Deadline::Mono(at)) = gcra.admission(now) {
                    assert!(at > now, "{per_minute} a minute");
                    now = at;
                }
            }
        }
    }

    #[test]
    fn pacing_lets_a_burst_go_and_spaces_the_rest() {
        let mut gcra = Gcra::new(60, 3);
        for _ in 0..3 {
            assert_eq!(gcra.admission(at(10)), Admission::Now);
            gcra.reserve(at(10));
        }
        assert_eq!(gcra.admission(at(10)), Admission::at_mono(at(11)));
        assert_eq!(gcra.admission(at(11)), Admission::Now);
    }
}
