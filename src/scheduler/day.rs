//! Daily quotas: counters that forget when the provider's day ends.

use std::{collections::VecDeque, sync::OnceLock, time::Duration};

use jiff::{Span, tz::TimeZone};

use crate::domain::{QuotaDay, WallTime};

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
pub fn next_reset(day: QuotaDay, now: WallTime) -> Option<WallTime> {
    let zone = match day {
        QuotaDay::Pacific => pacific().clone(),
        QuotaDay::Utc => TimeZone::UTC,
        QuotaDay::Rolling => return None,
    };
    let today = now.timestamp().to_zoned(zone);
    let tomorrow = today.date().checked_add(Span::new().days(1)).ok()?;
    let midnight = tomorrow.to_zoned(today.time_zone().clone()).ok()?;
    Some(midnight.timestamp().into())
}

/// Room in a day for a given amount.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DayRoom {
    Now,
    /// A calendar day opens whole, a rolling one little by little.
    At(WallTime),
    /// What is in flight may yet be counted in this day, and takes the rest of it.
    WhenSettled,
}

/// Between which instants a request can have been counted.
#[derive(Clone, Copy, Debug)]
pub struct Stay {
    pub reserved_at: WallTime,
    /// The latest.
    pub counted_by: WallTime,
}

/// One amount (requests or tokens) per provider day.
///
/// What is in flight when a day ends counts in the next one: the server may not have counted it before.
#[derive(Clone, Debug)]
pub struct DayMeter {
    day: QuotaDay,
    limit: Option<u64>,
    /// In flight included.
    used: u64,
    open: u64,
    /// Calendar days: when `used` starts anew.
    ends: Option<WallTime>,
    /// Rolling days: (end of the minute it was counted in, amount), in time order; without what is in flight.
    counted: VecDeque<(WallTime, u64)>,
    /// Where several processes draw on the day: this one's part.
    share: Option<Share>,
}

impl DayMeter {
    pub const fn new(day: QuotaDay, limit: Option<u64>) -> Self {
        Self { day, limit, used: 0, open: 0, ends: None, counted: VecDeque::new(), share: None }
    }

    pub const fn limit(&self) -> Option<u64> {
        self.limit
    }

    pub const fn set_limit(&mut self, limit: Option<u64>) {
        self.limit = limit;
    }

    pub const fn day(&self) -> QuotaDay {
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
    pub fn lacks(&self, now: WallTime, amount: u64) -> bool {
        self.is_shared() && self.share.as_ref().is_some_and(|share| share.allowance(now) < amount)
    }

    /// Counted in the day that `now` is in, by all processes as far as is known.
    pub fn used(&self, now: WallTime) -> u64 {
        let shared = self.share.as_ref().map_or(0, |share| share.used(now));
        self.own(now).max(shared)
    }

    /// Counted by this process, earlier processes of its run included.
    pub fn own(&self, now: WallTime) -> u64 {
        match self.day {
            QuotaDay::Rolling => {
                let gone: u64 =
                    self.counted.iter().take_while(|(at, _)| *at + ROLLING <= now).map(|(_, amount)| amount).sum();
                self.used - gone
            }
            _ if self.ends.is_some_and(|ends| ends <= now) => self.open,
            _ => self.used,
        }
    }

    /// Rolling days: what was counted and when its place is free again, in time order.
    pub fn returns(&self, now: WallTime) -> impl Iterator<Item = (WallTime, u64)> {
        let open = self.counted.iter().map(|(at, amount)| (*at + ROLLING, *amount));
        open.filter(move |(at, _)| *at > now)
    }

    fn roll(&mut self, now: WallTime) {
        if self.day == QuotaDay::Rolling {
            while let Some((at, amount)) = self.counted.front().copied() {
                if at + ROLLING > now {
                    break;
                }
                self.used -= amount;
                self.counted.pop_front();
            }
        } else if self.ends.is_none_or(|ends| ends <= now) {
            self.used = self.open;
            self.ends = next_reset(self.day, now);
        }
    }

    pub fn room(&self, now: WallTime, amount: u64) -> DayRoom {
        let Some(limit) = self.limit else { return DayRoom::Now };
        if let Some(until) = self.share.as_ref().and_then(|share| share.full_until(now, amount)) {
            return DayRoom::At(until);
        }
        let mut used = self.own(now);
        if used + amount <= limit {
            return DayRoom::Now;
        }
        if self.day != QuotaDay::Rolling {
            return match self.ends {
                Some(ends) if ends <= now => DayRoom::WhenSettled,
                Some(ends) => DayRoom::At(ends),
                None => next_reset(self.day, now).map_or(DayRoom::WhenSettled, DayRoom::At),
            };
        }
        for (at, counted) in self.counted.iter().filter(|(at, _)| *at + ROLLING > now) {
            used -= counted;
            if used + amount <= limit {
                return DayRoom::At(*at + ROLLING);
            }
        }
        DayRoom::WhenSettled
    }

    /// Counts what is certainly used: by others, for a plan.
    pub fn count(&mut self, now: WallTime, amount: u64) {
        self.share_count(now, amount);
        self.roll(now);
        self.count_own(now, amount);
    }

    fn share_count(&mut self, now: WallTime, amount: u64) {
        if let Some(share) = self.share.as_mut().filter(|_| self.limit.is_some()) {
            share.count(now, amount);
        }
    }

    /// Takes room for what is about to be sent.
    pub fn reserve(&mut self, now: WallTime, amount: u64) {
        self.share_count(now, amount);
        self.roll(now);
        self.used += amount;
        self.open += amount;
    }

    /// Turns a reservation into what was used. What was certainly counted in a day that is over does not burden the
    /// new one.
    pub fn settle(&mut self, now: WallTime, stay: Stay, reserved: u64, actual: u64) {
        self.roll(now);
        self.open -= reserved;
        self.used -= reserved;
        let over = next_reset(self.day, stay.counted_by).is_some_and(|end| end <= now);
        if !over && actual > 0 {
            self.count_own(now, actual);
        }
        let same_day = next_reset(self.day, stay.reserved_at) == next_reset(self.day, now);
        if let Some(share) = self.share.as_mut().filter(|_| self.limit.is_some()) {
            match () {
                () if same_day => {
                    share.give_back(now, reserved.saturating_sub(actual));
                    share.count(now, actual.saturating_sub(reserved));
                }
                () if !over => share.count(now, actual),
                () => {}
            }
        }
    }

    fn count_own(&mut self, now: WallTime, amount: u64) {
        self.used += amount;
        if self.day == QuotaDay::Rolling {
            let minute = WallTime(now.0 - now.0.rem_euclid(GRAIN) + GRAIN);
            match self.counted.back_mut() {
                // A clock that stepped back merges forward.
                Some((at, counted)) if *at >= minute => *counted += amount,
                _ => self.counted.push_back((minute, amount)),
            }
        }
    }

    /// Counts what an earlier process used at `at`, if that is in the day of `now`. Calls come in time order.
    pub fn recall(&mut self, now: WallTime, at: WallTime, amount: u64) {
        let counts = match self.day {
            QuotaDay::Rolling => at + ROLLING > now,
            _ => next_reset(self.day, at) == next_reset(self.day, now),
        };
        if counts {
            // The ledger has counted it when it happened.
            let at = if self.day == QuotaDay::Rolling { at } else { now };
            self.roll(at);
            self.count_own(at, amount);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wall(text: &str) -> WallTime {
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
            assert_eq!(next_reset(QuotaDay::Pacific, wall(now)), Some(wall(want)), "{now}");
        }
    }

    #[test]
    fn utc_days_end_at_utc_midnight_and_rolling_days_never() {
        assert_eq!(next_reset(QuotaDay::Utc, wall("2026-11-21T09:00:00Z")), Some(wall("2026-11-22T00:00:00Z")));
        assert_eq!(next_reset(QuotaDay::Rolling, wall("2026-11-21T09:00:00Z")), None);
        // The calendar ends on 9999-12-30 at 22:00 UTC; what is later than all of it has no next day either.
        for day in [QuotaDay::Utc, QuotaDay::Pacific] {
            for last in [wall("9999-12-30T21:00:00Z"), WallTime(253_402_300_800_000_000), WallTime(i64::MAX)] {
                assert_eq!(next_reset(day, last), None);
            }
        }
    }

    const fn stay(counted_by: WallTime) -> Stay {
        Stay { reserved_at: counted_by, counted_by }
    }

    #[test]
    fn a_calendar_day_opens_at_its_reset() {
        let (noon, midnight) = (wall("2026-11-21T12:00:00Z"), wall("2026-11-22T00:00:00Z"));
        let mut meter = DayMeter::new(QuotaDay::Utc, Some(2));
        for _ in 0..2 {
            meter.reserve(noon, 1);
            meter.settle(noon, stay(noon), 1, 1);
        }
        assert_eq!(meter.room(noon, 1), DayRoom::At(midnight));
        assert_eq!(meter.room(midnight, 1), DayRoom::Now);
        assert_eq!(meter.used(midnight), 0);
    }

    #[test]
    fn a_refusal_gives_its_place_in_the_day_back() {
        let noon = wall("2026-11-21T12:00:00Z");
        let mut meter = DayMeter::new(QuotaDay::Utc, Some(5));
        meter.reserve(noon, 1);
        meter.settle(noon, stay(noon), 1, 0);
        assert_eq!(meter.used(noon), 0);
    }

    #[test]
    fn what_is_in_flight_at_midnight_counts_in_the_new_day_unless_it_was_certainly_counted_before() {
        let (before, after) = (wall("2026-11-21T23:59:59Z"), wall("2026-11-22T00:00:01Z"));
        let mut meter = DayMeter::new(QuotaDay::Utc, Some(1));
        meter.reserve(before, 1);
        assert_eq!(meter.room(after, 1), DayRoom::WhenSettled);
        let mut early = meter.clone();
        meter.settle(after, stay(after), 1, 1);
        assert_eq!(meter.room(after, 1), DayRoom::At(wall("2026-11-23T00:00:00Z")));
        early.settle(after, stay(before), 1, 1);
        assert_eq!(early.room(after, 1), DayRoom::Now);
    }

    #[test]
    fn a_rolling_day_opens_a_day_after_each_answer() {
        let mut meter = DayMeter::new(QuotaDay::Rolling, Some(2));
        meter.reserve(wall("2026-11-21T09:00:10Z"), 1);
        meter.settle(wall("2026-11-21T09:00:40Z"), stay(wall("2026-11-21T09:00:40Z")), 1, 1);
        meter.reserve(wall("2026-11-21T12:00:10Z"), 1);
        let now = wall("2026-11-21T13:00:00Z");
        assert_eq!(meter.room(now, 1), DayRoom::At(wall("2026-11-22T09:01:00Z")));
        assert_eq!(meter.room(wall("2026-11-22T09:01:00Z"), 1), DayRoom::Now);
        assert_eq!(meter.room(wall("2026-11-22T09:01:00Z"), 2), DayRoom::WhenSettled);
        assert_eq!(meter.used(wall("2026-11-22T09:01:00Z")), 1);
    }
}
