//! The least of many keys that change one at a time: a tournament tree over ranks.
//!
//! Every inner node holds the lesser of its two children, so that the least is at the root and a change plays only
//! the matches on its way up: O(log n) to change a key, to take one out and to find the first least.

/// A rank that is out of the game.
const OUT: u64 = u64::MAX;

#[derive(Clone, Debug, Default)]
pub struct Tournament {
    /// By rank, whether it plays or not. Always less than [`OUT`].
    keys: Vec<u64>,
    /// The root is at 1, the children of `i` at `2i` and `2i + 1`, rank `r` at `leaves + r`.
    nodes: Vec<u64>,
    leaves: usize,
}

impl Tournament {
    /// With every rank playing.
    pub fn new(keys: Vec<u64>) -> Self {
        let leaves = keys.len().next_power_of_two();
        let mut nodes = vec![OUT; 2 * leaves];
        for (rank, key) in keys.iter().enumerate() {
            nodes[leaves + rank] = (*key).min(OUT - 1);
        }
        for node in (1..leaves).rev() {
            nodes[node] = nodes[2 * node].min(nodes[2 * node + 1]);
        }
        Self { keys, nodes, leaves }
    }

    pub fn key(&self, rank: usize) -> u64 {
        self.keys[rank]
    }

    /// Changes a key; a rank that is out stays out.
    pub fn set(&mut self, rank: usize, key: u64) {
        self.keys[rank] = key.min(OUT - 1);
        if self.nodes[self.leaves + rank] != OUT {
            self.play(rank, self.keys[rank]);
        }
    }

    pub fn take_out(&mut self, rank: usize) {
        self.play(rank, OUT);
    }

    pub fn put_in(&mut self, rank: usize) {
        self.play(rank, self.keys[rank]);
    }

    /// The rank with the least key; of several the lowest.
    pub fn least(&self) -> Option<usize> {
        let least = *self.nodes.get(1)?;
        if least == OUT {
            return None;
        }
        let mut node = 1;
        while node < self.leaves {
            node = 2 * node + usize::from(self.nodes[2 * node] != least);
        }
        Some(node - self.leaves)
    }

    fn play(&mut self, rank: usize, key: u64) {
        let mut node = self.leaves + rank;
        self.nodes[node] = key;
        while node > 1 {
            node /= 2;
            let winner = self.nodes[2 * node].min(self.nodes[2 * node + 1]);
            if self.nodes[node] == winner {
                break;
            }
            self.nodes[node] = winner;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_tournament_has_no_winner() {
        assert_eq!(Tournament::new(Vec::new()).least(), None);
    }

    #[test]
    fn it_agrees_with_a_plain_search() {
        for seed in 0..50 {
            let mut random = fastrand::Rng::with_seed(seed);
            let size = random.usize(1..70);
            let mut plain: Vec<(u64, bool)> = (0..size).map(|_| (random.u64(0..20), true)).collect();
            let mut tournament = Tournament::new(plain.iter().map(|(key, _)| *key).collect());
            for _ in 0..300 {
                let rank = random.usize(0..size);
                match random.u8(0..3) {
                    0 => {
                        plain[rank].0 = random.u64(0..20);
                        tournament.set(rank, plain[rank].0);
                    }
                    1 => {
                        plain[rank].1 = false;
                        tournament.take_out(rank);
                    }
                    _ => {
                        plain[rank].1 = true;
                        tournament.put_in(rank);
                    }
                }
                let playing = plain.iter().enumerate().filter(|(_, (_, plays))| *plays);
                let want = playing.min_by_key(|(rank, (key, _))| (*key, *rank)).map(|(rank, _)| rank);
                assert_eq!(tournament.least(), want, "seed {seed}");
            }
        }
    }
}
