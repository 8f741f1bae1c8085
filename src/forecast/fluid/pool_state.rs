//! State of a pool in the simulation: what its minute, its day and its concurrency admit.

use std::collections::VecDeque;

use crate::{
    domain::{QuotaDay, bottleneck::Bottleneck},
    forecast::input::PoolInput,
};

const MINUTE_SECS: f64 = 60.0;
pub(super) const DAY_SECS: f64 = 86_400.0;
/// Changes closer together than this many seconds are merged into one step.
pub(super) const MIN_STEP_SECS: f64 = 0.25;
/// Amounts below this count as zero.
pub(super) const EPSILON: f64 = 1e-6;

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

/// Instants are seconds from the start of the simulation.
#[derive(Debug)]
pub(super) struct PoolState<'a> {
    pub input: &'a PoolInput,
    /// Seconds after which the room of a request in the minute window is free again.
    period: f64,
    /// (when, requests) that become free in the minute window, in time order.
    minute_releases: VecDeque<(f64, f64)>,
    left_today: f64,
    day_releases: VecDeque<(f64, f64)>,
    concurrency: Option<RateBucket>,
    is_day_exhausted: bool,
    /// Requests sent in the current step.
    pub used_in_step: f64,
    /// Requests that may be sent in the current step, and what limits them.
    step_capacity: f64,
    limited_by: Bottleneck,
    /// Seconds lost, by constraint.
    pub secs_lost: [f64; Bottleneck::COUNT],
}

impl<'a> PoolState<'a> {
    pub fn new(input: &'a PoolInput, latency_secs: f64) -> Self {
        Self {
            input,
            period: MINUTE_SECS + latency_secs,
            minute_releases: input.minute_releases.iter().copied().collect(),
            left_today: input.left_today.unwrap_or(f64::INFINITY),
            day_releases: input.day_releases.iter().copied().collect(),
            concurrency: input.concurrency.map(|most| RateBucket::new(most, input.in_flight, latency_secs)),
            is_day_exhausted: input.left_today.is_some_and(|left| left < 1.0),
            used_in_step: 0.0,
            step_capacity: 0.0,
            limited_by: input.minute_constraint,
            secs_lost: [0.0; Bottleneck::COUNT],
        }
    }

    /// Whether the day has no room for a request.
    pub fn is_spent(&self) -> bool {
        self.left_today < 1.0
    }

    /// Whether the day has room for a request after those of the current step.
    pub fn has_quota(&self) -> bool {
        self.left_today - self.used_in_step >= 1.0
    }

    /// Requests that may still be sent in the current step.
    pub fn room(&self) -> f64 {
        self.step_capacity - self.used_in_step
    }

    /// Whether the number of requests in flight is what limits the current step.
    pub fn is_limited_by_concurrency(&self) -> bool {
        self.limited_by == Bottleneck::Concurrency
    }

    /// Requests a second that the pool admits; 0 if its day is spent.
    pub fn rate(&self) -> f64 {
        let minute = self.input.per_minute.map_or(f64::INFINITY, |per_minute| per_minute / self.period);
        let concurrency = self.concurrency.map_or(f64::INFINITY, |bucket| bucket.rate);
        if self.is_spent() { 0.0 } else { minute.min(concurrency) }
    }

    /// The pool's weight when lost time is attributed.
    pub fn weight(&self) -> f64 {
        let per_minute = self.input.per_minute.or(self.input.per_day.map(|per_day| per_day / 1_440.0));
        per_minute.unwrap_or(0.0).max(EPSILON)
    }

    /// Starts a new calendar day, if the pool has a daily limit.
    pub fn start_new_day(&mut self) {
        if let Some(per_day) = self.input.per_day {
            self.left_today = per_day;
            self.is_day_exhausted = false;
        }
    }

    /// Adds what a rolling day has released by `now`.
    pub fn release_rolling_day(&mut self, now: f64) {
        while let Some((_, amount)) = self.day_releases.pop_front_if(|(at, _)| *at <= now + EPSILON) {
            self.left_today += amount;
            self.is_day_exhausted &= self.is_spent();
        }
    }

    /// When a rolling day next releases something.
    pub fn next_day_release(&self) -> Option<f64> {
        self.day_releases.front().map(|(at, _)| *at)
    }

    /// The next instant at which the pool may admit more than before.
    pub fn next_change(&self, now: f64, is_exact: bool) -> f64 {
        let mut next = self.next_day_release().unwrap_or(f64::INFINITY);
        if is_exact {
            // Room that is free now and used in this step comes back one turn later.
            let next_turn = self.minute_releases.front().map(|(at, _)| at.max(now - MIN_STEP_SECS) + self.period);
            let next_opening = self.minute_releases.iter().map(|(at, _)| *at).find(|at| *at > now + EPSILON);
            next = next_opening.into_iter().chain(next_turn).fold(next, f64::min);
        } else if let Some(per_minute) = self.input.per_minute
            && self.left_today.is_finite()
            && !self.is_spent()
        {
            next = next.min(now + self.left_today * self.period / per_minute);
        }
        next
    }

    /// Starts a step: sets what the pool admits in it.
    pub fn start_step(&mut self, now: f64, span: f64, is_exact: bool) {
        let minute = match self.input.per_minute {
            None => f64::INFINITY,
            Some(_) if is_exact => {
                let free = self.minute_releases.iter().take_while(|(free, _)| *free <= now + EPSILON);
                free.map(|(_, amount)| amount).sum()
            }
            Some(per_minute) => per_minute * span / self.period,
        };
        let concurrency = self.concurrency.map_or(f64::INFINITY, |bucket| bucket.capacity_within(span));
        let today = if self.is_spent() { 0.0 } else { self.left_today };
        self.step_capacity = minute.min(concurrency).min(today);
        self.limited_by = if today <= minute && today <= concurrency {
            Bottleneck::DailyQuota
        } else if concurrency < minute {
            Bottleneck::Concurrency
        } else {
            self.input.minute_constraint
        };
        self.used_in_step = 0.0;
    }

    /// Seconds until the last request of the step is sent, as far as concurrency limits it.
    pub fn secs_until_last_sent(&self) -> f64 {
        let bucket = self.concurrency.filter(|_| self.used_in_step > 0.0);
        bucket.map_or(0.0, |bucket| bucket.time_until(self.used_in_step))
    }

    /// The constraint that limited the pool in this step.
    pub fn constraint(&self, is_cooling_down: bool, is_over_budget: bool) -> Bottleneck {
        if self.is_spent() {
            Bottleneck::DailyQuota
        } else if is_cooling_down {
            Bottleneck::Cooldown
        } else if is_over_budget {
            Bottleneck::Budget
        } else if self.limited_by == Bottleneck::DailyQuota && self.used_in_step < self.step_capacity {
            self.input.minute_constraint
        } else {
            self.limited_by
        }
    }

    /// Ends a step: takes the sent amount, and schedules its return after the minute window or rolling day. True if
    /// this uses up the day.
    pub fn end_step(&mut self, now: f64, span: f64, is_exact: bool, is_in_flight_limited: bool) -> bool {
        if let Some(bucket) = &mut self.concurrency {
            bucket.consume(self.used_in_step, span);
        }
        if self.used_in_step <= 0.0 {
            return false;
        }
        if is_exact && self.input.per_minute.is_some() {
            self.take_from_minute(now, (is_in_flight_limited && span.is_finite()).then_some(now + span / 2.0));
        }
        if self.left_today.is_infinite() {
            return false;
        }
        self.left_today -= self.used_in_step;
        if self.input.day == QuotaDay::Rolling {
            let back = now + DAY_SECS;
            match self.day_releases.back_mut() {
                Some((other, amount)) if back - *other < DAY_SECS / 48.0 => *amount += self.used_in_step,
                _ => self.day_releases.push_back((back, self.used_in_step)),
            }
        }
        self.is_spent() && !std::mem::replace(&mut self.is_day_exhausted, true)
    }

    /// Takes the sent amount from the minute window. `sent_at`: when it was sent on average, if the in-flight cap was
    /// reached. Otherwise it was sent at the moment the room became free, unless the step began later.
    fn take_from_minute(&mut self, now: f64, sent_at: Option<f64>) {
        let mut left = self.used_in_step;
        while left > EPSILON
            && let Some((free, amount)) = self.minute_releases.pop_front()
        {
            let take = amount.min(left);
            left -= take;
            if take < amount - EPSILON {
                self.minute_releases.push_front((free, amount - take));
            }
            let free_again_at = sent_at.unwrap_or(free.max(now - MIN_STEP_SECS)) + self.period;
            let position = self.minute_releases.partition_point(|(other, _)| *other <= free_again_at);
            match self.minute_releases.get_mut(position.wrapping_sub(1)) {
                Some((other, amount)) if free_again_at - *other < MIN_STEP_SECS / 8.0 && *other > now => {
                    *amount += take;
                }
                _ => self.minute_releases.insert(position, (free_again_at, take)),
            }
        }
    }
}
