//! Sliding minute windows and pacing: the counters of a quota pool that forget after sixty seconds.

use std::{collections::VecDeque, time::Duration};

use crate::domain::MonoTime;

/// What every provider means by "per minute".
pub const MINUTE: Duration = Duration::from_secs(60);

/// Room in a window for a given amount.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Room {
    Now,
    /// Enough will have been released then.
    At(MonoTime),
    /// Not before something in flight settles.
    WhenSettled,
    /// More than the whole window: waiting can't help.
    Never,
}

/// An amount (requests or tokens) within any sixty seconds.
///
/// What is in flight occupies the window without an end, since the server may count it as late as the instant
/// before its answer; it is released sixty seconds after the last instant at which the server can have counted it.
#[derive(Clone, Debug)]
pub struct Window {
    limit: Option<u64>,
    used: u64,
    /// In time order.
    releases: VecDeque<(MonoTime, u64)>,
}

impl Window {
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

    fn forget_expired(&mut self, now: MonoTime) {
        while let Some((at, amount)) = self.releases.front().copied() {
            if at > now {
                break;
            }
            self.used -= amount;
            self.releases.pop_front();
        }
    }

    /// Whether `amount` fits at `now`, or when it will.
    pub fn room(&self, now: MonoTime, amount: u64) -> Room {
        let Some(limit) = self.limit else { return Room::Now };
        if amount > limit {
            return Room::Never;
        }
        let mut used = self.used;
        if used + amount <= limit {
            return Room::Now;
        }
        for (at, released) in &self.releases {
            used -= released;
            if used + amount <= limit {
                return if *at <= now { Room::Now } else { Room::At(*at) };
            }
        }
        Room::WhenSettled
    }

    /// Takes room. The caller has asked [`Window::room`] at this very instant.
    pub fn reserve(&mut self, now: MonoTime, amount: u64) {
        self.forget_expired(now);
        self.used += amount;
    }

    /// Turns a reservation of `reserved` into `actual`, held for `hold` from `now`. More than was reserved may
    /// overshoot the limit; the overshoot blocks what comes after, as it does at the provider.
    pub fn settle(&mut self, now: MonoTime, reserved: u64, actual: u64, hold: Duration) {
        self.used = self.used - reserved + actual;
        if actual == 0 {
            return;
        }
        let release = now + hold;
        // Holds differ a little, so that a later answer may be released before an earlier one.
        let later = self.releases.iter().rev().take_while(|(at, _)| *at > release).count();
        // Unlimited windows are counted too, for the screen and for limits learned later; entries of the same
        // tenth of a second share one, so that a fast unlimited route costs at most 600 entries.
        match self.releases.back_mut() {
            Some((at, amount)) if self.limit.is_none() && release.since(*at) < Duration::from_millis(100) => {
                *amount += actual;
            }
            _ => self.releases.insert(self.releases.len() - later, (release, actual)),
        }
    }

    /// Counts what happened before this process began: released at `release`, or with what was recalled before.
    pub fn recall(&mut self, release: MonoTime, amount: u64) {
        self.used += amount;
        let release = self.releases.back().map_or(release, |(at, _)| release.max(*at));
        self.releases.push_back((release, amount));
    }
}

/// Pacing within the minute (the generic cell rate algorithm): at most `burst` at once, the rest evenly spaced.
///
/// Servers that enforce a minute in slices (nginx's `limit_req`, OpenAI's "60 per minute may mean one a second")
/// refuse what a sliding window lets through.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Time that one request stands for.
    interval: Duration,
    /// How far ahead of the even spacing a request may go.
    tolerance: Duration,
    /// When the bucket would be empty if nothing more came.
    empties_at: MonoTime,
}

impl Pace {
    /// The same bucket at another rate.
    pub fn retuned(&self, per_minute: u32, burst: u32) -> Self {
        Self { empties_at: self.empties_at, ..Self::new(per_minute, burst) }
    }

    /// `burst` of at least 1; 0 is taken as 1.
    pub fn new(per_minute: u32, burst: u32) -> Self {
        // Whole microseconds, as instants are: a remainder would ask to be woken at this very instant, for ever.
        let interval = Duration::from_micros(60_000_000_u64.div_ceil(u64::from(per_minute.max(1))));
        Self { interval, tolerance: interval * (burst.max(1) - 1), empties_at: MonoTime::default() }
    }

    /// How many may go at once when nothing has gone for a while.
    pub fn burst(&self) -> u32 {
        (self.tolerance.as_micros() / self.interval.as_micros().max(1)) as u32 + 1
    }

    pub fn room(&self, now: MonoTime) -> Room {
        let ahead = self.empties_at.since(now);
        if ahead <= self.tolerance { Room::Now } else { Room::At(now + (ahead - self.tolerance)) }
    }

    pub fn reserve(&mut self, now: MonoTime) {
        self.empties_at = self.empties_at.max(now) + self.interval;
    }

    /// The request left as late as `now`: the server's bucket can't be emptier than a bucket that it entered then.
    pub fn sent(&mut self, now: MonoTime) {
        self.empties_at = self.empties_at.max(now + self.interval);
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
        let mut window = Window::new(Some(2));
        window.reserve(at(0), 1);
        window.reserve(at(0), 1);
        assert_eq!(window.room(at(0), 1), Room::WhenSettled);
        window.settle(at(3), 1, 1, MINUTE);
        assert_eq!(window.room(at(3), 1), Room::At(at(63)));
        assert_eq!(window.room(at(63), 1), Room::Now);
        assert_eq!(window.room(at(63), 2), Room::WhenSettled);
    }

    #[test]
    fn what_never_fits_is_told_from_what_fits_later() {
        let mut window = Window::new(Some(100));
        assert_eq!(window.room(at(0), 101), Room::Never);
        window.reserve(at(0), 80);
        window.settle(at(1), 80, 95, MINUTE);
        assert_eq!(window.room(at(1), 6), Room::At(at(61)));
    }

    #[test]
    fn returned_room_is_free_at_once() {
        let mut window = Window::new(Some(1));
        window.reserve(at(1), 1);
        window.settle(at(1), 1, 0, MINUTE);
        assert_eq!(window.room(at(1), 1), Room::Now);
    }

    #[test]
    fn an_unlimited_window_still_counts_in_bounded_space() {
        let mut window = Window::new(None);
        for millisecond in 0..10_000 {
            window.reserve(MonoTime(millisecond * 1_000), 1);
            window.settle(MonoTime(millisecond * 1_000), 1, 1, MINUTE);
        }
        assert_eq!(window.used(at(10)), 10_000);
        assert!(window.releases.len() <= 101, "{} entries", window.releases.len());
        assert_eq!(window.used(at(71)), 0);
    }

    #[test]
    fn pacing_never_asks_to_be_woken_at_once() {
        for per_minute in 1..=700 {
            let mut pace = Pace::new(per_minute, 2);
            let mut now = MonoTime(1);
            for _ in 0..50 {
                pace.reserve(now);
                if let Room::At(at) = pace.room(now) {
                    assert!(at > now, "{per_minute} a minute");
                    now = at;
                }
            }
        }
    }

    #[test]
    fn pacing_lets_a_burst_go_and_spaces_the_rest() {
        let mut pace = Pace::new(60, 3);
        for _ in 0..3 {
            assert_eq!(pace.room(at(10)), Room::Now);
            pace.reserve(at(10));
        }
        assert_eq!(pace.room(at(10)), Room::At(at(11)));
        assert_eq!(pace.room(at(11)), Room::Now);
    }
}
