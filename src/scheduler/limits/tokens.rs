//! Token amounts of a request.

use crate::domain::TokenCounting;

use super::limit_sources::SourcedLimit;

/// Estimated tokens of an attempt. Also used for the tokens that a provider reported.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TokenEstimate {
    pub input: u64,
    pub output: u64,
}

impl TokenEstimate {
    pub const fn counted_as(self, counted: TokenCounting) -> u64 {
        match counted {
            TokenCounting::Input => self.input,
            TokenCounting::Total => self.input + self.output,
        }
    }

    /// The amount to reserve under a limit. The output length is unknown and the input estimate is generous, so a
    /// request counts as too large only if half of its estimated input is.
    pub fn amount_to_reserve(self, limit: &SourcedLimit, count: impl Fn(Self) -> u64) -> u64 {
        limit.amount_to_reserve(count(self), count(Self { input: self.input / 2, output: 0 }))
    }
}
