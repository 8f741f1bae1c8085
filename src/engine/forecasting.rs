//! The forecast task: computes forecasts outside the engine's task, one at a time, from a copy of the scheduler's
//! state.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::event_loop::{Engine, Phase};
use crate::{
    domain::{Forecast, Now, WallTime},
    forecast::{Assumptions, ForecastInput, ForecastResult, forecast},
};

/// Shortest time between two forecasts.
const FORECAST_INTERVAL: Duration = Duration::from_secs(2);

/// The interval is at least this many times as long as the last forecast took. So forecasts of a large fleet use at
/// most 5 % of a core.
const MIN_INTERVAL_FACTOR: u32 = 20;

/// Minimum number of answers, or of ended items, before their means are used.
const MIN_ANSWERS: u64 = 10;

/// A forecast and how long it took to compute.
pub(super) type TimedForecast = (Forecast, Duration);

/// The newest forecast, and when the next may start.
#[derive(Debug)]
pub(super) struct ForecastTask {
    pub latest: Option<Forecast>,
    next_at: Instant,
    /// A forecast is being computed.
    is_running: bool,
    result_tx: mpsc::Sender<TimedForecast>,
}

impl ForecastTask {
    pub fn new(result_tx: mpsc::Sender<TimedForecast>) -> Self {
        Self { latest: None, next_at: Instant::now(), is_running: false, result_tx }
    }
}

impl Engine {
    /// Starts a forecast, if one is due.
    pub(super) fn maybe_forecast(&mut self, now: Now) {
        if self.forecasting.is_running
            || Instant::now() < self.forecasting.next_at
            || !matches!(self.phase, Phase::Running)
        {
            return;
        }
        self.forecasting.is_running = true;
        let input = self.scheduler.forecast_input(now, &self.assumptions());
        let result_tx = self.forecasting.result_tx.clone();
        tokio::task::spawn_blocking(move || {
            // The send fails only if the engine has ended; then nobody needs the forecast.
            let _ = result_tx.blocking_send(compute(&input));
        });
    }

    pub(super) fn on_forecast(&mut self, (forecast, took): TimedForecast) {
        self.forecasting.is_running = false;
        self.forecasting.next_at = Instant::now() + FORECAST_INTERVAL.max(took * MIN_INTERVAL_FACTOR);
        self.snapshot_dirty |= self.forecasting.latest.as_ref() != Some(&forecast);
        self.forecasting.latest = Some(forecast);
    }

    /// Measurements of this run for the forecast: latency, tokens per answer, and requests per item.
    fn assumptions(&self) -> Assumptions {
        let (totals, usage) = (self.totals, self.spend.usage);
        let answered: u64 = self.model_counts.iter().map(|counts| counts.ok).sum();
        let mean = |tokens: u64| (answered >= MIN_ANSWERS).then(|| tokens as f64 / answered as f64);
        let ended = totals.done + totals.failed;
        let requests = totals.attempts.saturating_sub(totals.rate_limited);
        let requests_per_item =
            if ended >= MIN_ANSWERS { (requests as f64 / ended as f64).clamp(1.0, 3.0) } else { 1.0 };
        Assumptions {
            latency_by_model: self
                .model_counts
                .iter()
                .map(|counts| counts.latencies.mean_ms().map(Duration::from_millis))
                .collect(),
            mean_input_tokens: mean(usage.input_tokens),
            mean_output_tokens: mean(usage.billed_output()),
            requests_per_item,
        }
    }

    /// When the run is expected to end. `None` if there is no forecast yet, the run will stop with work left, the run
    /// is paused or ending, or the forecast time has passed.
    pub(super) fn finish_at(&self, now: Now) -> Option<WallTime> {
        let forecast =
            self.forecasting.latest.as_ref().filter(|_| !self.is_paused && matches!(self.phase, Phase::Running))?;
        forecast.finish.filter(|at| forecast.stop.is_none() && *at > now.wall)
    }
}

fn compute(input: &ForecastInput) -> TimedForecast {
    let started_at = Instant::now();
    let ForecastResult { forecast, .. } = forecast(input);
    (forecast, started_at.elapsed())
}
