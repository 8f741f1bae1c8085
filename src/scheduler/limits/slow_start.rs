//! Slow start: a limit on requests in flight on a pool without known limits, so that only few requests get the first
//! 429.
//!
//! It starts at 8 and doubles with every round trip up to 64, since every answer adds one. After that, and from the
//! start where the model has refused a request, it grows slowly: an answer adds its latency divided by 30 s, at most 1,
//! so that the limit grows by a factor of e in half a minute. It never grows beyond twice the number of requests in
//! flight.

use std::time::Duration;

/// The most requests in flight before the first answer.
const INITIAL_LIMIT: f64 = 8.0;

/// Up to this limit, it doubles with every round trip.
const MAX_FAST_LIMIT: f64 = 64.0;

#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SlowStart {
    limit: f64,
    /// Whether the model has refused a request, so that every step is small.
    is_cautious: bool,
}

impl Default for SlowStart {
    fn default() -> Self {
        Self { limit: INITIAL_LIMIT, is_cautious: false }
    }
}

impl SlowStart {
    pub const fn limit(self) -> u32 {
        self.limit as u32
    }

    /// Records an answer; `in_flight` requests were in flight until then, this one included.
    pub fn on_success(&mut self, latency: Duration, in_flight: u32) {
        let is_fast = !self.is_cautious && self.limit < MAX_FAST_LIMIT;
        let step = if is_fast { 1.0 } else { (latency.as_secs_f64() / 30.0).min(1.0) };
        self.limit = (self.limit + step).min(f64::from(in_flight) * 2.0).max(self.limit);
    }

    /// Starts at the limit that other pools of the provider have reached, if that is higher.
    pub const fn begin_at(&mut self, reached: Self) {
        if !self.is_cautious {
            self.limit = self.limit.max(reached.limit);
        }
    }

    /// Starts over with small steps, after the model has refused a request.
    pub const fn restart(&mut self) {
        *self = Self { limit: INITIAL_LIMIT, is_cautious: true };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATENCY: Duration = Duration::from_millis(500);

    /// The limits after each of `rounds` round trips in which as many requests are in flight as allowed.
    fn limits_by_round(mut slow_start: SlowStart, rounds: usize) -> Vec<u32> {
        let round = || {
            let in_flight = slow_start.limit();
            (0..in_flight).for_each(|_| slow_start.on_success(LATENCY, in_flight));
            slow_start.limit()
        };
        std::iter::repeat_with(round).take(rounds).collect()
    }

    #[test]
    fn the_limit_doubles_with_every_round_trip_up_to_64_and_then_grows_slowly() {
        assert_eq!(limits_by_round(SlowStart::default(), 5), [16, 32, 64, 65, 66]);
    }

    #[test]
    fn the_limit_grows_only_as_far_as_it_is_used() {
        let mut slow_start = SlowStart::default();
        (0..1_000).for_each(|_| slow_start.on_success(LATENCY, 6));
        assert_eq!(slow_start.limit(), 12);
    }

    #[test]
    fn after_a_refusal_it_starts_over_and_grows_slowly_whatever_others_have_reached() {
        let mut slow_start = SlowStart { limit: 50.0, is_cautious: false };
        slow_start.restart();
        slow_start.begin_at(SlowStart { limit: 64.0, is_cautious: false });
        assert_eq!(slow_start.limit(), 8);
        let after_half_a_minute = limits_by_round(slow_start, 60)[59];
        assert!((18..=22).contains(&after_half_a_minute), "{after_half_a_minute}");
    }
}
