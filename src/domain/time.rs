//! Time as a value: the pure parts of the program get [`Now`] as an argument and never read a clock.
//!
//! There are two kinds of time. [`MonoTime`] never jumps; it measures windows and backoff. [`WallTime`] is calendar
//! time, for provider days and people; it may jump.

use std::{fmt, ops, time::Duration};

use jiff::fmt::temporal::DateTimePrinter;
use serde::{Deserialize, Serialize};

/// Microseconds on a monotonic clock, since an arbitrary start in this process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MonoTime(pub u64);

/// Microseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WallTime(pub i64);

/// One instant on both clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    pub mono: MonoTime,
    pub wall: WallTime,
}

impl MonoTime {
    /// Time from `earlier` to `self`; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// The instant this long before; the start of the clock if that is later.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(micros(duration)))
    }
}

impl WallTime {
    /// Time from `earlier` to `self`; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        let duration = self.0.saturating_sub(earlier.0);
        Duration::from_micros(if duration < 0 { 0 } else { duration as u64 })
    }

    pub const fn from_unix_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// The next whole second, or this instant if it is one.
    #[must_use]
    pub const fn rounded_up_to_seconds(self) -> Self {
        Self::from_unix_seconds(self.0.saturating_add(999_999).div_euclid(1_000_000))
    }

    /// The same instant as a jiff timestamp, clamped to jiff's range.
    pub fn timestamp(self) -> jiff::Timestamp {
        jiff::Timestamp::from_microsecond(self.0).unwrap_or(if self.0 < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        })
    }

    /// The time of day in `zone`: `14:08:51`.
    pub fn time_of_day(self, zone: &jiff::tz::TimeZone) -> String {
        self.timestamp().to_zoned(zone.clone()).strftime("%H:%M:%S").to_string()
    }

    /// RFC 3339 in UTC, to the millisecond: `2026-11-21T09:00:00.250Z`.
    pub fn rfc3339(self) -> String {
        self.written_by_hand().unwrap_or_else(|| {
            const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));
            let rounded = Self(self.0 - self.0.rem_euclid(1_000));
            PRINTER.timestamp_to_string(&rounded.timestamp())
        })
    }

    /// The same text as jiff's printer makes, for a fifth of its instructions: an item needs six such texts. `None` for
    /// years that don't have four digits.
    fn written_by_hand(self) -> Option<String> {
        const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
        const DAYS_IN_400_YEARS: i64 = 146_097;
        let ms = self.0.div_euclid(1_000);
        let (day, ms) = (ms.div_euclid(DAY_MS), ms.rem_euclid(DAY_MS));
        // Years and months are counted from the first of March, so that a leap day is the last of its year. The first of
        // January 1970 is day 719,468 since the first of March of the year 0.
        let day = day + 719_468;
        let (era, day) = (day.div_euclid(DAYS_IN_400_YEARS), day.rem_euclid(DAYS_IN_400_YEARS));
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = 400 * era + year + i64::from(month <= 2);
        if !(0..10_000).contains(&year) {
            return None;
        }
        let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        for (at, number) in [
            (0, year / 100),
            (2, year % 100),
            (5, month),
            (8, day),
            (11, hour),
            (14, minute),
            (17, second),
            (20, ms / 10 % 100),
        ] {
            text[at] += (number / 10) as u8;
            text[at + 1] += (number % 10) as u8;
        }
        text[22] += (ms % 10) as u8;
        String::from_utf8(text.to_vec()).ok()
    }
}

impl From<jiff::Timestamp> for WallTime {
    fn from(stamp: jiff::Timestamp) -> Self {
        Self(stamp.as_microsecond())
    }
}

impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl ops::Add<Duration> for MonoTime {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(micros(duration)))
    }
}

impl ops::Add<Duration> for WallTime {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add_unsigned(micros(duration)))
    }
}

impl ops::Sub<Duration> for WallTime {
    type Output = Self;
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub_unsigned(micros(duration)))
    }
}

impl ops::Add<Duration> for Now {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        Self { mono: self.mono + duration, wall: self.wall + duration }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_times_print_as_utc_to_the_millisecond() {
        assert_eq!(WallTime(1_795_251_600_250_999).rfc3339(), "2026-11-21T09:00:00.250Z");
        assert_eq!(WallTime(-1).rfc3339(), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn a_time_that_is_written_by_hand_is_that_of_jiff() {
        let printer = DateTimePrinter::new().precision(Some(3));
        let last = WallTime::from_unix_seconds(253_402_207_200).0;
        let years = (0..400).map(|year| (year * 365 + 59) * 86_400_000_000);
        let random = (0..20_000).map(|_| fastrand::i64(-62_100_000_000_000_000..last));
        for micros in years.flat_map(|at| [at - 1, at, at + 86_400_000_000]).chain(random).chain([0, -1, last]) {
            let time = WallTime(micros);
            let rounded = WallTime(micros - micros.rem_euclid(1_000));
            assert_eq!(time.written_by_hand().unwrap(), printer.timestamp_to_string(&rounded.timestamp()), "{micros}");
        }
        assert_eq!(WallTime(i64::MAX).written_by_hand(), None);
        assert!(WallTime(i64::MAX).rfc3339().starts_with("9999-"));
    }

    #[test]
    fn durations_between_times_are_never_negative() {
        assert_eq!(MonoTime(5).since(MonoTime(9)), Duration::ZERO);
        assert_eq!(WallTime(5).since(WallTime(9)), Duration::ZERO);
        assert_eq!(WallTime(9).since(WallTime(5)), Duration::from_micros(4));
    }
}
