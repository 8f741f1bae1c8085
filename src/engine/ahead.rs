//! Looking ahead: the forecast is reckoned off the engine's task, on a copy of what it depends on, one at a time.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::core::{Engine, Phase};
use crate::{
    domain::{Forecast, Now, WallTime},
    scheduler::{
        Assumptions, ForecastInput,
        forecast::{ForecastResult, forecast},
    },
};

/// Between two forecasts, while things change.
const EVERY: Duration = Duration::from_secs(2);

/// And at least so many times as long as one takes: a large fleet is not reckoned over and over.
const REST: u32 = 20;

/// Means of fewer answers than this say nothing.
const ENOUGH: u64 = 10;

/// A forecast and how long it took.
pub(super) type Foreseen = (Forecast, Duration);

/// The newest forecast, and when the next may be made.
#[derive(Debug)]
pub(super) struct Ahead {
    pub forecast: Option<Forecast>,
    due: Instant,
    /// One is being reckoned.
    pending: bool,
    back: mpsc::Sender<Foreseen>,
}

impl Ahead {
    pub fn new(back: mpsc::Sender<Foreseen>) -> Self {
        Self { forecast: None, due: Instant::now(), pending: false, back }
    }
}

impl Engine {
    /// Has a forecast made, if one is due.
    pub(super) fn look_ahead(&mut self, now: Now) {
        if self.ahead.pending || Instant::now() < self.ahead.due || !matches!(self.phase, Phase::Going) {
            return;
        }
        self.ahead.pending = true;
        let input = self.scheduler.forecast_input(now, &self.assumptions());
        let back = self.ahead.back.clone();
        tokio::task::spawn_blocking(move || {
            // An engine that has gone needs no forecast.
            let _ = back.blocking_send(foresee(&input));
        });
    }

    pub(super) fn foreseen(&mut self, (forecast, took): Foreseen) {
        self.ahead.pending = false;
        self.ahead.due = Instant::now() + EVERY.max(took * REST);
        self.dirty |= self.ahead.forecast.as_ref() != Some(&forecast);
        self.ahead.forecast = Some(forecast);
    }

    /// What the run has shown so far: how long answers take, how large they are, how many tries an item needs.
    fn assumptions(&self) -> Assumptions {
        let (totals, usage) = (self.totals, self.spend.usage);
        let answered: u64 = self.model_tallies.iter().map(|tally| tally.ok).sum();
        let mean = |tokens: u64| (answered >= ENOUGH).then(|| tokens as f64 / answered as f64);
        let ended = totals.done + totals.failed;
        let requests = totals.attempts.saturating_sub(totals.rate_limited);
        let requests_per_item = if ended >= ENOUGH { (requests as f64 / ended as f64).clamp(1.0, 3.0) } else { 1.0 };
        Assumptions {
            latency_by_model: self
                .model_tallies
                .iter()
                .map(|tally| tally.latencies.mean_ms().map(Duration::from_millis))
                .collect(),
            mean_input_tokens: mean(usage.input_tokens),
            mean_output_tokens: mean(usage.billed_output()),
            requests_per_item,
        }
    }

    /// When the run is expected to end: `None` where it stops before, stands still, is later than foreseen, or nothing is
    /// known yet.
    pub(super) fn finish_at(&self, now: Now) -> Option<WallTime> {
        let forecast = self.ahead.forecast.as_ref().filter(|_| !self.paused && matches!(self.phase, Phase::Going))?;
        forecast.finish.filter(|at| forecast.stop.is_none() && *at > now.wall)
    }
}

fn foresee(input: &ForecastInput) -> Foreseen {
    let begun = Instant::now();
    let ForecastResult { forecast, .. } = forecast(input);
    (forecast, begun.elapsed())
}
