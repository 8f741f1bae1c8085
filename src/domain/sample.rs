//! The state of a run at one instant, recorded now and then for charts over the run's whole time.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    money::Money,
    snapshot::{Gauge, Snapshot},
    time::WallTime,
};

/// The most samples of a run. When there are more, every other one is dropped and the interval doubles, so that any
/// length of time fits.
pub const MAX_SAMPLES: usize = 512;

/// The shortest time between two samples, until the interval doubles.
pub const MIN_SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// The shortest time between two samples of the same state.
pub const MIN_UNCHANGED_INTERVAL: Duration = Duration::from_mins(1);

/// Keys, models or routes are left out of the samples of fleets that have more of them than this.
const MAX_SAMPLED_PARTS: usize = 64;

/// Counters instead of rates, so that the difference between two samples is exact, even if samples between them were
/// dropped.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Sample {
    /// Engine time.
    pub at: WallTime,
    /// The interval in force when it was taken, in seconds.
    pub interval_s: u64,
    /// The name of the run's state, as in JSON output.
    pub state: String,
    /// Items that have ended since the run began. An item that is replayed counts again when it ends.
    pub ended_total: u64,
    /// Items that have ended and were not replayed.
    pub ended: u64,
    pub waiting: u64,
    pub in_flight: u64,
    pub attempts_total: u64,
    /// Part of `attempts_total`: those that a limit refused.
    pub rate_limited_total: u64,
    pub cost: Money,
    pub tokens_total: u64,
    /// Latency of the model with the most answers.
    pub p50_ms: Option<u64>,
    pub p95_ms: Option<u64>,
    pub keys: Vec<KeySample>,
    pub models: Vec<ModelSample>,
    pub routes: Vec<RouteSample>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct KeySample {
    pub name: String,
    /// The name of its condition, as in JSON output.
    pub condition: String,
    pub in_flight: u32,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelSample {
    pub name: String,
    pub rpm: Gauge,
    pub tpm: Gauge,
    pub rpd: Gauge,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteSample {
    pub key: String,
    pub model: String,
    /// The name of its condition, as in JSON output.
    pub condition: String,
}

impl Sample {
    /// A sample of `snapshot`, in which the counter of ended items is `ended_total`.
    pub fn new(snapshot: &Snapshot, ended_total: u64, interval: Duration) -> Self {
        let totals = &snapshot.totals;
        let busiest = snapshot.models.iter().max_by_key(|model| model.ok);
        Self {
            at: snapshot.at,
            interval_s: interval.as_secs(),
            state: snapshot.state.name().to_owned(),
            ended_total,
            ended: totals.done + totals.failed,
            waiting: totals.waiting,
            in_flight: totals.in_flight,
            attempts_total: totals.attempts,
            rate_limited_total: totals.rate_limited,
            cost: snapshot.spend.cost,
            tokens_total: snapshot.spend.usage.total(),
            p50_ms: busiest.and_then(|model| model.p50_ms),
            p95_ms: busiest.and_then(|model| model.p95_ms),
            keys: sampled_parts(&snapshot.keys)
                .iter()
                .map(|key| KeySample {
                    name: key.name.clone(),
                    condition: key.condition.name().to_owned(),
                    in_flight: key.in_flight,
                })
                .collect(),
            models: sampled_parts(&snapshot.models)
                .iter()
                .map(|model| ModelSample { name: model.name.clone(), rpm: model.rpm, tpm: model.tpm, rpd: model.rpd })
                .collect(),
            routes: sampled_parts(&snapshot.routes)
                .iter()
                .map(|route| RouteSample {
                    key: route.key.clone(),
                    model: route.model.clone(),
                    condition: route.condition.name().to_owned(),
                })
                .collect(),
        }
    }

    /// Whether two samples differ in nothing but their time.
    pub fn is_same_state(&self, other: &Self) -> bool {
        Self { at: other.at, interval_s: other.interval_s, ..self.clone() } == *other
    }
}

fn sampled_parts<T>(parts: &[T]) -> &[T] {
    if parts.len() > MAX_SAMPLED_PARTS { &[] } else { parts }
}

/// Counts the items that end, from one snapshot to the next. A replay lowers the number of ended items in a snapshot,
/// but not the count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EndedCounter {
    total: u64,
    /// Ended items in the last snapshot.
    last: u64,
}

impl EndedCounter {
    /// Goes on from the last recorded sample.
    pub const fn resumed(last: &Sample) -> Self {
        Self { total: last.ended_total, last: last.ended }
    }

    /// The count, with the items of this snapshot.
    pub fn count(&mut self, snapshot: &Snapshot) -> u64 {
        let ended = snapshot.totals.done + snapshot.totals.failed;
        self.total += ended.saturating_sub(self.last);
        self.last = ended;
        self.total
    }
}

/// Removes every other sample, from the second on, and returns them.
pub fn drop_every_other<T>(samples: &mut Vec<T>) -> Vec<T> {
    let (mut kept, mut dropped) = (Vec::with_capacity(samples.len().div_ceil(2)), Vec::new());
    for (index, sample) in std::mem::take(samples).into_iter().enumerate() {
        if index % 2 == 0 { kept.push(sample) } else { dropped.push(sample) }
    }
    *samples = kept;
    dropped
}
