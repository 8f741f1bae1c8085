//! State of a pool in the simulation: what its minute, its day and its concurrency admit.

use std::collections::VecDeque;

use crate::domain::forecast::Constraint;

/// A bucket that refills at a constant rate. It stands for a cap on requests in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct RateBucket {
    level: f64,
    capacity: f64,
    pub rate: f64,
}

impl RateBucket {
    pub fn new(cap: f64, in_flight: f64, latency_secs: f64) -> Self {
        Self { level: (cap - in_flight).max(0.0), capacity: cap, rate: cap / latency_secs.max(1e-3) }
    }

    pub fn capacity_within(&self, span: f64) -> f64 {
        self.level + self.rate * span
    }

    pub fn consume(&mut self, amount: f64, span: f64) {
        self.level = if span.is_finite() {
            (self.capacity_within(span) - amount).clamp(0.0, self.capacity)
        } else {
            self.capacity
        };
    }

    /// Seconds until the last of `amount` is sent.
    pub fn time_until(&self, amount: f64) -> f64 {
        ((amount - self.level) / self.rate).max(0.0)
    }
}

#[derive(Debug)]
pub(super) struct PoolState {
    /// Seconds after which the room of a request in the minute window is free again.
    pub period: f64,
    /// (when, requests) that become free in the minute window, in time order.
    pub minute_releases: VecDeque<(f64, f64)>,
    pub left_today: f64,
    pub day_releases: VecDeque<(f64, f64)>,
    pub concurrency: Option<RateBucket>,
    pub is_day_exhausted: bool,
    /// Requests sent in the current step.
    pub used_in_step: f64,
    /// Requests that may be sent in the current step, and what limits them.
    pub step_capacity: f64,
    pub limited_by: Constraint,
    /// Seconds lost, by constraint.
    pub secs_lost: [f64; Constraint::ALL.len()],
}

impl PoolState {
    /// Requests a second that the pool admits; 0 if its day is exhausted.
    pub fn rate(&self, per_minute: Option<f64>) -> f64 {
        let minute = per_minute.map_or(f64::INFINITY, |per_minute| per_minute / self.period);
        let concurrency = self.concurrency.map_or(f64::INFINITY, |bucket| bucket.rate);
        if self.left_today < 1.0 { 0.0 } else { minute.min(concurrency) }
    }
}
