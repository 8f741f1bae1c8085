//! One limit and on whose word it stands: what is configured, what the provider states, what was learned.

use crate::domain::LimitSource;

/// The tightest of three words counts. A looser one never lifts what the configuration says; where that says nothing,
/// the provider's own statement may rise and fall.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SourcedLimit {
    pub configured: Option<u64>,
    pub stated: Option<u64>,
    pub learned: Option<u64>,
}

impl SourcedLimit {
    pub const fn configured(limit: Option<u64>) -> Self {
        Self { configured: limit, stated: None, learned: None }
    }

    pub fn effective(&self) -> Option<u64> {
        self.declared().into_iter().chain(self.learned).min()
    }

    /// What somebody said, as against what was found out.
    pub fn declared(&self) -> Option<u64> {
        self.configured.into_iter().chain(self.stated).min()
    }

    /// What of `amount` is reserved, where it may turn out as small as `least`: more than a whole window only where even
    /// that does not fit. And no request is too large for a limit that was merely found out.
    pub fn amount_to_reserve(&self, amount: u64, min_amount: u64) -> u64 {
        let declared = self.declared();
        let amount = declared.filter(|limit| amount > *limit && min_amount <= *limit).unwrap_or(amount);
        let fits = declared.is_none_or(|limit| amount <= limit);
        self.learned.filter(|_| fits).map_or(amount, |limit| amount.min(limit))
    }

    pub fn source(&self) -> Option<LimitSource> {
        let limit = self.effective()?;
        let is = |value: Option<u64>| value == Some(limit);
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
    fn the_lowest_limit_is_in_force_and_names_its_source() {
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
            let limit = SourcedLimit { configured, stated, learned };
            assert_eq!(limit.effective().zip(limit.source()), want, "{limit:?}");
        }
    }
}
