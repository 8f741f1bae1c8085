//! Counts over the whole run: successes, failures, tokens, money, latency. Their size is bounded.

use std::{collections::VecDeque, time::Duration};

use crate::domain::{LatencyHistogram, Money, MonoTime, Outcome, Usage};

/// Counts of one key or model.
#[derive(Clone, Debug, Default)]
pub(super) struct AttemptCounts {
    pub ok: u64,
    pub failed: u64,
    pub usage: Usage,
    pub cost: Money,
    pub latencies: LatencyHistogram,
    /// The last failure, with the provider's own text. Set for keys only.
    pub last_error: Option<String>,
}

impl AttemptCounts {
    pub fn count(&mut self, outcome: Outcome, usage: Usage, cost: Money, latency: Duration) {
        if outcome.is_answered() {
            self.ok += 1;
            self.latencies.record(latency.as_millis() as u64);
        } else if !outcome.is_unattributed() {
            self.failed += 1;
        }
        self.usage.input_tokens += usage.input_tokens;
        self.usage.output_tokens += usage.output_tokens;
        self.usage.thinking_tokens += usage.thinking_tokens;
        self.cost += cost;
    }
}

/// How long processes have worked on the run, earlier ones included. Idle time does not count.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ActiveTime {
    accumulated: Duration,
    running_since: Option<MonoTime>,
}

impl ActiveTime {
    pub const fn stopped(accumulated: Duration) -> Self {
        Self { accumulated, running_since: None }
    }

    pub const fn running(accumulated: Duration, now: MonoTime) -> Self {
        Self { accumulated, running_since: Some(now) }
    }

    pub fn total(&self, now: MonoTime) -> Duration {
        self.accumulated + self.running_since.map_or(Duration::ZERO, |since| now.since(since))
    }

    pub fn stop(&mut self, now: MonoTime) {
        *self = Self { accumulated: self.total(now), running_since: None };
    }

    pub fn start(&mut self, now: MonoTime) {
        self.running_since.get_or_insert(now);
    }
}

/// Items that ended within the last minute of engine time, by second.
#[derive(Clone, Debug, Default)]
pub(super) struct ThroughputEstimate {
    seconds: VecDeque<(u64, u64)>,
}

const WINDOW_SECONDS: u64 = 60;

impl ThroughputEstimate {
    pub fn record(&mut self, now: MonoTime) {
        let second = now.0 / 1_000_000;
        match self.seconds.back_mut() {
            Some((last, count)) if *last == second => *count += 1,
            _ => self.seconds.push_back((second, 1)),
        }
        self.drop_old(second);
    }

    fn drop_old(&mut self, second: u64) {
        while self.seconds.front().is_some_and(|(at, _)| at + WINDOW_SECONDS <= second) {
            self.seconds.pop_front();
        }
    }

    /// Items per second, over the last minute or since `started_at`, whichever is shorter.
    pub fn per_second(&mut self, now: MonoTime, started_at: MonoTime) -> f64 {
        self.drop_old(now.0 / 1_000_000);
        let ended: u64 = self.seconds.iter().map(|(_, count)| count).sum();
        let window = now.since(started_at).as_secs_f64().clamp(1.0, WINDOW_SECONDS as f64);
        ended as f64 / window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throughput_forgets_after_a_minute() {
        let mut throughput = ThroughputEstimate::default();
        for second in 0..120 {
            throughput.record(MonoTime(second * 1_000_000));
        }
        let now = MonoTime(119_000_000);
        assert!((throughput.per_second(now, MonoTime::default()) - 1.0).abs() < 0.02);
        assert!(throughput.per_second(MonoTime(300_000_000), MonoTime::default()) < f64::EPSILON);
    }
}
