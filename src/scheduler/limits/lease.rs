//! A lease: one process's part of a daily quota that several processes share.

use crate::domain::WallTime;

/// The lease of one daily quota.
#[derive(Clone, Debug, Default)]
pub struct Lease {
    /// The amount left of the lease.
    pub(super) available: u64,
    /// Names the period in the quota ledger. The lease may be used until `usable_until`.
    pub(super) period_end: WallTime,
    pub(super) usable_until: WallTime,
    /// Used or leased by all processes when the lease was granted, this lease included.
    pub(super) total_used: u64,
    /// When quota becomes available again, if the ledger had none left.
    pub(super) full_until: Option<WallTime>,
    /// Whether a lease was requested and the reply has not come yet.
    pub(super) is_requested: bool,
    /// Used beyond the lease, and not yet reported to the ledger.
    pub(super) overdrawn: u64,
    /// The largest amount of a request that the lease could not cover; 0 if there was none since the last grant.
    pub(super) shortfall: u64,
}

impl Lease {
    pub fn available(&self, now: WallTime) -> u64 {
        if now < self.usable_until { self.available } else { 0 }
    }

    /// Used by all processes, as far as is known.
    pub fn used_by_all(&self, now: WallTime) -> u64 {
        if now < self.usable_until { self.total_used.saturating_sub(self.available) } else { 0 }
    }

    /// When quota becomes available again, if neither the lease nor the ledger has `amount`.
    pub fn full_until(&self, now: WallTime, amount: u64) -> Option<WallTime> {
        self.full_until.filter(|until| *until > now && self.available(now) < amount)
    }

    pub fn spend(&mut self, now: WallTime, amount: u64) {
        let available = self.available(now);
        self.overdrawn += amount.saturating_sub(available);
        if now < self.usable_until {
            self.available = available.saturating_sub(amount);
        }
    }

    pub fn give_back(&mut self, now: WallTime, amount: u64) {
        if now < self.usable_until {
            self.available += amount;
        }
    }

    pub fn record_shortfall(&mut self, amount: u64) {
        self.shortfall = self.shortfall.max(amount);
    }
}
