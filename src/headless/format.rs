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
pub(super) fn format_table<R: AsRef<[String]>>(heading: &[&str], rows: &[R]) -> String {
    let mut widths: Vec<usize> = heading.iter().map(|name| name.len()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row.as_ref()) {
            *width = (*width).max(cell.width());
        }
    }
    let wide_total = widths.iter().sum::<usize>() + 2 * heading.len().saturating_sub(1);
    let column_gap = if wide_total > TERMINAL_COLUMNS { " " } else { "  " };
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (index, (cell, width)) in cells.zip(&widths).enumerate() {
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
    let mut text = line(&mut heading.iter().copied());
    for row in rows {
        text.push_str(&line(&mut row.as_ref().iter().map(String::as_str)));
    }
    text
}

/// Whether no line of a text is wider than a common terminal.
pub(super) fn fits_terminal(text: &str) -> bool {
    text.lines().all(|line| line.width() <= TERMINAL_COLUMNS)
}

/// Breaks lines that are wider than a common terminal at spaces, and indents what follows by `indent` columns.
pub(super) fn wrap_lines(text: &str, indent: usize) -> String {
    let mut wrapped = String::new();
    for line in text.lines() {
        let mut columns = 0;
        // Some spaces in a row are alignment, so they stay with the word before.
        for word in line.split_inclusive(' ') {
            if columns > indent && columns + word.trim_end().width() > TERMINAL_COLUMNS {
                wrapped.truncate(wrapped.trim_end().len());
                wrapped.push('\n');
                wrapped.push_str(&" ".repeat(indent));
                columns = indent;
            }
            wrapped.push_str(word);
            columns += word.width();
        }
        wrapped.push('\n');
    }
    wrapped
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
            let table = format_table(&["name", "ok", "no"], &row(name));
            assert!(table.lines().all(|line| line.width() == want), "{name}: {table}");
        }
    }

    #[test]
    fn long_lines_are_broken_at_spaces() {
        let long = format!("cost      $1.00, {}", "and more ".repeat(20));
        let text = wrap_lines(&format!("short     line\n{}\n{}\n", long.trim_end(), "x".repeat(90)), 10);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines[0], lines.len()), ("short     line", 5), "{text}");
        assert!(lines[..4].iter().all(|line| line.width() <= 80 && !line.ends_with(' ')), "{text}");
        assert!(lines[2].starts_with("          ") && lines[2].as_bytes()[10] != b' ', "{text}");
        assert_eq!(text.split_whitespace().count(), 2 + 2 + 40 + 1);
    }

    #[test]
    fn columns_are_aligned_by_displayed_width() {
        let rows = [["日本".to_owned(), "1".to_owned()], ["a".to_owned(), "1,000".to_owned()]];
        assert_eq!(format_table(&["name", "ok"], &rows), "name     ok\n日本      1\na     1,000\n");
    }
}
