//! Calendar days as a provider counts them.

use jiff::{civil::Date, tz::TimeZone};

use crate::domain::{QuotaDay, WallTime};

/// Calendar of one provider. The current day is cached, because time zone look-ups are too slow for every request.
#[derive(Clone, Debug)]
pub(super) struct Calendar {
    zone: TimeZone,
    cached_day: Option<ProviderDay>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ProviderDay {
    pub date: Date,
    pub starts_at: WallTime,
    /// First instant of the next day. A day has 23 to 25 hours.
    pub ends_at: WallTime,
}

impl Calendar {
    /// A rolling day has no calendar, so UTC dates are used for its statistics.
    pub fn new(day: QuotaDay) -> Self {
        let zone = match day {
            QuotaDay::Pacific => TimeZone::get("America/Los_Angeles").expect("the time zone database is compiled in"),
            QuotaDay::Utc | QuotaDay::Rolling => TimeZone::UTC,
        };
        Self { zone, cached_day: None }
    }

    pub fn day_at(&mut self, wall: WallTime) -> ProviderDay {
        if let Some(today) = self.cached_day.filter(|today| (today.starts_at..today.ends_at).contains(&wall)) {
            return today;
        }
        let date = self.zone.to_datetime(wall.timestamp()).date();
        let today = ProviderDay {
            date,
            starts_at: self.midnight(date),
            ends_at: date.tomorrow().map_or(WallTime(i64::MAX), |tomorrow| self.midnight(tomorrow)),
        };
        self.cached_day = Some(today);
        today
    }

    fn midnight(&self, date: Date) -> WallTime {
        self.zone
            .to_ambiguous_zoned(date.at(0, 0, 0, 0))
            .compatible()
            .map_or(WallTime(i64::MAX), |zoned| zoned.timestamp().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> WallTime {
        text.parse::<jiff::Timestamp>().unwrap().into()
    }

    #[test]
    fn pacific_days_change_length_with_daylight_saving() {
        // (an instant, its date in Los Angeles, the first instants of that day and of the next one in UTC)
        let cases = [
            ("2026-03-08T12:00:00Z", "2026-03-08", "2026-03-08T08:00:00Z", "2026-03-09T07:00:00Z"),
            ("2026-11-01T07:30:00Z", "2026-11-01", "2026-11-01T07:00:00Z", "2026-11-02T08:00:00Z"),
            ("2026-11-21T07:59:59Z", "2026-11-20", "2026-11-20T08:00:00Z", "2026-11-21T08:00:00Z"),
        ];
        let mut calendar = Calendar::new(QuotaDay::Pacific);
        for (instant, date, begins, ends) in cases {
            let expected = ProviderDay { date: date.parse().unwrap(), starts_at: at(begins), ends_at: at(ends) };
            assert_eq!(calendar.day_at(at(instant)), expected, "{instant}");
        }
    }

    #[test]
    fn a_clock_that_jumps_back_is_on_the_earlier_day_again() {
        let mut calendar = Calendar::new(QuotaDay::Utc);
        calendar.day_at(at("2026-11-21T00:00:01Z"));
        assert_eq!(calendar.day_at(at("2026-11-20T23:59:59Z")).date.to_string(), "2026-11-20");
    }
}
