//! Counts over the whole run: successes, failures, tokens, money, latency. Their size is bounded.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::{
    key_budget::KeyBudget,
    messages::{AttemptStats, ItemEnd},
};
use crate::{
    domain::{
        CostByKind, CountedAttempt, FinalState, LatencyHistogram, MetricCounts, Money, MonoTime, Outcome, RouteId,
        RouteSums, Usage, WallTime,
        snapshot::{Spend, Totals},
    },
    forecast::Assumptions,
};

/// Minimum number of answers, or of ended items, before their means are used for the forecast.
const MIN_ANSWERS: u64 = 10;

/// Counts of one key or model.
#[derive(Clone, Debug, Default)]
pub(super) struct AttemptCounts {
    pub ok: u64,
    pub failed: u64,
    /// Part of `failed`: answers that failed a check.
    pub invalid_outputs: u64,
    pub usage: Usage,
    pub cost: Money,
    pub cost_by_kind: CostByKind,
    pub latencies: LatencyHistogram,
    /// The last failure, with the provider's own text. Set for keys only.
    pub last_error: Option<String>,
}

impl AttemptCounts {
    pub fn count(&mut self, attempt: &AttemptStats) {
        let outcome = attempt.outcome;
        if outcome.is_answered() {
            self.ok += 1;
            self.latencies.record(attempt.latency.as_millis() as u64);
        } else if attempt.is_failure() {
            self.failed += 1;
            self.invalid_outputs += u64::from(outcome == Outcome::InvalidOutput);
        }
        self.usage += attempt.usage;
        self.cost += attempt.cost;
        self.cost_by_kind += attempt.cost_by_kind;
    }
}

impl AttemptCounts {
    fn add_sums(&mut self, sums: &RouteSums) {
        self.ok += sums.answered();
        self.failed += sums.failed();
        self.invalid_outputs += sums.invalid_outputs();
        self.latencies.merge(sums.latencies());
        self.usage += sums.usage();
        self.cost += sums.cost();
        self.cost_by_kind += sums.cost_by_kind();
    }
}

impl AttemptStats {
    /// Whether it counts against its key and model.
    const fn is_failure(&self) -> bool {
        !self.outcome.is_answered() && !self.outcome.is_unattributed() && !self.is_unchecked
    }

    const fn counted(&self) -> CountedAttempt {
        let Self { status, outcome, usage, cost, latency, .. } = *self;
        CountedAttempt { status, outcome, usage, cost, latency }
    }
}

/// Everything counted over the run, earlier processes included.
#[derive(Debug)]
pub(super) struct RunStats {
    pub totals: Totals,
    pub spend: Spend,
    pub keys: Vec<AttemptCounts>,
    /// By key.
    pub key_budgets: Vec<KeyBudget>,
    pub models: Vec<AttemptCounts>,
    /// Answered and failed attempts of each route.
    pub routes: Vec<(u64, u64)>,
    /// Shared with the last snapshot, and copied at the next change.
    pub metric_counts: Arc<MetricCounts>,
    pub throughput: ThroughputEstimate,
    pub active_time: ActiveTime,
    check_times: CheckTimes,
}

/// How long this process has checked answers.
#[derive(Clone, Copy, Debug, Default)]
struct CheckTimes {
    answers: u32,
    total: Duration,
}

impl RunStats {
    pub fn new(
        totals: Totals,
        spend: Spend,
        key_budgets: Vec<KeyBudget>,
        models: usize,
        metric_counts: MetricCounts,
    ) -> Self {
        Self {
            totals,
            spend,
            keys: vec![AttemptCounts::default(); key_budgets.len()],
            key_budgets,
            models: vec![AttemptCounts::default(); models],
            routes: vec![(0, 0); metric_counts.routes().count()],
            metric_counts: Arc::new(metric_counts),
            throughput: ThroughputEstimate::default(),
            active_time: ActiveTime::default(),
            check_times: CheckTimes::default(),
        }
    }

    /// Adds an attempt to the counts of its key, model and route.
    pub fn add_attempt(&mut self, key: usize, model: usize, attempt: &AttemptStats) {
        for counts in [&mut self.keys[key], &mut self.models[model]] {
            counts.count(attempt);
        }
        let (ok, failed) = &mut self.routes[attempt.route.index()];
        *ok += u64::from(attempt.outcome.is_answered());
        *failed += u64::from(attempt.is_failure());
        Arc::make_mut(&mut self.metric_counts).count_attempt(attempt.route.index(), &attempt.counted());
    }

    /// Adds the attempts of earlier processes to the counts of their key, model and route.
    pub fn add_sums(&mut self, key: usize, model: usize, route: RouteId, sums: &RouteSums) {
        for counts in [&mut self.keys[key], &mut self.models[model]] {
            counts.add_sums(sums);
        }
        let (ok, failed) = &mut self.routes[route.index()];
        *ok += sums.answered();
        *failed += sums.failed();
        Arc::make_mut(&mut self.metric_counts).add_sums(route.index(), sums);
    }

    /// Counts a failed attempt whose item goes on, to the route `to` if that is known.
    pub fn count_requeue(&mut self, from: RouteId, to: Option<RouteId>, reason: Outcome) {
        Arc::make_mut(&mut self.metric_counts).count_requeue(from, to, reason);
    }

    /// Records how long a commit took, in real time.
    pub fn record_commit(&mut self, duration: Duration) {
        Arc::make_mut(&mut self.metric_counts).record_commit(duration);
    }

    /// Counts an attempt whose outcome is on disk.
    pub fn count_attempt(&mut self, now: WallTime, key: usize, model: usize, attempt: &AttemptStats) {
        let outcome = attempt.outcome;
        self.add_attempt(key, model, attempt);
        self.key_budgets[key].add(now, now, attempt.cost + attempt.at_risk);
        if !outcome.is_provider_success() && !outcome.is_unattributed() {
            self.keys[key].last_error = Some(format!("{outcome}: {}", attempt.message));
        }
        if outcome.is_provider_success() {
            self.check_times.answers += 1;
            self.check_times.total += attempt.check_time;
        }
        self.spend.usage += attempt.usage;
        self.spend.cost += attempt.cost;
        self.spend.cost_by_kind += attempt.cost_by_kind;
        self.spend.at_risk += attempt.at_risk;
        self.totals.rate_limited += u64::from(outcome.is_rate_limited());
        self.totals.invalid_outputs += u64::from(outcome == Outcome::InvalidOutput && !attempt.is_unchecked);
        // Every attempt was counted when its task started. One that sent nothing is taken off again.
        self.totals.attempts -= u64::from(outcome.is_local()).min(self.totals.attempts);
    }

    /// Counts an item that has ended.
    pub fn count_end(&mut self, now: MonoTime, ended: ItemEnd) {
        self.throughput.record(now);
        match ended.state {
            FinalState::Done => self.totals.done += 1,
            FinalState::Failed => self.totals.failed += 1,
        }
        self.totals.truncated += u64::from(ended.is_truncated);
        Arc::make_mut(&mut self.metric_counts).count_ends(ended.state, ended.outcome, 1);
    }

    /// Measurements of this run for the forecast: latency, tokens per answer, and requests per item. A request is in
    /// flight until its answer is checked, so the latency includes that time.
    pub fn assumptions(&self) -> Assumptions {
        let (totals, usage) = (self.totals, self.spend.usage);
        let answered: u64 = self.models.iter().map(|counts| counts.ok + counts.invalid_outputs).sum();
        let mean = |tokens: u64| (answered >= MIN_ANSWERS).then(|| tokens as f64 / answered as f64);
        let ended = totals.done + totals.failed;
        let requests = totals.attempts.saturating_sub(totals.rate_limited);
        let requests_per_item =
            if ended >= MIN_ANSWERS { (requests as f64 / ended as f64).clamp(1.0, 3.0) } else { 1.0 };
        let check_time = self.check_times.total.checked_div(self.check_times.answers).unwrap_or_default();
        let mean_latency =
            |counts: &AttemptCounts| Some(Duration::from_millis(counts.latencies.mean_ms()?) + check_time);
        let latencies = self.models.iter().map(mean_latency);
        Assumptions {
            latency_by_model: latencies.collect(),
            mean_input_tokens: mean(usage.input_tokens),
            mean_output_tokens: mean(usage.billed_output()),
            requests_per_item,
        }
    }
}

/// How long processes have worked on the run, earlier ones included. Idle time does not count.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ActiveTime {
    accumulated: Duration,
    running_since: Option<MonoTime>,
}

impl ActiveTime {
    pub const fn stopped(accumulated: Duration) -> Self {
        Self { accumulated, running_since: None }
    }

    pub const fn running(accumulated: Duration, now: MonoTime) -> Self {
        Self { accumulated, running_since: Some(now) }
    }

    pub fn total(&self, now: MonoTime) -> Duration {
        self.accumulated + self.running_since.map_or(Duration::ZERO, |since| now.since(since))
    }

    pub fn stop(&mut self, now: MonoTime) {
        *self = Self { accumulated: self.total(now), running_since: None };
    }

    pub fn start(&mut self, now: MonoTime) {
        self.running_since.get_or_insert(now);
    }
}

/// Items that ended within the last minute of engine time, by second.
#[derive(Clone, Debug, Default)]
pub(super) struct ThroughputEstimate {
    seconds: VecDeque<(u64, u64)>,
}

const WINDOW_SECONDS: u64 = 60;

impl ThroughputEstimate {
    pub fn record(&mut self, now: MonoTime) {
        let second = now.0 / 1_000_000;
        match self.seconds.back_mut() {
            Some((last, count)) if *last == second => *count += 1,
            _ => self.seconds.push_back((second, 1)),
        }
        self.drop_old(second);
    }

    fn drop_old(&mut self, second: u64) {
        while self.seconds.front().is_some_and(|(at, _)| at + WINDOW_SECONDS <= second) {
            self.seconds.pop_front();
        }
    }

    /// Items per second, over the last minute or since `started_at`, whichever is shorter.
    pub fn per_second(&mut self, now: MonoTime, started_at: MonoTime) -> f64 {
        self.drop_old(now.0 / 1_000_000);
        let ended: u64 = self.seconds.iter().map(|(_, count)| count).sum();
        let window = now.since(started_at).as_secs_f64().clamp(1.0, WINDOW_SECONDS as f64);
        ended as f64 / window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_checks_is_part_of_the_latency_of_a_forecast() {
        let route = crate::domain::RouteLabels { provider: "p".into(), model: "m".into(), key: "k".into() };
        let counts = MetricCounts::new([route].into_iter());
        let mut stats = RunStats::new(Totals::default(), Spend::default(), vec![KeyBudget::default()], 1, counts);
        for check_time in [1, 3] {
            let attempt = AttemptStats {
                route: RouteId(0),
                outcome: Outcome::Ok,
                status: Some(200),
                usage: Usage::default(),
                cost: Money::ZERO,
                cost_by_kind: CostByKind::default(),
                at_risk: Money::ZERO,
                is_unchecked: false,
                latency: Duration::from_millis(500),
                check_time: Duration::from_secs(check_time),
                message: String::new(),
            };
            stats.count_attempt(WallTime::default(), 0, 0, &attempt);
        }
        assert_eq!(stats.assumptions().latency_by_model, [Some(Duration::from_millis(2_500))]);
    }

    #[test]
    fn throughput_forgets_after_a_minute() {
        let mut throughput = ThroughputEstimate::default();
        for second in 0..120 {
            throughput.record(MonoTime(second * 1_000_000));
        }
        let now = MonoTime(119_000_000);
        assert!((throughput.per_second(now, MonoTime::default()) - 1.0).abs() < 0.02);
        assert!(throughput.per_second(MonoTime(300_000_000), MonoTime::default()) < f64::EPSILON);
    }
}
