//! Groups of failed items with the same error, so that thousands of failures read as a few reasons.

use serde::{Deserialize, Serialize};

use super::{command::ReplayFilter, outcome::Outcome};

/// Failed items with the same outcome, the same model and the same message, numbers aside.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FailureGroup {
    pub outcome: Option<Outcome>,
    /// The model of the last attempt; `None` if nothing was sent.
    pub model: Option<String>,
    pub pattern: String,
    pub count: u64,
    /// The group's first item in input order.
    #[serde(alias = "seq")]
    pub first_seq: u64,
    #[serde(alias = "id")]
    pub first_id: String,
}

impl FailureGroup {
    /// A filter that selects the items of this group. If the group has no outcome, the filter does not test it.
    pub fn replay_filter(&self) -> ReplayFilter {
        ReplayFilter {
            outcomes: self.outcome.into_iter().collect(),
            models: vec![self.model.clone().unwrap_or_default()],
            pattern: Some(self.pattern.clone()),
            ..ReplayFilter::default()
        }
    }
}

/// An error message with every number replaced by `#`: "retry in 37.2s" and "retry in 9.1s" give the same pattern.
pub fn error_pattern(message: &str) -> String {
    let mut pattern = String::with_capacity(message.len());
    let mut in_number = false;
    for (at, character) in message.char_indices() {
        let digit = character.is_ascii_digit();
        let next_is_digit = message[at + character.len_utf8()..].starts_with(|next: char| next.is_ascii_digit());
        let inside = in_number && (character == '.' || character == ',') && next_is_digit;
        if digit && !in_number {
            pattern.push('#');
        } else if !digit && !inside {
            pattern.push(character);
        }
        in_number = digit || inside;
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_differ_only_in_numbers_have_one_pattern() {
        let cases = [
            ("Please retry in 37.2s.", "Please retry in #s."),
            ("img_0788.webp: not a picture", "img_#.webp: not a picture"),
            ("1,234 of 2.", "# of #."),
            ("blockReason: SAFETY", "blockReason: SAFETY"),
            ("日本語 12", "日本語 #"),
            ("", ""),
        ];
        for (message, want) in cases {
            assert_eq!(error_pattern(message), want);
        }
    }
}
