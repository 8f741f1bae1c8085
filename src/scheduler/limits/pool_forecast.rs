//! A quota pool as the forecast sees it: room in requests now and later, whatever the tightest limit counts.

use crate::{
    domain::{
        LimitDimension::{self, TokensPerDay},
        Now,
        bottleneck::Bottleneck,
    },
    forecast::PoolInput,
};

use super::{
    daily_quota::DailyQuota,
    pool::QuotaPool,
    pool_limits::TokenEstimate,
    window::{Gcra, SlidingWindow},
};

/// Number of steps into which the releases of a minute or a rolling day are merged.
const STEPS_PER_WINDOW: usize = 24;

impl QuotaPool {
    /// The room for requests of this size and latency (in seconds).
    pub fn forecast_input(&self, now: Now, estimate: TokenEstimate, latency: f64) -> PoolInput {
        let (per_minute, minute_constraint, minute_releases) = match self.tightest_minute(estimate) {
            None => (None, Bottleneck::RequestsPerMinute, Vec::new()),
            Some((window, amount, minute_constraint)) => {
                let limit_in_requests = window.limit().unwrap_or_default() as f64 / amount;
                // Room that is too small for one more request can't be used.
                let per_minute = if limit_in_requests > 1.0 { limit_in_requests.floor() } else { limit_in_requests };
                (Some(per_minute), minute_constraint, self.minute_releases(now, window, amount, latency))
            }
        };
        let tokens = self.limits.amount(TokensPerDay, estimate).max(1) as f64;
        let day = |quota: &DailyQuota, amount: f64| {
            let limit = quota.limit()? as f64;
            Some((limit / amount, (limit - quota.used(now.wall) as f64).max(0.0) / amount))
        };
        let days = [day(&self.day_requests, 1.0), day(&self.day_tokens, tokens)];
        let daily = days.into_iter().flatten().reduce(|one, two| (one.0.min(two.0), one.1.min(two.1)));
        let releases =
            self.day_requests.releases(now.wall).map(|(at, count)| (at.since(now.wall).as_secs_f64(), count));
        PoolInput {
            label: self.label.clone(),
            per_minute,
            minute_constraint,
            minute_releases,
            concurrency: self.limits[LimitDimension::Concurrency].effective().map(|max| max as f64),
            in_flight: f64::from(self.in_flight),
            day: self.day(),
            per_day: daily.map(|(per_day, _)| per_day),
            left_today: if self.active_day_cooldown(now).is_some() { Some(0.0) } else { daily.map(|(_, left)| left) },
            day_releases: if daily.is_some() { merge_releases(releases, 86_400.0) } else { Vec::new() },
        }
    }

    /// The window that admits the fewest requests of this size, the amount one request takes of it, and its constraint.
    fn tightest_minute(&self, estimate: TokenEstimate) -> Option<(&SlidingWindow, f64, Bottleneck)> {
        let admitted =
            |(window, amount, _): &(&SlidingWindow, f64, _)| window.limit().unwrap_or(u64::MAX) as f64 / amount;
        self.windows()
            .map(|(dimension, window)| (window, self.limits.amount(dimension, estimate) as f64, dimension))
            .filter(|(window, amount, _)| window.limit().is_some() && *amount > 0.0)
            .min_by(|one, two| admitted(one).total_cmp(&admitted(two)))
            .map(|(window, amount, dimension)| (window, amount, dimension.bottleneck()))
    }

    /// (seconds from now, requests) that become free in the minute window. A paced pool frees them in steps of its
    /// burst.
    fn minute_releases(&self, now: Now, window: &SlidingWindow, amount: f64, latency: f64) -> Vec<(f64, f64)> {
        let limit = window.limit().unwrap_or_default();
        let used = window.used(now.mono);
        let room = limit.saturating_sub(used) as f64 / amount;
        let mut steps = Vec::new();
        match self.pacing.as_ref().map(Gcra::burst) {
            Some(burst) if f64::from(burst) < room => {
                let per_minute = limit as f64 / amount;
                let (step, mut left, mut at) = (f64::from(burst).max(per_minute / STEPS_PER_WINDOW as f64), room, 0.0);
                while left > 0.0 {
                    steps.push((at, step.min(left)));
                    at += 60.0 * step / per_minute;
                    left -= step;
                }
            }
            _ => steps.push((0.0, room)),
        }
        let mut completed = 0;
        let releases = window.releases(now.mono).map(|(at, count)| {
            completed += count;
            (at.since(now.mono).as_secs_f64(), count)
        });
        steps.extend(merge_releases(releases, 60.0).into_iter().map(|(at, count)| (at, count / amount)));
        // Requests in flight occupy the window until a minute after their answer, which is expected after half of the
        // latency.
        let in_flight = used.saturating_sub(completed) as f64 / amount;
        steps.push((60.0 + latency / 2.0, in_flight));
        steps.retain(|(_, count)| *count > 0.0);
        steps.sort_by(|one, two| one.0.total_cmp(&two.0));
        steps
    }
}

/// Merges the releases of a window of `span_secs` into a few steps. Each step gets the instant of its last release.
fn merge_releases(releases: impl Iterator<Item = (f64, u64)>, span_secs: f64) -> Vec<(f64, f64)> {
    let step_secs = span_secs / STEPS_PER_WINDOW as f64;
    let mut steps: Vec<(f64, f64)> = Vec::new();
    let mut step_start = f64::NEG_INFINITY;
    for (at, count) in releases {
        match steps.last_mut() {
            Some(step) if at - step_start < step_secs => *step = (at, step.1 + count as f64),
            _ => {
                step_start = at;
                steps.push((at, count as f64));
            }
        }
    }
    steps
}
