//! Natural sort order for numbered files, whatever their case: `img2` before `IMG10`.

use std::cmp::Ordering;

/// Compares runs of digits as numbers, ASCII letters in whatever case, and everything else byte by byte. Names that are
/// equal so far are compared byte by byte. This is a total order.
pub(super) fn compare(left: &str, right: &str) -> Ordering {
    let (mut a, mut b) = (left.as_bytes(), right.as_bytes());
    loop {
        match (a.first(), b.first()) {
            (None, None) => return left.cmp(right),
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(x), Some(y)) if x.is_ascii_digit() && y.is_ascii_digit() => {
                let (x, rest_a) = leading_number(a);
                let (y, rest_b) = leading_number(b);
                match x.len().cmp(&y.len()).then_with(|| x.cmp(y)) {
                    Ordering::Equal => (a, b) = (rest_a, rest_b),
                    unequal => return unequal,
                }
            }
            (Some(x), Some(y)) => match x.to_ascii_lowercase().cmp(&y.to_ascii_lowercase()) {
                Ordering::Equal => (a, b) = (&a[1..], &b[1..]),
                unequal => return unequal,
            },
        }
    }
}

/// Returns the leading digits without leading zeros, and the rest.
fn leading_number(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let zeros = digits.iter().position(|digit| *digit != b'0').unwrap_or(digits.len());
    (&digits[zeros..], rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_digits_are_compared_as_numbers() {
        let mut names = ["IMG10.png", "img2.png", "B", "img02.png", "Img1.png", "a10b2", "A10b10", "img", "ä", "IMG"];
        names.sort_by(|a, b| compare(a, b));
        let want = ["a10b2", "A10b10", "B", "IMG", "img", "Img1.png", "img02.png", "img2.png", "IMG10.png", "ä"];
        assert_eq!(names, want);
    }

    #[test]
    fn names_that_differ_are_never_equal() {
        assert_eq!(compare("a01", "a1"), Ordering::Less);
        assert_eq!(compare("a1", "a01"), Ordering::Greater);
        assert_eq!(compare("a1", "a1"), Ordering::Equal);
    }
}
