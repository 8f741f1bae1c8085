//! Blocks of a provider's day, as processes that share it ask for them and are given them. Pools go by their number in
//! the scheduler that asks.

use super::time::Wall;

/// What a day counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Unit {
    Requests,
    Tokens,
}

/// A block that is wanted, or a look at what others have used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wish {
    pub pool: usize,
    pub unit: Unit,
    /// Until when the block counts in the ledger; names the day.
    pub row: Wall,
    /// `None`: no limit is known, so there is nothing to lease.
    pub limit: Option<u64>,
    pub want: u64,
    /// This process knows of so many that were used: the ledger can't say less.
    pub at_least: u64,
    /// Used beyond what was leased.
    pub owed: u64,
    /// The rest of an earlier block, and its row.
    pub give_back: Option<(Wall, u64)>,
}

/// What the ledger says to a wish.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    pub pool: usize,
    pub unit: Unit,
    pub row: Wall,
    pub granted: u64,
    /// By all processes, this block included.
    pub taken: u64,
    /// Where nothing was left: when something is again.
    pub opens: Option<Wall>,
    /// Some process was told that the day is spent.
    pub spent_until: Option<Wall>,
}
