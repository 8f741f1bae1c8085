//! One limit and on whose word it stands: what is configured, what the provider states, what was learned.

use crate::domain::LimitSource;

/// The tightest of three words counts. A looser one never lifts what the configuration says; where that says nothing,
/// the provider's own statement may rise and fall.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Bound {
    pub configured: Option<u64>,
    pub stated: Option<u64>,
    pub learned: Option<u64>,
}

impl Bound {
    pub const fn configured(limit: Option<u64>) -> Self {
        Self { configured: limit, stated: None, learned: None }
    }

    pub fn effective(&self) -> Option<u64> {
        self.known().into_iter().chain(self.learned).min()
    }

    /// What somebody said, as against what was found out.
    pub fn known(&self) -> Option<u64> {
        self.configured.into_iter().chain(self.stated).min()
    }

    /// What of `amount` is reserved, where it may turn out as small as `least`: more than a whole window only where even
    /// that does not fit. And no request is too large for a limit that was merely found out.
    pub fn reserved(&self, amount: u64, least: u64) -> u64 {
        let known = self.known();
        let amount = known.filter(|limit| amount > *limit && least <= *limit).unwrap_or(amount);
        let fits = known.is_none_or(|limit| amount <= limit);
        self.learned.filter(|_| fits).map_or(amount, |limit| amount.min(limit))
    }

    pub fn provenance(&self) -> Option<LimitSource> {
        let limit = self.effective()?;
        let is = |word: Option<u64>| word == Some(limit);
        Some(match () {
            () if is(self.configured) => LimitSource::Configured,
            () if is(self.stated) => LimitSource::Provider,
            () => LimitSource::Learned,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_word_counts_and_says_whose_it_is() {
        use LimitSource::{Configured, Learned, Provider};
        let cases = [
            (None, None, None, None),
            (Some(10), None, None, Some((10, Configured))),
            (Some(10), Some(5), None, Some((5, Provider))),
            (Some(10), Some(50), None, Some((10, Configured))),
            (Some(10), Some(10), Some(10), Some((10, Configured))),
            (None, Some(50), None, Some((50, Provider))),
            (None, Some(50), Some(20), Some((20, Learned))),
            (None, None, Some(20), Some((20, Learned))),
        ];
        for (configured, stated, learned, want) in cases {
            let bound = Bound { configured, stated, learned };
            assert_eq!(bound.effective().zip(bound.provenance()), want, "{bound:?}");
        }
    }
}
