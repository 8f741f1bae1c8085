//! Average latency of recent answers, with older answers counting less.

use std::time::Duration;

use crate::domain::MonoTime;

/// The smallest weight of a new answer.
const MIN_SAMPLE_WEIGHT: f64 = 0.2;

/// After this long without an answer, a new answer counts as much as the average so far.
const HALF_WEIGHT_AFTER: Duration = Duration::from_secs(60);

/// Usual latency assumed for a failure before the model's first answer.
const DEFAULT_LATENCY: Duration = Duration::from_secs(10);

/// The average in microseconds, and the time of the last answer.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct LatencyAverage(Option<(f64, MonoTime)>);

impl LatencyAverage {
    pub fn mean_micros(self) -> Option<f64> {
        self.0.map(|(mean, _)| mean)
    }

    /// Adds an answer. The longer ago the last answer, the larger the weight of this one, so that a slow start is soon
    /// forgotten.
    pub fn record(&mut self, now: MonoTime, latency: Duration) {
        let latency = latency.as_micros() as f64;
        let mean = self.0.map_or(latency, |(mean, at)| {
            let silence = now.since(at).as_secs_f64();
            let weight = MIN_SAMPLE_WEIGHT.max(silence / (silence + HALF_WEIGHT_AFTER.as_secs_f64()));
            mean + (latency - mean) * weight
        });
        self.0 = Some((mean, now));
    }

    /// Adds a provider error. The item has to be sent again, so the error counts as at least twice the usual latency,
    /// however fast it came.
    pub fn record_failure(&mut self, now: MonoTime, latency: Duration, model_average: Self) {
        let usual = model_average.mean_micros().map_or(DEFAULT_LATENCY, |mean| Duration::from_micros(mean as u64));
        self.record(now, latency.max(usual * 2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> MonoTime {
        MonoTime(seconds * 1_000_000)
    }

    #[test]
    fn a_slow_start_is_forgotten_after_a_silence() {
        let mut latency = LatencyAverage::default();
        latency.record(at(0), Duration::from_secs(30));
        latency.record(at(600), Duration::from_secs(1));
        assert!(latency.mean_micros().unwrap() < 4_000_000.0, "{latency:?}");
    }

    #[test]
    fn one_slow_answer_among_many_changes_little() {
        let mut latency = LatencyAverage::default();
        for second in 0..10 {
            latency.record(at(second), Duration::from_secs(1));
        }
        latency.record(at(10), Duration::from_secs(11));
        assert_eq!(latency.mean_micros(), Some(3_000_000.0));
    }

    #[test]
    fn a_failure_counts_as_at_least_twice_the_usual_latency() {
        let (mut model, mut route) = (LatencyAverage::default(), LatencyAverage::default());
        route.record_failure(at(0), Duration::from_millis(5), model);
        assert_eq!(route.mean_micros(), Some(20_000_000.0));
        model.record(at(0), Duration::from_secs(1));
        let mut route = LatencyAverage::default();
        route.record_failure(at(1), Duration::from_millis(5), model);
        assert_eq!(route.mean_micros(), Some(2_000_000.0));
    }
}
