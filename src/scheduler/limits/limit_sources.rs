//! One limit and where its value comes from: configured, stated by the provider, or learned.

use crate::domain::LimitSource;

/// The lowest of the three values is in force. So a stated limit never raises a configured one. Where nothing is
/// configured, each statement of the provider replaces the last, whether higher or lower.
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

    /// The limit that is configured or stated, as opposed to learned.
    pub fn declared(&self) -> Option<u64> {
        self.configured.into_iter().chain(self.stated).min()
    }

    /// The part of `amount` to reserve, for a request that may turn out as small as `min_amount`. An amount above a
    /// declared limit is cut down to the limit if `min_amount` fits; otherwise it stays too large. A learned limit
    /// never makes a request too large: the amount is cut down to it.
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
