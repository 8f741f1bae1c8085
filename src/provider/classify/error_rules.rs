//! The ordered table of error rules. Each rule maps texts, codes or statuses to an outcome and an action.
//!
//! The first match wins. The order follows the cost of a mistake. Errors that disable a project or key come first,
//! after two exceptions that look like them. They are matched by their texts too, because providers send them with 400,
//! 403, 429, 500 and 200 alike. Requests that can never succeed come before errors that only need a wait. A day's quota
//! comes before a minute's, because retrying every minute would waste requests. Most rules for a status alone come
//! last.

use crate::domain::{Outcome, OutcomeAction};

use super::{error_body::ErrorBody, quota_errors};

/// The input of the rules.
pub(super) struct ErrorContext {
    /// The HTTP status, or the one in the body if it is more specific (see [`effective_status`]).
    pub status: u16,
    pub error: ErrorBody,
    /// Whether the error is about quota. A 400 never is, even if it contains "per day".
    is_quota_error: bool,
}

impl ErrorContext {
    pub(super) fn new(http_status: u16, error: ErrorBody) -> Self {
        let status = effective_status(http_status, &error);
        Self { status, is_quota_error: is_quota_error(status, &error), error }
    }

    fn contains_any(&self, terms: &[&str]) -> bool {
        self.error.contains_any(terms)
    }

    /// Whether [`Self::unquoted_text`] contains one of the terms. For phrases that would do harm if they were matched
    /// in a quoted prompt, such as those that disable a key.
    fn unquoted_text_contains_any(&self, terms: &[&str]) -> bool {
        let unquoted = self.unquoted_text();
        terms.iter().any(|term| unquoted.contains(term))
    }

    /// The error's text in plain form, without quotations of the request. An error about the request's content may
    /// quote the prompt, so its text ends at the first quotation mark.
    fn unquoted_text(&self) -> &str {
        let plain_text = &self.error.plain_text;
        if self.has_request_error_status() {
            plain_text.split(['"', '\u{201c}', '`']).next().unwrap_or_default()
        } else {
            plain_text
        }
    }

    /// Whether the status means that the request's content was rejected.
    const fn has_request_error_status(&self) -> bool {
        matches!(self.status, 400 | 413 | 415 | 422)
    }

    fn has_code(&self, codes: &[&str]) -> bool {
        self.error.has_code(codes)
    }

    fn violates_any(&self, terms: &[&str]) -> bool {
        let contains_any = |text: &str| terms.iter().any(|name| text.contains(name));
        self.error
            .violations
            .iter()
            .any(|violation| contains_any(&violation.quota_id) || contains_any(&violation.metric))
    }
}

/// One line of the table.
pub(super) struct ErrorRule {
    matches: fn(&ErrorContext) -> bool,
    pub outcome: Outcome,
    pub action: OutcomeAction,
    /// Explanation for people, without the provider's message.
    pub description: &'static str,
    /// The model is not offered to the project at all, rather than used up.
    pub limit_is_zero: bool,
    /// The request exceeds the model's context.
    pub exceeds_context: bool,
    /// A picture of the request can't be used.
    pub picture_refused: bool,
}

const fn rule(
    matches: fn(&ErrorContext) -> bool,
    outcome: Outcome,
    action: OutcomeAction,
    description: &'static str,
) -> ErrorRule {
    ErrorRule {
        matches,
        outcome,
        action,
        description,
        limit_is_zero: false,
        exceeds_context: false,
        picture_refused: false,
    }
}

/// The first rule that matches. [`FALLBACK_RULE`] matches everything.
pub(super) fn find_rule(context: &ErrorContext) -> &'static ErrorRule {
    RULES.iter().find(|rule| (rule.matches)(context)).unwrap_or(&FALLBACK_RULE)
}

const FALLBACK_RULE: ErrorRule =
    rule(|_| true, Outcome::MalformedResponse, OutcomeAction::Retry, "unrecognized status and body");

/// The table. All terms are in plain form: lower case, with spaces for `_` and `-`.
const RULES: &[ErrorRule] = &[
    // Providers report key errors in JSON. An HTML page comes from a proxy in between, so it must not disable a key.
    rule(
        |case| case.error.is_html && matches!(case.status, 401 | 403),
        Outcome::ServerError,
        OutcomeAction::Retry,
        "an HTML page rejected the request, probably from a CDN or a proxy, so it says nothing about the key",
    ),
    // Billing. OpenRouter also sends 402 when requests in flight use up the budget, which passes by itself.
    rule(
        |case| case.has_code(&["openrouter in flight budget"]) || case.contains_any(&["openrouter in flight budget"]),
        Outcome::RateLimitedMinute,
        OutcomeAction::CoolPool,
        "the budget for requests in flight is used up; it is released as they finish",
    ),
    rule(
        is_out_of_credit,
        Outcome::QuotaExhaustedBilling,
        OutcomeAction::DisableProject,
        "the account's credit or spending limit is used up",
    ),
    // The key itself. Gemini sends this with HTTP 400.
    rule(is_bad_key, Outcome::InvalidKey, OutcomeAction::DisableKey, "the provider does not accept the key"),
    // The key is valid, but not allowed to do this.
    rule(
        |case| {
            case.status == 403
                && (case.error.is_moderation
                    || case.contains_any(&["moderation", "guardrail", "input was flagged", "content was flagged"]))
        },
        Outcome::ContentBlocked,
        OutcomeAction::FailItem,
        "moderation flagged the request (sent as HTTP 403)",
    ),
    rule(
        is_key_forbidden,
        Outcome::KeyForbidden,
        OutcomeAction::DisableKey,
        "the key or its project is not allowed to use this service",
    ),
    // Errors about the request: waiting does not help.
    rule(
        lacks_vision,
        Outcome::BadRequest,
        OutcomeAction::NextModel,
        "the model does not accept pictures; only another model can help",
    ),
    rule(
        |case| quota_errors::exceeds_whole_limit(&case.error),
        Outcome::BadRequest,
        OutcomeAction::FailItem,
        "the request alone is larger than the whole limit, so it can never succeed",
    ),
    ErrorRule {
        exceeds_context: true,
        ..rule(
            exceeds_context,
            Outcome::BadRequest,
            OutcomeAction::FailItem,
            "the prompt is longer than the model's context",
        )
    },
    rule(
        is_picture_too_large,
        Outcome::BadRequest,
        OutcomeAction::NextModel,
        "a picture is larger than this model's API accepts; another API may accept it",
    ),
    ErrorRule {
        picture_refused: true,
        ..rule(
            is_picture_refused,
            Outcome::BadRequest,
            OutcomeAction::FailItem,
            "the provider can't use a picture of this request; this says nothing about other requests",
        )
    },
    rule(
        violates_content_policy,
        Outcome::ContentBlocked,
        OutcomeAction::FailItem,
        "the provider's content policy refused the request",
    ),
    rule(
        is_model_unavailable,
        Outcome::ModelNotFound,
        OutcomeAction::DisableRoute,
        "the model does not exist, or no longer exists, for this key",
    ),
    rule(
        ErrorContext::has_request_error_status,
        Outcome::BadRequest,
        OutcomeAction::FailItem,
        "the provider rejects the request as invalid",
    ),
    rule(
        |case| matches!(case.status, 404 | 410) || case.has_code(&["not found error"]),
        Outcome::ModelNotFound,
        OutcomeAction::DisableRoute,
        "the model does not exist, or no longer exists, for this key",
    ),
    // Overload that is reported as a rate limit.
    rule(
        |case| case.is_quota_error && is_overloaded(case),
        Outcome::Overloaded,
        OutcomeAction::Retry,
        "the provider is overloaded, although it reports a rate limit",
    ),
    // Before the rule for daily quotas, because such an error names a daily quota too.
    ErrorRule {
        matches: |case| case.is_quota_error && quota_errors::limit_is_zero(&case.error),
        outcome: Outcome::QuotaExhaustedBilling,
        action: OutcomeAction::NextModel,
        description: "the limit is 0: this model is not offered on the project's tier",
        limit_is_zero: true,
        exceeds_context: false,
        picture_refused: false,
    },
    // Gemini's errors for day and minute differ only by `quotaId`.
    rule(
        |case| case.is_quota_error && is_daily_quota(case),
        Outcome::QuotaExhaustedDay,
        OutcomeAction::NextRoute,
        "the day's quota is used up",
    ),
    rule(
        |case| case.is_quota_error && is_token_limit(case),
        Outcome::TokensLimitedMinute,
        OutcomeAction::CoolPool,
        "too many tokens in a minute",
    ),
    // Anthropic also sends "Overloaded" with HTTP 500.
    rule(
        |case| matches!(case.status, 503 | 529) || is_overloaded(case),
        Outcome::Overloaded,
        OutcomeAction::Retry,
        "the provider is overloaded or still starting",
    ),
    rule(
        |case| case.is_quota_error,
        Outcome::RateLimitedMinute,
        OutcomeAction::CoolPool,
        "too many requests in a short time",
    ),
    rule(
        |case| {
            matches!(case.status, 408 | 504)
                || case.has_code(&["deadline exceeded", "timeout error", "request timeout", "timeout"])
        },
        Outcome::Timeout,
        OutcomeAction::Retry,
        "the provider timed out",
    ),
    // 409, 425 and 499 pass by themselves; the providers' own SDKs retry them.
    rule(
        |case| matches!(case.status, 409 | 425 | 499 | 500..=599),
        Outcome::ServerError,
        OutcomeAction::Retry,
        "the provider failed",
    ),
    // Redirects are never followed, because that would send the key to another address.
    rule(
        |case| matches!(case.status, 300..=399),
        Outcome::MalformedResponse,
        OutcomeAction::Retry,
        "a redirect, which is not followed because that would send the key to another address; check base_url",
    ),
    rule(
        |case| matches!(case.status, 407 | 511),
        Outcome::ClientTrouble,
        OutcomeAction::Retry,
        "a proxy on the way to the provider requires authentication",
    ),
    rule(
        |case| matches!(case.status, 400..=499),
        Outcome::BadRequest,
        OutcomeAction::FailItem,
        "the provider rejects the request as invalid",
    ),
    rule(
        |case| matches!(case.status, 200..=299),
        Outcome::MalformedResponse,
        OutcomeAction::Retry,
        "JSON that is neither an answer nor a known error",
    ),
];

fn is_out_of_credit(context: &ErrorContext) -> bool {
    context.status == 402
        || context.has_code(&["billing error"])
        || context.unquoted_text_contains_any(&[
            "insufficient quota",
            "credit balance exhausted",
            "organization spend limit exceeded",
            "enforced spend limit reached",
            "contract spend limit reached",
            "credit balance is too low",
            "prepayment credits are depleted",
            "insufficient balance",
            "insufficient credits",
            "insufficient funds",
            "exceeded current quota error",
            "used all available credits",
            "run out of credits",
            "out of credits",
            "no credits remaining",
            "spending limit",
            "spending cap",
            "have any credits",
            "requires more credits",
            "billing hard limit",
            "billing not active",
            "check your billing details",
            "arrearage",
            "payment required",
        ])
}

fn is_bad_key(context: &ErrorContext) -> bool {
    context.status == 401
        || context.has_code(&["authentication error", "invalid authentication error", "unauthenticated"])
        // LiteLLM's proxy sends this for a key other than its master key if it has no database to look it up.
        || context.has_code(&["no db connection"])
        || context.unquoted_text_contains_any(&[
            "api key invalid",
            "api key not valid",
            "api key not found",
            "api key expired",
            "invalid api key",
            "invalid x api key",
            "incorrect api key",
            "access token type unsupported",
        ])
}

fn is_key_forbidden(context: &ErrorContext) -> bool {
    context.status == 403
        || context.has_code(&["permission denied", "permission error", "permission denied error"])
        || context.unquoted_text_contains_any(&[
            "consumer suspended",
            "service disabled",
            "api key service blocked",
            "reported as leaked",
            "denied access",
            "unsupported country region territory",
            "user location is not supported",
            "not available in your country",
            "organization on hold",
            "organization has been disabled",
        ])
}

fn lacks_vision(context: &ErrorContext) -> bool {
    !context.is_quota_error
        && context.contains_any(&[
            "vision model is not loaded",
            "cannot process images",
            "image input is not supported",
            "images are not supported",
            "support image",
            "support vision",
            "support multimodal",
            "not a multimodal model",
            "is not multimodal",
            "not a vision model",
            "image url is only supported by",
            "mmproj",
        ])
        && !context.contains_any(&["image format", "image type", "image size", "image media"])
}

fn exceeds_context(context: &ErrorContext) -> bool {
    context.has_code(&["context length exceeded", "exceed context size error"])
        || context.contains_any(&[
            "context length exceeded",
            "exceed context size error",
            "context size has been exceeded",
            "exceeds the available context size",
            "maximum context length",
            "exceeds the context window",
            "exceeds the model's context",
            "prompt is too long",
            "exceed context limit",
            "exceeds the maximum number of tokens",
        ])
}

/// Whether a picture exceeds the API's limit. Some providers send this with 400. Without a rule of its own it would be
/// a plain bad request, which suggests a mistake in the configuration.
fn is_picture_too_large(context: &ErrorContext) -> bool {
    let unquoted_text = context.unquoted_text();
    context.has_request_error_status()
        && (context.has_code(&["image too large", "image file too large"])
            // Anthropic's limit stands between the two phrases: "image exceeds 5 MB maximum".
            || unquoted_text.split_once("image exceeds ").is_some_and(|(_, limit)| limit.contains(" maximum"))
            || unquoted_text.contains("image dimensions exceed max allowed size"))
}

/// Whether the provider cannot use a picture: it is damaged, its format is not supported, or there is none at its URL.
fn is_picture_refused(context: &ErrorContext) -> bool {
    const WORDS: [&str; 19] = [
        // OpenAI.
        "uploaded an unsupported image",
        "does not represent a valid image",
        "error while downloading",
        "timeout while downloading",
        // Gemini.
        "unable to process input image",
        "provided image is not valid",
        "cannot fetch content from the provided url",
        "invalid or unsupported file uri",
        // Anthropic.
        "could not process image",
        "image does not match the provided media type",
        "unable to download the file",
        "image.source.base64: invalid base64 data",
        "image.source.base64.data: image format",
        // Mistral.
        "could not be loaded as a valid image",
        "file could not be fetched from url",
        // Alibaba's, and servers that read pictures with Pillow.
        "failed to download multimodal content",
        "cannot identify image file",
        "failed to download image",
        "invalid image data",
    ];
    context.has_request_error_status()
        && (context.has_code(&[
            "invalid image",
            "invalid image format",
            "invalid image mode",
            "invalid image url",
            "invalid base64 image",
            "image parse error",
            "image too small",
            "image file not found",
            "empty image file",
            "failed to download image",
            "unsupported image media type",
        ]) || context.unquoted_text_contains_any(&WORDS))
}

/// Whether the content policy rejected the request. Some providers send this with 400. Without a rule of its own it
/// would be a plain bad request, which suggests a mistake in the configuration.
fn violates_content_policy(context: &ErrorContext) -> bool {
    context.status == 400
        && (context.has_code(&[
            "content filter",
            "content policy violation",
            "image content policy violation",
            "responsibleaipolicyviolation",
        ]) || context.contains_any(&[
            "content policy violation",
            "moderation blocked",
            "content exists risk",
            "data inspection failed",
        ]))
}

fn is_model_unavailable(context: &ErrorContext) -> bool {
    context.has_code(&["model not found", "model decommissioned", "model not available"])
        || context.contains_any(&[
            "model not found",
            "no longer available to new users",
            "no available channel",
            "is not a valid model",
            "model not exist",
            "model does not exist",
            "has been decommissioned",
        ])
}

fn is_overloaded(context: &ErrorContext) -> bool {
    context.has_code(&["slow down", "overloaded error", "server is overloaded"])
        || context.contains_any(&[
            "overload",
            "high demand",
            "capacity exceeded",
            "exceeded capacity",
            "at capacity",
            "no capacity",
            "capacity exhausted",
            "server busy",
            "server is busy",
            "loading model",
            "model is loading",
            "currently loading",
        ])
}

fn is_daily_quota(context: &ErrorContext) -> bool {
    context.violates_any(&["perday", "per_day", "per day"])
        || context.contains_any(&[
            "per day",
            "perday",
            "(rpd)",
            "(tpd)",
            "tpd rate limit",
            "rpd rate limit",
            "max rpd",
            "max tpd",
            "openrouter free tier daily",
            "free usage exhausted",
            "daily limit",
            "daily quota",
            "daily rate limit",
            "daily request",
            "daily token",
        ])
}

fn is_token_limit(context: &ErrorContext) -> bool {
    context.violates_any(&["tokensper", "token_count", "tokens_per"])
        || context.has_code(&["tokens"])
        || context.contains_any(&[
            "(tpm)",
            "(itpm)",
            "(otpm)",
            "tpm rate limit",
            "max tpm",
            "tokens per min",
            "tokens per model per minute",
            "token rate limit",
        ])
}

/// Whether the error is about quota: by status, or by text if the status does not decide.
fn is_quota_error(status: u16, error: &ErrorBody) -> bool {
    let has_quota_term = || {
        error.has_code(&["resource exhausted", "rate limit exceeded", "rate limit error", "rate limited"])
            || error.contains_any(&["rate limit", "rate limited", "too many requests", "resource exhausted"])
    };
    status == 429 || (matches!(status, 200..=299 | 500..=599) && has_quota_term())
}

/// The status to classify by: the HTTP status, with two exceptions. For a 2xx, which says nothing about the error, it
/// is the status in the body, or the one that matches the error's type. For a 5xx whose body states a 4xx, it is that
/// one, because relays wrap their upstream's errors so. For a 4xx, the HTTP status is more reliable than the body's.
fn effective_status(http_status: u16, error: &ErrorBody) -> u16 {
    match (http_status, error.inner_status) {
        (200..=299, Some(inner)) => inner,
        (200..=299, None) => status_by_name(error).unwrap_or(http_status),
        (500..=599, Some(inner)) if inner < 500 => inner,
        _ => http_status,
    }
}

/// The status that matches the error's type, for an error in a 2xx body that states no number.
fn status_by_name(error: &ErrorBody) -> Option<u16> {
    const NAMES: [(&str, u16); 14] = [
        ("invalid request error", 400),
        ("bad request", 400),
        ("badrequesterror", 400),
        ("invalid argument", 400),
        ("failed precondition", 400),
        ("not found", 404),
        ("request too large", 413),
        ("too many requests", 429),
        ("internal", 500),
        ("internal server error", 500),
        ("api error", 500),
        ("server error", 500),
        ("unavailable", 503),
        ("unavailable error", 503),
    ];
    NAMES.iter().find(|(name, _)| error.has_code(&[name])).map(|(_, status)| *status)
}
