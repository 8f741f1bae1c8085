//! Exact money: whole pico-dollars (10⁻¹² USD), so that a token at $0.075 per million costs a whole number.

use std::{fmt, iter, ops};

use serde::{Deserialize, Serialize};

/// An amount in pico-dollars. `u64` holds up to 18 million dollars; sums saturate there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Money(pub u64);

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
    fn negative_and_non_finite_amounts_are_refused() {
        assert_eq!(Money::from_usd(-1.0), None);
        assert_eq!(Money::from_usd(f64::NAN), None);
        assert_eq!(Money::from_usd(f64::INFINITY), None);
    }
}
