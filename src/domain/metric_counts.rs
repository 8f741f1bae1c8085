//! Counts that only the metrics show: attempts by route, status and outcome, fallbacks, ended items, durations.
//!
//! Cheap to clone, because each snapshot has a copy: a clone shares the counts of all routes and models. Bounded in
//! size, whatever a provider answers.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    attempt_result::Usage,
    duration_histogram::{DurationHistogram, LATENCY_BOUNDS_MS},
    ids::RouteId,
    money::Money,
    outcome::Outcome,
    result::FinalState,
    route_sums::RouteSums,
};

/// Upper bounds of the histogram of commits, in milliseconds.
const COMMIT_BOUNDS_MS: &[u64] = &[1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 5_000];

/// Maximum number of pairs of a status and an outcome that are counted apart on one route. Further statuses are counted
/// as [`CountedStatus::Other`].
const MAX_STATUSES_PER_ROUTE: usize = 48;

/// Maximum number of fallbacks that are counted by their routes. Further ones are counted by their reason only.
const MAX_FALLBACK_PAIRS: usize = 2_048;

/// The names of a route, as aliases.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RouteLabels {
    pub provider: String,
    pub model: String,
    pub key: String,
}

/// The HTTP status of an attempt, as it is counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum CountedStatus {
    /// No response came.
    None,
    Code(u16),
    /// One of the statuses beyond [`MAX_STATUSES_PER_ROUTE`].
    Other,
}

/// One completed attempt.
#[derive(Clone, Copy, Debug)]
pub struct CountedAttempt {
    pub status: Option<u16>,
    pub outcome: Outcome,
    pub usage: Usage,
    pub cost: Money,
    pub latency: Duration,
}

/// The completed attempts of one route.
#[derive(Clone, PartialEq, Debug)]
pub struct RouteCounts {
    labels: Arc<RouteLabels>,
    /// Index into the latencies by model.
    model: usize,
    attempts: BTreeMap<(CountedStatus, Outcome), u64>,
    usage: Usage,
    cost: Money,
}

/// The latency histogram of one model's answered attempts, over all its keys.
#[derive(Clone, PartialEq, Debug)]
pub struct ModelLatencies {
    pub provider: String,
    pub model: String,
    pub histogram: DurationHistogram,
}

/// The routes that a fallback left and went to; `None` beyond [`MAX_FALLBACK_PAIRS`].
type FallbackRoutes = Option<(RouteId, RouteId)>;

/// All counts. Those of attempts and of ended items are of the whole run, earlier processes included; the others are of
/// this process.
#[derive(Clone, PartialEq, Debug)]
pub struct MetricCounts {
    /// By the configuration's routes, then routes of earlier processes that are no longer configured.
    routes: Vec<Arc<RouteCounts>>,
    models: Vec<Arc<ModelLatencies>>,
    fallbacks: Arc<BTreeMap<(FallbackRoutes, Outcome), u64>>,
    retries: BTreeMap<Outcome, u64>,
    done: BTreeMap<Outcome, u64>,
    failed: BTreeMap<Outcome, u64>,
    commits: DurationHistogram,
}

impl Default for MetricCounts {
    fn default() -> Self {
        Self {
            routes: Vec::new(),
            models: Vec::new(),
            fallbacks: Arc::default(),
            retries: BTreeMap::new(),
            done: BTreeMap::new(),
            failed: BTreeMap::new(),
            commits: DurationHistogram::new(COMMIT_BOUNDS_MS),
        }
    }
}

impl RouteCounts {
    pub fn labels(&self) -> &RouteLabels {
        &self.labels
    }

    pub fn attempts(&self) -> impl Iterator<Item = (CountedStatus, Outcome, u64)> {
        self.attempts.iter().map(|((status, outcome), count)| (*status, *outcome, *count))
    }

    pub const fn usage(&self) -> Usage {
        self.usage
    }

    pub const fn cost(&self) -> Money {
        self.cost
    }

    fn count(&mut self, attempt: &CountedAttempt) {
        self.count_status(attempt.status, attempt.outcome, 1);
        self.usage += attempt.usage;
        self.cost += attempt.cost;
    }

    fn count_status(&mut self, status: Option<u16>, outcome: Outcome, attempts: u64) {
        let status = status.map_or(CountedStatus::None, CountedStatus::Code);
        let is_full = self.attempts.len() >= MAX_STATUSES_PER_ROUTE;
        let status = match status {
            CountedStatus::Code(_) if is_full && !self.attempts.contains_key(&(status, outcome)) => {
                CountedStatus::Other
            }
            status => status,
        };
        *self.attempts.entry((status, outcome)).or_default() += attempts;
    }
}

impl MetricCounts {
    /// Counts for the configuration's routes, in its order.
    pub fn new(routes: impl Iterator<Item = RouteLabels>) -> Self {
        let mut counts = Self::default();
        // Adding a route of a known model would search all models.
        let mut models: BTreeMap<(String, String), usize> = BTreeMap::new();
        for labels in routes {
            let next = counts.models.len();
            let model = *models.entry((labels.provider.clone(), labels.model.clone())).or_insert(next);
            counts.push_route(labels, model);
        }
        counts
    }

    /// Adds a route that is not configured, and returns its index for [`Self::count_attempt`].
    pub fn add_route(&mut self, labels: RouteLabels) -> usize {
        let is_same =
            |latencies: &Arc<ModelLatencies>| latencies.provider == labels.provider && latencies.model == labels.model;
        let model = self.models.iter().position(is_same).unwrap_or(self.models.len());
        self.push_route(labels, model);
        self.routes.len() - 1
    }

    fn push_route(&mut self, labels: RouteLabels, model: usize) {
        if model == self.models.len() {
            self.models.push(Arc::new(ModelLatencies {
                provider: labels.provider.clone(),
                model: labels.model.clone(),
                histogram: DurationHistogram::new(LATENCY_BOUNDS_MS),
            }));
        }
        self.routes.push(Arc::new(RouteCounts {
            labels: Arc::new(labels),
            model,
            attempts: BTreeMap::new(),
            usage: Usage::default(),
            cost: Money::ZERO,
        }));
    }

    /// Counts a completed attempt of the route with this index.
    pub fn count_attempt(&mut self, route: usize, attempt: &CountedAttempt) {
        let Some(counts) = self.routes.get_mut(route) else { return };
        let counts = Arc::make_mut(counts);
        counts.count(attempt);
        if attempt.outcome.is_answered() {
            Arc::make_mut(&mut self.models[counts.model]).histogram.record(attempt.latency);
        }
    }

    /// Adds the attempts of earlier processes to the route with this index.
    pub fn add_sums(&mut self, route: usize, sums: &RouteSums) {
        let Some(counts) = self.routes.get_mut(route) else { return };
        let counts = Arc::make_mut(counts);
        for (status, outcome, attempts) in sums.attempts() {
            counts.count_status(status, outcome, attempts);
        }
        counts.usage += sums.usage();
        counts.cost += sums.cost();
        let total = Duration::from_millis(sums.latencies().total_ms());
        Arc::make_mut(&mut self.models[counts.model]).histogram.add_counts(sums.metric_bucket_counts(), total);
    }

    /// Counts a failed attempt whose item goes on. `to` is its next route, if that is known.
    pub fn count_requeue(&mut self, from: RouteId, to: Option<RouteId>, reason: Outcome) {
        let Some(to) = to.filter(|to| *to != from) else {
            *self.retries.entry(reason).or_default() += 1;
            return;
        };
        let fallbacks = Arc::make_mut(&mut self.fallbacks);
        let key = (Some((from, to)), reason);
        let key =
            if fallbacks.len() < MAX_FALLBACK_PAIRS || fallbacks.contains_key(&key) { key } else { (None, reason) };
        *fallbacks.entry(key).or_default() += 1;
    }

    /// Counts `items` items that ended with this outcome.
    pub fn count_ends(&mut self, state: FinalState, outcome: Outcome, items: u64) {
        let ends = match state {
            FinalState::Done => &mut self.done,
            FinalState::Failed => &mut self.failed,
        };
        *ends.entry(outcome).or_default() += items;
    }

    /// Records how long a commit took, in real time.
    pub fn record_commit(&mut self, duration: Duration) {
        self.commits.record(duration);
    }

    pub fn routes(&self) -> impl Iterator<Item = &RouteCounts> {
        self.routes.iter().map(AsRef::as_ref)
    }

    pub fn latencies(&self) -> impl Iterator<Item = &ModelLatencies> {
        self.models.iter().map(AsRef::as_ref)
    }

    /// The fallbacks: from, to, reason and number. The routes are `None` beyond [`MAX_FALLBACK_PAIRS`].
    pub fn fallbacks(&self) -> impl Iterator<Item = (Option<(&RouteLabels, &RouteLabels)>, Outcome, u64)> {
        self.fallbacks.iter().map(|((routes, reason), count)| {
            let labels = |route: RouteId| self.routes.get(route.index()).map(|counts| counts.labels());
            (routes.and_then(|(from, to)| labels(from).zip(labels(to))), *reason, *count)
        })
    }

    /// Failed attempts whose items went on, but to no other route that was known then.
    pub fn retries(&self) -> impl Iterator<Item = (Outcome, u64)> {
        self.retries.iter().map(|(outcome, count)| (*outcome, *count))
    }

    /// Ended items by state and outcome. An item that ends again after a replay counts again.
    pub fn ends(&self) -> impl Iterator<Item = (FinalState, Outcome, u64)> {
        let with_state = |state, ends: &'_ BTreeMap<Outcome, u64>| {
            ends.iter().map(move |(outcome, count)| (state, *outcome, *count)).collect::<Vec<_>>()
        };
        with_state(FinalState::Done, &self.done).into_iter().chain(with_state(FinalState::Failed, &self.failed))
    }

    pub const fn commits(&self) -> &DurationHistogram {
        &self.commits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(model: &str, key: &str) -> RouteLabels {
        RouteLabels { provider: "p".to_owned(), model: model.to_owned(), key: key.to_owned() }
    }

    fn attempt(status: u16) -> CountedAttempt {
        CountedAttempt {
            status: Some(status),
            outcome: Outcome::ServerError,
            usage: Usage::default(),
            cost: Money(7),
            latency: Duration::from_secs(1),
        }
    }

    #[test]
    fn statuses_beyond_the_bound_are_counted_together() {
        let mut counts = MetricCounts::new([labels("m", "k")].into_iter());
        for status in 100..=999 {
            counts.count_attempt(0, &attempt(status));
        }
        counts.count_attempt(0, &attempt(100));
        let route = counts.routes().next().unwrap();
        let counted: Vec<_> = route.attempts().collect();
        assert_eq!(counted.len(), MAX_STATUSES_PER_ROUTE + 1);
        assert_eq!(counted[0], (CountedStatus::Code(100), Outcome::ServerError, 2));
        let others = 900 - MAX_STATUSES_PER_ROUTE as u64;
        assert_eq!(counted[MAX_STATUSES_PER_ROUTE], (CountedStatus::Other, Outcome::ServerError, others));
        assert_eq!(route.cost(), Money(7 * 901));
    }

    #[test]
    fn a_fallback_names_two_different_routes_and_everything_else_is_a_retry() {
        let mut counts = MetricCounts::new([labels("m", "k"), labels("m", "l")].into_iter());
        let (one, two) = (RouteId(0), RouteId(1));
        counts.count_requeue(one, Some(two), Outcome::Timeout);
        counts.count_requeue(one, Some(one), Outcome::Timeout);
        counts.count_requeue(one, None, Outcome::Timeout);
        let fallbacks: Vec<_> = counts.fallbacks().collect();
        assert_eq!(fallbacks, [(Some((&labels("m", "k"), &labels("m", "l"))), Outcome::Timeout, 1)]);
        assert_eq!(counts.retries().collect::<Vec<_>>(), [(Outcome::Timeout, 2)]);
    }

    #[test]
    fn fallbacks_beyond_the_bound_keep_their_reason() {
        let mut counts = MetricCounts::new((0..100).map(|number| labels("m", &number.to_string())));
        for from in 0..100 {
            for to in (0..100).filter(|to| *to != from) {
                counts.count_requeue(RouteId(from), Some(RouteId(to)), Outcome::Overloaded);
            }
        }
        assert_eq!(counts.fallbacks().count(), MAX_FALLBACK_PAIRS + 1);
        assert_eq!(counts.fallbacks().map(|(_, _, count)| count).sum::<u64>(), 9_900);
        assert_eq!(counts.fallbacks().filter(|(routes, ..)| routes.is_none()).count(), 1);
    }

    #[test]
    fn only_answers_count_as_latencies_of_their_model() {
        let mut counts = MetricCounts::new([labels("m", "k"), labels("m", "l")].into_iter());
        let removed = counts.add_route(labels("old", "k"));
        counts.count_attempt(0, &attempt(500));
        for route in [0, 1, removed] {
            counts.count_attempt(route, &CountedAttempt { outcome: Outcome::Ok, ..attempt(200) });
        }
        let found: Vec<_> = counts.latencies().map(|it| (it.model.as_str(), it.histogram.count())).collect();
        assert_eq!(found, [("m", 2), ("old", 1)]);
    }
}
