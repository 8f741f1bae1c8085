//! Strategy `least_recently_used`: the candidate that has not been used for the longest time. A selection takes
//! O(log n) in a min tree of last uses.

use super::{
    selector::{CandidateIndex, RouteSelector, RouteStats, SearchInput, Tiers},
    tiered_tree::TieredTree,
};

#[derive(Debug)]
pub struct LeastRecentlyUsed {
    last_uses: TieredTree,
}

impl LeastRecentlyUsed {
    pub fn new(tiers: Tiers, stats: &[RouteStats]) -> Self {
        Self { last_uses: TieredTree::new(tiers, stats.iter().map(|route_stats| route_stats.last_use_number)) }
    }
}

impl RouteSelector for LeastRecentlyUsed {
    fn uses_stats(&self) -> bool {
        true
    }

    fn index(&mut self) -> Option<&mut dyn CandidateIndex> {
        Some(&mut self.last_uses)
    }

    fn update_stats(&mut self, rank: usize, stats: RouteStats) {
        self.last_uses.set(rank, stats.last_use_number);
    }

    fn first_candidate(&self, _input: &SearchInput<'_>) -> Option<usize> {
        self.last_uses.min()
    }
}
