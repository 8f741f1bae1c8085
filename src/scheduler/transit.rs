//! When a server has counted a request at the latest: a bound that answers tighten.
//!
//! Without more knowledge, a request may be counted at the very instant of its answer, so that its place in a minute is
//! free sixty seconds after that. Two things are known better, both from the fact that quota is checked *before* the work:
//!
//! - A server that says how long it worked has counted the request that much before its answer left.
//! - The answer took its work and the way back, and a request that takes the place over needs the way out: together that
//!   is never less than the fastest round trip there can be. It is estimated from below, as the ends of distributions are:
//!   the fastest seen, less three times what lies between it and the twentieth fastest. Where latencies scatter
//!   widely that is nothing at all; where they are steady it is nearly the whole round trip.
//!
//! A server that counts at the end after all would refuse what these let go early: then neither is used any more.

use std::time::Duration;

use smallvec::SmallVec;

/// Round trips before their fastest are believed.
const ENOUGH: u32 = 50;

/// How many of the fastest are kept.
const FASTEST: usize = 20;

/// How much further than the scatter of the fastest the true end may lie.
const MARGIN: u32 = 3;

#[derive(Clone, Debug, Default)]
pub struct Transit {
    /// In order.
    fastest: SmallVec<[Duration; FASTEST]>,
    seen: u32,
    distrusted: bool,
}

impl Transit {
    /// A response came back `latency` after its request left.
    pub fn answered(&mut self, latency: Duration) {
        self.seen = self.seen.saturating_add(1);
        if self.fastest.len() == FASTEST && self.fastest[FASTEST - 1] <= latency {
            return;
        }
        self.fastest.truncate(FASTEST - 1);
        let place = self.fastest.partition_point(|faster| *faster <= latency);
        self.fastest.insert(place, latency);
    }

    /// By how much the count lies before the answer, as far as the next request's place is concerned.
    pub fn head_start(&self, latency: Duration, worked: Option<Duration>) -> Duration {
        if self.distrusted {
            return Duration::ZERO;
        }
        worked.unwrap_or_default().max(self.shortest()).min(latency)
    }

    /// No round trip is shorter than this.
    fn shortest(&self) -> Duration {
        match (self.fastest.first(), self.fastest.get(FASTEST - 1)) {
            (Some(first), Some(last)) if self.seen >= ENOUGH => first.saturating_sub((*last - *first) * MARGIN),
            _ => Duration::ZERO,
        }
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

    fn after(latencies: impl Iterator<Item = u64>) -> Transit {
        let mut transit = Transit::default();
        latencies.for_each(|latency| transit.answered(ms(latency)));
        transit
    }

    #[test]
    fn the_end_of_the_round_trips_is_estimated_from_below() {
        assert_eq!(after([400; 49].into_iter()).head_start(ms(900), None), ms(0), "too few to tell");
        assert_eq!(after([400; 50].into_iter()).head_start(ms(900), None), ms(400));
        assert_eq!(after((400..900).rev().chain(0..0)).head_start(ms(900), None), ms(400 - 57));
        assert_eq!(after((0..500).map(|index| 20 + index * 12)).head_start(ms(900), None), ms(0), "scattered");
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
