//! The classification of a decoded 2xx answer: ok, truncated, empty, blocked or broken off.

use crate::domain::{Answer, AttemptResult, Outcome, OutcomeAction};

use super::{
    super::{transport::ProviderResponse, wire::DecodedAnswer},
    redact::{redact, redact_secrets},
};

/// Meaning of a finish reason at the three APIs and at compatible servers. Unknown reasons count as normal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum FinishClass {
    Normal,
    BrokenOff,
    Blocked,
    /// Gemini's PUP_LIMITED_DISABLED: the provider has restricted the account, so the cause is not the item.
    AccountLimited,
    TokenLimit,
    /// The provider itself says that the text is unusable.
    Unusable,
}

fn classify_finish_reason(finish_reason: &str) -> FinishClass {
    match finish_reason {
        "error" => FinishClass::BrokenOff,
        "safety" | "recitation" | "blocklist" | "prohibited_content" | "spii" | "language" | "escalation"
        | "model_armor" | "content_filter" | "refusal" | "sensitive" => FinishClass::Blocked,
        "pup_limited_disabled" => FinishClass::AccountLimited,
        "max_tokens" | "length" | "max_output_tokens" | "model_length" | "model_context_window_exceeded" => {
            FinishClass::TokenLimit
        }
        "malformed_response" => FinishClass::Unusable,
        finish_reason if finish_reason.starts_with("image_") => FinishClass::Blocked,
        _ => FinishClass::Normal,
    }
}

/// Classifies an answer. The checks are ordered: an answer that broke off, then a block, then a token limit, then an
/// empty text.
pub(super) fn classify_answer(answer: DecodedAnswer, response: &ProviderResponse<'_>) -> AttemptResult {
    let DecodedAnswer {
        text,
        finish_reason,
        model_version,
        usage,
        block_reason,
        finish_message: message,
        is_permanently_empty,
        has_other_content,
    } = answer;
    // An answer normally contains no key. If one does, the key must not get into the result files.
    let text = redact_secrets(text, response.secrets);
    let finish_reason =
        finish_reason.map(|finish_reason| clean_name(redact_secrets(finish_reason, response.secrets).to_lowercase()));
    let model_version = model_version.map(|model| redact_secrets(model, response.secrets));
    let finish_class = finish_reason.as_deref().map_or(FinishClass::Normal, classify_finish_reason);
    let has_text = !text.trim().is_empty();
    let has_content = has_text || has_other_content;
    let shown_reason = finish_reason.as_deref().unwrap_or("nothing").to_owned();
    let (outcome, action, rule) = if finish_class == FinishClass::BrokenOff {
        (
            Outcome::MalformedResponse,
            OutcomeAction::Retry,
            "the provider failed during the answer (finish_reason=error)".to_owned(),
        )
    } else if let Some(reason) = &block_reason {
        (
            Outcome::ContentBlocked,
            OutcomeAction::FailItem,
            format!("the provider declined to answer: {}", redact(reason, response.secrets)),
        )
    } else {
        match finish_class {
            FinishClass::Blocked => (Outcome::ContentBlocked, OutcomeAction::FailItem, format!("blocked by the provider (finish_reason={shown_reason})")),
            FinishClass::AccountLimited => {
                (Outcome::KeyForbidden, OutcomeAction::DisableKey, format!("the provider has limited the account (finish_reason={shown_reason})"))
            }
            FinishClass::TokenLimit if has_content => {
                (Outcome::Truncated, OutcomeAction::Complete, format!("cut off at a token limit (finish_reason={shown_reason})"))
            }
            FinishClass::TokenLimit => (
                Outcome::Truncated,
                OutcomeAction::FailItem,
                format!("the token limit was reached before any text was written (finish_reason={shown_reason})"),
            ),
            FinishClass::Unusable => (Outcome::EmptyOutput, OutcomeAction::Retry, format!("no usable text (finish_reason={shown_reason})")),
            _ if !has_content && is_permanently_empty => (
                Outcome::EmptyOutput,
                OutcomeAction::FailItem,
                "empty answer without choices: local servers send this if the prompt does not fit or has a picture that the model can't process"
                    .to_owned(),
            ),
            _ if !has_content => {
                let rule = match &finish_reason {
                    Some(finish_reason) => format!("empty answer (finish_reason={finish_reason})"),
                    None => "empty answer (no finish reason)".to_owned(),
                };
                (Outcome::EmptyOutput, OutcomeAction::Retry, rule)
            }
            _ if has_text => (Outcome::Ok, OutcomeAction::Complete, "an answer with text".to_owned()),
            _ => (Outcome::Ok, OutcomeAction::Complete, "an answer without text, as its request allows".to_owned()),
        }
    };
    let has_answer = matches!(outcome, Outcome::Ok | Outcome::Truncated) && has_content;
    let message = if outcome == Outcome::Ok {
        String::new()
    } else {
        // For an empty answer, the finish reason alone (`stop`) does not say what happened; the rule does.
        let default_reason = finish_reason.clone().filter(|_| outcome != Outcome::EmptyOutput);
        let reason = message.or(block_reason).filter(|reason| !reason.is_empty()).or(default_reason);
        let message = redact(&reason.unwrap_or_default(), response.secrets);
        if message.is_empty() { redact(&rule, response.secrets) } else { message }
    };
    AttemptResult {
        outcome,
        action,
        status: Some(response.status),
        retry_after: None,
        message,
        rule,
        answer: has_answer.then(|| Answer {
            text,
            finish_reason,
            model_version: model_version.map(clean_name),
            parts: None,
        }),
        usage,
        stated_limit: None,
        limit_is_zero: false,
        response_meta: crate::domain::ResponseMeta::default(),
        exceeds_context: false,
        picture_refused: false,
        failed_check: None,
    }
}

/// Drops control characters and keeps 200 characters: finish reasons and model names are short.
fn clean_name(text: String) -> String {
    if text.len() <= 200 && !text.contains(char::is_control) {
        return text;
    }
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderMap;

    use crate::domain::WallTime;

    use super::*;

    fn classify_text(text: &str, finish: &str) -> AttemptResult {
        let answer =
            DecodedAnswer { text: text.to_owned(), finish_reason: Some(finish.to_owned()), ..DecodedAnswer::default() };
        let headers = HeaderMap::new();
        classify_answer(
            answer,
            &ProviderResponse { status: 200, headers: &headers, body: b"", received_at: WallTime(0), secrets: &[] },
        )
    }

    fn outcome_and_action(text: &str, finish: &str) -> (Outcome, OutcomeAction) {
        let result = classify_text(text, finish);
        assert_eq!(result.answer.is_some(), result.action == OutcomeAction::Complete, "{finish}");
        (result.outcome, result.action)
    }

    #[test]
    fn finish_reasons_of_all_apis() {
        use Outcome::{ContentBlocked, EmptyOutput, KeyForbidden, MalformedResponse, Ok, Truncated};
        use OutcomeAction::{Complete, DisableKey, FailItem, Retry};
        let cases = [
            ("hi", "STOP", Ok, Complete),
            ("hi", "end_turn", Ok, Complete),
            ("hi", "OTHER", Ok, Complete),
            ("hi", "A_WORD_FROM_NEXT_YEAR", Ok, Complete),
            ("", "STOP", EmptyOutput, Retry),
            (" \n", "stop", EmptyOutput, Retry),
            ("", "OTHER", EmptyOutput, Retry),
            ("", "MALFORMED_FUNCTION_CALL", EmptyOutput, Retry),
            ("{", "MALFORMED_RESPONSE", EmptyOutput, Retry),
            ("hi", "MAX_TOKENS", Truncated, Complete),
            ("", "max_tokens", Truncated, FailItem),
            ("", "length", Truncated, FailItem),
            ("hi", "model_context_window_exceeded", Truncated, Complete),
            ("hi", "SAFETY", ContentBlocked, FailItem),
            ("", "RECITATION", ContentBlocked, FailItem),
            ("", "IMAGE_PROHIBITED_CONTENT", ContentBlocked, FailItem),
            ("hi", "content_filter", ContentBlocked, FailItem),
            ("", "refusal", ContentBlocked, FailItem),
            ("half", "error", MalformedResponse, Retry),
            ("", "PUP_LIMITED_DISABLED", KeyForbidden, DisableKey),
        ];
        for (text, finish, outcome, action) in cases {
            assert_eq!(outcome_and_action(text, finish), (outcome, action), "{text:?} with {finish}");
        }
    }

    #[test]
    fn the_message_of_an_empty_answer_says_that_it_is_empty() {
        assert_eq!(classify_text("", "STOP").message, "empty answer (finish_reason=stop)");
        assert_eq!(
            classify_text("{", "MALFORMED_RESPONSE").message,
            "no usable text (finish_reason=malformed_response)"
        );
        assert_eq!(classify_text("", "SAFETY").message, "safety");
    }

    #[test]
    fn finish_reasons_are_kept_in_lower_case() {
        assert_eq!(classify_text("hi", "STOP").answer.unwrap().finish_reason.as_deref(), Some("stop"));
    }
}
