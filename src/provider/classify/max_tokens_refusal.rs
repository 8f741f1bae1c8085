//! Refusals of the name of the output limit. The request is sent again with the name that the provider expects.

use crate::domain::{AttemptResult, MaxTokensField, Outcome, OutcomeAction};

/// Names of the output limit in a refusal of the request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MaxTokensRefusal {
    pub refused: MaxTokensField,
    pub requested: MaxTokensField,
}

impl MaxTokensRefusal {
    /// Reads the refusal of a request whose body has the limit under the name `sent`: "Unsupported parameter:
    /// 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead." `None`: the response is
    /// something else.
    pub fn read(result: &AttemptResult, body: &[u8], sent: MaxTokensField) -> Option<Self> {
        const MAX_SEARCHED_BYTES: usize = 16 * 1024;
        if result.outcome != Outcome::BadRequest || !matches!(result.status, Some(400 | 422)) {
            return None;
        }
        let text = String::from_utf8_lossy(&body[..body.len().min(MAX_SEARCHED_BYTES)]).to_lowercase();
        is_about_name(&text, sent).then_some(Self { refused: sent, requested: sent.other() })
    }

    /// Like [`Self::read`] for a request that is not known: the name that comes first was sent.
    pub fn read_guessing_field(result: &AttemptResult, body: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(body).to_lowercase();
        let place = |field: &MaxTokensField| text.find(field.name());
        let fields = [MaxTokensField::MaxTokens, MaxTokensField::MaxCompletionTokens];
        let sent = fields.into_iter().filter(|field| place(field).is_some()).min_by_key(place)?;
        Self::read(result, body, sent)
    }

    /// The result of an attempt that is repeated with the other name.
    pub fn into_retry(self, result: AttemptResult) -> AttemptResult {
        let (requested, refused) = (self.requested.name(), self.refused.name());
        let message = format!("the provider expects {requested} instead of {refused}: the request is sent again");
        AttemptResult { action: OutcomeAction::Retry, message, ..result }
    }
}

fn is_about_name(lower_text: &str, sent: MaxTokensField) -> bool {
    const REFUSALS: [&str; 10] = [
        "unsupported",
        "not supported",
        "unrecognized",
        "unknown",
        "unexpected",
        "not permitted",
        "not allowed",
        "instead",
        "extra inputs",
        "extra_forbidden",
    ];
    let names = |field: MaxTokensField| lower_text.contains(field.name());
    let is_refused = REFUSALS.iter().any(|word| lower_text.contains(word));
    is_refused && names(sent) && (names(sent.other()) || !lower_text.contains("value"))
}
