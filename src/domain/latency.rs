//! How long answers took, counted so that whoever asks for a mean or a percentile gets the same one: the run under way,
//! and the record of it.

/// Milliseconds are told apart one by one below this; above it in as many steps to each doubling as there are in the
/// one below it, so that a percentile is right to within 0.2 %.
const EXACT: u64 = 1_024;

/// A histogram of milliseconds, as large as the longest of them wants: 28 KiB at an hour.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Latencies {
    times: Vec<u32>,
    count: u64,
    total_ms: u64,
}

impl Latencies {
    pub fn record(&mut self, ms: u64) {
        let step = step_of(ms);
        if self.times.len() <= step {
            self.times.resize(step + 1, 0);
        }
        self.times[step] = self.times[step].saturating_add(1);
        self.count += 1;
        self.total_ms = self.total_ms.saturating_add(ms);
    }

    pub fn add(&mut self, other: &Self) {
        if self.times.len() < other.times.len() {
            self.times.resize(other.times.len(), 0);
        }
        for (times, more) in self.times.iter_mut().zip(&other.times) {
            *times = times.saturating_add(*more);
        }
        self.count += other.count;
        self.total_ms = self.total_ms.saturating_add(other.total_ms);
    }

    pub fn mean_ms(&self) -> Option<u64> {
        self.total_ms.checked_div(self.count)
    }

    /// The smallest latency that `percent` of all did not exceed (nearest rank).
    pub fn percentile_ms(&self, percent: u64) -> Option<u64> {
        let rank = (self.count * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let step = self.times.iter().position(|times| {
            seen += u64::from(*times);
            seen >= rank
        })?;
        Some(least_of(step as u64))
    }
}

/// Above [`EXACT`] the leading digits, in base two, of the milliseconds, after so many steps as lie below them.
const fn step_of(ms: u64) -> usize {
    let cut = doublings(ms);
    (cut * (EXACT / 2) + (ms >> cut)) as usize
}

/// The least milliseconds of a step.
const fn least_of(step: u64) -> u64 {
    let cut = (step / (EXACT / 2)).saturating_sub(1);
    (step - cut * (EXACT / 2)) << cut
}

/// How often `ms` has to be halved to be below [`EXACT`].
const fn doublings(ms: u64) -> u64 {
    (u64::BITS - ms.leading_zeros()).saturating_sub(EXACT.trailing_zeros()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latencies(times: &[(u64, u64)]) -> Latencies {
        let mut latencies = Latencies::default();
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
    fn steps_follow_each_other_and_are_as_narrow_as_promised() {
        let mut last = 0;
        for ms in (0..5_000).chain((5_000..5_000_000).step_by(997)) {
            let (step, least) = (step_of(ms), least_of(step_of(ms) as u64));
            assert!(least <= ms && (ms - least) * 500 <= ms, "{ms} is taken for {least}");
            assert!(ms >= EXACT || least == ms);
            assert!(step >= last && (ms >= 5_000 || step <= last + 1), "{ms}");
            last = step;
        }
    }

    #[test]
    fn those_of_two_are_added_up() {
        let (mut few, many) = (latencies(&[(5, 3)]), latencies(&[(5, 1), (90_000, 2)]));
        few.add(&many);
        assert_eq!(few, latencies(&[(5, 4), (90_000, 2)]));
        assert_eq!(few.percentile_ms(95), Some(least_of(step_of(90_000) as u64)));
    }
}
