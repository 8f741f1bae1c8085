//! Numbers as providers write them: integers, floats, numeric strings or null.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::domain::NUMBER_FIELD;

/// Larger numbers are reduced to this one. No answer has so many tokens, and with it a run's sums of tokens and costs
/// cannot overflow.
const MAX_VALUE: u64 = 1 << 30;

/// The whole part of a number. `None` if it is negative, not a number, or too large for 64 bits.
pub fn whole_number(number: f64) -> Option<u64> {
    const TOO_LARGE: f64 = 18_446_744_073_709_551_616.0;
    (0.0..TOO_LARGE).contains(&number).then_some(number as u64)
}

/// A token count whose parsing never fails, so that it can't make an answer unreadable. A value that is not a number,
/// or is negative, counts as absent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct LenientInt(Option<u64>);

impl LenientInt {
    pub(super) fn or_zero(self) -> u64 {
        self.0.unwrap_or(0)
    }

    pub(super) const fn value(self) -> Option<u64> {
        self.0
    }
}

impl<'de> Deserialize<'de> for LenientInt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LenientIntVisitor)
    }
}

struct LenientIntVisitor;

impl<'de> Visitor<'de> for LenientIntVisitor {
    type Value = LenientInt;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a count")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<LenientInt, E> {
        Ok(LenientInt(Some(number.min(MAX_VALUE))))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<LenientInt, E> {
        Ok(LenientInt(u64::try_from(number).ok().map(|number| number.min(MAX_VALUE))))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<LenientInt, E> {
        let count = || whole_number(number).map_or(MAX_VALUE, |number| number.min(MAX_VALUE));
        Ok(LenientInt((number.is_finite() && number >= 0.0).then(count)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<LenientInt, E> {
        Ok(LenientInt(text.trim().parse().ok().map(|number: u64| number.min(MAX_VALUE))))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<LenientInt, E> {
        Ok(LenientInt(None))
    }

    fn visit_unit<E: Error>(self) -> Result<LenientInt, E> {
        Ok(LenientInt(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<LenientInt, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(LenientInt(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<LenientInt, A::Error> {
        let Some(name) = map.next_key::<String>()? else { return Ok(LenientInt(None)) };
        if name == NUMBER_FIELD {
            let number: f64 = map.next_value::<String>()?.parse().unwrap_or(f64::NAN);
            return self.visit_f64(number);
        }
        map.next_value::<IgnoredAny>()?;
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(LenientInt(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_fits_in_64_bits() {
        let largest = 18_446_744_073_709_549_568;
        for (number, want) in [(0.0, 0), (-0.0, 0), (7.9, 7), (9e15, 9_000_000_000_000_000), (largest as f64, largest)]
        {
            assert_eq!(whole_number(number), Some(want), "{number}");
        }
        for number in [-1.0, -0.1, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 18_446_744_073_709_551_616.0, 1e300] {
            assert_eq!(whole_number(number), None, "{number}");
        }
    }

    #[test]
    fn values_that_are_not_numbers_count_as_absent() {
        let cases = [
            ("7", Some(7)),
            ("7.9", Some(7)),
            ("\"7\"", Some(7)),
            ("18446744073709551615", Some(MAX_VALUE)),
            ("9223372036854775807", Some(MAX_VALUE)),
            ("1e300", Some(MAX_VALUE)),
            ("\"18446744073709551615\"", Some(MAX_VALUE)),
            ("null", None),
            ("-1", None),
            ("true", None),
            ("[1]", None),
            ("{\"a\":1}", None),
            ("\"many\"", None),
        ];
        for (json, want) in cases {
            assert_eq!(serde_json::from_str::<LenientInt>(json).unwrap().value(), want, "{json}");
        }
    }
}
