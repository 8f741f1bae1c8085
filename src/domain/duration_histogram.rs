//! A histogram of durations with a few fixed buckets, as monitoring systems use it. [`super::latency`] has the one from
//! which percentiles are computed.

use std::time::Duration;

/// Upper bounds of the histogram of latencies, in milliseconds. Stored sums are counted by them: other bounds need another
/// format of the sums.
pub const LATENCY_BOUNDS_MS: &[u64] =
    &[100, 250, 500, 1_000, 2_500, 5_000, 10_000, 20_000, 30_000, 60_000, 120_000, 300_000, 600_000];

/// The bucket of a latency in a histogram with [`LATENCY_BOUNDS_MS`].
pub fn latency_bucket(latency: Duration) -> usize {
    bucket_of(LATENCY_BOUNDS_MS, latency)
}

fn bucket_of(bounds_ms: &[u64], duration: Duration) -> usize {
    bounds_ms.partition_point(|bound| Duration::from_millis(*bound) < duration)
}

/// The counts of durations by their upper bounds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DurationHistogram {
    /// Upper bounds in milliseconds, inclusive and ascending.
    bounds_ms: &'static [u64],
    /// By bound, and at the end those above the last bound.
    counts: Vec<u64>,
    sum: Duration,
}

impl DurationHistogram {
    pub fn new(bounds_ms: &'static [u64]) -> Self {
        Self { bounds_ms, counts: vec![0; bounds_ms.len() + 1], sum: Duration::ZERO }
    }

    pub fn record(&mut self, duration: Duration) {
        self.counts[bucket_of(self.bounds_ms, duration)] += 1;
        self.sum = self.sum.saturating_add(duration);
    }

    /// Adds durations that were counted by the same bounds, and their sum.
    pub fn add_counts(&mut self, counts: &[u64], sum: Duration) {
        self.counts.iter_mut().zip(counts).for_each(|(count, more)| *count += more);
        self.sum = self.sum.saturating_add(sum);
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub const fn sum(&self) -> Duration {
        self.sum
    }

    /// The buckets: their upper bounds in seconds, ascending, the last one infinite, and the count of each alone.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = self.bounds_ms.iter().map(|ms| *ms as f64 / 1_000.0).chain([f64::INFINITY]);
        bounds.zip(self.counts.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let mut histogram = DurationHistogram::new(&[100, 250]);
        for ms in [0, 100, 101, 250, 251, 9_000] {
            histogram.record(Duration::from_millis(ms));
        }
        histogram.record(Duration::from_micros(100_001));
        assert_eq!(histogram.buckets().collect::<Vec<_>>(), [(0.1, 2), (0.25, 3), (f64::INFINITY, 2)]);
        assert_eq!((histogram.count(), histogram.sum()), (7, Duration::from_micros(9_802_001)));
    }
}
