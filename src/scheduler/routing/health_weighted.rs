//! Strategy `health`: a random candidate of the first tier that has any, weighted by health. A selection takes O(log n)
//! in a Fenwick tree of weights.

use super::{
    selector::{CandidateIndex, RouteSelector, RouteStats, Tiers},
    weighted_sampler::WeightedSampler,
};

#[derive(Debug)]
pub struct HealthWeighted {
    tiers: Tiers,
    sampler: WeightedSampler,
}

impl HealthWeighted {
    pub fn new(tiers: Tiers, stats: &[RouteStats]) -> Self {
        let weights = stats.iter().map(|route_stats| route_stats.health_weight.max(1)).collect();
        Self { tiers, sampler: WeightedSampler::new(weights) }
    }
}

impl CandidateIndex for HealthWeighted {
    fn insert(&mut self, rank: usize) {
        self.sampler.insert(rank);
    }

    fn remove(&mut self, rank: usize) {
        self.sampler.remove(rank);
    }

    fn next(&self, rng: &mut fastrand::Rng) -> Option<usize> {
        self.tiers.iter().find_map(|tier| self.sampler.sample(tier.clone(), rng))
    }
}

impl RouteSelector for HealthWeighted {
    fn uses_stats(&self) -> bool {
        true
    }

    fn index(&mut self) -> Option<&mut dyn CandidateIndex> {
        Some(self)
    }

    fn update_stats(&mut self, rank: usize, stats: RouteStats) {
        self.sampler.set(rank, stats.health_weight.max(1));
    }
}
