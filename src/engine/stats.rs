//! What is counted over the whole run: successes, failures, tokens, money, latency. Everything in bounded space.

use std::{collections::VecDeque, time::Duration};

use crate::domain::{Money, Mono, Outcome, Usage};

/// Counts of one key, model or route.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub ok: u64,
    pub failed: u64,
    pub usage: Usage,
    pub cost: Money,
    pub latencies: Latencies,
    /// The last failure in the provider's words.
    pub last_error: Option<String>,
}

impl Tally {
    pub fn count(&mut self, outcome: Outcome, usage: Usage, cost: Money, latency: Duration) {
        if outcome.is_answered() {
            self.ok += 1;
            self.latencies.record(latency);
        } else if !outcome.is_nobodys() {
            self.failed += 1;
        }
        self.usage.input_tokens += usage.input_tokens;
        self.usage.output_tokens += usage.output_tokens;
        self.usage.thinking_tokens += usage.thinking_tokens;
        self.cost += cost;
    }
}

/// How long processes have worked on the run, those before this one included. A run that rests is not worked on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Worked {
    so_far: Duration,
    since: Option<Mono>,
}

impl Worked {
    pub const fn resting(so_far: Duration) -> Self {
        Self { so_far, since: None }
    }

    pub const fn resumed(so_far: Duration, now: Mono) -> Self {
        Self { so_far, since: Some(now) }
    }

    pub fn span(&self, now: Mono) -> Duration {
        self.so_far + self.since.map_or(Duration::ZERO, |since| now.since(since))
    }

    pub fn rest(&mut self, now: Mono) {
        *self = Self { so_far: self.span(now), since: None };
    }

    pub fn go_on(&mut self, now: Mono) {
        self.since.get_or_insert(now);
    }
}

/// Sub-divisions of each doubling: a percentile is right to within about 4 %.
const STEPS: f64 = 16.0;
/// 22 doublings of a millisecond: up to 70 minutes, more than an attempt may take; longer ones share the last bucket.
const BUCKETS: usize = 22 * 16 + 1;

/// A histogram of latencies in logarithmic buckets.
#[derive(Clone, Debug, Default)]
pub(super) struct Latencies {
    /// Made when the first latency is recorded: most routes of a large fleet never see one.
    buckets: Vec<u32>,
    count: u64,
    total: Duration,
}

impl Latencies {
    pub fn record(&mut self, latency: Duration) {
        if self.buckets.is_empty() {
            self.buckets = vec![0; BUCKETS];
        }
        let millis = latency.as_secs_f64() * 1e3;
        let bucket = (millis.max(1.0).log2() * STEPS) as usize;
        self.buckets[bucket.min(BUCKETS - 1)] += 1;
        self.count += 1;
        self.total += latency;
    }

    pub fn mean_ms(&self) -> Option<u64> {
        (self.count > 0).then(|| (self.total.as_secs_f64() * 1e3 / self.count as f64).round() as u64)
    }

    /// The latency that `share` of all stayed at or under; the middle of its bucket.
    pub fn percentile_ms(&self, share: f64) -> Option<u64> {
        if self.count == 0 {
            return None;
        }
        let rank = (self.count as f64 * share).ceil() as u64;
        let mut seen = 0;
        let bucket = self.buckets.iter().position(|count| {
            seen += u64::from(*count);
            seen >= rank
        })?;
        Some(((bucket as f64 + 0.5) / STEPS).exp2().round() as u64)
    }
}

/// Items ended within the last minute of engine time, by the second.
#[derive(Clone, Debug, Default)]
pub(super) struct Throughput {
    seconds: VecDeque<(u64, u64)>,
}

const SPAN: u64 = 60;

impl Throughput {
    pub fn ended(&mut self, now: Mono) {
        let second = now.0 / 1_000_000;
        match self.seconds.back_mut() {
            Some((last, count)) if *last == second => *count += 1,
            _ => self.seconds.push_back((second, 1)),
        }
        self.forget(second);
    }

    fn forget(&mut self, second: u64) {
        while self.seconds.front().is_some_and(|(at, _)| at + SPAN <= second) {
            self.seconds.pop_front();
        }
    }

    /// Per second, over the last minute or since `began`, whichever is shorter.
    pub fn per_second(&mut self, now: Mono, began: Mono) -> f64 {
        self.forget(now.0 / 1_000_000);
        let ended: u64 = self.seconds.iter().map(|(_, count)| count).sum();
        let span = now.since(began).as_secs_f64().clamp(1.0, SPAN as f64);
        ended as f64 / span
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_to_within_a_bucket() {
        let mut latencies = Latencies::default();
        for millis in 1..=1_000 {
            latencies.record(Duration::from_millis(millis));
        }
        for (share, want) in [(0.5, 500.0), (0.95, 950.0)] {
            let got = latencies.percentile_ms(share).unwrap() as f64;
            assert!((got - want).abs() / want < 0.045, "{share}: {got}");
        }
        assert_eq!(latencies.mean_ms(), Some(501));
    }

    #[test]
    fn throughput_forgets_after_a_minute() {
        let mut throughput = Throughput::default();
        for second in 0..120 {
            throughput.ended(Mono(second * 1_000_000));
        }
        let now = Mono(119_000_000);
        assert!((throughput.per_second(now, Mono::default()) - 1.0).abs() < 0.02);
        assert!(throughput.per_second(Mono(300_000_000), Mono::default()) < f64::EPSILON);
    }
}
