//! The forecaster: computes forecasts outside the engine's task, one at a time, from a copy of the scheduler's state.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::messages::TimedForecast;
use crate::{
    domain::{Forecast, WallTime},
    forecast::{ForecastInput, ForecastResult, forecast},
};

/// Shortest time between two forecasts.
const FORECAST_INTERVAL: Duration = Duration::from_secs(2);

/// The interval is at least this many times as long as the last forecast took. So forecasts of a large fleet use at
/// most 5 % of a core.
const MIN_INTERVAL_FACTOR: u32 = 20;

/// The newest forecast, and when the next may start.
#[derive(Debug)]
pub(super) struct Forecaster {
    latest: Option<Forecast>,
    next_at: Instant,
    /// A forecast is being computed.
    is_running: bool,
    result_tx: mpsc::Sender<TimedForecast>,
}

impl Forecaster {
    pub fn new(result_tx: mpsc::Sender<TimedForecast>) -> Self {
        Self { latest: None, next_at: Instant::now(), is_running: false, result_tx }
    }

    /// Whether the next forecast should be started.
    pub fn is_due(&self) -> bool {
        !self.is_running && Instant::now() >= self.next_at
    }

    pub fn start(&mut self, input: ForecastInput) {
        self.is_running = true;
        let result_tx = self.result_tx.clone();
        tokio::task::spawn_blocking(move || {
            let started_at = Instant::now();
            let ForecastResult { forecast, .. } = forecast(&input);
            // The send fails only if the engine has ended; then the forecast isn't needed.
            let _ = result_tx.blocking_send((forecast, started_at.elapsed()));
        });
    }

    /// Takes a computed forecast. True if it differs from the last one.
    pub fn on_forecast(&mut self, (forecast, took): TimedForecast) -> bool {
        self.is_running = false;
        self.next_at = Instant::now() + FORECAST_INTERVAL.max(took * MIN_INTERVAL_FACTOR);
        let has_changed = self.latest.as_ref() != Some(&forecast);
        self.latest = Some(forecast);
        has_changed
    }

    /// Makes the next forecast due at once.
    #[cfg(test)]
    pub fn make_due(&mut self) {
        self.next_at = Instant::now();
    }

    pub const fn latest(&self) -> Option<&Forecast> {
        self.latest.as_ref()
    }

    /// When the run is expected to end. `None` if there is no forecast yet, the run will stop with work left, or the
    /// forecast time has passed.
    pub fn finish_at(&self, now: WallTime) -> Option<WallTime> {
        let forecast = self.latest.as_ref()?;
        forecast.finish.filter(|at| forecast.stop.is_none() && *at > now)
    }
}
