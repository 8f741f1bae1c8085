//! Keys that claim different projects and yet share a quota: found by refusals that only the other's use explains.
//!
//! Evidence is a refusal while our own count for the pool is at most half of its limit, at a moment when the pool of
//! another project has used up the rest of it, or is itself refused within a second. Chance explains that once or twice, not
//! several times without a counterexample. A counterexample acquits at once: both together have let through half as much
//! again as one quota holds, within one minute.

use std::{collections::BTreeMap, time::Duration};

use crate::domain::{EventKind, EventLevel, Now};

use super::{Scheduler, pool::Pool};

/// Refusals in a row that the other's use explains, before it is said.
const TELLING: u32 = 4;

/// Refusals this close together are one event at the provider.
const TOGETHER: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, Default)]
struct Suspicion {
    explained: u32,
    told: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Kinship {
    /// By pair of pools, the smaller index first.
    pairs: BTreeMap<(usize, usize), Suspicion>,
}

const fn pair(one: usize, two: usize) -> (usize, usize) {
    if one < two { (one, two) } else { (two, one) }
}

/// Far below its limit by our own count.
fn is_surprised(pool: &Pool, now: Now) -> Option<(u64, u64)> {
    let limit = pool.bounds.requests.known()?;
    let used = pool.requests_gauge(now).used;
    (used <= limit.div_ceil(2)).then_some((used, limit))
}

impl Scheduler {
    /// The first refusal of an episode on `pool`.
    pub(super) fn suspect_kin(&mut self, now: Now, pool: usize, events: &mut Vec<EventKind>) {
        let surprised = is_surprised(&self.pools[pool], now);
        self.pools[pool].surprised_at = surprised.map(|_| now.mono);
        let Some((used, limit)) = surprised else { return };
        let family = self.pools[pool].family;
        for member in 0..self.families[family].pools.len() {
            let other = self.families[family].pools[member];
            if other == pool {
                continue;
            }
            let together = self.pools[other].surprised_at.is_some_and(|at| now.mono.since(at) <= TOGETHER);
            let others = self.pools[other].requests_gauge(now).used;
            let pair = pair(pool, other);
            if !together && used + others < limit {
                // Refused, and not by the other's doing.
                self.kinship.pairs.remove(&pair);
                continue;
            }
            let suspicion = self.kinship.pairs.entry(pair).or_default();
            suspicion.explained += 1;
            let explained = suspicion.explained;
            if explained >= TELLING && !std::mem::replace(&mut suspicion.told, true) {
                let message = format!(
                    "{} and {} seem to share a quota: {} times in a row one was refused far below its own limit \
                     when the other had used the rest; give their keys the same project in keys.toml",
                    self.owner_of(pair.0),
                    self.owner_of(pair.1),
                    explained,
                );
                events.push(EventKind::Run { level: EventLevel::Warn, message });
            }
        }
    }

    /// `pool` has let a request through: where it and a suspected relative have let through more than one quota holds,
    /// they are two.
    pub(super) fn acquit_kin(&mut self, now: Now, pool: usize) {
        if self.kinship.pairs.is_empty() {
            return;
        }
        let admitted = |pool: &Pool| pool.requests_gauge(now).used.saturating_sub(u64::from(pool.in_flight));
        let pools = &self.pools;
        self.kinship.pairs.retain(|&(one, two), suspicion| {
            if suspicion.told || (one != pool && two != pool) {
                return true;
            }
            let limit = pools[pool].bounds.requests.known().unwrap_or(u64::MAX);
            admitted(&pools[one]) + admitted(&pools[two]) <= limit.saturating_mul(3) / 2 + 1
        });
    }

    /// The first key on a pool: who it is to the operator.
    fn owner_of(&self, pool: usize) -> &str {
        let route = self.pools[pool].routes.first();
        route.map_or("", |route| &self.keys[self.routes[route.index()].key].key.name)
    }
}
