//! Finds the wait that a provider asks for, in all the forms that providers use.
//!
//! The longest of these is used: explicit waits (`retry-after-ms`, `retry-after`, Google's RetryInfo, texts such as
//! "Please try again in 9m38.016s") and relative resets of the exhausted dimension. Absolute reset times are used only
//! if there is no other wait: they depend on two clocks, and describe whole windows rather than this error.

use std::time::Duration;

use jiff::{Timestamp, fmt::rfc2822};
use reqwest::header::HeaderMap;

use crate::domain::WallTime;

use super::super::wire::whole_number;

/// Longest wait that is believed. A longer one is a mistake: milliseconds read as seconds, or a point in time read as a
/// delay.
const MAX_PLAUSIBLE_WAIT: Duration = Duration::from_hours(31 * 24);

/// The parts of an error response that may state a wait.
pub(super) struct WaitSources<'a> {
    pub headers: &'a HeaderMap,
    /// Headers quoted inside the body (OpenRouter's `metadata.headers`).
    pub quoted_headers: &'a [(String, String)],
    /// Wait from the body: Google's RetryInfo and `retry_after` fields.
    pub stated_in_body: Option<Duration>,
    /// The error message in lower case.
    pub lower_message: &'a str,
    /// Whether the error is about tokens. The token reset is then used even if some tokens remain, because they are too
    /// few for this request.
    pub is_about_tokens: bool,
    pub received_at: WallTime,
}

impl WaitSources<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        let sent = self.headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        sent.or_else(|| find_quoted_header(self.quoted_headers, name))
    }

    /// The provider's clock if the response has a `Date`, else the local one.
    fn now(&self) -> Timestamp {
        self.header("date").and_then(parse_http_date).unwrap_or_else(|| self.received_at.timestamp())
    }
}

/// Finds a header among those that an error body quotes.
pub(super) fn find_quoted_header<'h>(quoted_headers: &'h [(String, String)], name: &str) -> Option<&'h str> {
    let found = quoted_headers.iter().find(|(quoted_name, _)| quoted_name.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.trim())
}

/// Finds the wait that the provider asks for. `None` if it states none, or only implausible or unreadable ones.
pub(super) fn find_stated_wait(sources: &WaitSources<'_>) -> Option<Duration> {
    let now = sources.now();
    let after_ms = sources.header("retry-after-ms").and_then(|text| parse_seconds(text)?.checked_div(1_000));
    let after = sources.header("retry-after").and_then(|text| parse_retry_after(text, now));
    let (relative, absolute) = find_exhausted_resets(sources, now);
    let stated_waits = [after_ms, after, sources.stated_in_body, longest_wait_in_text(sources.lower_message), relative];
    stated_waits
        .into_iter()
        .flatten()
        .filter(|wait| is_plausible(*wait))
        .max()
        .or_else(|| absolute.filter(|wait| is_plausible(*wait)))
}

fn is_plausible(wait: Duration) -> bool {
    !wait.is_zero() && wait <= MAX_PLAUSIBLE_WAIT
}

fn parse_seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.trim().parse().ok()?).ok()
}

/// Parses seconds, which may have a fraction, an HTTP date, or a duration with a unit (some gateways).
fn parse_retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    parse_seconds(text)
        .or_else(|| wait_until(parse_http_date(text)?, now))
        .or_else(|| parse_duration(text, false).map(|(wait, _)| wait))
}

pub(super) fn parse_http_date(text: &str) -> Option<Timestamp> {
    const PARSER: rfc2822::DateTimeParser = rfc2822::DateTimeParser::new().relaxed_weekday(true);
    PARSER.parse_timestamp(text).ok()
}

fn wait_until(then: Timestamp, now: Timestamp) -> Option<Duration> {
    Duration::try_from(then.duration_since(now)).ok()
}

/// Finds the longest relative and the longest absolute reset of the exhausted dimensions, in `x-ratelimit-reset-*`,
/// `ratelimit-reset`, `X-RateLimit-Reset` and `anthropic-ratelimit-*-reset`.
fn find_exhausted_resets(sources: &WaitSources<'_>, now: Timestamp) -> (Option<Duration>, Option<Duration>) {
    let names = sources.headers.keys().map(reqwest::header::HeaderName::as_str);
    let quoted_names = sources.quoted_headers.iter().map(|(name, _)| name.as_str());
    let (mut relative, mut absolute) = (None, None);
    for name in names.chain(quoted_names) {
        let name = name.to_ascii_lowercase();
        if !name.contains("ratelimit") || !name.contains("reset") {
            continue;
        }
        let remaining = sources.header(&name.replace("reset", "remaining")).and_then(|text| text.parse::<f64>().ok());
        let is_exhausted = match remaining {
            Some(remaining) => remaining <= 0.0,
            // A single `X-RateLimit-Reset` without a remaining count refers to the limit that was hit.
            None => name.ends_with("reset") && !name.starts_with("anthropic"),
        };
        let lacks_tokens = sources.is_about_tokens && name.contains("token");
        if !is_exhausted && !lacks_tokens {
            continue;
        }
        match sources.header(&name).and_then(|text| parse_reset(text, &|| now)) {
            Some(ResetTime::Relative(wait)) => relative = relative.max(Some(wait)),
            Some(ResetTime::Absolute(wait)) => absolute = absolute.max(Some(wait)),
            None => {}
        }
    }
    (relative, absolute)
}

/// The wait until a reset, and how the reset was stated.
pub(super) enum ResetTime {
    /// Stated as a duration.
    Relative(Duration),
    /// Stated as a point in time.
    Absolute(Duration),
}

/// Parses a Go duration ("6m0s"), plain seconds, an epoch in seconds or milliseconds, or RFC 3339. `now` is asked only
/// about points in time.
pub(super) fn parse_reset(text: &str, now: &dyn Fn() -> Timestamp) -> Option<ResetTime> {
    if let Ok(number) = text.parse::<f64>() {
        let epoch_ms = if number > 1e11 {
            number
        } else if number > 1e8 {
            number * 1e3
        } else {
            return Duration::try_from_secs_f64(number).ok().map(ResetTime::Relative);
        };
        let epoch_ms = i64::try_from(whole_number(epoch_ms)?).ok()?;
        return wait_until(Timestamp::from_millisecond(epoch_ms).ok()?, now()).map(ResetTime::Absolute);
    }
    if let Some((wait, _)) = parse_duration(text, false) {
        return Some(ResetTime::Relative(wait));
    }
    wait_until(text.parse().ok()?, now()).map(ResetTime::Absolute)
}

/// Parses RetryInfo's `retryDelay`: "12.5s" or whole seconds. Google rounds down to whole seconds ("12s" in the field,
/// "Please retry in 12.134s" in the message), so one second is added to these.
pub(super) fn parse_retry_delay(text: &str) -> Option<Duration> {
    let (wait, _) = parse_duration(text.trim(), true)?;
    Some(if text.contains('.') || text.contains("ms") { wait } else { wait.saturating_add(Duration::from_secs(1)) })
}

/// The longest wait that `text` states. `text` is in lower case.
fn longest_wait_in_text(text: &str) -> Option<Duration> {
    // A number without a unit means seconds after the first list of phrases; after the second it needs a unit.
    const ANCHORS_BEFORE_SECONDS: [&str; 5] =
        ["retry after", "retry-after", "retry_after", "again after", "retry_after_seconds"];
    const ANCHORS_BEFORE_UNIT: [&str; 9] = [
        "retry in",
        "again in",
        "wait",
        "resets in",
        "reset in",
        "reset after",
        "available in",
        "resume in",
        "back in",
    ];
    let anchors = ANCHORS_BEFORE_SECONDS
        .iter()
        .map(|anchor| (anchor, true))
        .chain(ANCHORS_BEFORE_UNIT.iter().map(|anchor| (anchor, false)));
    anchors
        .flat_map(|(anchor, unit_is_optional)| {
            text.match_indices(anchor).map(move |(at, _)| (at + anchor.len(), unit_is_optional))
        })
        .filter_map(|(start, unit_is_optional)| {
            let mut rest = text[start..].trim_start_matches([' ', ':', '=', '"', '\'', '~']);
            for filler in ["about ", "approximately ", "approx. ", "at least ", "around ", "for ", "another "] {
                rest = rest.strip_prefix(filler).unwrap_or(rest);
            }
            parse_duration(rest, unit_is_optional).map(|(wait, _)| wait)
        })
        .max()
}

/// The duration at the start of `text` ("9m38.016s", "174ms", "1 seconds", "1 hour 5 minutes") and the text after it. A
/// number without a unit counts as seconds if `unit_is_optional`.
fn parse_duration(text: &str, unit_is_optional: bool) -> Option<(Duration, &str)> {
    let mut total = 0.0;
    let mut rest = text;
    let mut found_unit = false;
    loop {
        let digits = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let number = rest[..digits].trim_end_matches('.');
        let Ok(value) = number.parse::<f64>() else { break };
        let after = &rest[number.len()..];
        let spaced = after.strip_prefix(' ').unwrap_or(after);
        let letters = spaced.bytes().take_while(u8::is_ascii_alphabetic).count();
        let Some(unit) = unit_seconds(&spaced[..letters]) else {
            // "2026-11-22" and "12:30" are not waits.
            let is_complete =
                !after.starts_with(['-', ':', '/']) && !after.starts_with(|c: char| c.is_ascii_alphabetic());
            if unit_is_optional && !found_unit && is_complete {
                return Some((Duration::try_from_secs_f64(value).ok()?, after));
            }
            break;
        };
        total += value * unit;
        found_unit = true;
        rest = &spaced[letters..];
        let next = rest.trim_start_matches([' ', ',']);
        let next = next.strip_prefix("and ").unwrap_or(next);
        if !next.starts_with(|c: char| c.is_ascii_digit()) {
            break;
        }
        rest = next;
    }
    if !found_unit {
        return None;
    }
    Some((Duration::try_from_secs_f64(total).ok()?, rest))
}

fn unit_seconds(word: &str) -> Option<f64> {
    Some(match word.to_ascii_lowercase().as_str() {
        "ms" | "msec" | "msecs" | "millis" | "millisecond" | "milliseconds" => 1e-3,
        "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600.0,
        "d" | "day" | "days" => 86_400.0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    /// 2026-11-21T12:00:00Z.
    const NOON: WallTime = WallTime::from_unix_seconds(1_795_262_400);

    type Pairs<'a> = &'a [(&'a str, &'a str)];

    fn headers(pairs: Pairs<'_>) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
            })
            .collect()
    }

    fn find_wait(pairs: Pairs<'_>, text: &str, about_tokens: bool) -> Option<f64> {
        let headers = headers(pairs);
        let sources = WaitSources {
            headers: &headers,
            quoted_headers: &[],
            stated_in_body: None,
            lower_message: text,
            is_about_tokens: about_tokens,
            received_at: NOON,
        };
        find_stated_wait(&sources).map(|wait| wait.as_secs_f64())
    }

    #[test]
    fn waits_are_read_from_all_kinds_of_headers() {
        let cases: &[(Pairs<'_>, Option<f64>)] = &[
            (&[("Retry-After", "20")], Some(20.0)),
            (&[("retry-after", "1.5")], Some(1.5)),
            (&[("retry-after", "1"), ("retry-after-ms", "350")], Some(1.0)),
            (&[("retry-after-ms", "18642")], Some(18.642)),
            (&[("retry-after", "Sat, 21 Nov 2026 12:00:30 GMT")], Some(30.0)),
            (&[("retry-after", "Wed, 21 Oct 2026 12:00:30 GMT")], None),
            (
                &[("date", "Mon, 21 Apr 2025 10:37:22 GMT"), ("retry-after", "Mon, 21 Apr 2025 10:38:22 GMT")],
                Some(60.0),
            ),
            (&[("retry-after", "0")], None),
            (&[("retry-after", "-5")], None),
            (&[("retry-after", "NaN")], None),
            (&[("retry-after", "soon")], None),
            (&[("retry-after", "1e300")], None),
            (&[("retry-after", "99999999")], None),
            (&[("retry-after", "30s")], Some(30.0)),
            (&[("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "6m0s")], Some(360.0)),
            (&[("x-ratelimit-remaining-requests", "59"), ("x-ratelimit-reset-requests", "6m0s")], None),
            (&[("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "7.66s")], Some(7.66)),
            (&[("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset", "1795262460000")], Some(60.0)),
            (&[("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset", "1795262460")], Some(60.0)),
            (&[("X-RateLimit-Reset", "45")], Some(45.0)),
            (&[("X-RateLimit-Reset", "1e300")], None),
            (&[("X-RateLimit-Reset", "inf")], None),
            (&[("ratelimit-remaining", "0"), ("ratelimit-reset", "12")], Some(12.0)),
            (
                &[
                    ("anthropic-ratelimit-requests-remaining", "0"),
                    ("anthropic-ratelimit-requests-reset", "2026-11-21T12:00:30Z"),
                    ("anthropic-ratelimit-input-tokens-remaining", "29000"),
                    ("anthropic-ratelimit-input-tokens-reset", "2026-11-21T12:10:00Z"),
                ],
                Some(30.0),
            ),
            (
                &[
                    ("retry-after", "30"),
                    ("anthropic-ratelimit-requests-remaining", "0"),
                    ("anthropic-ratelimit-requests-reset", "2026-11-21T20:00:30Z"),
                ],
                Some(30.0),
            ),
        ];
        for (pairs, want) in cases {
            assert_eq!(find_wait(pairs, "", false), *want, "{pairs:?}");
        }
    }

    #[test]
    fn a_token_error_waits_for_the_token_reset_even_if_tokens_remain() {
        let pairs = [("x-ratelimit-remaining-tokens", "15433"), ("x-ratelimit-reset-tokens", "18.642s")];
        assert_eq!(find_wait(&pairs, "", true), Some(18.642));
        assert_eq!(find_wait(&pairs, "", false), None);
    }

    #[test]
    fn headers_quoted_in_the_body_are_read_too() {
        let quoted = [
            ("X-RateLimit-Remaining".to_owned(), "0".to_owned()),
            ("X-RateLimit-Reset".to_owned(), "1795305600000".to_owned()),
        ];
        let headers = HeaderMap::new();
        let sources = WaitSources {
            headers: &headers,
            quoted_headers: &quoted,
            stated_in_body: None,
            lower_message: "",
            is_about_tokens: false,
            received_at: NOON,
        };
        assert_eq!(find_stated_wait(&sources), Some(Duration::from_hours(12)));
    }

    #[test]
    fn waits_are_read_from_messages() {
        let cases = [
            ("please retry in 12.13444861s.", Some(12.134_448_61)),
            ("please try again in 9m38.016s. visit", Some(578.016)),
            ("please try again in 174ms. visit", Some(0.174)),
            ("please try again after 1 seconds", Some(1.0)),
            ("retry after 20", Some(20.0)),
            ("\"retry_after\": 7,", Some(7.0)),
            ("try again in about 5 minutes", Some(300.0)),
            ("try again in 1 hour 5 minutes and 2 seconds.", Some(3_902.0)),
            ("try again in 1h0m0s", Some(3_600.0)),
            ("wait 30 seconds or retry in 45s", Some(45.0)),
            ("retry after 2026-11-22", None),
            ("retry after 12:30", None),
            ("wait 3 times", None),
            ("please try again later", None),
            ("retry in 999999999 days", None),
            ("retry in .s", None),
        ];
        for (text, want) in cases {
            assert_eq!(find_wait(&[], text, false), want, "{text}");
        }
    }

    #[test]
    fn a_second_is_added_to_whole_seconds_of_retry_info() {
        let cases = [("12s", Some(13.0)), ("12.5s", Some(12.5)), ("0.500s", Some(0.5)), ("x", None), ("", None)];
        for (text, want) in cases {
            assert_eq!(parse_retry_delay(text).map(|wait| wait.as_secs_f64()), want, "{text}");
        }
    }
}
