//! Reads the numbers in an error: stated limits, limits of zero, and requests that are larger than the whole limit.

use crate::domain::{LimitDimension, Outcome, ProviderLimit};

use super::error_body::{ErrorBody, QuotaViolation};

/// Whether this single request is larger than the whole limit: "Limit 30000, Requested 31538". Sent as 429 (OpenAI) and
/// 413 (Groq).
pub(super) fn exceeds_whole_limit(error: &ErrorBody) -> bool {
    let text = &error.lower_message;
    text.match_indices("requested").any(|(at, word)| {
        let requested = parse_leading_number(&text[at + word.len()..]);
        let limit = text[..at].rfind("limit").and_then(|at| parse_leading_number(&text[at + "limit".len()..]));
        matches!((limit, requested), (Some(limit), Some(requested)) if limit > 0 && requested > limit)
    })
}

/// Whether the limit is zero: "limit: 0, model: …", or a quota whose value is 0. A missing value proves nothing.
pub(super) fn limit_is_zero(error: &ErrorBody) -> bool {
    let text = &error.lower_message;
    error.violations.iter().any(|violation| violation.limit == Some(0))
        || text.match_indices("limit").any(|(at, word)| starts_with_zero(&text[at + word.len()..]))
}

/// The smallest limit in the error that is of the kind of this outcome.
pub(super) fn smallest_stated_limit(error: &ErrorBody, outcome: Outcome) -> Option<u64> {
    let is_of_kind = |violation: &&QuotaViolation| {
        let is_daily = violation.quota_id.contains("perday");
        match outcome {
            Outcome::QuotaExhaustedDay => is_daily,
            Outcome::TokensLimitedMinute => !is_daily && violation.quota_id.contains("token"),
            Outcome::RateLimitedMinute => !is_daily && violation.quota_id.contains("request"),
            _ => false,
        }
    };
    error.violations.iter().filter(is_of_kind).filter_map(|violation| violation.limit).min()
}

/// All limits that the error states. A limit of 0 means that the model is not offered, and is left out.
pub(super) fn provider_limits(error: &ErrorBody) -> Vec<ProviderLimit> {
    let to_limit = |violation: &QuotaViolation| {
        let id = if violation.quota_id.is_empty() { &violation.metric } else { &violation.quota_id };
        let dimension = match (id.contains("perday"), id.contains("perminute"), id.contains("token")) {
            (true, _, true) => LimitDimension::TokensPerDay,
            (true, _, false) => LimitDimension::RequestsPerDay,
            (_, true, true) if id.contains("input") => LimitDimension::InputTokensPerMinute,
            (_, true, true) => LimitDimension::TokensPerMinute,
            (_, true, false) => LimitDimension::RequestsPerMinute,
            // A metric alone does not distinguish a minute from a day.
            _ => return None,
        };
        let limit = violation.limit.filter(|limit| *limit > 0)?;
        Some(ProviderLimit { limit: Some(limit), ..ProviderLimit::new(dimension) })
    };
    let concurrency_terms = ["concurrent", "concurrency", "parallel requests", "simultaneous"];
    let is_concurrency_limit =
        concurrency_terms.iter().any(|word| error.lower_message.contains(word)) && mentions_limit(&error.lower_message);
    let concurrency = is_concurrency_limit.then(|| ProviderLimit::new(LimitDimension::Concurrency));
    error.violations.iter().filter_map(to_limit).chain(concurrency).collect()
}

/// Whether the text is about a limit, rather than about parallel requests that failed.
fn mentions_limit(text: &str) -> bool {
    ["limit", "too many", "exceed", "max", "at most"].iter().any(|word| text.contains(word))
}

fn skip_separators(text: &str) -> &str {
    text.trim_start_matches([':', '=', ' ', '"'])
}

/// The number that follows a word: ": 30,000", " 6000", "=20".
fn parse_leading_number(text: &str) -> Option<u64> {
    let digits =
        skip_separators(text).chars().take_while(|c| c.is_ascii_digit() || *c == ',').filter(char::is_ascii_digit);
    digits.take(19).collect::<String>().parse().ok()
}

/// Whether the number that follows a word is 0, and not the start of 0.5.
fn starts_with_zero(text: &str) -> bool {
    let number = skip_separators(text);
    let rest = number.trim_start_matches('0');
    let starts_with_digit = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    rest.len() < number.len() && !starts_with_digit(rest) && !rest.strip_prefix('.').is_some_and(starts_with_digit)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn error_with_message(text: &str) -> ErrorBody {
        ErrorBody::from_json(&json!({"error": {"message": text}}))
    }

    #[test]
    fn google_states_limits_by_quota_id_alone() {
        let violations = |pairs: &[(&str, &str)]| {
            let each = pairs.iter().map(|(id, value)| json!({"quotaId": id, "quotaValue": value}));
            let details = json!([{"@type": "type.googleapis.com/google.rpc.QuotaFailure",
                "violations": each.collect::<Vec<_>>()}]);
            ErrorBody::from_json(&json!({"error": {"code": 429, "message": "m", "details": details}}))
        };
        let error = violations(&[
            ("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "15"),
            ("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "20"),
            ("GenerateContentInputTokensPerModelPerMinute-FreeTier", "250000"),
            ("GenerateRequestsPerDayPerProjectPerModel", "0"),
            ("SomethingElse", "7"),
        ]);
        let read: Vec<_> = provider_limits(&error).into_iter().map(|report| (report.dimension, report.limit)).collect();
        assert_eq!(
            read,
            [
                (LimitDimension::RequestsPerMinute, Some(15)),
                (LimitDimension::RequestsPerDay, Some(20)),
                (LimitDimension::InputTokensPerMinute, Some(250_000)),
            ]
        );
    }

    #[test]
    fn concurrency_limits_are_found_by_their_text() {
        let cases = [
            ("max organization concurrency: 3, please try again after 1 seconds", true),
            ("Too many concurrent requests", true),
            ("Rate limit reached for requests", false),
            ("a concurrent modification went wrong", false),
        ];
        for (text, want) in cases {
            let found = provider_limits(&error_with_message(text))
                .iter()
                .any(|report| report.dimension == LimitDimension::Concurrency);
            assert_eq!(found, want, "{text}");
        }
    }

    #[test]
    fn a_request_larger_than_the_whole_limit_is_detected() {
        let cases = [
            ("on tokens per min (TPM): \nLimit 30000, Requested 31538. \nThe input", true),
            ("on tokens per minute (TPM): Limit 6,000, Requested 12,328, please", true),
            ("(TPM): Limit 30000, Used 18928, Requested 11159. Please", false),
            ("(TPM): Limit 30000, Used 18928, Requested 30000. Please", false),
            ("(RPM): Limit 0, Used 0, Requested 1", false),
            ("you requested 4120 tokens", false),
            ("requested", false),
        ];
        for (text, want) in cases {
            assert_eq!(exceeds_whole_limit(&error_with_message(text)), want, "{text}");
        }
    }

    #[test]
    fn a_limit_of_zero_is_detected() {
        let cases = [
            ("free_tier_requests, limit: 0, model: gemini-2.0-flash", true),
            ("Limit 0, Used 0, Requested 1", true),
            ("limit: 0", true),
            ("limit: 0.", true),
            ("limit: 0.5", false),
            ("limit: 05", false),
            ("limit: 20, model", false),
            ("limit: 100", false),
            ("rate limit reached", false),
        ];
        for (text, want) in cases {
            assert_eq!(limit_is_zero(&error_with_message(text)), want, "{text}");
        }
    }
}
