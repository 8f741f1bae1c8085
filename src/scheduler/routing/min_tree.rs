//! The minimum of many keys that change one at a time: a tournament tree over ranks.
//!
//! Every inner node holds the smaller of its two children, so the root holds the minimum. Changing a key, removing a
//! rank and finding the first minimum take O(log n).

/// The key of a removed rank.
const REMOVED: u64 = u64::MAX;

#[derive(Clone, Debug, Default)]
pub struct MinTree {
    /// By rank, whether removed or not. Always less than [`REMOVED`].
    keys: Vec<u64>,
    /// The root is at 1, the children of `i` at `2i` and `2i + 1`, rank `r` at `leaves + r`.
    nodes: Vec<u64>,
    leaves: usize,
}

impl MinTree {
    /// A tree with all ranks inserted.
    pub fn new(keys: Vec<u64>) -> Self {
        let leaves = keys.len().next_power_of_two();
        let mut nodes = vec![REMOVED; 2 * leaves];
        for (rank, key) in keys.iter().enumerate() {
            nodes[leaves + rank] = (*key).min(REMOVED - 1);
        }
        for node in (1..leaves).rev() {
            nodes[node] = nodes[2 * node].min(nodes[2 * node + 1]);
        }
        Self { keys, nodes, leaves }
    }

    pub fn key(&self, rank: usize) -> u64 {
        self.keys[rank]
    }

    /// Changes a key. A removed rank stays removed.
    pub fn set(&mut self, rank: usize, key: u64) {
        self.keys[rank] = key.min(REMOVED - 1);
        if self.nodes[self.leaves + rank] != REMOVED {
            self.update(rank, self.keys[rank]);
        }
    }

    pub fn remove(&mut self, rank: usize) {
        self.update(rank, REMOVED);
    }

    pub fn insert(&mut self, rank: usize) {
        self.update(rank, self.keys[rank]);
    }

    /// The rank with the lowest key; among equals the lowest rank.
    pub fn min(&self) -> Option<usize> {
        let min_key = *self.nodes.get(1)?;
        if min_key == REMOVED {
            return None;
        }
        let mut node = 1;
        while node < self.leaves {
            node = 2 * node + usize::from(self.nodes[2 * node] != min_key);
        }
        Some(node - self.leaves)
    }

    fn update(&mut self, rank: usize, key: u64) {
        let mut node = self.leaves + rank;
        self.nodes[node] = key;
        while node > 1 {
            node /= 2;
            let smaller = self.nodes[2 * node].min(self.nodes[2 * node + 1]);
            if self.nodes[node] == smaller {
                break;
            }
            self.nodes[node] = smaller;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_tree_has_no_min() {
        assert_eq!(MinTree::new(Vec::new()).min(), None);
    }

    #[test]
    fn min_agrees_with_a_linear_search() {
        for seed in 0..50 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let size = rng.usize(1..70);
            let mut plain: Vec<(u64, bool)> = (0..size).map(|_| (rng.u64(0..20), true)).collect();
            let mut tree = MinTree::new(plain.iter().map(|(key, _)| *key).collect());
            for _ in 0..300 {
                let rank = rng.usize(0..size);
                match rng.u8(0..3) {
                    0 => {
                        plain[rank].0 = rng.u64(0..20);
                        tree.set(rank, plain[rank].0);
                    }
                    1 => {
                        plain[rank].1 = false;
                        tree.remove(rank);
                    }
                    _ => {
                        plain[rank].1 = true;
                        tree.insert(rank);
                    }
                }
                let inserted = plain.iter().enumerate().filter(|(_, (_, is_inserted))| *is_inserted);
                let want = inserted.min_by_key(|(rank, (key, _))| (*key, *rank)).map(|(rank, _)| rank);
                assert_eq!(tree.min(), want, "seed {seed}");
            }
        }
    }
}
