//! Short labels for the domain's settings and outcomes.

use crate::domain::{CascadeOrder, FailureGroup, OnExhausted, Outcome, WhenLimited};

/// The name of a setting's value, in words.
pub fn spaced(name: &str) -> String {
    name.replace('_', " ")
}

pub const fn order_meaning(order: CascadeOrder) -> &'static str {
    match order {
        CascadeOrder::KeyFirst => "every model of a key, then the next key",
        CascadeOrder::ModelFirst => "the best model on every key, then the next model",
    }
}

pub const fn when_limited_meaning(when_limited: WhenLimited) -> &'static str {
    match when_limited {
        WhenLimited::Spill => "use the next ready route, then return",
        WhenLimited::Wait => "stay on one route until its day quota is spent",
    }
}

pub const fn on_exhausted_meaning(on_exhausted: OnExhausted) -> &'static str {
    match on_exhausted {
        OnExhausted::Stop => "stop cleanly, resumable",
        OnExhausted::Wait => "wait until quota is available, then resume",
    }
}

/// A short name of an outcome for people.
pub const fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "ok",
        Outcome::RateLimitedMinute => "RPM limit",
        Outcome::TokensLimitedMinute => "TPM limit",
        Outcome::QuotaExhaustedDay => "day quota",
        Outcome::QuotaExhaustedBilling => "no credit",
        Outcome::InvalidKey => "invalid key",
        Outcome::KeyForbidden => "key forbidden",
        Outcome::ModelNotFound => "no such model",
        Outcome::ServerError => "server error",
        Outcome::Overloaded => "overloaded",
        Outcome::Timeout => "timeout",
        Outcome::MalformedResponse => "malformed",
        Outcome::EmptyOutput => "empty answer",
        Outcome::Truncated => "truncated",
        Outcome::ContentBlocked => "blocked",
        Outcome::BadRequest => "bad request",
        Outcome::UnreadableInput => "unreadable",
        Outcome::OverBudget => "over budget",
        Outcome::NoRoute => "no route",
        Outcome::GivenUp => "given up",
        Outcome::ClientTrouble => "no connection",
        Outcome::Lost => "lost",
        Outcome::InvalidOutput => "check failed",
    }
}

/// Like [`outcome`], for a route that is disabled. Without credit it would be exhausted; it is disabled for quota only
/// if its quota is zero.
pub const fn disabled_reason(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::QuotaExhaustedBilling => "not offered on this tier",
        outcome => self::outcome(outcome),
    }
}

/// Outcome and model of a group of failed items.
pub fn failure_group(group: &FailureGroup) -> String {
    let outcome = group.outcome.map_or("?", self::outcome);
    let on = group.model.as_ref().map_or_else(String::new, |model| format!(" on {model}"));
    format!("{outcome}{on}")
}
