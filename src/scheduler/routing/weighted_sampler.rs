//! Weighted random sampling among ranks that are inserted and removed: a Fenwick tree of sums.
//!
//! Sampling and changing a weight take O(log n).

use std::ops::Range;

#[derive(Clone, Debug, Default)]
pub struct WeightedSampler {
    /// By rank, whether the rank is active or not.
    weights: Vec<u64>,
    /// By rank: its weight if active, otherwise 0.
    active_weights: Vec<u64>,
    /// Sums of active weights, one-based as is usual for Fenwick trees.
    sums: Vec<u64>,
}

impl WeightedSampler {
    /// A sampler with all ranks active.
    pub fn new(weights: Vec<u64>) -> Self {
        let mut sums = vec![0; weights.len() + 1];
        for (rank, weight) in weights.iter().enumerate() {
            sums[rank + 1] += weight;
            let next = (rank + 1) + lowest_bit(rank + 1);
            if next < sums.len() {
                sums[next] += sums[rank + 1];
            }
        }
        Self { active_weights: weights.clone(), weights, sums }
    }

    /// Changes a weight. A removed rank stays removed.
    pub fn set(&mut self, rank: usize, weight: u64) {
        if self.weights[rank] != weight {
            self.weights[rank] = weight;
            if self.active_weights[rank] > 0 {
                self.set_active(rank, weight);
            }
        }
    }

    pub fn remove(&mut self, rank: usize) {
        self.set_active(rank, 0);
    }

    pub fn insert(&mut self, rank: usize) {
        self.set_active(rank, self.weights[rank]);
    }

    fn set_active(&mut self, rank: usize, weight: u64) {
        let previous = std::mem::replace(&mut self.active_weights[rank], weight);
        if previous == weight {
            return;
        }
        let mut node = rank + 1;
        while node < self.sums.len() {
            self.sums[node] = self.sums[node] - previous + weight;
            node += lowest_bit(node);
        }
    }

    /// The sum of the active weights of all ranks below `end`.
    fn sum_below(&self, end: usize) -> u64 {
        let (mut node, mut sum) = (end, 0);
        while node > 0 {
            sum += self.sums[node];
            node -= lowest_bit(node);
        }
        sum
    }

    /// A random rank of `ranks`, with probability proportional to its weight; `None` if none is active.
    pub fn sample(&self, ranks: Range<usize>, rng: &mut fastrand::Rng) -> Option<usize> {
        let (before, total) = (self.sum_below(ranks.start), self.sum_below(ranks.end));
        if total == before {
            return None;
        }
        let mut target = rng.u64(before..total);
        let mut node = 0;
        let mut step = self.sums.len().next_power_of_two();
        while step > 0 {
            if let Some(sum) = self.sums.get(node + step)
                && *sum <= target
            {
                node += step;
                target -= sum;
            }
            step /= 2;
        }
        Some(node)
    }
}

const fn lowest_bit(number: usize) -> usize {
    number & number.wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_follow_the_weights_of_active_ranks() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut sampler = WeightedSampler::new(vec![1, 0, 5, 3, 7]);
        sampler.remove(2);
        sampler.set(3, 2);
        sampler.set(2, 9);
        let mut counts = [0_u32; 5];
        for _ in 0..10_000 {
            counts[sampler.sample(0..5, &mut rng).unwrap()] += 1;
        }
        assert_eq!((counts[1], counts[2]), (0, 0));
        for (count, share) in [(counts[0], 0.1), (counts[3], 0.2), (counts[4], 0.7)] {
            assert!((f64::from(count) / 10_000.0 - share).abs() < 0.02, "{counts:?}");
        }
        sampler.insert(2);
        assert_eq!(sampler.sample(1..3, &mut rng), Some(2));
    }

    #[test]
    fn an_empty_range_has_no_sample() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut sampler = WeightedSampler::new(vec![4, 4, 4]);
        sampler.remove(0);
        assert_eq!(sampler.sample(0..1, &mut rng), None);
        assert_eq!(sampler.sample(0..0, &mut rng), None);
        assert_eq!(WeightedSampler::new(Vec::new()).sample(0..0, &mut rng), None);
    }

    #[test]
    fn sums_stay_correct_under_random_changes() {
        let mut rng = fastrand::Rng::with_seed(2);
        let mut sampler = WeightedSampler::new((0..37).collect());
        for _ in 0..2_000 {
            let rank = rng.usize(0..37);
            match rng.u8(0..3) {
                0 => sampler.set(rank, rng.u64(1..50)),
                1 => sampler.remove(rank),
                _ => sampler.insert(rank),
            }
            let end = rng.usize(0..=37);
            assert_eq!(sampler.sum_below(end), sampler.active_weights[..end].iter().sum::<u64>());
        }
    }
}
