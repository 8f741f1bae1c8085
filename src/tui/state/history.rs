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

impl Sample {
    fn of(snapshot: &Snapshot, at: Wall) -> Self {
        let busiest = snapshot.models.iter().max_by_key(|model| model.ok);
        Self {
            at,
            items_per_second: snapshot.pace.items_per_second,
            attempts: snapshot.totals.attempts,
            rate_limited: snapshot.totals.rate_limited,
            p50_ms: busiest.and_then(|model| model.p50_ms),
            p95_ms: busiest.and_then(|model| model.p95_ms),
            cost: snapshot.spend.cost,
        }
    }
}

impl Default for History {
    fn default() -> Self {
        Self { interval: Duration::from_secs(1), samples: Vec::new() }
    }
}

impl History {
    /// Remembers `snapshot`, one sample for each interval since the last one: while nothing is published, what stood
    /// then still stands.
    pub fn record(&mut self, snapshot: &Snapshot) {
        let began = self.samples.first().map_or(snapshot.at, |first| first.at);
        loop {
            let due = began + self.interval * self.samples.len() as u32;
            if snapshot.at < due {
                return;
            }
            let sample = match self.samples.last() {
                Some(last) if snapshot.at >= due + self.interval => Sample { at: due, ..*last },
                _ => Sample::of(snapshot, due),
            };
            self.samples.push(sample);
            if self.samples.len() > MOST {
                let mut place = 0;
                self.samples.retain(|_| {
                    place += 1;
                    place % 2 == 1
                });
                self.interval *= 2;
            }
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
