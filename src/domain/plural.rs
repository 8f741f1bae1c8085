//! Numbers as text: with their nouns, as in `1 row` and `2 rows`, and with their digits grouped.

/// Groups the digits by thousands: `1,234,567`.
pub fn group_digits(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

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
    fn numbers_are_grouped_by_thousands() {
        for (number, want) in [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345_678, "12,345,678")] {
            assert_eq!(group_digits(number), want);
        }
    }

    #[test]
    fn only_one_is_singular() {
        for (number, want) in [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (21, "21 rows")] {
            assert_eq!(pluralize(number, "row"), want);
        }
    }
}
