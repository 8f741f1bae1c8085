//! Numbers with their nouns: `1 row`, `2 rows`.

/// The form of the noun for `number`. `singular` is the singular; the plural adds `s`.
pub fn plural(number: u64, singular: &str) -> String {
    if number == 1 { singular.to_owned() } else { format!("{singular}s") }
}

/// A number with its noun: `1 row`, `2 rows`.
pub fn pluralize(number: u64, singular: &str) -> String {
    format!("{number} {}", plural(number, singular))
}

/// `is` for 1, `are` for any other number.
pub const fn is_or_are(number: u64) -> &'static str {
    if number == 1 { "is" } else { "are" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_is_singular() {
        for (number, want) in [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (21, "21 rows")] {
            assert_eq!(pluralize(number, "row"), want);
        }
    }
}
