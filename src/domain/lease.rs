//! Blocks of a provider's day, as processes that share it ask for them and are given them. Pools go by their number in
//! the scheduler that asks.

use super::time::WallTime;

/// What a day counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum QuotaUnit {
    Requests,
    Tokens,
}

/// A block that is wanted, or a look at what others have used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaseRequest {
    pub pool: usize,
    pub unit: QuotaUnit,
    /// Until when the block counts in the ledger; names the day.
    pub period_end: WallTime,
    /// `None`: no limit is known, so there is nothing to lease.
    pub limit: Option<u64>,
    pub requested: u64,
    /// This process knows of so many that were used: the ledger can't say less.
    pub known_used: u64,
    /// Used beyond what was leased.
    pub overdrawn: u64,
    /// The rest of an earlier block, and its row.
    pub returned: Option<(WallTime, u64)>,
}

/// What the ledger says to a wish.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaseGrant {
    pub pool: usize,
    pub unit: QuotaUnit,
    pub period_end: WallTime,
    pub granted: u64,
    /// By all processes, this block included.
    pub total_used: u64,
    /// Where nothing was left: when something is again.
    pub available_at: Option<WallTime>,
    /// Some process was told that the day is spent.
    pub exhausted_until: Option<WallTime>,
}
