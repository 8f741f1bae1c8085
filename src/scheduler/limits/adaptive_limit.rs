//! Learns an unknown limit per pool and minute: additive increase, multiplicative decrease (AIMD).
//!
//! A 429 shows more than "too much": if the window slides and no other client uses it, the limit is what the provider
//! admitted in the minute before. So the first 429 sets the limit to that count. After that, the limiter only probes
//! whether the provider admits more: it goes one step up after some hundreds of admitted requests. Each step that holds
//! doubles the next step; each step that fails doubles the interval until the next probe. A constant limit costs an
//! occasional 429. A limit that was lowered for a while recovers within minutes.
//!
//! Server errors and timeouts are never recorded, since they say nothing about quota.

use std::{collections::VecDeque, time::Duration};

use crate::domain::MonoTime;

use super::window::MINUTE;

/// Admitted requests are kept for this long after they were sent, since answers may be slow.
const HISTORY: Duration = Duration::from_secs(180);

/// Requests sent within this interval share one sample.
const SAMPLE_WIDTH: Duration = Duration::from_millis(100);

/// The most requests that must be admitted at the limit before a step is tried. Small limits need fewer.
const MAX_REQUESTS_BEFORE_STEP: u64 = 400;

/// If fewer requests than this were admitted before the first 429, their number does not show the limit: the server may
/// count in slices of a second.
const MIN_SAMPLES: u64 = 5;

/// The longest time from sending a request here until the server counts it.
const MAX_TRANSIT: Duration = Duration::from_secs(2);

/// The largest factor of the probe interval.
const MAX_PROBE_INTERVAL_FACTOR: u64 = 16;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum AimdPhase {
    /// At the limit that a 429 has shown.
    Steady,
    /// One step above `from`, to find out whether the provider admits that.
    Climbing { from: u64 },
    /// The limit is a rough guess, so a step is tried soon.
    Unsure,
}

#[derive(Clone, Copy, Debug)]
struct SentSample {
    sent_at: MonoTime,
    requests: u64,
    amount: u64,
}

/// An adaptive limit of one amount per minute (requests or tokens).
#[derive(Clone, Debug)]
pub struct AimdLimiter {
    limit: Option<u64>,
    admitted: VecDeque<SentSample>,
    phase: AimdPhase,
    /// Requests admitted since the limit last changed.
    admitted_since_change: u64,
    step: u64,
    /// Factor for the number of requests before the next step.
    probe_interval_factor: u64,
    /// From one minute before the request that got the 429 was sent, until the 429 came. Requests sent in this time and
    /// admitted only later raise the limit.
    measured_window: Option<(MonoTime, MonoTime)>,
}

impl Default for AimdLimiter {
    fn default() -> Self {
        Self {
            limit: None,
            admitted: VecDeque::new(),
            phase: AimdPhase::Steady,
            admitted_since_change: 0,
            step: 1,
            probe_interval_factor: 1,
            measured_window: None,
        }
    }
}

impl AimdLimiter {
    pub const fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// Restores the limit that an earlier process found.
    pub const fn restore(&mut self, limit: u64) {
        self.limit = Some(limit);
    }

    /// (requests, amount) that were sent after `from` and admitted.
    fn admitted_since(&self, from: MonoTime) -> (u64, u64) {
        let recent = self.admitted.iter().rev().take_while(|entry| entry.sent_at > from);
        recent.fold((0, 0), |(requests, amount), entry| (requests + entry.requests, amount + entry.amount))
    }

    /// Records a request that was sent at `sent_at` and admitted. `declared` is the configured or stated limit.
    pub fn on_success(&mut self, now: MonoTime, sent_at: MonoTime, amount: u64, declared: Option<u64>) {
        self.record(sent_at, amount);
        while self.admitted.front().is_some_and(|entry| entry.sent_at + HISTORY < now) {
            self.admitted.pop_front();
        }
        let measured_window = self.measured_window.filter(|(from, to)| sent_at > *from && sent_at <= *to);
        let limit = match (self.limit, measured_window) {
            (Some(limit), Some(_)) if self.phase == AimdPhase::Steady => {
                return self.set_limit(limit + amount, declared);
            }
            // The 429s of a burst came before most of its answers.
            (Some(_), Some((from, _))) => return self.measure_first(from, declared),
            (None, Some((from, _))) if declared.is_none() => return self.measure_first(from, declared),
            (Some(limit), None) => limit,
            (None, _) => return,
        };
        self.admitted_since_change += 1;
        let (requests, used) = self.admitted_since(minute_before(now));
        let needed = match self.phase {
            AimdPhase::Steady => MAX_REQUESTS_BEFORE_STEP.min(40 * requests.max(1)) * self.probe_interval_factor,
            AimdPhase::Climbing { .. } | AimdPhase::Unsure => requests.max(4),
        };
        // Try a step only if at least 80 % of the current limit is used.
        if self.admitted_since_change < needed || used * 5 < limit * 4 {
            return;
        }
        self.step = match self.phase {
            AimdPhase::Climbing { from } if used <= from && self.admitted_since_change < needed * 4 => return,
            AimdPhase::Climbing { .. } => (self.step * 2).min(limit.div_ceil(2)),
            AimdPhase::Steady => (limit / 100).max(1),
            AimdPhase::Unsure => limit.max(1),
        };
        self.phase = AimdPhase::Climbing { from: limit };
        self.measured_window = None;
        self.set_limit(limit + self.step, declared);
    }

    /// Records that a request sent at `sent_at` got a 429, the first of its episode.
    pub fn on_throttle(&mut self, now: MonoTime, sent_at: MonoTime, declared: Option<u64>) {
        let from = minute_before(sent_at);
        let (requests, amount) = self.admitted_since(from);
        let in_force = self.limit.into_iter().chain(declared).min();
        if requests == 0 {
            // No request was admitted yet: a cooldown handles that. Answers to others of the burst may still show the
            // limit.
            if in_force.is_none() {
                self.measured_window = Some((from, now));
            }
            return;
        }
        self.measured_window = None;
        let limit = match (in_force, self.phase) {
            (None, _) => {
                self.measured_window = Some((from, now));
                return self.measure_first(from, declared);
            }
            (Some(limit), AimdPhase::Climbing { from }) if self.limit.is_some() => {
                self.phase = AimdPhase::Steady;
                self.probe_interval_factor = (self.probe_interval_factor * 2).min(MAX_PROBE_INTERVAL_FACTOR);
                amount.min(limit.saturating_sub(1)).max(from)
            }
            (Some(limit), _) => {
                // The provider admitted less than the declared or learned limit, perhaps only for a while.
                self.phase = if declared.is_some() { AimdPhase::Unsure } else { AimdPhase::Steady };
                self.probe_interval_factor = 1;
                amount.clamp(limit.div_ceil(2), limit.saturating_sub(1).max(limit.div_ceil(2)))
            }
        };
        self.set_limit(limit.max(1), declared);
    }

    /// Sets the limit to what was admitted after `from`; to a guess while that is little.
    fn measure_first(&mut self, from: MonoTime, declared: Option<u64>) {
        let (requests, amount) = self.admitted_since(from);
        let is_guess = requests < MIN_SAMPLES;
        self.phase = if is_guess { AimdPhase::Unsure } else { AimdPhase::Steady };
        let limit = if is_guess { amount.saturating_mul(MIN_SAMPLES) / requests.max(1) } else { amount };
        self.set_limit(limit.max(1), declared);
    }

    /// Whether some admitted request becomes one minute old between `at` and `at + after`, within the tolerance of
    /// [`MAX_TRANSIT`].
    pub fn may_free(&self, at: MonoTime, after: Duration) -> bool {
        let (from, to) = (minute_before(at), minute_before(at + after + MAX_TRANSIT));
        self.admitted.iter().any(|entry| entry.sent_at + MAX_TRANSIT >= from && entry.sent_at <= to)
    }

    fn set_limit(&mut self, limit: u64, declared: Option<u64>) {
        // A learned limit at or above the declared one is not needed.
        self.limit = Some(limit).filter(|limit| declared.is_none_or(|declared_limit| *limit < declared_limit));
        self.admitted_since_change = 0;
    }

    fn record(&mut self, sent_at: MonoTime, amount: u64) {
        // Answers arrive roughly, but not exactly, in the order of sending.
        let later_count = self.admitted.iter().rev().take_while(|entry| entry.sent_at > sent_at).count();
        let position = self.admitted.len() - later_count;
        if let Some(entry) = position.checked_sub(1).and_then(|before| self.admitted.get_mut(before))
            && sent_at.since(entry.sent_at) < SAMPLE_WIDTH
        {
            entry.requests += 1;
            entry.amount += amount;
            return;
        }
        self.admitted.insert(position, SentSample { sent_at, requests: 1, amount });
    }
}

const fn minute_before(at: MonoTime) -> MonoTime {
    MonoTime(at.0.saturating_sub(MINUTE.as_micros() as u64))
}

/// Learned limit on concurrent requests, for providers whose 429s are about concurrency.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConcurrencyLimiter {
    limit: Option<u64>,
    successes_since_change: u64,
    probe_interval_factor: u64,
}

impl ConcurrencyLimiter {
    pub const fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// Records a 429 received while `others_in_flight` other requests were in flight.
    pub fn on_throttle(&mut self, others_in_flight: u64) {
        self.limit = Some(others_in_flight.max(1).min(self.limit.map_or(u64::MAX, |limit| (limit - 1).max(1))));
        self.successes_since_change = 0;
        self.probe_interval_factor = (self.probe_interval_factor * 2).clamp(1, MAX_PROBE_INTERVAL_FACTOR);
    }

    /// Records a success received while `others_in_flight` other requests were in flight.
    pub fn on_success(&mut self, others_in_flight: u64) {
        if let Some(limit) = self.limit.filter(|limit| others_in_flight + 1 >= *limit) {
            self.successes_since_change += 1;
            if self.successes_since_change >= 64 * self.probe_interval_factor {
                self.limit = Some(limit + 1);
                self.successes_since_change = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> MonoTime {
        MonoTime(seconds * 1_000_000)
    }

    /// A limiter after a minute in which `admitted` requests were admitted one after the other and one more got a 429.
    fn limiter_after_429(admitted: u64) -> AimdLimiter {
        let mut limiter = AimdLimiter::default();
        for index in 0..admitted {
            limiter.on_success(at(index + 2), at(index + 1), 1, None);
        }
        limiter.on_throttle(at(admitted + 2), at(admitted + 1), None);
        limiter
    }

    /// Keeps the limiter at its limit for `minutes`. Returns the second at which they end.
    fn run_at_limit(limiter: &mut AimdLimiter, from: u64, minutes: u64, declared: Option<u64>) -> u64 {
        for minute in 0..minutes {
            let each = limiter.limit().or(declared).unwrap_or(1);
            for index in 0..each {
                let sent = MonoTime((from + minute * 60) * 1_000_000 + index * 60_000_000 / each);
                limiter.on_success(sent + Duration::from_millis(500), sent, 1, declared);
            }
        }
        from + minutes * 60
    }

    #[test]
    fn the_first_429_sets_the_limit_to_what_was_admitted_by_then_or_still_in_flight() {
        let mut limiter = limiter_after_429(15);
        assert_eq!(limiter.limit(), Some(15));
        limiter.on_success(at(17), at(14), 1, None);
        assert_eq!(limiter.limit(), Some(16));
        assert_eq!(limiter_after_429(0).limit(), None, "nothing was admitted");
    }

    #[test]
    fn answers_that_come_after_the_429s_of_their_burst_set_the_limit() {
        let mut limiter = AimdLimiter::default();
        limiter.on_throttle(at(2), at(1), None);
        assert_eq!(limiter.limit(), None, "nothing was admitted yet");
        let mut answer = |seconds| {
            limiter.on_success(at(seconds), at(1), 1, None);
            limiter.limit()
        };
        assert_eq!((3..11).map(&mut answer).collect::<Vec<_>>(), [5, 5, 5, 5, 5, 6, 7, 8].map(Some));
        limiter.on_success(at(20), at(19), 1, None);
        assert_eq!(limiter.limit(), Some(8), "sent after the 429");
    }

    #[test]
    fn a_failed_step_is_reverted_and_probed_less_often() {
        let mut limiter = limiter_after_429(20);
        let mut steps = Vec::new();
        let mut now = 100;
        for minute in 0..200 {
            now = run_at_limit(&mut limiter, now, 1, None);
            if limiter.limit() > Some(20) {
                steps.push(minute);
                limiter.on_throttle(at(now + 1), at(now), None);
                assert_eq!(limiter.limit(), Some(20));
            }
        }
        let gaps: Vec<u64> = steps.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(steps[0] >= 19 && gaps.is_sorted() && gaps[0] >= 39, "{steps:?}");
    }

    #[test]
    fn a_rising_limit_is_followed_in_growing_steps() {
        let mut limiter = limiter_after_429(10);
        let mut now = run_at_limit(&mut limiter, 100, 40, None);
        let mut minutes = 0;
        while limiter.limit() < Some(200) {
            now = run_at_limit(&mut limiter, now, 1, None);
            minutes += 1;
        }
        assert!(minutes < 15, "{minutes} minutes from 10 to 200");
    }

    #[test]
    fn a_429_at_most_halves_the_limit() {
        let mut limiter = limiter_after_429(40);
        limiter.on_throttle(at(200), at(199), None);
        assert_eq!(limiter.limit(), Some(40), "nothing was admitted in that minute");
        limiter.on_success(at(300), at(299), 1, None);
        limiter.on_throttle(at(301), at(300), None);
        assert_eq!(limiter.limit(), Some(20));
    }

    #[test]
    fn a_learned_limit_recovers_to_the_configured_one_and_is_dropped() {
        let mut limiter = AimdLimiter::default();
        run_at_limit(&mut limiter, 0, 1, Some(60));
        limiter.on_throttle(at(61), at(60), Some(60));
        assert_eq!(limiter.limit(), Some(59));
        limiter.on_success(at(170), at(169), 1, Some(60));
        limiter.on_throttle(at(170), at(170), Some(60));
        assert_eq!(limiter.limit(), Some(30));
        run_at_limit(&mut limiter, 300, 4, Some(60));
        assert_eq!(limiter.limit(), None);
    }

    #[test]
    fn the_concurrency_limit_is_learned_from_429s() {
        let mut limiter = ConcurrencyLimiter::default();
        limiter.on_throttle(3);
        assert_eq!(limiter.limit(), Some(3));
        for _ in 0..64 {
            limiter.on_success(2);
        }
        assert_eq!(limiter.limit(), Some(4));
        limiter.on_throttle(3);
        assert_eq!(limiter.limit(), Some(3));
    }
}
