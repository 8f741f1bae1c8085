//! Formats numbers, times and tables as plain text.

use std::time::Duration;

use jiff::tz::TimeZone;
use unicode_width::UnicodeWidthStr as _;

use crate::domain::{WallTime, event::format_duration};

/// `812ms`, `2.1s`, `37s`, `4:05`
pub(super) fn format_latency(millis: u64) -> String {
    if millis < 1_000 { format!("{millis}ms") } else { format_duration(Duration::from_millis(millis)) }
}

/// A future time, and the time until then. The date or the seconds are left out where they are of no use:
/// `14:09:30 (in 37s)`, `Nov 22 09:00 (in 18h51m)`.
pub(super) fn format_future_time(at: WallTime, now: WallTime, zone: &TimeZone) -> String {
    let (then, today) = (at.timestamp().to_zoned(zone.clone()), now.timestamp().to_zoned(zone.clone()));
    let span = at.since(now);
    let format = if then.date() != today.date() {
        "%b %-d %H:%M"
    } else if span < Duration::from_hours(1) {
        "%H:%M:%S"
    } else {
        "%H:%M"
    };
    format!("{} (in {})", then.strftime(format), format_time_left(at, now))
}

/// The whole seconds until a future time: `37s`, `18h51m`.
pub(super) fn format_time_left(at: WallTime, now: WallTime) -> String {
    format_duration(Duration::from_secs(at.since(now).as_secs()))
}

/// Width of a common terminal, in columns.
const TERMINAL_COLUMNS: usize = 80;

/// A table with a heading. Every column is as wide as its widest cell: the first is left-aligned, the others
/// right-aligned. Columns are two spaces apart, or one if the table would otherwise be wider than a common terminal.
pub(super) fn format_table<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = heading.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    let wide_total = widths.iter().sum::<usize>() + 2 * (N - 1);
    let column_gap = if wide_total > TERMINAL_COLUMNS { " " } else { "  " };
    let line = |cells: [&str; N]| {
        let mut line = String::new();
        for (index, (cell, width)) in cells.into_iter().zip(widths).enumerate() {
            let padding = " ".repeat(width.saturating_sub(cell.width()));
            if index == 0 {
                line.push_str(cell);
                line.push_str(&padding);
            } else {
                line.push_str(column_gap);
                line.push_str(&padding);
                line.push_str(cell);
            }
        }
        line.truncate(line.trim_end().len());
        line.push('\n');
        line
    };
    let mut text = line(heading);
    for row in rows {
        text.push_str(&line(row.each_ref().map(String::as_str)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn future_times_are_only_as_exact_as_useful() {
        let now = WallTime::from_unix_seconds(1_795_251_600); // 2026-11-21T09:00:00Z
        let cases = [
            (37, "09:00:37 (in 37s)"),
            (3_600 * 6 + 720, "15:12 (in 6h12m)"),
            (86_400, "Nov 22 09:00 (in 1d00h)"),
            (0, "09:00:00 (in 0s)"),
        ];
        for (seconds, want) in cases {
            assert_eq!(format_future_time(now + Duration::from_secs(seconds), now, &TimeZone::UTC), want);
        }
    }

    #[test]
    fn columns_are_closer_in_tables_wider_than_a_terminal() {
        let row = |wide: usize| [["n".repeat(wide), "1,000".to_owned(), "12".to_owned()]];
        for (name, want) in [(69, 80), (70, 79), (71, 80)] {
            let table = format_table(["name", "ok", "no"], &row(name));
            assert!(table.lines().all(|line| line.width() == want), "{name}: {table}");
        }
    }

    #[test]
    fn columns_are_aligned_by_displayed_width() {
        let rows = [["日本".to_owned(), "1".to_owned()], ["a".to_owned(), "1,000".to_owned()]];
        assert_eq!(format_table(["name", "ok"], &rows), "name     ok\n日本      1\na     1,000\n");
    }
}
