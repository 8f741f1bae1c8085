//! Strategy `round_robin`: the first ready candidate of a tier after the one used last. A selection reads at most n/64
//! words of a bit set.

use std::ops::Range;

use smallvec::SmallVec;

use super::selector::{RouteSelector, RouteStats, Tiers};

#[derive(Debug)]
pub struct RoundRobin {
    /// By tier: its ranks, and the rank after the one used last.
    tiers: SmallVec<[(Range<usize>, usize); 4]>,
}

impl RoundRobin {
    pub fn new(tiers: &Tiers, stats: &[RouteStats]) -> Self {
        let with_next = |ranks: &Range<usize>| {
            let used = ranks.clone().filter(|rank| stats[*rank].last_use_number > 0);
            let last = used.max_by_key(|rank| stats[*rank].last_use_number);
            (ranks.clone(), last.map_or(ranks.start, |rank| rank + 1))
        };
        Self { tiers: tiers.iter().map(with_next).collect() }
    }
}

impl RouteSelector for RoundRobin {
    /// Two ranges per tier: from the next rank to the end, then from the start to the next rank.
    fn range(&self, index: usize) -> Option<Range<usize>> {
        let (ranks, next) = self.tiers.get(index / 2)?;
        Some(if index.is_multiple_of(2) { *next..ranks.end } else { ranks.start..*next })
    }

    fn on_used(&mut self, rank: usize, _is_own_use: bool) {
        if let Some((_, next)) = self.tiers.iter_mut().find(|(ranks, _)| ranks.contains(&rank)) {
            *next = rank + 1;
        }
    }
}
