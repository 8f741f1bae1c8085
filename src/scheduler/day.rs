//! Daily quotas: counters that forget when the provider's day ends.

use std::{collections::VecDeque, sync::OnceLock, time::Duration};

use jiff::{Span, tz::TimeZone};

use crate::domain::{Day, Wall};

use super::share::Share;

/// What "24 hours from each request" means for rolling days.
pub(super) const ROLLING: Duration = Duration::from_secs(24 * 3_600);

/// Rolling counts are kept by the minute: at most 1,440 entries a day, and at most a minute too careful.
const GRAIN: i64 = 60_000_000;

fn pacific() -> &'static TimeZone {
    static PACIFIC: OnceLock<TimeZone> = OnceLock::new();
    // The zone data is bundled; should it ever be missing, Pacific standard time is an hour late in summer at worst.
    PACIFIC
        .get_or_init(|| TimeZone::get("America/Los_Angeles").unwrap_or_else(|_| TimeZone::fixed(jiff::tz::offset(-8))))
}

/// The first instant of the provider's next day after `now`; `None` for rolling days, which have none.
pub fn next_reset(day: Day, now: Wall) -> Option<Wall> {
    let zone = match day {
        Day::Pacific => pacific().clone(),
        Day::Utc => TimeZone::UTC,
        Day::Rolling => return None,
    };
    let today = now.timestamp().to_zoned(zone);
    let tomorrow = today.date().checked_add(Span::new().days(1)).ok()?;
    let midnight = tomorrow.to_zoned(today.time_zone().clone()).ok()?;
    Some(midnight.timestamp().into())
}

/// One amount (requests or tokens) per provider day.
#[derive(Clone, Debug)]
pub struct DayMeter {
    day: Day,
    limit: Option<u64>,
    used: u64,
    /// Calendar days: when `used` starts anew.
    ends: Option<Wall>,
    /// Rolling days: (end of the minute it was counted in, amount), in time order.
    counted: VecDeque<(Wall, u64)>,
    /// Where several processes draw on the day: this one's part.
    share: Option<Share>,
}

impl DayMeter {
    pub const fn new(day: Day, limit: Option<u64>) -> Self {
        Self { day, limit, used: 0, ends: None, counted: VecDeque::new(), share: None }
    }

    pub const fn limit(&self) -> Option<u64> {
        self.limit
    }

    pub const fn day(&self) -> Day {
        self.day
    }

    /// Begins or ends sharing.
    pub fn share(&mut self, shared: bool) {
        self.share = shared.then(Share::default);
    }

    pub const fn share_mut(&mut self) -> Option<&mut Share> {
        self.share.as_mut()
    }

    pub const fn is_shared(&self) -> bool {
        self.share.is_some() && self.limit.is_some()
    }

    /// A shared day of which too little is in hand for `amount`.
    pub fn lacks(&self, now: Wall, amount: u64) -> bool {
        self.is_shared() && self.share.as_ref().is_some_and(|share| share.allowance(now) < amount)
    }

    /// Counted in the day that `now` is in, by all processes as far as is known.
    pub fn used(&self, now: Wall) -> u64 {
        let shared = self.share.as_ref().map_or(0, |share| share.used(now));
        self.own(now).max(shared)
    }

    /// Counted by this process, earlier processes of its run included.
    pub fn own(&self, now: Wall) -> u64 {
        match self.day {
            Day::Rolling => {
                let gone: u64 =
                    self.counted.iter().take_while(|(at, _)| *at + ROLLING <= now).map(|(_, amount)| amount).sum();
                self.used - gone
            }
            _ if self.ends.is_some_and(|ends| ends <= now) => 0,
            _ => self.used,
        }
    }

    /// Rolling days: what was counted and when its place is free again, in time order.
    pub fn returns(&self, now: Wall) -> impl Iterator<Item = (Wall, u64)> {
        let open = self.counted.iter().map(|(at, amount)| (*at + ROLLING, *amount));
        open.filter(move |(at, _)| *at > now)
    }

    fn roll(&mut self, now: Wall) {
        if self.day == Day::Rolling {
            while let Some((at, amount)) = self.counted.front().copied() {
                if at + ROLLING > now {
                    break;
                }
                self.used -= amount;
                self.counted.pop_front();
            }
        } else if self.ends.is_none_or(|ends| ends <= now) {
            self.used = 0;
            self.ends = next_reset(self.day, now);
        }
    }

    /// `None` where `amount` fits; else when it will. A rolling day opens little by little.
    pub fn full_until(&self, now: Wall, amount: u64) -> Option<Wall> {
        let limit = self.limit?;
        if let Some(until) = self.share.as_ref().and_then(|share| share.full_until(now, amount)) {
            return Some(until);
        }
        let mut used = self.used;
        if used + amount <= limit {
            return None;
        }
        if self.day != Day::Rolling {
            return self.ends.filter(|ends| *ends > now);
        }
        for (at, counted) in &self.counted {
            used -= counted;
            if used + amount <= limit {
                return Some(*at + ROLLING).filter(|opens| *opens > now);
            }
        }
        Some(now + ROLLING)
    }

    pub fn count(&mut self, now: Wall, amount: u64) {
        if let Some(share) = self.share.as_mut().filter(|_| self.limit.is_some()) {
            share.count(now, amount);
        }
        self.count_own(now, amount);
    }

    fn count_own(&mut self, now: Wall, amount: u64) {
        self.roll(now);
        self.used += amount;
        if self.day == Day::Rolling {
            let minute = Wall(now.0 - now.0.rem_euclid(GRAIN) + GRAIN);
            match self.counted.back_mut() {
                Some((at, counted)) if *at >= minute => *counted += amount,
                _ => self.counted.push_back((minute, amount)),
            }
        }
    }

    /// Counts what an earlier process used at `at`, if that is in the day of `now`. Calls come in time order.
    pub fn recall(&mut self, now: Wall, at: Wall, amount: u64) {
        let counts = match self.day {
            Day::Rolling => at + ROLLING > now,
            _ => next_reset(self.day, at) == next_reset(self.day, now),
        };
        if counts {
            // The ledger has counted it when it happened.
            self.count_own(if self.day == Day::Rolling { at } else { now }, amount);
        }
    }

    /// Replaces an amount counted at `counted_at` by another, unless its day is over.
    pub fn correct(&mut self, now: Wall, counted_at: Wall, counted: u64, actual: u64) {
        self.roll(now);
        if self.day == Day::Rolling {
            let minute = Wall(counted_at.0 - counted_at.0.rem_euclid(GRAIN) + GRAIN);
            // Entries merge forward when the clock steps back, so look for the first that can hold it.
            if let Some((_, amount)) = self.counted.iter_mut().find(|(at, amount)| *at >= minute && *amount >= counted)
            {
                *amount = *amount - counted + actual;
                self.used = self.used - counted + actual;
                self.correct_share(now, counted, actual);
            }
        } else if self.ends.is_some_and(|ends| next_reset(self.day, counted_at) == Some(ends)) {
            self.used = self.used.saturating_sub(counted) + actual;
            self.correct_share(now, counted, actual);
        }
    }

    fn correct_share(&mut self, now: Wall, counted: u64, actual: u64) {
        if let Some(share) = self.share.as_mut().filter(|_| self.limit.is_some()) {
            share.give_back(now, counted.saturating_sub(actual));
            share.count(now, actual.saturating_sub(counted));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wall(text: &str) -> Wall {
        text.parse::<jiff::Timestamp>().unwrap().into()
    }

    #[test]
    fn pacific_days_end_at_midnight_in_los_angeles_in_winter_and_in_summer() {
        let cases = [
            ("2026-11-21T09:00:00Z", "2026-11-22T08:00:00Z"),
            ("2026-07-01T06:59:59Z", "2026-07-01T07:00:00Z"),
            ("2026-07-01T07:00:00Z", "2026-07-02T07:00:00Z"),
            // The day on which clocks go forward has 23 hours, the one on which they go back 25.
            ("2026-03-08T08:00:00Z", "2026-03-09T07:00:00Z"),
            ("2026-11-01T07:00:00Z", "2026-11-02T08:00:00Z"),
        ];
        for (now, want) in cases {
            assert_eq!(next_reset(Day::Pacific, wall(now)), Some(wall(want)), "{now}");
        }
    }

    #[test]
    fn utc_days_end_at_utc_midnight_and_rolling_days_never() {
        assert_eq!(next_reset(Day::Utc, wall("2026-11-21T09:00:00Z")), Some(wall("2026-11-22T00:00:00Z")));
        assert_eq!(next_reset(Day::Rolling, wall("2026-11-21T09:00:00Z")), None);
    }

    #[test]
    fn a_calendar_day_opens_at_its_reset() {
        let (noon, midnight) = (wall("2026-11-21T12:00:00Z"), wall("2026-11-22T00:00:00Z"));
        let mut meter = DayMeter::new(Day::Utc, Some(2));
        meter.count(noon, 1);
        meter.count(noon, 1);
        assert_eq!(meter.full_until(noon, 1), Some(midnight));
        assert_eq!(meter.full_until(midnight, 1), None);
        assert_eq!(meter.used(midnight), 0);
    }

    #[test]
    fn a_refusal_gives_its_place_in_the_day_back_but_not_to_the_next_day() {
        let (before, after) = (wall("2026-11-21T23:59:59Z"), wall("2026-11-22T00:00:01Z"));
        let mut meter = DayMeter::new(Day::Utc, Some(5));
        meter.count(before, 1);
        meter.correct(before, before, 1, 0);
        assert_eq!(meter.used(before), 0);
        meter.count(before, 1);
        meter.count(after, 1);
        meter.correct(after, before, 1, 0);
        assert_eq!(meter.used(after), 1);
    }

    #[test]
    fn a_rolling_day_opens_a_day_after_each_request() {
        let mut meter = DayMeter::new(Day::Rolling, Some(2));
        meter.count(wall("2026-11-21T09:00:10Z"), 1);
        meter.count(wall("2026-11-21T12:00:10Z"), 1);
        let now = wall("2026-11-21T13:00:00Z");
        assert_eq!(meter.full_until(now, 1), Some(wall("2026-11-22T09:01:00Z")));
        assert_eq!(meter.full_until(wall("2026-11-22T09:01:00Z"), 1), None);
        assert_eq!(meter.used(wall("2026-11-22T09:01:00Z")), 1);
    }
}
