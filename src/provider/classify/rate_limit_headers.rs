//! Reads rate limits from response headers, and the processing time that the server reports.
//!
//! The meaning of a header depends on the vendor: `x-ratelimit-limit-requests` is per minute at OpenAI and per day at
//! Groq, and a reset is a Go duration, a point in time or an epoch in milliseconds. The vendor is detected by the
//! provider's API, name and base URL.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{HeaderMap, HeaderValue};
use smallvec::SmallVec;

use crate::domain::{Api, LimitDimension, Provider, ProviderLimit, ResponseMeta, WallTime};

use super::{
    super::wire::whole_number,
    retry_after::{self, ResetTime},
};

/// The vendor whose header conventions apply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Vendor {
    /// Sends no rate-limit headers. Its errors state limits as `quotaValue`.
    Gemini,
    Anthropic,
    /// Requests are per day, tokens per minute (console.groq.com/docs/rate-limits).
    Groq,
    /// `X-RateLimit-*` without a dimension; resets in epoch milliseconds.
    OpenRouter,
    /// OpenAI and compatible servers: requests and tokens are per minute.
    OpenAi,
}

/// Longest reset of a per-minute limit. A longer one means that a clock is wrong.
const MAX_MINUTE_RESET: Duration = Duration::from_secs(60);

/// A limit with a longer reset is a daily one, not a per-minute one.
const MIN_DAILY_RESET: Duration = Duration::from_secs(120);

impl Vendor {
    pub fn detect(provider: &Provider) -> Self {
        let is_named = |name: &str| {
            provider.name.eq_ignore_ascii_case(name) || provider.base_url.to_ascii_lowercase().contains(name)
        };
        match provider.api {
            Api::Gemini => Self::Gemini,
            Api::Anthropic => Self::Anthropic,
            Api::OpenAi if is_named("groq") => Self::Groq,
            Api::OpenAi if is_named("openrouter") => Self::OpenRouter,
            Api::OpenAi => Self::OpenAi,
        }
    }
}

/// Reads a response's headers. Never fails: values that cannot be read are left out.
pub fn read_response_meta(vendor: Vendor, headers: &HeaderMap, received_at: WallTime) -> ResponseMeta {
    // `HeaderMap::get` parses and hashes the name. For about ten names among as few headers, comparing costs less.
    let headers: SmallVec<[(&str, &HeaderValue); 32]> =
        headers.iter().map(|(name, value)| (name.as_str(), value)).collect();
    let get = |wanted: &str| {
        let (_, value) = headers.iter().find(|(name, _)| *name == wanted)?;
        value.to_str().ok().map(str::trim)
    };
    let now = || get("date").and_then(retry_after::parse_http_date).unwrap_or_else(|| received_at.timestamp());
    let limits = match vendor {
        Vendor::Gemini => Vec::new(),
        Vendor::Anthropic => read_anthropic(&get, &now),
        Vendor::Groq | Vendor::OpenAi => read_openai(vendor, &get, &now),
        Vendor::OpenRouter => read_without_dimension(&get, &now),
    };
    ResponseMeta { limits, server_time: read_server_time(&get) }
}

/// The three headers of one limit, parsed.
struct HeaderTriple {
    limit: Option<u64>,
    remaining: Option<u64>,
    reset: Option<Duration>,
}

impl HeaderTriple {
    fn read<'a>(get: &impl Fn(&str) -> Option<&'a str>, names: [&str; 3], now: &dyn Fn() -> Timestamp) -> Option<Self> {
        let number = |name: &str| get(name).and_then(|text| whole_number(text.parse().ok()?));
        let [limit, remaining, reset] = names;
        let limit = number(limit).filter(|limit| *limit > 0);
        // Some providers state fractions. Less than one remaining counts as zero.
        let remaining = number(remaining);
        if limit.is_none() && remaining.is_none() {
            return None;
        }
        let reset = get(reset).and_then(|text| retry_after::parse_reset(text, now)).map(|reset| match reset {
            ResetTime::Relative(wait) | ResetTime::Absolute(wait) => wait,
        });
        Some(Self { limit, remaining, reset })
    }

    fn is_daily(&self) -> bool {
        self.reset.is_some_and(|reset| reset > MIN_DAILY_RESET)
    }

    fn to_provider_limit(&self, dimension: LimitDimension) -> ProviderLimit {
        let is_daily = matches!(dimension, LimitDimension::RequestsPerDay | LimitDimension::TokensPerDay);
        let resets_in = self.reset.filter(|reset| self.remaining == Some(0) && !reset.is_zero());
        let resets_in = resets_in.map(|reset| if is_daily { reset } else { reset.min(MAX_MINUTE_RESET) });
        ProviderLimit { dimension, limit: self.limit, remaining: self.remaining, resets_in }
    }
}

fn read_openai<'a>(
    vendor: Vendor,
    get: &impl Fn(&str) -> Option<&'a str>,
    now: &dyn Fn() -> Timestamp,
) -> Vec<ProviderLimit> {
    let mut limits = Vec::new();
    let names = ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"];
    if let Some(requests) = HeaderTriple::read(get, names, now) {
        if vendor == Vendor::Groq {
            let limit = requests.to_provider_limit(LimitDimension::RequestsPerDay);
            // Groq's daily limit is a token bucket. The stated reset is the time until the bucket is full, but one
            // request fits much earlier.
            let time_until_one = |reset: Duration| {
                let share = u32::try_from(requests.limit.unwrap_or(1)).unwrap_or(u32::MAX).max(1);
                (reset / share).max(Duration::from_secs(1))
            };
            limits.push(ProviderLimit { resets_in: limit.resets_in.map(time_until_one), ..limit });
        } else if requests.is_daily() {
            // OpenAI's lowest tiers have daily limits under the same header names.
            limits.push(requests.to_provider_limit(LimitDimension::RequestsPerDay));
        } else {
            limits.push(requests.to_provider_limit(LimitDimension::RequestsPerMinute));
        }
    }
    let names = ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"];
    if let Some(tokens) = HeaderTriple::read(get, names, now) {
        limits.push(tokens.to_provider_limit(LimitDimension::TokensPerMinute));
    }
    limits
}

fn read_anthropic<'a>(get: &impl Fn(&str) -> Option<&'a str>, now: &dyn Fn() -> Timestamp) -> Vec<ProviderLimit> {
    let read = |what: &str, dimension| {
        let [limit, remaining, reset] =
            ["limit", "remaining", "reset"].map(|part| format!("anthropic-ratelimit-{what}-{part}"));
        HeaderTriple::read(get, [&limit, &remaining, &reset], now).map(|triple| triple.to_provider_limit(dimension))
    };
    let requests = read("requests", LimitDimension::RequestsPerMinute);
    let input = read("input-tokens", LimitDimension::InputTokensPerMinute);
    let output = read("output-tokens", LimitDimension::OutputTokensPerMinute);
    // If there are limits for input and output, `tokens` only repeats the tighter one.
    let tokens =
        if input.is_some() || output.is_some() { None } else { read("tokens", LimitDimension::TokensPerMinute) };
    [requests, input, output, tokens].into_iter().flatten().collect()
}

/// Reads `X-RateLimit-Limit`, `-Remaining` and `-Reset`: requests, per minute or per day depending on the reset.
pub(super) fn read_without_dimension<'a>(
    get: &impl Fn(&str) -> Option<&'a str>,
    now: &dyn Fn() -> Timestamp,
) -> Vec<ProviderLimit> {
    let names = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
    let Some(requests) = HeaderTriple::read(get, names, now) else { return Vec::new() };
    let dimension =
        if requests.is_daily() { LimitDimension::RequestsPerDay } else { LimitDimension::RequestsPerMinute };
    vec![requests.to_provider_limit(dimension)]
}

/// Reads `openai-processing-ms`, Envoy's `x-envoy-upstream-service-time`, or Google's `server-timing: gfet4t7;
/// dur=812`.
fn read_server_time<'a>(get: &impl Fn(&str) -> Option<&'a str>) -> Option<Duration> {
    let millis = |text: &str| text.trim().parse::<f64>().ok().filter(|ms| ms.is_finite() && *ms >= 0.0);
    let google_timing = |text: &str| {
        let (_, rest) = text.split_once("gfet4t7")?;
        let (_, duration) = rest.split(',').next()?.split_once("dur=")?;
        millis(duration.split(';').next()?)
    };
    let named =
        ["openai-processing-ms", "x-envoy-upstream-service-time"].into_iter().find_map(|name| millis(get(name)?));
    let ms = named.or_else(|| google_timing(get("server-timing")?))?;
    Duration::try_from_secs_f64(ms / 1_000.0).ok()
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderName;

    use super::*;

    /// 2026-11-21T12:00:00Z.
    const NOON: WallTime = WallTime::from_unix_seconds(1_795_262_400);

    /// Dimension, limit, remaining, seconds until the reset.
    type Reading = (LimitDimension, Option<u64>, Option<u64>, Option<f64>);

    fn read(vendor: Vendor, pairs: &[(&str, &str)]) -> Vec<Reading> {
        let headers: HeaderMap = pairs
            .iter()
            .map(|(name, value)| {
                (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
            })
            .collect();
        let reports = read_response_meta(vendor, &headers, NOON).limits.into_iter();
        reports.map(|it| (it.dimension, it.limit, it.remaining, it.resets_in.map(|wait| wait.as_secs_f64()))).collect()
    }

    #[test]
    fn request_headers_are_per_minute_at_openai_and_per_day_at_groq() {
        let headers = [
            ("x-ratelimit-limit-requests", "14400"),
            ("x-ratelimit-remaining-requests", "14370"),
            ("x-ratelimit-reset-requests", "59.56s"),
            ("x-ratelimit-limit-tokens", "18000"),
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-tokens", "7.66s"),
        ];
        let tokens = (LimitDimension::TokensPerMinute, Some(18_000), Some(0), Some(7.66));
        let of = |dimension| vec![(dimension, Some(14_400), Some(14_370), None), tokens];
        assert_eq!(read(Vendor::OpenAi, &headers), of(LimitDimension::RequestsPerMinute));
        assert_eq!(read(Vendor::Groq, &headers), of(LimitDimension::RequestsPerDay));
    }

    #[test]
    fn a_long_reset_marks_a_daily_limit_at_openai() {
        let headers = [
            ("x-ratelimit-limit-requests", "200"),
            ("x-ratelimit-remaining-requests", "199"),
            ("x-ratelimit-reset-requests", "7m12s"),
        ];
        assert_eq!(read(Vendor::OpenAi, &headers), [(LimitDimension::RequestsPerDay, Some(200), Some(199), None)]);
    }

    #[test]
    fn groqs_daily_limit_resets_when_one_request_fits() {
        let headers = [
            ("x-ratelimit-limit-requests", "1000"),
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "24h0m0s"),
        ];
        assert_eq!(read(Vendor::Groq, &headers), [(LimitDimension::RequestsPerDay, Some(1_000), Some(0), Some(86.4))]);
    }

    #[test]
    fn anthropic_limits_input_and_output_tokens_separately() {
        let headers = [
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-remaining", "0"),
            ("anthropic-ratelimit-requests-reset", "2026-11-21T12:00:30Z"),
            ("anthropic-ratelimit-input-tokens-limit", "30000"),
            ("anthropic-ratelimit-input-tokens-remaining", "29000"),
            ("anthropic-ratelimit-output-tokens-limit", "8000"),
            ("anthropic-ratelimit-output-tokens-remaining", "7000"),
            ("anthropic-ratelimit-tokens-limit", "38000"),
            ("anthropic-ratelimit-tokens-remaining", "36000"),
        ];
        assert_eq!(
            read(Vendor::Anthropic, &headers),
            [
                (LimitDimension::RequestsPerMinute, Some(50), Some(0), Some(30.0)),
                (LimitDimension::InputTokensPerMinute, Some(30_000), Some(29_000), None),
                (LimitDimension::OutputTokensPerMinute, Some(8_000), Some(7_000), None),
            ]
        );
        let total = [("anthropic-ratelimit-tokens-limit", "38000")];
        assert_eq!(read(Vendor::Anthropic, &total), [(LimitDimension::TokensPerMinute, Some(38_000), None, None)]);
    }

    #[test]
    fn openrouters_reset_is_in_epoch_milliseconds() {
        let day = [("X-RateLimit-Limit", "50"), ("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset", "1795305600000")];
        assert_eq!(
            read(Vendor::OpenRouter, &day),
            [(LimitDimension::RequestsPerDay, Some(50), Some(0), Some(43_200.0))]
        );
        let minute =
            [("X-RateLimit-Limit", "20"), ("X-RateLimit-Remaining", "3"), ("X-RateLimit-Reset", "1795262440000")];
        assert_eq!(read(Vendor::OpenRouter, &minute), [(LimitDimension::RequestsPerMinute, Some(20), Some(3), None)]);
    }

    #[test]
    fn invalid_headers_state_no_limit() {
        for (name, value) in [
            ("x-ratelimit-limit-requests", "many"),
            ("x-ratelimit-limit-requests", "-5"),
            ("x-ratelimit-limit-requests", "0"),
            ("x-ratelimit-reset-requests", "1s"),
            ("x-ratelimit-limit-requests", "NaN"),
            ("x-ratelimit-limit-requests", "inf"),
            ("x-ratelimit-limit-requests", "1e300"),
            ("x-ratelimit-remaining-requests", "1e300"),
        ] {
            assert_eq!(read(Vendor::OpenAi, &[(name, value)]), [], "{name}: {value}");
        }
    }

    #[test]
    fn a_wrong_clock_cannot_extend_a_minute_reset_beyond_a_minute() {
        let headers = [
            ("anthropic-ratelimit-requests-remaining", "0"),
            ("anthropic-ratelimit-requests-reset", "2026-11-25T12:00:30Z"),
        ];
        assert_eq!(read(Vendor::Anthropic, &headers), [(LimitDimension::RequestsPerMinute, None, Some(0), Some(60.0))]);
    }

    #[test]
    fn vendors_are_detected_by_name_or_base_url() {
        let provider = |name: &str, base_url: &str, api| Provider::new(name, api, base_url);
        let cases = [
            (provider("groq", "http://127.0.0.1:8080", Api::OpenAi), Vendor::Groq),
            (provider("fast", "https://api.groq.com/openai/v1", Api::OpenAi), Vendor::Groq),
            (provider("openrouter", "https://openrouter.ai/api/v1", Api::OpenAi), Vendor::OpenRouter),
            (provider("deepseek", "https://api.deepseek.com", Api::OpenAi), Vendor::OpenAi),
            (provider("gemini", "https://generativelanguage.googleapis.com", Api::Gemini), Vendor::Gemini),
            (provider("anthropic", "https://api.anthropic.com", Api::Anthropic), Vendor::Anthropic),
        ];
        for (provider, want) in cases {
            assert_eq!(Vendor::detect(&provider), want, "{}", provider.name);
        }
    }

    #[test]
    fn server_time_is_read_from_headers() {
        let cases = [
            (("openai-processing-ms", "812"), Some(0.812)),
            (("x-envoy-upstream-service-time", "35"), Some(0.035)),
            (("server-timing", "gfet4t7; dur=4812"), Some(4.812)),
            (("server-timing", "cfL4;desc=\"x\", gfet4t7;dur=12.5, db"), Some(0.0125)),
            (("server-timing", "db;dur=53"), None),
            (("openai-processing-ms", "-1"), None),
        ];
        for ((name, value), want) in cases {
            let get = |requested_name: &str| (requested_name == name).then_some(value);
            assert_eq!(read_server_time(&get).map(|it| it.as_secs_f64()), want, "{name}: {value}");
        }
    }
}
