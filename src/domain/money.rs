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

/// Two decimals from one dollar on: `$12.50`. Smaller amounts have as many as needed, so that none looks like nothing:
/// four from one cent on (`$0.0149`), below that three significant digits (`$0.003`, `$0.0000043`).
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const CENT: u64 = 10_000_000_000;
        const DOLLAR: u64 = 100 * CENT;
        let decimals = match self.0 {
            0 => return f.write_str("$0"),
            // 10^12 pico-dollars are a dollar, so the first digit of 10^n is at decimal 12 - n.
            pico @ 1..CENT => 14 - pico.ilog10() as usize,
            CENT..DOLLAR => 4,
            _ => 2,
        };
        let text = format!("{:.decimals$}", self.as_usd());
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        write!(f, "${whole}.{:0<2}", fraction.trim_end_matches('0'))
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

    #[test]
    fn small_amounts_keep_their_digits() {
        for (usd, text) in [
            (0.0, "$0"),
            (1e-12, "$0.000000000001"),
            (0.000_004_3, "$0.0000043"),
            (0.000_148, "$0.000148"),
            (0.003, "$0.003"),
            (0.009_999_9, "$0.01"),
            (0.01, "$0.01"),
            (0.014_93, "$0.0149"),
            (0.498, "$0.498"),
            (0.84, "$0.84"),
            (0.999_99, "$1.00"),
            (1.0, "$1.00"),
            (12.345_6, "$12.35"),
        ] {
            assert_eq!(Money::from_usd(usd).unwrap().to_string(), text);
        }
    }
}
