//! Strategy `fastest`: the candidate with the lowest expected latency. From time to time another one is used, to
//! measure it again. A selection takes O(log n) in a min tree of latencies.

use super::{
    selector::{CandidateIndex, RouteSearch, RouteSelector, RouteStats, SearchInput, Tiers},
    tiered_tree::TieredTree,
};

#[derive(Debug)]
pub struct Fastest {
    latencies: TieredTree,
    /// One search out of this many tries the next route instead of the fastest.
    explore_every: u32,
    last_explored: usize,
}

impl Fastest {
    pub fn new(tiers: Tiers, stats: &[RouteStats], explore_every: u32) -> Self {
        let latencies = TieredTree::new(tiers, stats.iter().map(|route_stats| route_stats.latency_micros));
        Self { latencies, explore_every: explore_every.max(1), last_explored: 0 }
    }
}

impl RouteSelector for Fastest {
    fn uses_stats(&self) -> bool {
        true
    }

    fn index(&mut self) -> Option<&mut dyn CandidateIndex> {
        Some(&mut self.latencies)
    }

    fn update_stats(&mut self, rank: usize, stats: RouteStats) {
        self.latencies.set(rank, stats.latency_micros);
    }

    fn start_search(&mut self, input: &SearchInput<'_>, rng: &mut fastrand::Rng) -> RouteSearch {
        if rng.u32(0..self.explore_every) > 0 {
            return RouteSearch::default();
        }
        let Some(fastest) = self.latencies.min() else { return RouteSearch::default() };
        let tier = self.latencies.tier_ranks(fastest);
        let ready_from = |rank| input.ready.first_from(rank).filter(|rank| tier.contains(rank));
        let explored = ready_from(self.last_explored + 1).or_else(|| ready_from(tier.start));
        self.last_explored = explored.unwrap_or_default();
        RouteSearch::starting_with(explored)
    }

    fn first_candidate(&self, _input: &SearchInput<'_>) -> Option<usize> {
        self.latencies.min()
    }
}
