//! What the charts draw: the snapshot's own figures, remembered at ever wider intervals, so that the whole
//! time on the screen fits into a fixed number of samples.

use std::time::Duration;

use crate::domain::{Money, Snapshot, Wall};

/// Samples kept; when there are more, every other one goes and the interval doubles.
const MOST: usize = 512;

#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sample {
    pub at: Wall,
    pub items_per_second: f64,
    pub attempts: u64,
    pub rate_limited: u64,
    /// Of the model with the most answers.
    pub p50_ms: Option<u64>,
    pub p95_ms: Option<u64>,
    pub cost: Money,
}

#[derive(Clone, PartialEq, Debug)]
pub struct History {
    interval: Duration,
    samples: Vec<Sample>,
}

impl Default for History {
    fn default() -> Self {
        Self { interval: Duration::from_secs(1), samples: Vec::new() }
    }
}

impl History {
    /// Remembers `snapshot` if enough engine time has passed since the last one.
    pub fn record(&mut self, snapshot: &Snapshot) {
        let due = self.samples.last().is_none_or(|last| snapshot.at.since(last.at) >= self.interval);
        if !due {
            return;
        }
        let busiest = snapshot.models.iter().max_by_key(|model| model.ok);
        self.samples.push(Sample {
            at: snapshot.at,
            items_per_second: snapshot.pace.items_per_second,
            attempts: snapshot.totals.attempts,
            rate_limited: snapshot.totals.rate_limited,
            p50_ms: busiest.and_then(|model| model.p50_ms),
            p95_ms: busiest.and_then(|model| model.p95_ms),
            cost: snapshot.spend.cost,
        });
        if self.samples.len() > MOST {
            let mut place = 0;
            self.samples.retain(|_| {
                place += 1;
                place % 2 == 1
            });
            self.interval *= 2;
        }
    }

    /// Oldest first.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    pub const fn interval(&self) -> Duration {
        self.interval
    }
}
