//! Formats numbers, durations and instants so that they can be read at a glance.

use std::time::Duration;

use jiff::tz::TimeZone;

pub use crate::domain::group_digits;
use crate::domain::{Money, WallTime, event::format_duration};

/// Shown if there is no value.
pub const NO_VALUE: &str = "-";

/// Formats a number with at most three digits and a unit: `999`, `1.2k`, `121k`, `1.21M`. Numbers from 999.5 * 10^12 on
/// have more digits.
pub fn compact(number: u64) -> String {
    let scaled = |unit: f64, suffix: &str| {
        let value = number as f64 / unit;
        let text = match value {
            0.0..9.995 => format!("{value:.2}"),
            0.0..99.95 => format!("{value:.1}"),
            _ => format!("{value:.0}"),
        };
        let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
        format!("{text}{suffix}")
    };
    match number {
        0..1_000 => number.to_string(),
        1_000..999_500 => scaled(1e3, "k"),
        999_500..999_500_000 => scaled(1e6, "M"),
        999_500_000..999_500_000_000 => scaled(1e9, "G"),
        _ => scaled(1e12, "T"),
    }
}

/// Like [`compact`], with fewer decimals if the text is wider than `columns`: `1.04k`, `1.0k`, `1k`. Four columns are
/// enough for numbers below 999.5 * 10^12.
pub fn compact_within(number: u64, columns: usize) -> String {
    let text = compact(number);
    let Some(unit) = text.chars().last().filter(|unit| text.len() > columns && unit.is_ascii_alphabetic()) else {
        return text;
    };
    let factor = match unit {
        'k' => 1e3,
        'M' => 1e6,
        'G' => 1e9,
        _ => 1e12,
    };
    let rounded = |decimals: usize| format!("{:.decimals$}{unit}", number as f64 / factor);
    [1, 0].map(rounded).into_iter().find(|text| text.len() <= columns).unwrap_or(text)
}

/// Like [`group_digits`], or [`compact_within`] if that is wider than `columns`.
pub fn group_digits_within(number: u64, columns: usize) -> String {
    let text = group_digits(number);
    if text.len() <= columns { text } else { compact_within(number, columns) }
}

/// `used/limit`, or only the used amount if no limit is known.
pub fn used_of_limit(used: u64, limit: Option<u64>) -> String {
    limit.map_or_else(|| compact(used), |limit| format!("{}/{}", compact(used), compact(limit)))
}

/// Formats a duration to the second below an hour, and more coarsely above: `0:07`, `4:05`, `6h12m`, `2d03h`. Seconds
/// are rounded up, so that a time left is shown as zero only once it has passed.
pub fn format_countdown(duration: Duration) -> String {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    if seconds < 3_600 {
        format!("{}:{:02}", seconds / 60, seconds % 60)
    } else {
        format_duration(Duration::from_secs(seconds))
    }
}

/// Formats an estimated duration with low precision: `40s`, `24m`, `6h12m`, `2d03h`.
pub fn format_estimate(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3_600 => format!("{}m", seconds / 60),
        _ => format_duration(duration),
    }
}

/// Formats the time since the run began as `hh:mm:ss`, with the days in front from one day on.
pub fn format_elapsed(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let clock = format!("{:02}:{:02}:{:02}", rest / 3_600, rest % 3_600 / 60, rest % 60);
    if days > 0 { format!("{days}d {clock}") } else { clock }
}

/// The time of day in the operator's time zone: `14:08:51`.
pub fn time_of_day(at: WallTime, zone: &TimeZone) -> String {
    at.time_of_day(zone)
}

/// A short date and time in the operator's time zone: `14:08` today, `Sun 09:00` within six days, else
/// `2026-11-29 09:00`.
pub fn short_datetime(at: WallTime, now: WallTime, zone: &TimeZone) -> String {
    let (then, today) = (at.timestamp().to_zoned(zone.clone()), now.timestamp().to_zoned(zone.clone()));
    let form = if then.date() == today.date() {
        "%H:%M"
    } else if at.since(now).max(now.since(at)) < Duration::from_hours(6 * 24) {
        "%a %H:%M"
    } else {
        "%Y-%m-%d %H:%M"
    };
    then.strftime(form).to_string()
}

/// Formats a rate: `1.21/s`, or `14.0/min` below one a second.
pub fn rate(per_second: f64) -> String {
    if per_second <= 0.0 {
        "0/s".to_owned()
    } else if per_second >= 99.95 {
        format!("{per_second:.0}/s")
    } else if per_second >= 1.0 {
        format!("{per_second:.2}/s")
    } else {
        format!("{:.1}/min", per_second * 60.0)
    }
}

/// Formats a latency in milliseconds: `0.8s`, `12s`, `2:05`.
pub fn latency(millis: Option<u64>) -> String {
    match millis {
        None => NO_VALUE.to_owned(),
        Some(millis) if millis < 9_950 => format!("{:.1}s", millis as f64 / 1_000.0),
        Some(millis) => format_duration(Duration::from_secs((millis + 500) / 1_000)),
    }
}

/// The percentage of successes among all that ended: `98.8`.
pub fn percent_ok(ok: u64, failed: u64) -> String {
    let ended = ok + failed;
    if ended == 0 {
        return NO_VALUE.to_owned();
    }
    let percent = ok as f64 * 100.0 / ended as f64;
    // Failures must stay visible: 100 is shown only if there were none.
    if failed > 0 && percent > 99.9 {
        "99.9".to_owned()
    } else if failed == 0 {
        "100".to_owned()
    } else {
        format!("{percent:.1}")
    }
}

/// Whole percent, rounded down: 100 means complete.
pub fn percent(part: u64, whole: u64) -> u64 {
    if whole == 0 { 0 } else { (u128::from(part) * 100 / u128::from(whole)) as u64 }
}

/// An amount without its currency, for columns headed `$`.
pub fn dollars(amount: Money) -> String {
    let usd = amount.as_usd();
    match usd {
        0.0 => "0".to_owned(),
        _ if usd < 0.000_1 => format!("{usd:.1e}"),
        _ if usd < 0.01 => format!("{usd:.4}"),
        _ if usd < 999.995 => format!("{usd:.2}"),
        _ => compact(usd.round() as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compact_rounds_to_three_digits() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1_000, "1k"),
            (1_234, "1.23k"),
            (12_345, "12.3k"),
            (121_000, "121k"),
            (999_499, "999k"),
            (999_500, "1M"),
            (1_210_000, "1.21M"),
            (2_000_000_000, "2G"),
        ];
        for (number, want) in cases {
            assert_eq!(compact(number), want);
        }
        assert_eq!([group_digits(7), group_digits(3_214), group_digits(1_000_000)], ["7", "3,214", "1,000,000"]);
    }

    #[test]
    fn compact_within_drops_decimals_to_fit() {
        let cases = [
            (999, 3, "999"),
            (1_000, 4, "1k"),
            (1_037, 5, "1.04k"),
            (1_037, 4, "1.0k"),
            (1_037, 3, "1k"),
            (9_960, 4, "10k"),
            (12_345, 4, "12k"),
            (999_499, 4, "999k"),
            (10_000_000_000, 3, "10G"),
        ];
        for (number, columns, want) in cases {
            assert_eq!(compact_within(number, columns), want, "{number} in {columns}");
        }
        let mut number = 0_u64;
        while number < 999_000_000_000_000 {
            let text = compact_within(number, 4);
            assert!(text.len() <= 4 && text.starts_with(|c: char| c.is_ascii_digit()), "{number}: {text}");
            number += 1 + number / 7;
        }
        assert_eq!([group_digits_within(999_999, 7), group_digits_within(1_234_567, 7)], ["999,999", "1.23M"]);
        assert_eq!(
            [0.000_007_5, 0.003, 999.99, 999.996, 1_230.4].map(|usd| dollars(Money::from_usd(usd).unwrap())),
            ["7.5e-6", "0.0030", "999.99", "1k", "1.23k"]
        );
    }

    #[test]
    fn a_countdown_reaches_zero_when_the_time_has_come() {
        let cases = [(0, "0:00"), (1, "0:01"), (36_001, "0:37"), (3_599_001, "1h00m"), (22_320_000, "6h12m")];
        for (millis, want) in cases {
            assert_eq!(format_countdown(Duration::from_millis(millis)), want);
        }
    }

    #[test]
    fn short_datetime_names_the_day_only_if_it_is_not_today() {
        let now = WallTime::from_unix_seconds(1_795_251_600); // Saturday 2026-11-21 09:00 UTC
        let day = Duration::from_hours(24);
        assert_eq!(short_datetime(now + Duration::from_mins(332), now, &TimeZone::UTC), "14:32");
        assert_eq!(short_datetime(now + day, now, &TimeZone::UTC), "Sun 09:00");
        assert_eq!(short_datetime(now + day * 8, now, &TimeZone::UTC), "2026-11-29 09:00");
        assert_eq!(format_elapsed(Duration::from_secs(90_061)), "1d 01:01:01");
    }

    #[test]
    fn percentages_are_never_rounded_up_to_100() {
        assert_eq!(percent_ok(0, 0), "-");
        assert_eq!(percent_ok(10, 0), "100");
        assert_eq!(percent_ok(99_999, 1), "99.9");
        assert_eq!(percent(4_999, 5_000), 99);
        assert_eq!([rate(0.0), rate(0.1), rate(1.206), rate(250.4)], ["0/s", "6.0/min", "1.21/s", "250/s"]);
        assert_eq!([latency(None), latency(Some(812)), latency(Some(12_400))], ["-", "0.8s", "12s"]);
    }
}
