//! Strategy `weighted`: stride scheduling. One use advances a route's virtual time, less so for a heavier route, and
//! the route with the lowest virtual time comes next. First uses are spread by the golden ratio, so that routes of
//! equal weight are not used in rank order. A selection takes O(log n) in a tree of virtual times.

use super::{
    selector::{CandidateIndex, RouteSelector, RouteStats, SearchInput, Tiers},
    tiered_tree::{Lowest, TieredTree},
};

/// Virtual time of one use of the heaviest route.
const BASE_STRIDE: u64 = 1 << 16;

/// The largest virtual time of one use. It limits the ratio of two weights that has an effect.
const MAX_STRIDE: u64 = 1 << 48;

#[derive(Debug)]
pub struct Weighted {
    virtual_times: TieredTree<Lowest>,
    /// By rank: the virtual time of one use.
    strides: Vec<u64>,
    /// By tier: the current virtual time. A route that was parked starts from it again, so that it does not catch up on
    /// missed uses.
    virtual_now: [u64; 4],
}

impl Weighted {
    pub fn new(tiers: Tiers, stats: &[RouteStats]) -> Self {
        let heaviest = stats.iter().map(|route_stats| route_stats.weight).max().unwrap_or(1).max(1);
        let stride = |route_stats: &RouteStats| {
            let times = heaviest.saturating_mul(BASE_STRIDE) / route_stats.weight.max(1);
            times.clamp(1, MAX_STRIDE)
        };
        let strides: Vec<u64> = stats.iter().map(stride).collect();
        let first_time = |(rank, stride): (usize, &u64)| {
            let phase = (rank as f64 * 0.618_033_988_749_895).fract();
            (*stride as f64 * phase) as u64
        };
        let virtual_times = TieredTree::new(tiers, strides.iter().enumerate().map(first_time));
        Self { virtual_times, strides, virtual_now: [0; 4] }
    }

    /// The virtual time of a route, but not before the current one of its tier.
    fn start_time(&self, rank: usize) -> u64 {
        self.virtual_times.key(rank).max(self.virtual_now[self.virtual_times.tier(rank)])
    }
}

impl RouteSelector for Weighted {
    fn index(&mut self) -> Option<&mut dyn CandidateIndex> {
        Some(&mut self.virtual_times)
    }

    fn unpark(&mut self, rank: usize) {
        self.virtual_times.set(rank, self.start_time(rank));
        self.virtual_times.insert(rank);
    }

    fn on_used(&mut self, rank: usize, is_own_use: bool) {
        if is_own_use {
            let start = self.start_time(rank);
            self.virtual_times.set(rank, start.saturating_add(self.strides[rank]));
            self.virtual_now[self.virtual_times.tier(rank)] = start;
        }
    }

    fn first_candidate(&self, _input: &SearchInput<'_>) -> Option<usize> {
        self.virtual_times.lowest()
    }
}
