//! A latency histogram, shared by the running engine and the reports from the record, so that both show the same mean
//! and percentiles.

use serde::{Deserialize, Serialize};

/// Below this, each millisecond has its own bucket. Above it, each doubling of the latency is divided into 512 buckets,
/// so that a percentile is exact to 0.2 %.
const EXACT_BELOW_MS: u64 = 1_024;

/// A histogram of milliseconds. It grows with the longest latency: 28 KiB for one hour.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(from = "StoredHistogram", into = "StoredHistogram")]
pub struct LatencyHistogram {
    buckets: Vec<u32>,
    count: u64,
    total_ms: u64,
}

/// The total in milliseconds, and the number and count of each bucket that isn't empty.
type StoredHistogram = (u64, Vec<(usize, u32)>);

impl From<StoredHistogram> for LatencyHistogram {
    fn from((total_ms, counts): StoredHistogram) -> Self {
        let mut histogram = Self { total_ms, ..Self::default() };
        for (bucket, count) in counts {
            // No latency has a higher bucket.
            let bucket = bucket.min(bucket_of(u64::MAX));
            histogram.buckets.resize(histogram.buckets.len().max(bucket + 1), 0);
            histogram.buckets[bucket] = count;
            histogram.count += u64::from(count);
        }
        histogram
    }
}

impl From<LatencyHistogram> for StoredHistogram {
    fn from(histogram: LatencyHistogram) -> Self {
        let counts = histogram.buckets.into_iter().enumerate().filter(|(_, count)| *count > 0);
        (histogram.total_ms, counts.collect())
    }
}

impl LatencyHistogram {
    pub fn record(&mut self, ms: u64) {
        let bucket = bucket_of(ms);
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] = self.buckets[bucket].saturating_add(1);
        self.count += 1;
        self.total_ms = self.total_ms.saturating_add(ms);
    }

    pub fn merge(&mut self, other: &Self) {
        if self.buckets.len() < other.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0);
        }
        for (count, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *count = count.saturating_add(*more);
        }
        self.count += other.count;
        self.total_ms = self.total_ms.saturating_add(other.total_ms);
    }

    pub const fn total_ms(&self) -> u64 {
        self.total_ms
    }

    pub fn mean_ms(&self) -> Option<u64> {
        self.total_ms.checked_div(self.count)
    }

    /// The smallest latency that `percent` percent of all latencies don't exceed (nearest rank), rounded down to its
    /// bucket.
    pub fn percentile_ms(&self, percent: u64) -> Option<u64> {
        let rank = (self.count * percent).div_ceil(100).max(1);
        let mut counted = 0;
        let bucket = self.buckets.iter().position(|count| {
            counted += u64::from(*count);
            counted >= rank
        })?;
        Some(bucket_start(bucket as u64))
    }
}

/// The bucket of a latency. Above [`EXACT_BELOW_MS`], the leading binary digits choose the bucket within its doubling.
const fn bucket_of(ms: u64) -> usize {
    let halvings = count_halvings(ms);
    (halvings * (EXACT_BELOW_MS / 2) + (ms >> halvings)) as usize
}

/// The smallest latency of a bucket, in milliseconds.
const fn bucket_start(bucket: u64) -> u64 {
    let halvings = (bucket / (EXACT_BELOW_MS / 2)).saturating_sub(1);
    (bucket - halvings * (EXACT_BELOW_MS / 2)) << halvings
}

/// How often `ms` must be halved to be below [`EXACT_BELOW_MS`].
const fn count_halvings(ms: u64) -> u64 {
    (u64::BITS - ms.leading_zeros()).saturating_sub(EXACT_BELOW_MS.trailing_zeros()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latencies(times: &[(u64, u64)]) -> LatencyHistogram {
        let mut latencies = LatencyHistogram::default();
        for (ms, times) in times {
            (0..*times).for_each(|_| latencies.record(*ms));
        }
        latencies
    }

    #[test]
    fn percentiles_are_the_nearest_rank() {
        // (latency, times), then mean, p50, p95.
        let cases = [
            (vec![], [None, None, None]),
            (vec![(0, 1)], [Some(0), Some(0), Some(0)]),
            (vec![(700, 1)], [Some(700), Some(700), Some(700)]),
            (vec![(100, 19), (2_000, 1)], [Some(195), Some(100), Some(100)]),
            (vec![(100, 18), (2_000, 2)], [Some(290), Some(100), Some(2_000)]),
        ];
        for (times, want) in cases {
            let latencies = latencies(&times);
            let found = [latencies.mean_ms(), latencies.percentile_ms(50), latencies.percentile_ms(95)];
            assert_eq!(found, want, "{times:?}");
        }
    }

    #[test]
    fn buckets_are_contiguous_and_exact_to_a_five_hundredth() {
        let mut last = 0;
        for ms in (0..5_000).chain((5_000..5_000_000).step_by(997)) {
            let (step, least) = (bucket_of(ms), bucket_start(bucket_of(ms) as u64));
            assert!(least <= ms && (ms - least) * 500 <= ms, "{ms} is taken for {least}");
            assert!(ms >= EXACT_BELOW_MS || least == ms);
            assert!(step >= last && (ms >= 5_000 || step <= last + 1), "{ms}");
            last = step;
        }
    }

    #[test]
    fn merging_adds_the_counts() {
        let (mut few, many) = (latencies(&[(5, 3)]), latencies(&[(5, 1), (90_000, 2)]));
        few.merge(&many);
        assert_eq!(few, latencies(&[(5, 4), (90_000, 2)]));
        assert_eq!(few.percentile_ms(95), Some(bucket_start(bucket_of(90_000) as u64)));
    }
}
