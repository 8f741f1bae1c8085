//! Parses durations: `250ms`, `10s`, `1.5s`, `2m`, `1h30m`, `1d`.

use std::time::Duration;

/// Maximum duration: one year. A longer one is probably a typing error.
const MAX_DURATION: Duration = Duration::from_hours(366 * 24);

/// The reason why a text is not a duration.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DurationError {
    #[error("a duration is written like \"250ms\", \"10s\", \"2m\", \"1h30m\" or \"1d\"")]
    Malformed,
    #[error("it is too long")]
    TooLong,
    #[error("it is longer than a year")]
    LongerThanAYear,
}

/// Parses a duration.
///
/// # Errors
/// If it is not written as a duration, or is longer than a year.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(DurationError::Malformed);
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(DurationError::Malformed)?;
        let (number, after_number) = rest.split_at(number_end);
        let unit_end = after_number.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after_number.len());
        let seconds = match &after_number[..unit_end] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return Err(DurationError::Malformed),
        };
        let number: f64 = number.parse().map_err(|_| DurationError::Malformed)?;
        let part = Duration::try_from_secs_f64(number * seconds).map_err(|_| DurationError::TooLong)?;
        total = total.checked_add(part).filter(|&sum| sum <= MAX_DURATION).ok_or(DurationError::LongerThanAYear)?;
        rest = after_number[unit_end..].trim_start();
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_with_units_are_parsed() {
        let cases = [
            ("0s", 0),
            ("250ms", 250),
            ("10s", 10_000),
            ("1.5s", 1_500),
            ("2m", 120_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            (" 1d ", 86_400_000),
        ];
        for (text, millis) in cases {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn malformed_and_too_long_durations_are_refused() {
        for text in
            ["", "10", "s", "-5s", "10 s", "1y", "1m2", "1..5s", ".s", "ten seconds", "1e3s", "400d", "9e9d", "٣s"]
        {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
        assert!(parse_duration(&format!("{}s", "9".repeat(400))).is_err());
    }
}
