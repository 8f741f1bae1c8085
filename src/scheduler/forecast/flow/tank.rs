//! A pool ahead of the clock: what its minute, its day and its concurrency let through.

use std::collections::VecDeque;

use crate::domain::forecast::Constraint;

/// A level that refills at a rate: requests in flight under a cap.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leak {
    level: f64,
    cap: f64,
    pub rate: f64,
}

impl Leak {
    pub fn new(cap: f64, taken: f64, seconds: f64) -> Self {
        Self { level: (cap - taken).max(0.0), cap, rate: cap / seconds.max(1e-3) }
    }

    pub fn within(&self, span: f64) -> f64 {
        self.level + self.rate * span
    }

    pub fn take(&mut self, amount: f64, span: f64) {
        self.level = if span.is_finite() { (self.within(span) - amount).clamp(0.0, self.cap) } else { self.cap };
    }

    /// When the last of `amount` goes.
    pub fn time_for(&self, amount: f64) -> f64 {
        ((amount - self.level) / self.rate).max(0.0)
    }
}

#[derive(Debug)]
pub(super) struct Tank {
    /// A request's place in its minute is free again after this.
    pub period: f64,
    /// When how much of the minute is free, in time order.
    pub free: VecDeque<(f64, f64)>,
    pub left_today: f64,
    pub returns: VecDeque<(f64, f64)>,
    pub concurrency: Option<Leak>,
    pub spent: bool,
    /// Given out in the present step.
    pub taken: f64,
    /// May be given out in the present step, and what limits it.
    pub room: f64,
    pub by: Constraint,
    /// Seconds lost, by constraint.
    pub held: [f64; Constraint::ALL.len()],
}

impl Tank {
    /// Requests a second while the day lasts.
    pub fn rate(&self, per_minute: Option<f64>) -> f64 {
        let minute = per_minute.map_or(f64::INFINITY, |per_minute| per_minute / self.period);
        let together = self.concurrency.map_or(f64::INFINITY, |leak| leak.rate);
        if self.left_today < 1.0 { 0.0 } else { minute.min(together) }
    }
}
