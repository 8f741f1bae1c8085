//! The provider's day: the time over which a daily quota counts.

use std::sync::OnceLock;

use jiff::{Span, tz::TimeZone};
use serde::{Deserialize, Serialize};

use super::{named::names, time::WallTime};

/// When the provider's day ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QuotaDay {
    /// Midnight in Los Angeles, daylight saving included (Gemini).
    Pacific,
    /// 00:00 UTC (OpenRouter).
    #[default]
    Utc,
    /// 24 hours from each request (OpenAI, Groq).
    Rolling,
}

names!(QuotaDay { Pacific = "pacific", Utc = "utc", Rolling = "rolling" });

impl QuotaDay {
    /// The start of the provider's next day after `now`; `None` for rolling days.
    pub fn next_reset(self, now: WallTime) -> Option<WallTime> {
        let zone = match self {
            Self::Pacific => pacific().clone(),
            Self::Utc => TimeZone::UTC,
            Self::Rolling => return None,
        };
        let today = now.timestamp().to_zoned(zone);
        let tomorrow = today.date().checked_add(Span::new().days(1)).ok()?;
        let midnight = tomorrow.to_zoned(today.time_zone().clone()).ok()?;
        Some(midnight.timestamp().into())
    }
}

fn pacific() -> &'static TimeZone {
    static PACIFIC: OnceLock<TimeZone> = OnceLock::new();
    // The time zone data is bundled. If it were missing, Pacific standard time would be used, which is an hour late in
    // summer.
    PACIFIC
        .get_or_init(|| TimeZone::get("America/Los_Angeles").unwrap_or_else(|_| TimeZone::fixed(jiff::tz::offset(-8))))
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
            // The day on which clocks go forward has 23 hours; the day on which they go back has 25.
            ("2026-03-08T08:00:00Z", "2026-03-09T07:00:00Z"),
            ("2026-11-01T07:00:00Z", "2026-11-02T08:00:00Z"),
        ];
        for (now, want) in cases {
            assert_eq!(QuotaDay::Pacific.next_reset(wall(now)), Some(wall(want)), "{now}");
        }
    }

    #[test]
    fn utc_days_end_at_utc_midnight_and_rolling_days_never_reset() {
        assert_eq!(QuotaDay::Utc.next_reset(wall("2026-11-21T09:00:00Z")), Some(wall("2026-11-22T00:00:00Z")));
        assert_eq!(QuotaDay::Rolling.next_reset(wall("2026-11-21T09:00:00Z")), None);
        // The calendar ends at 9999-12-30 22:00 UTC. There is no next day after that.
        for day in [QuotaDay::Utc, QuotaDay::Pacific] {
            for last in [wall("9999-12-30T21:00:00Z"), WallTime(253_402_300_800_000_000), WallTime(i64::MAX)] {
                assert_eq!(day.next_reset(last), None);
            }
        }
    }
}
