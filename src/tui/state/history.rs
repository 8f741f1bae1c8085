//! The data of the charts: what was recorded of the run before the dashboard was opened, and from then on samples of its
//! snapshots. When there are too many, every other one is dropped and the interval doubles, so that any length of time
//! fits into a fixed number of samples.

use std::time::Duration;

use crate::domain::{EndedCounter, MAX_SAMPLES, MIN_SAMPLE_INTERVAL, Sample, Snapshot, WallTime, drop_every_other};

/// Rates are averaged over this time, as in the header, or over one step if a step is longer.
const MIN_RATE_WINDOW: Duration = Duration::from_mins(1);

/// Until this much time is recorded, there are no charts. Rates are not averaged over less.
const MIN_SPAN: Duration = Duration::from_secs(10);

/// Possible lengths of a step in seconds; the last ones are 1, 2, 7 and 30 days.
const STEP_SECONDS: [u64; 21] = [
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800,
    2_592_000,
];

#[derive(Clone, PartialEq, Debug)]
pub struct History {
    /// Minimum engine time between two samples.
    sample_interval: Duration,
    samples: Vec<Sample>,
    ended: EndedCounter,
}

/// The time since the first sample, divided into steps of equal length, with one point for each; oldest first.
#[derive(Clone, PartialEq, Debug)]
pub struct ChartSeries {
    /// When the first step begins.
    pub from: WallTime,
    pub step: Duration,
    pub points: Vec<ChartPoint>,
}

/// The values at the end of a step.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ChartPoint {
    /// Items ended, averaged over the minute before, or over the step if that is longer.
    pub items_per_second: f64,
    /// Attempts rejected by a limit, averaged over the same time.
    pub refusals_per_minute: f64,
    /// Latency of the model with the most answers; `None` before the first answer.
    pub p50_ms: Option<u64>,
    pub p95_ms: Option<u64>,
    /// Spend since the run began.
    pub usd: f64,
}

impl Default for History {
    fn default() -> Self {
        Self { sample_interval: MIN_SAMPLE_INTERVAL, samples: Vec::new(), ended: EndedCounter::default() }
    }
}

impl History {
    /// Begins with the recorded samples of the run, oldest first.
    pub fn from_recorded(samples: Vec<Sample>) -> Self {
        let Some(last) = samples.last() else { return Self::default() };
        let sample_interval = Duration::from_secs(last.interval_s).max(MIN_SAMPLE_INTERVAL);
        Self { sample_interval, ended: EndedCounter::resumed(last), samples }
    }

    /// Stores a sample of `snapshot` if an interval of engine time has passed since the last one.
    pub fn record(&mut self, snapshot: &Snapshot) {
        let ended_total = self.ended.count(snapshot);
        let is_due = self.samples.last().is_none_or(|last| snapshot.at.since(last.at) >= self.sample_interval);
        if !is_due {
            return;
        }
        self.samples.push(Sample::new(snapshot, ended_total, self.sample_interval));
        if self.samples.len() > MAX_SAMPLES {
            drop_every_other(&mut self.samples);
            self.sample_interval *= 2;
        }
    }

    /// The series from the first to the last sample in at most `max_points` steps, which are as short as possible.
    /// `None` if less than [`MIN_SPAN`] is recorded, or no step is long enough.
    ///
    /// Steps begin at round times, so that a drawn step doesn't change later.
    pub fn series(&self, max_points: usize) -> Option<ChartSeries> {
        let (first, last) = (self.samples.first()?, self.samples.last()?);
        if last.at.since(first.at) < MIN_SPAN || max_points == 0 {
            return None;
        }
        let lengths = STEP_SECONDS.iter().map(|seconds| Duration::from_secs(*seconds));
        let step = lengths.filter(|step_length| *step_length >= self.sample_interval).find(|step_length| {
            let (from, to) = (round_down(first.at, *step_length), last.at);
            to.since(from).as_micros() < step_length.as_micros() * max_points as u128
        })?;
        let from = round_down(first.at, step);
        let step_count = last.at.since(from).as_micros() / step.as_micros() + 1;
        let ends = (1..=step_count as u32).map(|step_number| (from + step * step_number).min(last.at));
        Some(ChartSeries {
            from,
            step,
            points: ends.map(|end| self.point_at(end, step.max(MIN_RATE_WINDOW))).collect(),
        })
    }

    fn point_at(&self, end: WallTime, window: Duration) -> ChartPoint {
        let first = self.samples.first().map_or(end, |sample| sample.at);
        // Near the start, averages over the time since the first sample, but at least [`MIN_SPAN`].
        let from = WallTime(end.0.saturating_sub(window.as_micros() as i64)).max(first);
        let seconds = end.since(from).max(MIN_SPAN).as_secs_f64();
        let increase = |of: fn(&Sample) -> u64| self.counter_at(of, end) - self.counter_at(of, from);
        let last_sample = self.samples[..self.count_samples_until(end)].last();
        ChartPoint {
            items_per_second: increase(|sample| sample.ended_total) / seconds,
            refusals_per_minute: increase(|sample| sample.rate_limited_total) / seconds * 60.0,
            p50_ms: last_sample.and_then(|sample| sample.p50_ms),
            p95_ms: last_sample.and_then(|sample| sample.p95_ms),
            usd: last_sample.map_or(0.0, |sample| sample.cost.as_usd()),
        }
    }

    /// The value of a counter at `at`, interpolated linearly between two samples.
    fn counter_at(&self, counter: fn(&Sample) -> u64, at: WallTime) -> f64 {
        let next_index = self.count_samples_until(at);
        let (Some(before), next) = (self.samples[..next_index].last(), self.samples.get(next_index)) else {
            return 0.0;
        };
        let value = counter(before) as f64;
        next.map_or(value, |next| {
            let share = at.since(before.at).as_secs_f64() / next.at.since(before.at).as_secs_f64();
            value + (counter(next) as f64 - value) * share
        })
    }

    /// The number of samples that are not later than `at`.
    fn count_samples_until(&self, at: WallTime) -> usize {
        self.samples.partition_point(|sample| sample.at <= at)
    }
}

/// The last multiple of `step` that is not after `at`.
fn round_down(at: WallTime, step: Duration) -> WallTime {
    WallTime(at.0 - at.0.rem_euclid(step.as_micros() as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(seconds: i64) -> WallTime {
        WallTime::from_unix_seconds(1_795_251_600 + seconds)
    }

    /// Samples from pairs `(at, ended)`.
    fn history(samples: impl IntoIterator<Item = (i64, u64)>) -> History {
        let sample = |(at, ended_total)| Sample { at: second(at), ended_total, p50_ms: Some(900), ..Sample::default() };
        History { samples: samples.into_iter().map(sample).collect(), ..History::default() }
    }

    #[test]
    fn there_is_no_series_before_ten_seconds_have_passed() {
        assert_eq!(history([]).series(40), None);
        assert_eq!(history([(0, 0), (9, 9)]).series(40), None);
        assert!(history([(0, 0), (10, 9)]).series(40).is_some());
    }

    #[test]
    fn steps_are_as_short_as_possible_and_begin_at_round_times() {
        let each = |length: i64| {
            let steps = history([(7, 0), (7 + length, 100)]).series(40).unwrap();
            assert!(steps.points.len() <= 40, "{} steps for {length} s", steps.points.len());
            assert_eq!(steps.from.0 % steps.step.as_micros() as i64, 0, "{length} s");
            steps.step.as_secs()
        };
        assert_eq!([30, 60, 300, 3_600, 86_400, 30 * 86_400].map(each), [1, 2, 10, 120, 3_600, 86_400]);
    }

    #[test]
    fn rates_are_averaged_over_the_minute_before() {
        // Sixty a minute for two minutes, then none for two minutes in which no snapshot came.
        let samples = (0..=120).map(|at| (at, at as u64)).chain([(240, 120)]);
        let steps = history(samples).series(300).unwrap();
        let rate = |at: usize| steps.points[at - 1].items_per_second;
        assert!((rate(60) - 1.0).abs() < 1e-9 && (rate(120) - 1.0).abs() < 1e-9);
        assert!((rate(150) - 0.5).abs() < 1e-9, "half of the minute had work: {}", rate(150));
        assert!(rate(200).abs() < 1e-9, "a wait is a wait, also where nothing was published");
    }

    #[test]
    fn the_charts_begin_with_what_was_recorded_before_the_dashboard_was_opened() {
        let recorded = |(at, ended): (i64, u64)| Sample {
            at: second(at),
            interval_s: 4,
            ended_total: ended + 10,
            ended,
            ..Sample::default()
        };
        let mut history = History::from_recorded([(0, 0), (60, 60)].map(recorded).into());
        let mut snapshot = Snapshot::empty("run", second(63), 1.0);
        snapshot.totals.done = 63;
        history.record(&snapshot);
        assert_eq!(history.samples.len(), 2, "the recorded interval holds");
        snapshot.at = second(120);
        snapshot.totals.done = 120;
        history.record(&snapshot);
        assert_eq!(history.samples.last().map(|sample| (sample.ended_total, sample.ended)), Some((130, 120)));
        let series = history.series(40).unwrap();
        assert_eq!(series.from, second(0));
        assert!(series.points.iter().skip(3).all(|point| (point.items_per_second - 1.0).abs() < 0.01), "{series:?}");
    }

    #[test]
    fn dropped_samples_do_not_change_the_series() {
        let all = history((0..=400).map(|at| (at, at as u64 * 3)));
        let few = history((0..=400).step_by(50).map(|at| (at, at as u64 * 3)));
        let [all, few] = [all, few].map(|history| history.series(40).unwrap());
        assert_eq!(all.points.len(), few.points.len());
        for (all, few) in all.points.iter().zip(&few.points) {
            assert!((all.items_per_second - few.items_per_second).abs() < 1e-9, "{all:?} {few:?}");
        }
    }
}
