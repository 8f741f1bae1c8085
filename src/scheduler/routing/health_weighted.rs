//! Strategy `health`: a random candidate of the first tier that has any, weighted by health. A selection takes O(log n)
//! in a tree of weights.

use super::{
    selector::{CandidateIndex, RouteSelector, RouteStats, Tiers},
    tiered_tree::{Sampled, TieredTree},
};

#[derive(Debug)]
pub struct HealthWeighted {
    weights: TieredTree<Sampled>,
}

impl HealthWeighted {
    pub fn new(tiers: Tiers, stats: &[RouteStats]) -> Self {
        Self { weights: TieredTree::new(tiers, stats.iter().map(|stats| stats.health_weight.max(1))) }
    }
}

impl RouteSelector for HealthWeighted {
    fn uses_stats(&self) -> bool {
        true
    }

    fn index(&mut self) -> Option<&mut dyn CandidateIndex> {
        Some(&mut self.weights)
    }

    fn update_stats(&mut self, rank: usize, stats: RouteStats) {
        self.weights.set(rank, stats.health_weight.max(1));
    }
}
