//! Numbers as providers write them: integers, floats, numeric strings or null.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// Larger numbers are reduced to this one. No answer has so many tokens, and with it a run's sums of tokens and costs
/// cannot overflow.
const MAX_VALUE: u64 = 1 << 30;

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
        Ok(LenientInt((number.is_finite() && number >= 0.0).then_some((number as u64).min(MAX_VALUE))))
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
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(LenientInt(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
