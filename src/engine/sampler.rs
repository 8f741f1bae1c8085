//! Records samples of the run for charts over its whole time: fewer while nothing changes, none at rest.

use std::time::Duration;

use crate::{
    domain::{
        EndedCounter, MAX_SAMPLES, MIN_SAMPLE_INTERVAL, MIN_UNCHANGED_INTERVAL, Sample, Snapshot, WallTime,
        drop_every_other, snapshot::RunState,
    },
    store::{Op, RecordedSamples},
};

#[derive(Debug)]
pub(super) struct Sampler {
    /// The shortest engine time between two samples.
    interval: Duration,
    /// The times of the recorded samples, in the order in which they were recorded.
    times: Vec<WallTime>,
    last: Option<Sample>,
    ended: EndedCounter,
}

impl Sampler {
    /// Goes on with the samples of earlier processes.
    pub fn new(recorded: RecordedSamples) -> Self {
        let RecordedSamples { times, last } = recorded;
        let recorded_interval = last.as_ref().map(|sample| Duration::from_secs(sample.interval_s));
        Self {
            interval: recorded_interval.unwrap_or_default().max(MIN_SAMPLE_INTERVAL),
            times,
            ended: last.as_ref().map(EndedCounter::resumed).unwrap_or_default(),
            last,
        }
    }

    /// The op that records the state of this snapshot, if an interval has passed since the last sample or it is wanted
    /// `at_once`.
    pub fn take_op(&mut self, snapshot: &Snapshot, at_once: bool) -> Option<Op> {
        let ended_total = self.ended.count(snapshot);
        let since_last = self.last.as_ref().map(|last| snapshot.at.since(last.at));
        // A wall clock that was set back goes on from there.
        let is_set_back = self.last.as_ref().is_some_and(|last| snapshot.at < last.at);
        if since_last.is_some_and(|since_last| since_last < self.interval) && !at_once && !is_set_back {
            return None;
        }
        let sample = Sample::new(snapshot, ended_total, self.interval);
        if self.last.as_ref().is_some_and(|last| last.is_same_state(&sample))
            && (is_at_rest(snapshot) || since_last < Some(MIN_UNCHANGED_INTERVAL))
        {
            return None;
        }
        self.last = Some(sample.clone());
        Some(self.record(sample))
    }

    fn record(&mut self, sample: Sample) -> Op {
        self.times.push(sample.at);
        let mut dropped = Vec::new();
        if self.times.len() > MAX_SAMPLES {
            dropped = drop_every_other(&mut self.times);
            self.interval *= 2;
        }
        Op::RecordSample { sample: Box::new(sample), dropped }
    }
}

/// Whether nothing changes before the operator acts.
const fn is_at_rest(snapshot: &Snapshot) -> bool {
    let is_stopped =
        matches!(snapshot.state, RunState::Paused | RunState::NeedsOperator { .. }) || snapshot.state.is_over();
    is_stopped && snapshot.totals.in_flight == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: WallTime = WallTime::from_unix_seconds(1_795_251_600);

    fn snapshot(second: u64, done: u64) -> Snapshot {
        let mut snapshot = Snapshot::empty("run", START + Duration::from_secs(second), 1.0);
        snapshot.totals.done = done;
        snapshot
    }

    /// The second and the count of ended items that are recorded.
    fn recorded(op: Option<Op>) -> Option<(u64, u64)> {
        op.map(|op| match op {
            Op::RecordSample { sample, .. } => (sample.at.since(START).as_secs(), sample.ended_total),
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn a_state_that_does_not_change_is_recorded_once_a_minute_and_at_rest_not_at_all() {
        let mut sampler = Sampler::new(RecordedSamples::default());
        let ops = [(0, 1), (1, 2), (2, 2), (60, 2), (61, 2), (62, 3)]
            .map(|(second, done)| recorded(sampler.take_op(&snapshot(second, done), false)));
        assert_eq!(ops, [Some((0, 1)), Some((1, 2)), None, None, Some((61, 2)), Some((62, 3))]);
        let ops = [63, 64, 9_000].map(|second| {
            let finished = Snapshot { state: RunState::Finished, ..snapshot(second, 4) };
            recorded(sampler.take_op(&finished, false))
        });
        assert_eq!(ops, [Some((63, 4)), None, None]);
    }

    #[test]
    fn a_replayed_item_counts_again_also_after_a_restart() {
        let mut sampler = Sampler::new(RecordedSamples::default());
        let ops = [(0, 5), (1, 3), (2, 4)].map(|(second, done)| sampler.take_op(&snapshot(second, done), false));
        let Some(Op::RecordSample { sample, .. }) = &ops[2] else { panic!("{ops:?}") };
        assert_eq!(sample.ended_total, 6);
        let recorded_before = RecordedSamples { times: vec![START], last: Some((**sample).clone()) };
        let mut sampler = Sampler::new(recorded_before);
        assert_eq!(recorded(sampler.take_op(&snapshot(60, 5), false)), Some((60, 7)));
    }

    #[test]
    fn any_length_of_time_fits_and_the_first_sample_stays() {
        let mut sampler = Sampler::new(RecordedSamples::default());
        let mut on_disk = std::collections::BTreeSet::new();
        for second in 0..10_000 {
            if let Some(Op::RecordSample { sample, dropped }) = sampler.take_op(&snapshot(second, second), false) {
                on_disk.insert(sample.at);
                for at in &dropped {
                    assert!(on_disk.remove(at));
                }
            }
            assert!(on_disk.len() <= MAX_SAMPLES);
        }
        assert!(on_disk.len() > MAX_SAMPLES / 4 && on_disk.contains(&START), "{}", on_disk.len());
        assert_eq!(on_disk.into_iter().collect::<Vec<_>>(), sampler.times);
        let last = sampler.take_op(&snapshot(10_000, 1_000_000), true);
        assert_eq!(recorded(last), Some((10_000, 1_000_000)), "at once");
    }
}
