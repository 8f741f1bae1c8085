//! Exact money: whole pico-dollars (10⁻¹² USD), so that a token at $0.075 per million costs a whole number.

use std::{fmt, iter, ops};

use serde::{Deserialize, Serialize};

/// An amount in pico-dollars. `u64` holds up to 18 million dollars; sums saturate there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Money(pub u64);

/// Price in pico-dollars per token. Every known provider bills thinking tokens as output.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Price {
    pub input: u64,
    pub output: u64,
}

impl Money {
    pub const ZERO: Self = Self(0);

    /// Converts from dollars. `None` for negative, too large or non-finite amounts.
    pub fn from_usd(usd: f64) -> Option<Self> {
        let pico = usd * 1e12;
        (pico.is_finite() && (0.0..1.8e19).contains(&pico)).then(|| Self(pico.round() as u64))
    }

    /// Dollars as a float, for display and JSON numbers. Calculations use [`Money`] itself.
    pub fn as_usd(self) -> f64 {
        self.0 as f64 / 1e12
    }

    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Price {
    /// The price of a model that costs nothing.
    pub const FREE: Self = Self { input: 0, output: 0 };

    /// Converts from dollars per million tokens, the unit of price lists.
    pub fn from_usd_per_mtok(input: f64, output: f64) -> Option<Self> {
        Some(Self { input: Money::from_usd(input)?.0 / 1_000_000, output: Money::from_usd(output)?.0 / 1_000_000 })
    }

    pub const fn cost(self, input_tokens: u64, output_tokens: u64) -> Money {
        Money(self.input.saturating_mul(input_tokens).saturating_add(self.output.saturating_mul(output_tokens)))
    }
}

impl ops::Add for Money {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl ops::AddAssign for Money {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl iter::Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, |total, amount| total + amount)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usd = self.as_usd();
        match usd {
            0.0 => write!(f, "$0"),
            _ if usd < 0.01 => write!(f, "${usd:.5}"),
            _ => write!(f, "${usd:.2}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_per_million_are_exact_per_token() {
        let price = Price::from_usd_per_mtok(0.075, 0.30).unwrap();
        assert_eq!(price, Price { input: 75_000, output: 300_000 });
        assert_eq!(Some(price.cost(1_000_000, 1_000_000)), Money::from_usd(0.375));
    }

    #[test]
    fn negative_and_non_finite_amounts_are_refused() {
        assert_eq!(Money::from_usd(-1.0), None);
        assert_eq!(Money::from_usd(f64::NAN), None);
        assert_eq!(Money::from_usd(f64::INFINITY), None);
    }
}
