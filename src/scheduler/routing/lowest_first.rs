//! Strategies `fastest` and `least_recently_used`: the candidate whose measurement is lowest. Under `fastest`, another
//! one is used from time to time, to measure it again. A selection takes O(log n) in a tree of the measurements.

use super::{
    selector::{CandidateIndex, RouteSearch, RouteSelector, RouteStats, SearchInput, Tiers},
    tiered_tree::{Lowest, TieredTree},
};

#[derive(Debug)]
pub struct LowestFirst {
    values: TieredTree<Lowest>,
    value_of: fn(&RouteStats) -> u64,
    /// One search out of this many tries the next route instead of the lowest; `None`: none does.
    explore_every: Option<u32>,
    last_explored: usize,
}

impl LowestFirst {
    /// Expected latency decides.
    pub fn fastest(tiers: Tiers, stats: &[RouteStats], explore_every: u32) -> Self {
        Self::new(tiers, stats, |stats| stats.latency_micros, Some(explore_every.max(1)))
    }

    /// The time since the last use decides.
    pub fn least_recently_used(tiers: Tiers, stats: &[RouteStats]) -> Self {
        Self::new(tiers, stats, |stats| stats.last_use_number, None)
    }

    fn new(tiers: Tiers, stats: &[RouteStats], value_of: fn(&RouteStats) -> u64, explore_every: Option<u32>) -> Self {
        Self { values: TieredTree::new(tiers, stats.iter().map(value_of)), value_of, explore_every, last_explored: 0 }
    }
}

impl RouteSelector for LowestFirst {
    fn uses_stats(&self) -> bool {
        true
    }

    fn index(&mut self) -> Option<&mut dyn CandidateIndex> {
        Some(&mut self.values)
    }

    fn update_stats(&mut self, rank: usize, stats: RouteStats) {
        self.values.set(rank, (self.value_of)(&stats));
    }

    fn start_search(&mut self, input: &SearchInput<'_>, rng: &mut fastrand::Rng) -> RouteSearch {
        if self.explore_every.is_none_or(|every| rng.u32(0..every) > 0) {
            return RouteSearch::default();
        }
        let Some(lowest) = self.values.lowest() else { return RouteSearch::default() };
        let tier = self.values.tier_ranks(lowest);
        let ready_from = |rank| input.ready.first_from(rank).filter(|rank| tier.contains(rank));
        let explored = ready_from(self.last_explored + 1).or_else(|| ready_from(tier.start));
        self.last_explored = explored.unwrap_or_default();
        RouteSearch::starting_with(explored)
    }

    fn first_candidate(&self, _input: &SearchInput<'_>) -> Option<usize> {
        self.values.lowest()
    }
}
