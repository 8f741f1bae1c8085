//! When a server has counted a request at the latest: a bound that answers tighten.
//!
//! Without more knowledge, a request may be counted at the very instant of its answer, so that its place in a minute is
//! free sixty seconds after that. Two things are known better, both from the fact that quota is checked *before* the work:
//!
//! - A server that says how long it worked has counted the request that much before its answer left.
//! - An answer needs the way back, and a request that takes the place over needs the way out; with the shortest work that
//!   an answer takes, they make up the shortest round trip. Half of the fastest one ever seen here is taken for certain, once
//!   enough have been seen.
//!
//! A server that counts at the end after all would refuse what these let go early: then neither is used any more.

use std::time::Duration;

/// Round trips before the fastest of them is believed.
const ENOUGH: u32 = 20;

#[derive(Clone, Copy, Debug, Default)]
pub struct Transit {
    fastest: Option<Duration>,
    seen: u32,
    distrusted: bool,
}

impl Transit {
    /// A response came back `latency` after its request left.
    pub fn answered(&mut self, latency: Duration) {
        self.fastest = Some(self.fastest.map_or(latency, |fastest| fastest.min(latency)));
        self.seen = self.seen.saturating_add(1);
    }

    /// By how much the count lies before the answer, as far as the next request's place is concerned.
    pub fn head_start(&self, latency: Duration, worked: Option<Duration>) -> Duration {
        if self.distrusted {
            return Duration::ZERO;
        }
        let floor = self.fastest.filter(|_| self.seen >= ENOUGH).unwrap_or_default() / 2;
        worked.unwrap_or_default().max(floor).min(latency)
    }

    /// A refusal that our counters did not foresee: no more fine reckoning here.
    pub const fn distrust(&mut self) {
        self.distrusted = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_fastest_of_enough_round_trips_is_half_believed() {
        let mut transit = Transit::default();
        for index in 0..ENOUGH {
            assert_eq!(transit.head_start(ms(900), None), Duration::ZERO);
            transit.answered(ms(400 + u64::from(index)));
        }
        assert_eq!(transit.head_start(ms(900), None), ms(200));
    }

    #[test]
    fn a_server_that_says_how_long_it_worked_is_believed_up_to_the_round_trip() {
        let mut transit = Transit::default();
        assert_eq!(transit.head_start(ms(5_000), Some(ms(4_800))), ms(4_800));
        assert_eq!(transit.head_start(ms(300), Some(ms(4_800))), ms(300));
        transit.distrust();
        assert_eq!(transit.head_start(ms(5_000), Some(ms(4_800))), Duration::ZERO);
    }
}
