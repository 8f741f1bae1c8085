//! The ordered table of refusals: which words, codes and statuses mean what.
//!
//! The order is the meaning: the first match wins. It is ordered by how much a mistake costs. What kills a project or key
//! is looked for first and by its own words, because providers send it under 400, 403, 429, 500 and 200 alike; what can
//! never succeed before what only has to wait; a day's quota before a minute's, because waiting a minute for it burns
//! requests; statuses alone come last.

use crate::domain::{Outcome, OutcomeAction};

use super::{quota, refusal::Refusal};

/// A refusal as the rules see it.
pub(super) struct Case {
    /// The HTTP status, or the one that the body claims where HTTP's says less (see [`effective_status`]).
    pub status: u16,
    pub refusal: Refusal,
    /// About quota at all: what "per day" means in a 400 is no concern of ours.
    limited: bool,
}

impl Case {
    pub(super) fn new(http: u16, refusal: Refusal) -> Self {
        let status = effective_status(http, &refusal);
        Self { status, limited: is_limited(status, &refusal), refusal }
    }

    fn says(&self, any_of: &[&str]) -> bool {
        self.refusal.says(any_of)
    }

    /// Of the words that switch keys off: only the provider's own ([`own_words`](Self::own_words)).
    fn says_of_account(&self, any_of: &[&str]) -> bool {
        let own = self.own_words();
        any_of.iter().any(|term| own.contains(term))
    }

    /// The words that are no quotation. What refuses a request may quote it, and what is asked is nobody's verdict: there
    /// only what stands before the first quotation counts.
    fn own_words(&self) -> &str {
        let said = &self.refusal.plain;
        if self.refuses_request() { said.split(['"', '\u{201c}', '`']).next().unwrap_or_default() } else { said }
    }

    /// The status is that of a refusal for what is in the request.
    const fn refuses_request(&self) -> bool {
        matches!(self.status, 400 | 413 | 415 | 422)
    }

    fn is_called(&self, any_of: &[&str]) -> bool {
        self.refusal.is_called(any_of)
    }

    fn violates(&self, what: &[&str]) -> bool {
        let names = |text: &str| what.iter().any(|name| text.contains(name));
        self.refusal.violations.iter().any(|violation| names(&violation.id) || names(&violation.metric))
    }
}

/// One line of the table.
pub(super) struct Rule {
    test: fn(&Case) -> bool,
    pub outcome: Outcome,
    pub action: OutcomeAction,
    /// For a person who asks why; without what the provider said.
    pub because: &'static str,
    /// The whole model is out of reach, rather than used up.
    pub limit_zero: bool,
    /// The model's context is too small.
    pub too_long: bool,
    /// A picture of the request can't be used.
    pub picture_refused: bool,
}

const fn rule(test: fn(&Case) -> bool, outcome: Outcome, action: OutcomeAction, because: &'static str) -> Rule {
    Rule { test, outcome, action, because, limit_zero: false, too_long: false, picture_refused: false }
}

/// The first rule that fits. The last one fits everything.
pub(super) fn first_match(case: &Case) -> &'static Rule {
    RULES.iter().find(|rule| (rule.test)(case)).unwrap_or(&LAST)
}

const LAST: Rule =
    rule(|_| true, Outcome::MalformedResponse, OutcomeAction::Retry, "a status and a body that no rule knows");

/// All terms are in plain form: lower case, `_` and `-` as spaces.
const RULES: &[Rule] = &[
    // A provider speaks of keys in JSON. A page is somebody's in between, who knows no keys: no key may die of it.
    rule(
        |case| case.refusal.page && matches!(case.status, 401 | 403),
        Outcome::ServerError,
        OutcomeAction::Retry,
        "a web page turns the request away, so it is a delivery network's or a proxy's word, not the provider's on a key",
    ),
    // Money. OpenRouter's 402 for what is in flight at the moment passes by itself.
    rule(
        |case| case.is_called(&["openrouter in flight budget"]) || case.says(&["openrouter in flight budget"]),
        Outcome::RateLimitedMinute,
        OutcomeAction::CoolPool,
        "the budget for requests in flight is taken; it comes back as they end",
    ),
    rule(
        out_of_credit,
        Outcome::QuotaExhaustedBilling,
        OutcomeAction::DisableProject,
        "the account's credit or spending limit is used up",
    ),
    // The key itself. Gemini sends this under HTTP 400.
    rule(bad_key, Outcome::InvalidKey, OutcomeAction::DisableKey, "the provider does not accept the key"),
    // The key is real, but may not.
    rule(
        |case| {
            case.status == 403
                && (case.refusal.moderated
                    || case.says(&["moderation", "guardrail", "input was flagged", "content was flagged"]))
        },
        Outcome::ContentBlocked,
        OutcomeAction::FailItem,
        "moderation flagged the request (under HTTP 403)",
    ),
    rule(
        key_forbidden,
        Outcome::KeyForbidden,
        OutcomeAction::DisableKey,
        "the key or its project may not use this service",
    ),
    // The request, which will not get better by waiting.
    rule(
        lacks_ability,
        Outcome::BadRequest,
        OutcomeAction::NextModel,
        "the model cannot take pictures, so only another model can help",
    ),
    rule(
        |case| quota::never_fits(&case.refusal),
        Outcome::BadRequest,
        OutcomeAction::FailItem,
        "the request alone is larger than the whole limit, so it can never pass",
    ),
    Rule {
        too_long: true,
        ..rule(too_long, Outcome::BadRequest, OutcomeAction::FailItem, "the prompt is longer than the model's context")
    },
    rule(
        picture_too_large,
        Outcome::BadRequest,
        OutcomeAction::NextModel,
        "a picture is larger than this model's API takes, so only another may take it",
    ),
    Rule {
        picture_refused: true,
        ..rule(
            picture_refused,
            Outcome::BadRequest,
            OutcomeAction::FailItem,
            "the provider cannot use a picture of this request, which says nothing of others",
        )
    },
    rule(
        content_policy,
        Outcome::ContentBlocked,
        OutcomeAction::FailItem,
        "the provider's content policy refused the request",
    ),
    rule(
        model_gone_by_name,
        Outcome::ModelNotFound,
        OutcomeAction::DisableRoute,
        "the model does not exist for this key, or no longer does",
    ),
    rule(
        Case::refuses_request,
        Outcome::BadRequest,
        OutcomeAction::FailItem,
        "the provider rejects the request as it stands",
    ),
    rule(
        |case| matches!(case.status, 404 | 410) || case.is_called(&["not found error"]),
        Outcome::ModelNotFound,
        OutcomeAction::DisableRoute,
        "the model does not exist for this key, or no longer does",
    ),
    // Capacity that calls itself a rate limit.
    rule(
        |case| case.limited && says_overloaded(case),
        Outcome::Overloaded,
        OutcomeAction::Retry,
        "the provider is overloaded, whatever its status calls it",
    ),
    // Before the daily rule: such a refusal names its day quota too.
    Rule {
        test: |case| case.limited && quota::limit_is_zero(&case.refusal),
        outcome: Outcome::QuotaExhaustedBilling,
        action: OutcomeAction::NextModel,
        because: "a limit of 0: this model is not offered to the project at all",
        limit_zero: true,
        too_long: false,
        picture_refused: false,
    },
    // Gemini's daily refusal differs from its per-minute one by `quotaId` alone.
    rule(
        |case| case.limited && daily(case),
        Outcome::QuotaExhaustedDay,
        OutcomeAction::NextRoute,
        "the day's quota is used up",
    ),
    rule(
        |case| case.limited && about_tokens(case),
        Outcome::TokensLimitedMinute,
        OutcomeAction::CoolPool,
        "too many tokens in a minute",
    ),
    // Anthropic says "Overloaded" under HTTP 500 as well.
    rule(
        |case| matches!(case.status, 503 | 529) || says_overloaded(case),
        Outcome::Overloaded,
        OutcomeAction::Retry,
        "the provider is overloaded or still starting",
    ),
    rule(|case| case.limited, Outcome::RateLimitedMinute, OutcomeAction::CoolPool, "too many requests in a short time"),
    rule(
        |case| {
            matches!(case.status, 408 | 504)
                || case.is_called(&["deadline exceeded", "timeout error", "request timeout", "timeout"])
        },
        Outcome::Timeout,
        OutcomeAction::Retry,
        "the provider ran out of time",
    ),
    // 409, 425 and 499 pass by themselves; the providers' own SDKs send again.
    rule(
        |case| matches!(case.status, 409 | 425 | 499 | 500..=599),
        Outcome::ServerError,
        OutcomeAction::Retry,
        "the provider failed",
    ),
    // A redirect is never followed: it would carry the key to another address.
    rule(
        |case| matches!(case.status, 300..=399),
        Outcome::MalformedResponse,
        OutcomeAction::Retry,
        "a redirect, which is not followed because it would carry the key elsewhere: check base_url",
    ),
    rule(
        |case| matches!(case.status, 407 | 511),
        Outcome::ClientTrouble,
        OutcomeAction::Retry,
        "a proxy between here and the provider wants to be signed in to",
    ),
    rule(
        |case| matches!(case.status, 400..=499),
        Outcome::BadRequest,
        OutcomeAction::FailItem,
        "the provider rejects the request as it stands",
    ),
    rule(
        |case| matches!(case.status, 200..=299),
        Outcome::MalformedResponse,
        OutcomeAction::Retry,
        "JSON that is neither an answer nor a known error",
    ),
];

fn out_of_credit(case: &Case) -> bool {
    case.status == 402
        || case.is_called(&["billing error"])
        || case.says_of_account(&[
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

fn bad_key(case: &Case) -> bool {
    case.status == 401
        || case.is_called(&["authentication error", "invalid authentication error", "unauthenticated"])
        // LiteLLM's proxy, where it has no database to look up a key that is not its master key.
        || case.is_called(&["no db connection"])
        || case.says_of_account(&[
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

fn key_forbidden(case: &Case) -> bool {
    case.status == 403
        || case.is_called(&["permission denied", "permission error", "permission denied error"])
        || case.says_of_account(&[
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

fn lacks_ability(case: &Case) -> bool {
    !case.limited
        && case.says(&[
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
        && !case.says(&["image format", "image type", "image size", "image media"])
}

fn too_long(case: &Case) -> bool {
    case.is_called(&["context length exceeded", "exceed context size error"])
        || case.says(&[
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

/// What is too large for one API's limit may fit another's.
fn picture_too_large(case: &Case) -> bool {
    let own = case.own_words();
    case.refuses_request()
        && (case.is_called(&["image too large", "image file too large"])
            // Anthropic names its limit in between: "image exceeds 5 MB maximum".
            || own.split_once("image exceeds ").is_some_and(|(_, limit)| limit.contains(" maximum"))
            || own.contains("image dimensions exceed max allowed size"))
}

/// Broken, of a kind that the provider does not read, or at an address where it finds none.
fn picture_refused(case: &Case) -> bool {
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
    case.refuses_request()
        && (case.is_called(&[
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
        ]) || case.says_of_account(&WORDS))
}

/// Under 400 by some providers; as a plain bad request it would look like a fault of the configuration.
fn content_policy(case: &Case) -> bool {
    case.status == 400
        && (case.is_called(&[
            "content filter",
            "content policy violation",
            "image content policy violation",
            "responsibleaipolicyviolation",
        ]) || case.says(&[
            "content policy violation",
            "moderation blocked",
            "content exists risk",
            "data inspection failed",
        ]))
}

fn model_gone_by_name(case: &Case) -> bool {
    case.is_called(&["model not found", "model decommissioned", "model not available"])
        || case.says(&[
            "model not found",
            "no longer available to new users",
            "no available channel",
            "is not a valid model",
            "model not exist",
            "model does not exist",
            "has been decommissioned",
        ])
}

fn says_overloaded(case: &Case) -> bool {
    case.is_called(&["slow down", "overloaded error", "server is overloaded"])
        || case.says(&[
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

fn daily(case: &Case) -> bool {
    case.violates(&["perday", "per_day", "per day"])
        || case.says(&[
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

fn about_tokens(case: &Case) -> bool {
    case.violates(&["tokensper", "token_count", "tokens_per"])
        || case.is_called(&["tokens"])
        || case.says(&[
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

/// Whether this is about quota: by status, or by name where the status is no verdict of its own.
fn is_limited(status: u16, refusal: &Refusal) -> bool {
    let named = || {
        refusal.is_called(&["resource exhausted", "rate limit exceeded", "rate limit error", "rate limited"])
            || refusal.says(&["rate limit", "rate limited", "too many requests", "resource exhausted"])
    };
    status == 429 || (matches!(status, 200..=299 | 500..=599) && named())
}

/// The status to judge by. A body's own claim counts under 2xx, where HTTP's says nothing, and as a client error
/// inside a 5xx, where a relay wraps what its upstream said. Under 4xx, HTTP's own is the better witness.
fn effective_status(http: u16, refusal: &Refusal) -> u16 {
    match (http, refusal.inner_status) {
        (200..=299, Some(inner)) => inner,
        (200..=299, None) => status_by_name(refusal).unwrap_or(http),
        (500..=599, Some(inner)) if inner < 500 => inner,
        _ => http,
    }
}

/// Under 2xx and without a number, the type is all there is.
fn status_by_name(refusal: &Refusal) -> Option<u16> {
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
    NAMES.iter().find(|(name, _)| refusal.is_called(&[name])).map(|(_, status)| *status)
}
