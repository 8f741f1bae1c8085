//! Detects keys in different projects that share one quota, from 429s that only the other key's usage explains.
//!
//! Evidence is a 429 while our count for the pool is at most half of its limit, at a moment when the pool of another
//! project has used the rest of the limit or gets an unexpected 429 within a second. Chance explains that once or
//! twice, but not several times in a row. A counterexample clears the evidence for a pair: a 429 that the other pool's
//! usage does not explain, or a minute in which both pools together admitted more than 1.5 times what one quota allows.

use std::{collections::BTreeMap, time::Duration};

use crate::domain::{EventKind, EventLevel, Now};

use super::{Scheduler, limits::pool::QuotaPool};

/// Explained 429s in a row before the pair is reported.
const MIN_EXPLAINED: u32 = 4;

/// 429s this close together count as one event at the provider.
const SAME_EVENT_WINDOW: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, Default)]
struct PairEvidence {
    explained_429s: u32,
    is_reported: bool,
}

#[derive(Clone, Debug, Default)]
pub struct SharedQuotaDetector {
    /// By pair of pools, the smaller index first.
    pairs: BTreeMap<(usize, usize), PairEvidence>,
}

const fn ordered_pair(one: usize, two: usize) -> (usize, usize) {
    if one < two { (one, two) } else { (two, one) }
}

/// (used, limit) of the pool if a 429 is unexpected: our count is at most half of the limit.
fn usage_if_unexpected(pool: &QuotaPool, now: Now) -> Option<(u64, u64)> {
    let limit = pool.limits.requests_per_minute.declared()?;
    let used = pool.requests_gauge(now).used;
    (used <= limit.div_ceil(2)).then_some((used, limit))
}

impl Scheduler {
    /// Handles the first 429 of an episode on `pool`. If it is unexpected, it counts as evidence for or against sharing
    /// with each other pool of the same model.
    pub(super) fn collect_shared_quota_evidence(&mut self, now: Now, pool: usize, events: &mut Vec<EventKind>) {
        let unexpected = usage_if_unexpected(&self.pools[pool], now);
        self.pools[pool].unexpected_429_at = unexpected.map(|_| now.mono);
        let Some((used, limit)) = unexpected else { return };
        let group = self.pools[pool].model_group;
        for member in 0..self.model_groups[group].pools.len() {
            let other = self.model_groups[group].pools[member];
            if other == pool {
                continue;
            }
            let is_same_event =
                self.pools[other].unexpected_429_at.is_some_and(|at| now.mono.since(at) <= SAME_EVENT_WINDOW);
            let other_used = self.pools[other].requests_gauge(now).used;
            let pair = ordered_pair(pool, other);
            if !is_same_event && used + other_used < limit {
                // The other pool's usage does not explain this 429.
                self.shared_quotas.pairs.remove(&pair);
                continue;
            }
            let evidence = self.shared_quotas.pairs.entry(pair).or_default();
            evidence.explained_429s += 1;
            let count = evidence.explained_429s;
            if count >= MIN_EXPLAINED && !std::mem::replace(&mut evidence.is_reported, true) {
                let message = format!(
                    "{} and {} seem to share a quota: {} times in a row one was refused far below its own limit \
                     when the other had used the rest; give their keys the same project in keys.toml",
                    self.first_key_name(pair.0),
                    self.first_key_name(pair.1),
                    count,
                );
                events.push(EventKind::Run { level: EventLevel::Warn, message });
            }
        }
    }

    /// Handles an admitted request on `pool`: clears its pairs that together admitted clearly more than one quota
    /// allows.
    pub(super) fn clear_contradicted_pairs(&mut self, now: Now, pool: usize) {
        if self.shared_quotas.pairs.is_empty() {
            return;
        }
        let admitted = |pool: &QuotaPool| pool.requests_gauge(now).used.saturating_sub(u64::from(pool.in_flight));
        let pools = &self.pools;
        self.shared_quotas.pairs.retain(|&(one, two), evidence| {
            if evidence.is_reported || (one != pool && two != pool) {
                return true;
            }
            let limit = pools[pool].limits.requests_per_minute.declared().unwrap_or(u64::MAX);
            admitted(&pools[one]) + admitted(&pools[two]) <= limit.saturating_mul(3) / 2 + 1
        });
    }

    /// The name of the first key on a pool, to identify it to the operator.
    fn first_key_name(&self, pool: usize) -> &str {
        let route = self.pools[pool].routes.first();
        route.map_or("", |route| &self.keys[self.routes[route.index()].key].key.name)
    }
}
