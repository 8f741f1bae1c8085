//! Drawing lots by weight among ranks that come and go: a Fenwick tree of sums.
//!
//! O(log n) to draw, and to change a weight.

use std::ops::Range;

#[derive(Clone, Debug, Default)]
pub struct Lottery {
    /// By rank, whether it is in the draw or not.
    weights: Vec<u64>,
    /// What each rank has in the draw.
    drawn: Vec<u64>,
    /// Sums over the draw, one-based as Fenwick trees are.
    sums: Vec<u64>,
}

impl Lottery {
    /// With every rank in the draw.
    pub fn new(weights: Vec<u64>) -> Self {
        let mut sums = vec![0; weights.len() + 1];
        for (rank, weight) in weights.iter().enumerate() {
            sums[rank + 1] += weight;
            let next = (rank + 1) + lowest_bit(rank + 1);
            if next < sums.len() {
                sums[next] += sums[rank + 1];
            }
        }
        Self { drawn: weights.clone(), weights, sums }
    }

    /// Changes a weight; a rank that is out of the draw stays out.
    pub fn set(&mut self, rank: usize, weight: u64) {
        if self.weights[rank] != weight {
            self.weights[rank] = weight;
            if self.drawn[rank] > 0 {
                self.change(rank, weight);
            }
        }
    }

    pub fn take_out(&mut self, rank: usize) {
        self.change(rank, 0);
    }

    pub fn put_in(&mut self, rank: usize) {
        self.change(rank, self.weights[rank]);
    }

    fn change(&mut self, rank: usize, weight: u64) {
        let was = std::mem::replace(&mut self.drawn[rank], weight);
        if was == weight {
            return;
        }
        let mut node = rank + 1;
        while node < self.sums.len() {
            self.sums[node] = self.sums[node] - was + weight;
            node += lowest_bit(node);
        }
    }

    /// The weight of all ranks below `end`.
    fn below(&self, end: usize) -> u64 {
        let (mut node, mut sum) = (end, 0);
        while node > 0 {
            sum += self.sums[node];
            node -= lowest_bit(node);
        }
        sum
    }

    /// One of `ranks`, as likely as it is heavy; `None` where none is in the draw.
    pub fn draw(&self, ranks: Range<usize>, random: &mut fastrand::Rng) -> Option<usize> {
        let (before, total) = (self.below(ranks.start), self.below(ranks.end));
        if total == before {
            return None;
        }
        let mut lot = random.u64(before..total);
        let mut node = 0;
        let mut step = self.sums.len().next_power_of_two();
        while step > 0 {
            if let Some(sum) = self.sums.get(node + step)
                && *sum <= lot
            {
                node += step;
                lot -= sum;
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
    fn lots_fall_by_weight_and_only_on_those_in_the_draw() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut lottery = Lottery::new(vec![1, 0, 5, 3, 7]);
        lottery.take_out(2);
        lottery.set(3, 2);
        lottery.set(2, 9);
        let mut counts = [0_u32; 5];
        for _ in 0..10_000 {
            counts[lottery.draw(0..5, &mut random).unwrap()] += 1;
        }
        assert_eq!((counts[1], counts[2]), (0, 0));
        for (count, share) in [(counts[0], 0.1), (counts[3], 0.2), (counts[4], 0.7)] {
            assert!((f64::from(count) / 10_000.0 - share).abs() < 0.02, "{counts:?}");
        }
        lottery.put_in(2);
        assert_eq!(lottery.draw(1..3, &mut random), Some(2));
    }

    #[test]
    fn an_empty_range_has_no_winner() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut lottery = Lottery::new(vec![4, 4, 4]);
        lottery.take_out(0);
        assert_eq!(lottery.draw(0..1, &mut random), None);
        assert_eq!(lottery.draw(0..0, &mut random), None);
        assert_eq!(Lottery::new(Vec::new()).draw(0..0, &mut random), None);
    }

    #[test]
    fn sums_stay_true_under_random_changes() {
        let mut random = fastrand::Rng::with_seed(2);
        let mut lottery = Lottery::new((0..37).collect());
        for _ in 0..2_000 {
            let rank = random.usize(0..37);
            match random.u8(0..3) {
                0 => lottery.set(rank, random.u64(1..50)),
                1 => lottery.take_out(rank),
                _ => lottery.put_in(rank),
            }
            let end = random.usize(0..=37);
            assert_eq!(lottery.below(end), lottery.drawn[..end].iter().sum::<u64>());
        }
    }
}
