//! A circuit breaker per route: it opens after consecutive provider errors, and after its open time lets one real item
//! through as a probe.

use std::time::Duration;

use crate::domain::{Now, Policy, snapshot::Cause};

#[derive(Clone, Debug)]
pub enum Breaker {
    Closed {
        consecutive_failures: u32,
    },
    Open {
        since: Now,
        until: Now,
        open_time: Duration,
        cause: Cause,
    },
    /// One probe is in flight or awaited. If it fails, `open_time` doubles.
    HalfOpen {
        open_time: Duration,
    },
}

impl Default for Breaker {
    fn default() -> Self {
        Self::Closed { consecutive_failures: 0 }
    }
}

impl Breaker {
    /// Counts a provider error. Returns the open time if this opened or reopened the breaker.
    pub fn record_failure(&mut self, now: Now, policy: &Policy, cause: &Cause) -> Option<Duration> {
        let open_time = match self {
            Self::Closed { consecutive_failures } => {
                *consecutive_failures += 1;
                if *consecutive_failures < policy.breaker_threshold {
                    return None;
                }
                policy.breaker_open_time
            }
            // The request was sent before the breaker opened, so its failure adds no information.
            Self::Open { .. } => return None,
            Self::HalfOpen { open_time } => (*open_time * 2).min(policy.breaker_max_open_time),
        };
        *self = Self::new_open(now, open_time, cause.clone());
        Some(open_time)
    }

    /// An open breaker. Used if a key is at fault, whatever the route's own count of failures.
    pub fn new_open(now: Now, open_time: Duration, cause: Cause) -> Self {
        Self::Open { since: now, until: now + open_time, open_time, cause }
    }

    /// Records a response other than a provider error, and closes the breaker. True if it was open or half-open.
    pub fn record_response(&mut self) -> bool {
        let was_open = !matches!(self, Self::Closed { .. });
        *self = Self::Closed { consecutive_failures: 0 };
        was_open
    }

    /// Moves from open to half-open once the open time is over.
    pub fn half_open_if_due(&mut self, now: Now) {
        if matches!(self, Self::Open { until, .. } if until.mono <= now.mono) {
            self.half_open();
        }
    }

    /// Moves from open to half-open.
    pub fn half_open(&mut self) {
        if let Self::Open { open_time, .. } = self {
            *self = Self::HalfOpen { open_time: *open_time };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{MonoTime, Outcome, WallTime, snapshot::CauseSource};

    fn now(seconds: u64) -> Now {
        Now { mono: MonoTime(seconds * 1_000_000), wall: WallTime(seconds as i64 * 1_000_000) }
    }

    fn record_error(breaker: &mut Breaker, at: u64) -> bool {
        let cause = Cause {
            outcome: Outcome::ServerError,
            source: CauseSource::Backoff,
            message: String::new(),
            since: now(at).wall,
            status: None,
        };
        let policy = Policy {
            breaker_threshold: 3,
            breaker_open_time: Duration::from_secs(30),
            breaker_max_open_time: Duration::from_secs(100),
            ..Policy::default()
        };
        breaker.record_failure(now(at), &policy, &cause).is_some()
    }

    fn is_half_open(breaker: &Breaker) -> bool {
        matches!(breaker, Breaker::HalfOpen { .. })
    }

    #[test]
    fn it_opens_after_consecutive_errors_and_doubles_its_open_time_up_to_the_maximum() {
        let mut breaker = Breaker::default();
        assert!(!record_error(&mut breaker, 0));
        breaker.record_response();
        assert!(!record_error(&mut breaker, 1));
        assert!(!record_error(&mut breaker, 2));
        assert!(record_error(&mut breaker, 3));
        assert!(!record_error(&mut breaker, 4), "a failure while open changes nothing");
        for (open_at, span) in [(3, 30), (40, 60), (110, 100), (220, 100)] {
            if !matches!(breaker, Breaker::Open { .. }) {
                assert!(record_error(&mut breaker, open_at));
            }
            breaker.half_open_if_due(now(open_at + span - 1));
            assert!(!is_half_open(&breaker), "closed too early after {span}");
            breaker.half_open_if_due(now(open_at + span));
            assert!(is_half_open(&breaker));
        }
        assert!(breaker.record_response());
        assert!(!is_half_open(&breaker));
    }
}
