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
            TokenCounting::Total => self.total(),
        }
    }

    pub const fn input(self) -> u64 {
        self.input
    }

    pub const fn output(self) -> u64 {
        self.output
    }

    const fn total(self) -> u64 {
        self.input + self.output
    }

    pub const fn counter_for(counted: TokenCounting) -> fn(Self) -> u64 {
        match counted {
            TokenCounting::Input => Self::input,
            TokenCounting::Total => Self::total,
        }
    }

    /// The amount to reserve under a limit. The output length is unknown and the input estimate is generous, so a
    /// request counts as too large only if half of its estimated input is.
    pub fn amount_to_reserve(self, limit: &SourcedLimit, count: fn(Self) -> u64) -> u64 {
        limit.amount_to_reserve(count(self), count(Self { input: self.input / 2, output: 0 }))
    }
}
