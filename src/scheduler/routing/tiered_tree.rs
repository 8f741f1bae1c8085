//! Candidates ordered by tier, then by a value that changes: a min tree of combined keys.

use std::ops::Range;

use super::{
    min_tree::MinTree,
    selector::{CandidateIndex, Tiers},
};

/// A key in the tree is tier x `TIER_SPAN` plus the value. Larger values are cut down to `TIER_SPAN` - 1.
const TIER_SPAN: u64 = 1 << 60;

#[derive(Debug)]
pub struct TieredTree {
    tiers: Tiers,
    tree: MinTree,
}

impl TieredTree {
    /// A tree with all ranks inserted.
    pub fn new(tiers: Tiers, values: impl Iterator<Item = u64>) -> Self {
        let tier_of_ranks = tiers.iter().enumerate().flat_map(|(tier, ranks)| ranks.clone().map(move |_| tier));
        let tree = MinTree::new(tier_of_ranks.zip(values).map(|(tier, value)| tier_key(tier, value)).collect());
        Self { tiers, tree }
    }

    pub fn tier(&self, rank: usize) -> usize {
        self.tiers.iter().position(|ranks| rank < ranks.end).unwrap_or_default()
    }

    /// The ranks of the tier that this rank belongs to.
    pub fn tier_ranks(&self, rank: usize) -> Range<usize> {
        self.tiers[self.tier(rank)].clone()
    }

    pub fn value(&self, rank: usize) -> u64 {
        self.tree.key(rank) % TIER_SPAN
    }

    /// Changes a value. A removed rank stays removed.
    pub fn set(&mut self, rank: usize, value: u64) {
        self.tree.set(rank, tier_key(self.tier(rank), value));
    }

    /// The rank with the lowest value in the first tier that has any; among equals the lowest rank.
    pub fn min(&self) -> Option<usize> {
        self.tree.min()
    }
}

impl CandidateIndex for TieredTree {
    fn insert(&mut self, rank: usize) {
        self.tree.insert(rank);
    }

    fn remove(&mut self, rank: usize) {
        self.tree.remove(rank);
    }

    fn next(&self, _rng: &mut fastrand::Rng) -> Option<usize> {
        self.min()
    }
}

fn tier_key(tier: usize, value: u64) -> u64 {
    tier as u64 * TIER_SPAN + value.min(TIER_SPAN - 1)
}
