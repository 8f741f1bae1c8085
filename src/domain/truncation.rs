//! Texts about truncated answers: answers that a provider cut off at a limit of output tokens.

use super::plural::group_digits;

/// The advice if most answers are truncated.
pub const TRUNCATED_HINT: &str =
    "most answers are truncated: raise --max-output-tokens, or max_output_tokens in [defaults] or in the rows";

/// Whether more than half of the answers are truncated.
pub const fn are_mostly_truncated(done: u64, truncated: u64) -> bool {
    truncated > done / 2
}

/// ` (1,200 truncated)`, to follow a count of done items; empty if no answer is truncated.
pub fn truncated_suffix(truncated: u64) -> String {
    if truncated == 0 { String::new() } else { format!(" ({} truncated)", group_digits(truncated)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_is_more_than_half() {
        for (done, truncated, want) in [(0, 0, false), (1, 1, true), (2, 1, false), (3, 1, false), (3, 2, true)] {
            assert_eq!(are_mostly_truncated(done, truncated), want, "{truncated} of {done}");
        }
    }

    #[test]
    fn the_suffix_is_empty_without_truncated_answers() {
        assert_eq!([truncated_suffix(0), truncated_suffix(1_200)], ["", " (1,200 truncated)"]);
    }
}
