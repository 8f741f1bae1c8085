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
const MIN_SAMPLES: u32 = 50;

/// How many of the fastest are kept.
const KEPT_SAMPLES: usize = 20;

/// How much further than the scatter of the fastest the true end may lie.
const SCATTER_FACTOR: u32 = 3;

#[derive(Clone, Debug, Default)]
pub struct MinRtt {
    /// In order.
    fastest: SmallVec<[Duration; KEPT_SAMPLES]>,
    sample_count: u32,
    is_disabled: bool,
}

impl MinRtt {
    /// A response came back `latency` after its request left.
    pub fn record(&mut self, latency: Duration) {
        self.sample_count = self.sample_count.saturating_add(1);
        if self.fastest.len() == KEPT_SAMPLES && self.fastest[KEPT_SAMPLES - 1] <= latency {
            return;
        }
        self.fastest.truncate(KEPT_SAMPLES - 1);
        let place = self.fastest.partition_point(|faster| *faster <= latency);
        self.fastest.insert(place, latency);
    }

    /// By how much the count lies before the answer, as far as the next request's place is concerned.
    pub fn counted_before(&self, latency: Duration, server_time: Option<Duration>) -> Duration {
        if self.is_disabled {
            return Duration::ZERO;
        }
        server_time.unwrap_or_default().max(self.estimate()).min(latency)
    }

    /// No round trip is shorter than this.
    fn estimate(&self) -> Duration {
        match (self.fastest.first(), self.fastest.get(KEPT_SAMPLES - 1)) {
            (Some(first), Some(last)) if self.sample_count >= MIN_SAMPLES => {
                first.saturating_sub((*last - *first) * SCATTER_FACTOR)
            }
            _ => Duration::ZERO,
        }
    }

    /// A refusal that our counters did not foresee: no more fine reckoning here.
    pub const fn disable(&mut self) {
        self.is_disabled = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn after(latencies: impl Iterator<Item = u64>) -> MinRtt {
        let mut min_rtt = MinRtt::default();
        latencies.for_each(|latency| min_rtt.record(ms(latency)));
        min_rtt
    }

    #[test]
    fn the_shortest_round_trip_is_estimated_from_below() {
        assert_eq!(after([400; 49].into_iter()).counted_before(ms(900), None), ms(0), "too few to tell");
        assert_eq!(after([400; 50].into_iter()).counted_before(ms(900), None), ms(400));
        assert_eq!(after((400..900).rev().chain(0..0)).counted_before(ms(900), None), ms(400 - 57));
        assert_eq!(after((0..500).map(|index| 20 + index * 12)).counted_before(ms(900), None), ms(0), "scattered");
    }

    #[test]
    fn a_reported_server_time_counts_up_to_the_round_trip() {
        let mut min_rtt = MinRtt::default();
        assert_eq!(min_rtt.counted_before(ms(5_000), Some(ms(4_800))), ms(4_800));
        assert_eq!(min_rtt.counted_before(ms(300), Some(ms(4_800))), ms(300));
        min_rtt.disable();
        assert_eq!(min_rtt.counted_before(ms(5_000), Some(ms(4_800))), Duration::ZERO);
    }
}
