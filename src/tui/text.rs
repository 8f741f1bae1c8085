//! Text on the screen: sanitized, and measured in columns instead of characters.
//!
//! All text from outside (answers, file names, provider messages, aliases) passes through [`one_line`] or [`wrap`]
//! before it is drawn.

use std::borrow::Cow;

use unicode_segmentation::UnicodeSegmentation as _;
use unicode_width::UnicodeWidthStr as _;

use crate::domain::plain_text::sanitize;

const TAB_SPACES: &str = "    ";

/// The width of `text` in columns.
pub fn width(text: &str) -> usize {
    text.width()
}

/// Sanitizes text from outside to one line. If it has line breaks or tabs, all runs of white space become single
/// spaces. Other control characters are made visible.
pub fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(['\n', '\r', '\t']) {
        return sanitize(text);
    }
    let spaced: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    Cow::Owned(sanitize(&spaced).into_owned())
}

/// Cuts `text` to `columns`, with `ellipsis` at the end if something was cut. Never splits a wide character.
pub fn truncate<'a>(text: &'a str, columns: usize, ellipsis: &str) -> Cow<'a, str> {
    if text.width() <= columns {
        return Cow::Borrowed(text);
    }
    let room = columns.saturating_sub(ellipsis.width());
    let mut cut = prefix_within(text, room).to_owned();
    if room > 0 || columns >= ellipsis.width() {
        cut.push_str(ellipsis);
    }
    Cow::Owned(cut)
}

/// The longest prefix of `text` that is at most `columns` wide.
pub fn prefix_within(text: &str, columns: usize) -> &str {
    let mut used = 0;
    for (at, grapheme) in text.grapheme_indices(true) {
        used += grapheme.width();
        if used > columns {
            return &text[..at];
        }
    }
    text
}

/// Sanitizes text from outside and wraps it to lines of at most `columns` (at least 4), at spaces if possible.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(4);
    let mut lines = Vec::new();
    for line in text.lines() {
        let line = line.replace('\t', TAB_SPACES);
        wrap_line(&sanitize(&line), columns, &mut lines);
    }
    lines
}

fn wrap_line(line: &str, columns: usize, lines: &mut Vec<String>) {
    let mut rest = line.trim_end();
    if rest.is_empty() {
        lines.push(String::new());
    }
    while !rest.is_empty() {
        let fitting = prefix_within(rest, columns);
        if fitting.len() == rest.len() {
            lines.push(rest.to_owned());
            return;
        }
        // A single grapheme can be wider than a line; it gets a line of its own anyway.
        let longest_part = if fitting.is_empty() { rest.graphemes(true).next().unwrap_or(rest) } else { fitting };
        let broken_at_space = rest[longest_part.len()..].starts_with(' ');
        let end = match longest_part.rfind(' ') {
            Some(space) if !broken_at_space && longest_part[..space].trim_start() != "" => space,
            _ => longest_part.len(),
        };
        lines.push(rest[..end].trim_end().to_owned());
        rest = rest[end..].trim_start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncate_never_splits_wide_characters() {
        let cases = [
            ("plain", 5, "plain"),
            ("plain text", 6, "plain…"),
            ("日本語テキスト", 7, "日本語…"),
            ("日本語テキスト", 6, "日本…"),
            ("ab", 0, ""),
            ("ab", 1, "…"),
            ("🏴‍☠️ flag", 4, "🏴‍☠️ …"),
        ];
        for (text, columns, want) in cases {
            let cut = truncate(text, columns, "…");
            assert_eq!(cut, want);
            assert!(width(&cut) <= columns);
        }
    }

    #[test]
    fn one_line_joins_lines_and_shows_control_characters() {
        assert_eq!(one_line("a\r\n\tb\x1b[1mc"), "a b␛[1mc");
        assert!(matches!(one_line("plain"), Cow::Borrowed("plain")));
    }

    #[test]
    fn lines_break_at_spaces_and_long_words_break_anywhere() {
        assert_eq!(wrap("the quick brown fox", 10), ["the quick", "brown fox"]);
        assert_eq!(wrap("one\n\ntwo", 10), ["one", "", "two"]);
        assert_eq!(wrap("abcdefghijkl", 5), ["abcde", "fghij", "kl"]);
        assert_eq!(wrap("日本語テキスト", 6), ["日本語", "テキス", "ト"]);
        assert_eq!(wrap("  indented words here", 12), ["  indented", "words here"]);
        assert_eq!(wrap("a\tb\x1bc", 20), ["a    b␛c"]);
    }
}
