//! Detects keys in different projects that share one quota, from 429s that only the other key's usage explains.
//!
//! Evidence is a 429 while our count for the pool is at most half of its limit, at a moment when the pool of another
//! project has used the rest of the limit or gets an unexpected 429 within a second. Chance explains that once or
//! twice, but not several times in a row. A counterexample clears the evidence for a pair: a 429 that the other pool's
//! usage does not explain, or a minute in which both pools together admitted more than 1.5 times what one quota allows.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use crate::domain::{MonoTime, Now, PoolId};

/// Explained 429s in a row before the pair is reported.
const MIN_EXPLAINED: u32 = 4;

/// 429s this close together count as one event at the provider.
const SAME_EVENT_WINDOW: Duration = Duration::from_secs(1);

/// The use of a pool's requests per minute.
#[derive(Clone, Copy, Debug)]
pub struct PoolUsage {
    pub used: u64,
    /// The limit that is configured or stated, if any.
    pub limit: Option<u64>,
    /// Of `used`: the requests in flight.
    pub in_flight: u64,
}

/// Two pools that seem to share a quota.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SharedQuota {
    pub pools: (PoolId, PoolId),
    /// The 429s in a row that show it.
    pub evidence: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct PairEvidence {
    explained_429s: u32,
    is_reported: bool,
}

#[derive(Clone, Debug, Default)]
pub struct SharedQuotaDetector {
    /// By pair of pools, the smaller id first.
    pairs: BTreeMap<(PoolId, PoolId), PairEvidence>,
    /// When the last episode of 429s of a pool began, if our own count was then at most half of the limit.
    unexpected_429s: HashMap<PoolId, MonoTime>,
}

impl SharedQuotaDetector {
    /// Handles the first 429 of an episode on `pool`. If it is unexpected, it counts as evidence for or against sharing
    /// with each other pool of the same model, its `siblings`. Returns the pairs that are sure now.
    pub fn on_throttle(
        &mut self,
        now: Now,
        pool: PoolId,
        siblings: &[PoolId],
        usage: impl Fn(PoolId) -> PoolUsage,
    ) -> Vec<SharedQuota> {
        let PoolUsage { used, limit, .. } = usage(pool);
        let Some(limit) = limit.filter(|limit| used <= limit.div_ceil(2)) else {
            self.unexpected_429s.remove(&pool);
            return Vec::new();
        };
        self.unexpected_429s.insert(pool, now.mono);
        let mut found = Vec::new();
        for &other in siblings.iter().filter(|other| **other != pool) {
            let other_429_at = self.unexpected_429s.get(&other);
            let is_same_event = other_429_at.is_some_and(|at| now.mono.since(*at) <= SAME_EVENT_WINDOW);
            let pair = (pool.min(other), pool.max(other));
            if !is_same_event && used + usage(other).used < limit {
                // The other pool's usage does not explain this 429.
                self.pairs.remove(&pair);
                continue;
            }
            let evidence = self.pairs.entry(pair).or_default();
            evidence.explained_429s += 1;
            if evidence.explained_429s >= MIN_EXPLAINED && !std::mem::replace(&mut evidence.is_reported, true) {
                found.push(SharedQuota { pools: pair, evidence: evidence.explained_429s });
            }
        }
        found
    }

    /// Handles an admitted request on `pool`: clears its pairs that together admitted clearly more than one quota
    /// allows.
    pub fn on_success(&mut self, pool: PoolId, usage: impl Fn(PoolId) -> PoolUsage) {
        if self.pairs.is_empty() {
            return;
        }
        let admitted = |pool: PoolId| {
            let PoolUsage { used, in_flight, .. } = usage(pool);
            used.saturating_sub(in_flight)
        };
        self.pairs.retain(|&(one, two), evidence| {
            if evidence.is_reported || (one != pool && two != pool) {
                return true;
            }
            let limit = usage(pool).limit.unwrap_or(u64::MAX);
            admitted(one) + admitted(two) <= limit.saturating_mul(3) / 2 + 1
        });
    }
}
