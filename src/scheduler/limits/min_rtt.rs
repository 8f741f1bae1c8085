//! Estimates when the server counted a request at the latest, as a duration before the answer.
//!
//! Without an estimate, the server may have counted a request as late as it answered, and the request's room in a
//! minute window is free sixty seconds after the answer. Two facts allow an earlier instant, both because servers check
//! quota *before* the work:
//!
//! - A server that reports its processing time has counted the request at least that long before the answer left.
//! - Between counting and the answer's arrival lie the processing time and the way back, and the next request that uses
//!   the room needs the way to the server. Together that is never less than the shortest possible round trip. It is
//!   estimated conservatively: the fastest observed round trip, minus three times the difference between it and the
//!   twentieth fastest. With widely scattered latencies that is zero; with steady ones it is nearly the whole round
//!   trip.
//!
//! A server that counts at the end of its work would answer requests sent because of this estimate with a 429. After
//! the first 429 of an episode, the estimate is therefore not used any more.

use std::time::Duration;

use smallvec::SmallVec;

/// Round trips needed before the fastest are used.
const MIN_SAMPLES: u32 = 50;

/// Number of fastest round trips kept.
const KEPT_SAMPLES: usize = 20;

/// How far the true minimum may lie below the fastest sample, as a multiple of the difference between the fastest and
/// the slowest sample kept.
const SCATTER_FACTOR: u32 = 3;

#[derive(Clone, Debug, Default)]
pub struct MinRtt {
    /// In ascending order.
    fastest: SmallVec<[Duration; KEPT_SAMPLES]>,
    sample_count: u32,
    is_disabled: bool,
}

impl MinRtt {
    /// Records a response that came `latency` after its request left.
    pub fn record(&mut self, latency: Duration) {
        self.sample_count = self.sample_count.saturating_add(1);
        if self.fastest.len() == KEPT_SAMPLES && self.fastest[KEPT_SAMPLES - 1] <= latency {
            return;
        }
        self.fastest.truncate(KEPT_SAMPLES - 1);
        let position = self.fastest.partition_point(|faster| *faster <= latency);
        self.fastest.insert(position, latency);
    }

    /// At least this long before the answer the request was counted, as far as it matters for the next request.
    pub fn counted_before(&self, latency: Duration, server_time: Option<Duration>) -> Duration {
        if self.is_disabled {
            return Duration::ZERO;
        }
        server_time.unwrap_or_default().max(self.estimate()).min(latency)
    }

    /// A lower bound of all round trips; zero while too few are known.
    fn estimate(&self) -> Duration {
        match (self.fastest.first(), self.fastest.get(KEPT_SAMPLES - 1)) {
            (Some(first), Some(last)) if self.sample_count >= MIN_SAMPLES => {
                first.saturating_sub((*last - *first) * SCATTER_FACTOR)
            }
            _ => Duration::ZERO,
        }
    }

    /// Stops estimating for good, after the first 429 of an episode.
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

    fn min_rtt_after(latencies: impl Iterator<Item = u64>) -> MinRtt {
        let mut min_rtt = MinRtt::default();
        latencies.for_each(|latency| min_rtt.record(ms(latency)));
        min_rtt
    }

    #[test]
    fn the_shortest_round_trip_is_estimated_from_below() {
        assert_eq!(min_rtt_after([400; 49].into_iter()).counted_before(ms(900), None), ms(0), "too few to tell");
        assert_eq!(min_rtt_after([400; 50].into_iter()).counted_before(ms(900), None), ms(400));
        assert_eq!(min_rtt_after((400..900).rev().chain(0..0)).counted_before(ms(900), None), ms(400 - 57));
        assert_eq!(
            min_rtt_after((0..500).map(|index| 20 + index * 12)).counted_before(ms(900), None),
            ms(0),
            "scattered"
        );
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
