//! Candidates with a key that changes, grouped by tier: finds the lowest key, or samples by the keys as weights.
//!
//! Each tier is a complete binary tree over its ranks. An inner node combines its two children, so the root combines
//! all ranks that are inserted. Inserting, removing and finding a rank, and changing its key, take O(log n).

use std::{fmt::Debug, marker::PhantomData, ops::Range};

use smallvec::SmallVec;

use super::selector::{CandidateIndex, Tiers};

/// The values of inner nodes, and the rank that a search from the root finds.
pub trait Combine: Debug + Send {
    /// The value of a removed rank. It changes no combination.
    const REMOVED: u64;

    fn combine(one: u64, two: u64) -> u64;

    /// The target of a search below a root with this value.
    fn target(root: u64, rng: &mut fastrand::Rng) -> u64;

    /// Whether the target is in the left child, and the target below the chosen child.
    fn descend(target: u64, left: u64) -> (bool, u64);
}

/// Finds the lowest key; among equals the lowest rank.
#[derive(Debug)]
pub struct Lowest;

impl Combine for Lowest {
    const REMOVED: u64 = u64::MAX;

    fn combine(one: u64, two: u64) -> u64 {
        one.min(two)
    }

    fn target(root: u64, _rng: &mut fastrand::Rng) -> u64 {
        root
    }

    fn descend(target: u64, left: u64) -> (bool, u64) {
        (left == target, target)
    }
}

/// Samples a rank with a probability proportional to its key.
#[derive(Debug)]
pub struct Sampled;

impl Combine for Sampled {
    const REMOVED: u64 = 0;

    fn combine(one: u64, two: u64) -> u64 {
        one + two
    }

    fn target(root: u64, rng: &mut fastrand::Rng) -> u64 {
        rng.u64(0..root)
    }

    fn descend(target: u64, left: u64) -> (bool, u64) {
        if target < left { (true, target) } else { (false, target - left) }
    }
}

#[derive(Debug)]
struct Tree<C> {
    /// By rank within the tier, whether removed or not.
    keys: Vec<u64>,
    /// The root is at 1, the children of `i` at `2i` and `2i + 1`, rank `r` at `leaves + r`.
    nodes: Vec<u64>,
    leaves: usize,
    combine: PhantomData<C>,
}

impl<C: Combine> Tree<C> {
    fn new(keys: Vec<u64>) -> Self {
        let leaves = keys.len().next_power_of_two();
        let mut nodes = vec![C::REMOVED; 2 * leaves];
        nodes[leaves..leaves + keys.len()].copy_from_slice(&keys);
        for node in (1..leaves).rev() {
            nodes[node] = C::combine(nodes[2 * node], nodes[2 * node + 1]);
        }
        Self { keys, nodes, leaves, combine: PhantomData }
    }

    fn update(&mut self, rank: usize, value: u64) {
        let mut node = self.leaves + rank;
        self.nodes[node] = value;
        while node > 1 {
            node /= 2;
            let combined = C::combine(self.nodes[2 * node], self.nodes[2 * node + 1]);
            if self.nodes[node] == combined {
                break;
            }
            self.nodes[node] = combined;
        }
    }

    /// The rank where a search for `target`, given the root's value, ends.
    fn find(&self, target: impl FnOnce(u64) -> u64) -> Option<usize> {
        let root = self.nodes[1];
        if root == C::REMOVED {
            return None;
        }
        let (mut node, mut target) = (1, target(root));
        while node < self.leaves {
            let (is_left, below) = C::descend(target, self.nodes[2 * node]);
            (node, target) = (2 * node + usize::from(!is_left), below);
        }
        Some(node - self.leaves)
    }
}

/// The trees of all tiers.
#[derive(Debug)]
pub struct TieredTree<C> {
    tiers: Tiers,
    trees: SmallVec<[Tree<C>; 4]>,
}

impl<C: Combine> TieredTree<C> {
    /// A tree with all ranks inserted.
    pub fn new(tiers: Tiers, keys: impl Iterator<Item = u64>) -> Self {
        let keys: Vec<u64> = keys.collect();
        let trees = tiers.iter().map(|ranks| Tree::new(keys[ranks.clone()].to_vec())).collect();
        Self { tiers, trees }
    }

    pub fn tier(&self, rank: usize) -> usize {
        self.tiers.iter().position(|ranks| rank < ranks.end).unwrap_or_default()
    }

    /// The ranks of the tier that this rank belongs to.
    pub fn tier_ranks(&self, rank: usize) -> Range<usize> {
        self.tiers[self.tier(rank)].clone()
    }

    /// The tree that this rank belongs to, and its rank there.
    fn tree_mut(&mut self, rank: usize) -> (&mut Tree<C>, usize) {
        let tier = self.tier(rank);
        (&mut self.trees[tier], rank - self.tiers[tier].start)
    }

    pub fn key(&self, rank: usize) -> u64 {
        let tier = self.tier(rank);
        self.trees[tier].keys[rank - self.tiers[tier].start]
    }

    fn find(&self, mut target: impl FnMut(u64) -> u64) -> Option<usize> {
        self.tiers.iter().zip(&self.trees).find_map(|(ranks, tree)| Some(ranks.start + tree.find(&mut target)?))
    }

    /// Changes a key. A removed rank stays removed.
    pub fn set(&mut self, rank: usize, key: u64) {
        let (tree, rank) = self.tree_mut(rank);
        tree.keys[rank] = key;
        if tree.nodes[tree.leaves + rank] != C::REMOVED {
            tree.update(rank, key);
        }
    }
}

impl TieredTree<Lowest> {
    /// The rank with the lowest key in the first tier that has any; among equals the lowest rank.
    pub fn lowest(&self) -> Option<usize> {
        self.find(|root| root)
    }
}

impl<C: Combine> CandidateIndex for TieredTree<C> {
    fn insert(&mut self, rank: usize) {
        let (tree, rank) = self.tree_mut(rank);
        tree.update(rank, tree.keys[rank]);
    }

    fn remove(&mut self, rank: usize) {
        let (tree, rank) = self.tree_mut(rank);
        tree.update(rank, C::REMOVED);
    }

    fn next(&self, rng: &mut fastrand::Rng) -> Option<usize> {
        self.find(|root| C::target(root, rng))
    }
}

#[cfg(test)]
mod tests {
    use smallvec::smallvec;

    use super::*;

    /// Changes, removes and inserts random ranks of two tiers. After each, `check` compares the tree with (rank, key)
    /// of what is inserted in the first tier that has any.
    fn change_at_random<C: Combine>(
        seed: u64,
        mut check: impl FnMut(&TieredTree<C>, &mut fastrand::Rng, &[(usize, u64)]),
    ) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (size, second) = (rng.usize(1..70), rng.usize(0..30));
        let mut plain: Vec<(u64, bool)> = (0..size + second).map(|_| (rng.u64(1..20), true)).collect();
        let tiers: Tiers = smallvec![0..size, size..size + second];
        let mut tree = TieredTree::new(tiers.clone(), plain.iter().map(|(key, _)| *key));
        for _ in 0..300 {
            let rank = rng.usize(0..plain.len());
            match rng.u8(0..4) {
                0 => plain[rank].0 = rng.u64(1..20),
                1 => plain[rank].1 = true,
                _ => plain[rank].1 = false,
            }
            tree.set(rank, plain[rank].0);
            if plain[rank].1 {
                tree.insert(rank);
            } else {
                tree.remove(rank);
            }
            let inserted = |ranks: &Range<usize>| {
                ranks.clone().filter(|rank| plain[*rank].1).map(|rank| (rank, plain[rank].0)).collect::<Vec<_>>()
            };
            let first = tiers.iter().map(inserted).find(|ranks| !ranks.is_empty());
            check(&tree, &mut rng, &first.unwrap_or_default());
        }
    }

    #[test]
    fn the_lowest_key_agrees_with_a_linear_search() {
        for seed in 0..50 {
            change_at_random::<Lowest>(seed, |tree, _, inserted| {
                let want = inserted.iter().min_by_key(|(rank, key)| (*key, *rank)).map(|(rank, _)| *rank);
                assert_eq!(tree.lowest(), want, "seed {seed}");
            });
        }
    }

    #[test]
    fn samples_follow_the_keys() {
        assert_eq!(TieredTree::<Sampled>::new(smallvec![0..0], [].into_iter()).next(&mut fastrand::Rng::new()), None);
        change_at_random::<Sampled>(1, |tree, rng, inserted| {
            let total: u64 = inserted.iter().map(|(_, key)| key).sum();
            // The sample for each draw, in order of rank.
            let of_ranks = inserted.iter().flat_map(|(rank, key)| (0..*key).map(move |_| *rank));
            let want = of_ranks.clone().nth(if total == 0 { 0 } else { rng.clone().u64(0..total) as usize });
            assert_eq!(tree.next(rng), want);
        });
    }
}
