//! Numbers as providers write them: integers, floats, numeric strings, null.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// More tokens than any answer has: larger numbers are this one. A run's sums of tokens and money stay whole, whatever
/// a server makes up.
const LARGEST: u64 = 1 << 30;

/// A token count that never spoils an answer: whatever is not a number counts as absent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Count(Option<u64>);

impl Count {
    pub(super) fn get(self) -> u64 {
        self.0.unwrap_or(0)
    }

    pub(super) const fn stated(self) -> Option<u64> {
        self.0
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CountVisitor)
    }
}

struct CountVisitor;

impl<'de> Visitor<'de> for CountVisitor {
    type Value = Count;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a count")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Count, E> {
        Ok(Count(Some(number.min(LARGEST))))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Count, E> {
        Ok(Count(u64::try_from(number).ok().map(|number| number.min(LARGEST))))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Count, E> {
        Ok(Count((number.is_finite() && number >= 0.0).then_some((number as u64).min(LARGEST))))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Count, E> {
        Ok(Count(text.trim().parse().ok().map(|number: u64| number.min(LARGEST))))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Count, E> {
        Ok(Count(None))
    }

    fn visit_unit<E: Error>(self) -> Result<Count, E> {
        Ok(Count(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Count, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Count(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Count, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Count(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_not_a_number_counts_as_absent() {
        let cases = [
            ("7", Some(7)),
            ("7.9", Some(7)),
            ("\"7\"", Some(7)),
            ("18446744073709551615", Some(LARGEST)),
            ("9223372036854775807", Some(LARGEST)),
            ("1e300", Some(LARGEST)),
            ("\"18446744073709551615\"", Some(LARGEST)),
            ("null", None),
            ("-1", None),
            ("true", None),
            ("[1]", None),
            ("{\"a\":1}", None),
            ("\"many\"", None),
        ];
        for (json, want) in cases {
            assert_eq!(serde_json::from_str::<Count>(json).unwrap().stated(), want, "{json}");
        }
    }
}
