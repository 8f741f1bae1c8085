//! Sliding minute windows and pacing: the counters of a quota pool that forget after sixty seconds.

use std::{collections::VecDeque, time::Duration};

use crate::domain::MonoTime;

/// What every provider means by "per minute".
pub const MINUTE: Duration = Duration::from_secs(60);

/// Room in a window for a given amount.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WindowAdmission {
    Now,
    /// Enough will have been released then.
    At(MonoTime),
    /// Not before something in flight settles.
    OnCompletion,
    /// More than the whole window: waiting can't help.
    Never,
}

/// An amount (requests or tokens) within any sixty seconds.
///
/// What is in flight occupies the window without an end, since the server may count it as late as the instant
/// before its answer; it is released sixty seconds after the last instant at which the server can have counted it.
#[derive(Clone, Debug)]
pub struct SlidingWindow {
    limit: Option<u64>,
    used: u64,
    /// In time order.
    releases: VecDeque<(MonoTime, u64)>,
}

impl SlidingWindow {
    pub const fn new(limit: Option<u64>) -> Self {
        Self { limit, used: 0, releases: VecDeque::new() }
    }

    pub const fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// Another limit from now on; what is counted stays counted.
    pub const fn set_limit(&mut self, limit: Option<u64>) {
        self.limit = limit;
    }

    /// Occupied at `now`: in flight, and settled within the last minute.
    pub fn used(&self, now: MonoTime) -> u64 {
        let expired: u64 = self.releases.iter().take_while(|(at, _)| *at <= now).map(|(_, amount)| amount).sum();
        self.used - expired
    }

    /// What is released after `now`, in time order; the rest of what is used is in flight.
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
    pub fn admission(&self, now: MonoTime, amount: u64) -> WindowAdmission {
        let Some(limit) = self.limit else { return WindowAdmission::Now };
        if amount > limit {
            return WindowAdmission::Never;
        }
        let mut used = self.used;
        if used + amount <= limit {
            return WindowAdmission::Now;
        }
        for (at, released) in &self.releases {
            used -= released;
            if used + amount <= limit {
                return if *at <= now { WindowAdmission::Now } else { WindowAdmission::At(*at) };
            }
        }
        WindowAdmission::OnCompletion
    }

    /// Takes room. The caller has asked [`Window::room`] at this very instant.
    pub fn reserve(&mut self, now: MonoTime, amount: u64) {
        self.drop_expired(now);
        self.used += amount;
    }

    /// Turns a reservation of `reserved` into `actual`, held for `hold` from `now`. More than was reserved may
    /// overshoot the limit; the overshoot blocks what comes after, as it does at the provider.
    pub fn commit(&mut self, now: MonoTime, reserved: u64, actual: u64, occupied_for: Duration) {
        self.used = self.used - reserved + actual;
        if actual == 0 {
            return;
        }
        let released_at = now + occupied_for;
        // Holds differ a little, so that a later answer may be released before an earlier one.
        let later_count = self.releases.iter().rev().take_while(|(at, _)| *at > released_at).count();
        // Unlimited windows are counted too, for the screen and for limits learned later; entries of the same
        // tenth of a second share one, so that a fast unlimited route costs at most 600 entries.
        match self.releases.back_mut() {
            Some((at, amount)) if self.limit.is_none() && released_at.since(*at) < Duration::from_millis(100) => {
                *amount += actual;
            }
            _ => self.releases.insert(self.releases.len() - later_count, (released_at, actual)),
        }
    }

    /// Counts what happened before this process began: released at `release`, or with what was recalled before.
    pub fn restore_usage(&mut self, released_at: MonoTime, amount: u64) {
        self.used += amount;
        let release = self.releases.back().map_or(released_at, |(at, _)| released_at.max(*at));
        self.releases.push_back((release, amount));
    }
}

/// Pacing within the minute (the generic cell rate algorithm): at most `burst` at once, the rest evenly spaced.
///
/// Servers that enforce a minute in slices (nginx's `limit_req`, OpenAI's "60 per minute may mean one a second")
/// refuse what a sliding window lets through.
#[derive(Clone, Debug)]
pub struct Gcra {
    /// Time that one request stands for.
    interval: Duration,
    /// How far ahead of the even spacing a request may go.
    tolerance: Duration,
    /// When the bucket would be empty if nothing more came.
    tat: MonoTime,
}

impl Gcra {
    /// The same bucket at another rate.
    pub fn with_rate(&self, per_minute: u32, burst: u32) -> Self {
        Self { tat: self.tat, ..Self::new(per_minute, burst) }
    }

    /// `burst` of at least 1; 0 is taken as 1.
    pub fn new(per_minute: u32, burst: u32) -> Self {
        // Whole microseconds, as instants are: a remainder would ask to be woken at this very instant, for ever.
        let interval = Duration::from_micros(60_000_000_u64.div_ceil(u64::from(per_minute.max(1))));
        Self { interval, tolerance: interval * (burst.max(1) - 1), tat: MonoTime::default() }
    }

    /// How many may go at once when nothing has gone for a while.
    pub fn burst(&self) -> u32 {
        (self.tolerance.as_micros() / self.interval.as_micros().max(1)) as u32 + 1
    }

    pub fn admission(&self, now: MonoTime) -> WindowAdmission {
        let ahead = self.tat.since(now);
        if ahead <= self.tolerance { WindowAdmission::Now } else { WindowAdmission::At(now + (ahead - self.tolerance)) }
    }

    pub fn reserve(&mut self, now: MonoTime) {
        self.tat = self.tat.max(now) + self.interval;
    }

    /// The request left as late as `now`: the server's bucket can't be emptier than a bucket that it entered then.
    pub fn on_sent(&mut self, now: MonoTime) {
        self.tat = self.tat.max(now + self.interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> MonoTime {
        MonoTime(seconds * 1_000_000)
    }

    #[test]
    fn a_full_window_opens_a_minute_after_the_first_answer() {
        let mut window = SlidingWindow::new(Some(2));
        window.reserve(at(0), 1);
        window.reserve(at(0), 1);
        assert_eq!(window.admission(at(0), 1), WindowAdmission::OnCompletion);
        window.commit(at(3), 1, 1, MINUTE);
        assert_eq!(window.admission(at(3), 1), WindowAdmission::At(at(63)));
        assert_eq!(window.admission(at(63), 1), WindowAdmission::Now);
        assert_eq!(window.admission(at(63), 2), WindowAdmission::OnCompletion);
    }

    #[test]
    fn amounts_over_the_limit_never_fit() {
        let mut window = SlidingWindow::new(Some(100));
        assert_eq!(window.admission(at(0), 101), WindowAdmission::Never);
        window.reserve(at(0), 80);
        window.commit(at(1), 80, 95, MINUTE);
        assert_eq!(window.admission(at(1), 6), WindowAdmission::At(at(61)));
    }

    #[test]
    fn returned_room_is_free_at_once() {
        let mut window = SlidingWindow::new(Some(1));
        window.reserve(at(1), 1);
        window.commit(at(1), 1, 0, MINUTE);
        assert_eq!(window.admission(at(1), 1), WindowAdmission::Now);
    }

    #[test]
    fn an_unlimited_window_still_counts_in_bounded_space() {
        let mut window = SlidingWindow::new(None);
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
                if let WindowAdmission::At(at) = gcra.admission(now) {
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
            assert_eq!(gcra.admission(at(10)), WindowAdmission::Now);
            gcra.reserve(at(10));
        }
        assert_eq!(gcra.admission(at(10)), WindowAdmission::At(at(11)));
        assert_eq!(gcra.admission(at(11)), WindowAdmission::Now);
    }
}
