//! Requests for and grants of leases: parts of a shared daily quota that one process may use. Pools are given by their
//! index in the scheduler of the requesting process.

use super::{ids::PoolId, time::WallTime};

/// The unit that a daily quota counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum QuotaUnit {
    Requests,
    Tokens,
}

/// A request to the ledger for a lease. If `requested` is 0, it only reports this process's use and asks for the use by
/// all processes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaseRequest {
    pub pool: PoolId,
    pub unit: QuotaUnit,
    /// End of the period that the lease counts in; identifies the day.
    pub period_end: WallTime,
    /// The daily limit. `None`: no limit is known, so there is nothing to lease.
    pub limit: Option<u64>,
    pub requested: u64,
    /// Use that this process knows of; the ledger raises its count to at least this.
    pub known_used: u64,
    /// Use beyond the leased amount.
    pub overdrawn: u64,
    /// The unused rest of an earlier lease, with that lease's `period_end`.
    pub returned: Option<(WallTime, u64)>,
}

/// The ledger's reply to a [`LeaseRequest`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaseGrant {
    pub pool: PoolId,
    pub unit: QuotaUnit,
    pub period_end: WallTime,
    pub granted: u64,
    /// Used or leased by all processes, this lease included.
    pub total_used: u64,
    /// When quota becomes available again, if none was left.
    pub available_at: Option<WallTime>,
    /// Until when the day's quota is used up, if a provider has reported that to any process.
    pub exhausted_until: Option<WallTime>,
}
