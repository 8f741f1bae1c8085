//! An answer under 2xx, in no provider's shape, and what it is worth: ok, cut off, empty, blocked, broken.

use crate::domain::{Answer, AttemptResult, Outcome, OutcomeAction, Usage};

use super::{
    redact::{redact, without_secrets},
    reply::Response,
};

/// What an API's reader found in a well-formed body.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Completion {
    pub text: String,
    /// The provider's word for why it stopped, as it stood.
    pub finish: Option<String>,
    pub model_version: Option<String>,
    pub usage: Usage,
    /// The prompt was refused, or the model declined: the reason in words.
    pub blocked: Option<String>,
    /// What the provider says about the finish.
    pub words: Option<String>,
    /// The empty answer is a verdict on the request: sending it again won't help.
    pub hopeless: bool,
}

/// What a finish reason means, over all three APIs and their imitators. An open set: unknown words are ordinary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Finish {
    Ordinary,
    Broken,
    Blocked,
    /// Gemini's PUP_LIMITED_DISABLED: the account is limited by policy, so the item is not to blame.
    AccountLimited,
    CutOff,
    /// The provider itself says that the text is unusable.
    Unusable,
}

fn finish(word: &str) -> Finish {
    match word {
        "error" => Finish::Broken,
        "safety" | "recitation" | "blocklist" | "prohibited_content" | "spii" | "language" | "escalation"
        | "model_armor" | "content_filter" | "refusal" | "sensitive" => Finish::Blocked,
        "pup_limited_disabled" => Finish::AccountLimited,
        "max_tokens" | "length" | "max_output_tokens" | "model_length" | "model_context_window_exceeded" => {
            Finish::CutOff
        }
        "malformed_response" => Finish::Unusable,
        word if word.starts_with("image_") => Finish::Blocked,
        _ => Finish::Ordinary,
    }
}

/// The verdict on an answer. The order is the table's: an error outranks a block, a block a cut, a cut emptiness.
pub(super) fn judge(completion: Completion, response: &Response<'_>) -> AttemptResult {
    let Completion { text, finish: word, model_version, usage, blocked, words, hopeless } = completion;
    // No answer of a decent server holds a key; one that does is not written to files with it.
    let text = without_secrets(text, response.secrets);
    let word = word.map(|word| clip(&without_secrets(word, response.secrets).to_lowercase()));
    let model_version = model_version.map(|model| without_secrets(model, response.secrets));
    let class = word.as_deref().map_or(Finish::Ordinary, finish);
    let has_text = !text.trim().is_empty();
    let shown = word.as_deref().unwrap_or("nothing").to_owned();
    let (outcome, action, rule) = if class == Finish::Broken {
        (Outcome::MalformedResponse, OutcomeAction::Retry, "the answer broke off with finish reason error".to_owned())
    } else if let Some(reason) = &blocked {
        (
            Outcome::ContentBlocked,
            OutcomeAction::FailItem,
            format!("the provider declined: {}", redact(reason, response.secrets)),
        )
    } else {
        match class {
            Finish::Blocked => (Outcome::ContentBlocked, OutcomeAction::FailItem, format!("finish reason {shown}")),
            Finish::AccountLimited => {
                (Outcome::KeyForbidden, OutcomeAction::DisableKey, format!("finish reason {shown}: the account is limited"))
            }
            Finish::CutOff if has_text => {
                (Outcome::Truncated, OutcomeAction::Complete, format!("cut off at a token limit ({shown})"))
            }
            Finish::CutOff => (
                Outcome::Truncated,
                OutcomeAction::FailItem,
                format!("the token limit was spent before there was any text ({shown})"),
            ),
            Finish::Unusable => (Outcome::EmptyOutput, OutcomeAction::Retry, format!("no usable text (finish reason {shown})")),
            _ if !has_text && hopeless => (
                Outcome::EmptyOutput,
                OutcomeAction::FailItem,
                "no choices at all: local servers answer so when the prompt does not fit or has a picture they cannot see"
                    .to_owned(),
            ),
            _ if !has_text => {
                let because = match &word {
                    Some(word) => format!("empty answer, finish reason {word}"),
                    None => "empty answer, no finish reason".to_owned(),
                };
                (Outcome::EmptyOutput, OutcomeAction::Retry, because)
            }
            _ => (Outcome::Ok, OutcomeAction::Complete, "an answer with text".to_owned()),
        }
    };
    let is_answer = matches!(outcome, Outcome::Ok | Outcome::Truncated) && has_text;
    let message = if outcome == Outcome::Ok {
        String::new()
    } else {
        let reason = words.or(blocked).unwrap_or_default();
        let reason = if reason.is_empty() { word.clone().unwrap_or_default() } else { reason };
        let words = redact(&reason, response.secrets);
        if words.is_empty() { rule.clone() } else { words }
    };
    AttemptResult {
        outcome,
        action,
        status: Some(response.status),
        retry_after: None,
        message,
        rule,
        answer: is_answer.then(|| Answer {
            text,
            finish_reason: word,
            model_version: model_version.map(|model| clip(&model)),
        }),
        usage,
        stated_limit: None,
        limit_is_zero: false,
        response_meta: crate::domain::ResponseMeta::default(),
        exceeds_context: false,
        picture_refused: false,
    }
}

/// Finish reasons and model names are short; anything long is not one.
fn clip(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderMap;

    use crate::domain::WallTime;

    use super::*;

    fn verdict(text: &str, finish: &str) -> AttemptResult {
        let completion = Completion { text: text.to_owned(), finish: Some(finish.to_owned()), ..Completion::default() };
        let headers = HeaderMap::new();
        judge(completion, &Response { status: 200, headers: &headers, body: b"", received: WallTime(0), secrets: &[] })
    }

    fn judged(text: &str, finish: &str) -> (Outcome, OutcomeAction) {
        let verdict = verdict(text, finish);
        assert_eq!(verdict.answer.is_some(), verdict.action == OutcomeAction::Complete, "{finish}");
        (verdict.outcome, verdict.action)
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
            assert_eq!(judged(text, finish), (outcome, action), "{text:?} with {finish}");
        }
    }

    #[test]
    fn finish_reasons_are_kept_in_lower_case() {
        assert_eq!(verdict("hi", "STOP").answer.unwrap().finish_reason.as_deref(), Some("stop"));
    }
}
