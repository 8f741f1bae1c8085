//! Sliding windows and GCRA (a leaky bucket), on the monotonic clock.

use std::{collections::VecDeque, time::Duration};

use crate::domain::{MonoTime, TokenCounting};

pub(super) const MINUTE: Duration = Duration::from_mins(1);
pub(super) const DAY: Duration = Duration::from_hours(24);

/// The tokens of one request. All are known on arrival, because the simulator computes its answer first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct SimTokens {
    pub input: u64,
    pub output: u64,
}

impl SimTokens {
    pub const fn count_as(self, counted: TokenCounting) -> u64 {
        match counted {
            TokenCounting::Input => self.input,
            TokenCounting::Total => self.input + self.output,
        }
    }
}

/// The requests of the last `span`. A request that arrived at `t` leaves the window at `t + span`.
#[derive(Clone, Debug)]
pub(super) struct SimWindow {
    span: Duration,
    entries: VecDeque<(MonoTime, SimTokens)>,
    sum: SimTokens,
}

impl SimWindow {
    pub const fn new(span: Duration) -> Self {
        Self { span, entries: VecDeque::new(), sum: SimTokens { input: 0, output: 0 } }
    }

    pub fn expire(&mut self, now: MonoTime) {
        while let Some(&(at, tokens)) = self.entries.front()
            && at + self.span <= now
        {
            self.sum.input -= tokens.input;
            self.sum.output -= tokens.output;
            self.entries.pop_front();
        }
    }

    pub fn push(&mut self, now: MonoTime, tokens: SimTokens) {
        self.sum.input += tokens.input;
        self.sum.output += tokens.output;
        self.entries.push_back((now, tokens));
    }

    pub fn requests(&self) -> u64 {
        self.entries.len() as u64
    }

    pub const fn tokens(&self) -> SimTokens {
        self.sum
    }

    /// Time until one more request fits under `limit`; zero if it fits now. A limit of 0 gives the whole span.
    pub fn wait_for_request(&self, now: MonoTime, limit: u64) -> Duration {
        match self.requests().checked_sub(limit) {
            _ if limit == 0 => self.span,
            Some(excess) => self.time_until_leaves(usize::try_from(excess).unwrap_or(usize::MAX), now),
            None => Duration::ZERO,
        }
    }

    /// Time until `amount` more tokens fit under `limit`, counted by `measure`; zero if they fit now. An amount above
    /// the limit never fits: the result is then the time until the window is empty, or the whole span if it is empty
    /// now.
    pub fn wait_for_tokens(
        &self,
        now: MonoTime,
        limit: u64,
        amount: u64,
        measure: impl Fn(SimTokens) -> u64,
    ) -> Duration {
        let mut excess = (measure(self.sum) + amount).saturating_sub(limit);
        if excess == 0 {
            return Duration::ZERO;
        }
        for (nth, (_, tokens)) in self.entries.iter().enumerate() {
            excess = excess.saturating_sub(measure(*tokens));
            if excess == 0 {
                return self.time_until_leaves(nth, now);
            }
        }
        self.entries.len().checked_sub(1).map_or(self.span, |last| self.time_until_leaves(last, now))
    }

    /// Time until the oldest request leaves the window; zero if there is none.
    pub fn time_until_oldest_leaves(&self, now: MonoTime) -> Duration {
        self.time_until_leaves(0, now)
    }

    fn time_until_leaves(&self, index: usize, now: MonoTime) -> Duration {
        self.entries.get(index).map_or(Duration::ZERO, |(at, _)| (*at + self.span).since(now))
    }
}

/// The generic cell rate algorithm: admits `burst` requests at once, and more only evenly spaced.
#[derive(Clone, Copy, Debug)]
pub(super) struct SimGcra {
    interval: Duration,
    tolerance: Duration,
    /// Time at which the bucket will be empty: GCRA's theoretical arrival time.
    drained_at: MonoTime,
}

impl SimGcra {
    pub fn new(per_minute: u32, burst: u32) -> Self {
        let interval = MINUTE / per_minute.max(1);
        Self { interval, tolerance: interval * burst.saturating_sub(1), drained_at: MonoTime::default() }
    }

    /// Time until a request conforms; zero if it does now.
    pub fn wait(&self, now: MonoTime) -> Duration {
        self.drained_at.since(now + self.tolerance)
    }

    pub fn take(&mut self, now: MonoTime) {
        self.drained_at = self.drained_at.max(now) + self.interval;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(s: u64) -> MonoTime {
        MonoTime(s * 1_000_000)
    }

    fn input(tokens: u64) -> SimTokens {
        SimTokens { input: tokens, output: 0 }
    }

    #[test]
    fn a_request_leaves_the_window_after_exactly_its_span() {
        let mut window = SimWindow::new(MINUTE);
        window.push(second(1), input(10));
        window.push(second(5), input(20));
        window.expire(MonoTime(60_999_999));
        assert_eq!((window.requests(), window.tokens()), (2, input(30)));
        window.expire(second(61));
        assert_eq!((window.requests(), window.tokens()), (1, input(20)));
    }

    #[test]
    fn waits_end_when_the_request_fits() {
        let mut window = SimWindow::new(MINUTE);
        for (at, tokens) in [(0, 100), (10, 50), (20, 50)] {
            window.push(second(at), input(tokens));
        }
        let now = second(30);
        let wait = |limit| window.wait_for_request(now, limit).as_secs();
        assert_eq!([wait(4), wait(3), wait(2), wait(1)], [0, 30, 40, 50]);
        let tokens = |limit, amount| window.wait_for_tokens(now, limit, amount, |tokens| tokens.input).as_secs();
        assert_eq!([tokens(250, 50), tokens(250, 100), tokens(250, 151), tokens(250, 201)], [0, 30, 40, 50]);
    }

    #[test]
    fn gcra_admits_a_burst_and_spaces_the_rest() {
        let mut gcra = SimGcra::new(60, 3);
        let now = second(100);
        for _ in 0..3 {
            assert_eq!(gcra.wait(now), Duration::ZERO);
            gcra.take(now);
        }
        assert_eq!(gcra.wait(now), Duration::from_secs(1));
        assert_eq!(gcra.wait(second(101)), Duration::ZERO);
        gcra.take(second(101));
        assert_eq!(gcra.wait(second(101)), Duration::from_secs(1));
    }
}
