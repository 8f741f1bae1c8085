//! Builds the scheduler: keys and models become routes, and routes share pools.

use std::collections::HashMap;

use crate::domain::{Key, Limits, Model, Policy, Provider, RouteId, SpendLimits};

use crate::scheduler::{
    KeyState, ModelState, ProjectState, ProviderState, RouteState, RunSpend, Scheduler,
    budget::Budget,
    health::{breaker::Breaker, latency_average::LatencyAverage, score::Health},
    limits::pool::QuotaPool,
};

impl Scheduler {
    /// A scheduler without items. All random choices derive from `seed`: the same seed and inputs give the same
    /// decisions.
    pub fn new(providers: &[Provider], models: &[Model], keys: &[Key], policy: Policy, seed: u64) -> Self {
        let day_cap = SpendLimits { max_usd: None, max_usd_per_day: policy.max_usd_per_day };
        let mut scheduler = Self {
            policy,
            providers: providers
                .iter()
                .map(|provider| ProviderState {
                    name: provider.name.clone(),
                    api: provider.api,
                    unreachable: None,
                    unreachable_step: 0,
                })
                .collect(),
            projects: Vec::new(),
            keys: Vec::new(),
            models: models
                .iter()
                .map(|model| ModelState {
                    model: model.clone(),
                    switched_off_at: None,
                    recent_successes: [None; 2],
                    mean_output_tokens: None,
                    latency: LatencyAverage::default(),
                })
                .collect(),
            pools: Vec::new(),
            routes: Vec::new(),
            ranking: Vec::new(),
            classes: Vec::new(),
            reservations: std::collections::HashMap::new(),
            backing_off: HashMap::new(),
            backoff_wakeups: std::collections::BinaryHeap::new(),
            route_wakeups: std::collections::BinaryHeap::new(),
            rejections: Vec::new(),
            failing_items: std::collections::HashSet::new(),
            model_groups: Vec::new(),
            shared_quotas: crate::scheduler::SharedQuotaDetector::default(),
            next_attempt_id: 1,
            is_paused: false,
            run_spend: RunSpend::default(),
            day_budget: Budget::new(day_cap),
            cursor: 0,
            dispatch_count: 0,
            uses_stats: false,
            rotation_day: None,
            readiness_version: 1,
            last_poll: None,
            bottlenecks: crate::scheduler::bottleneck::BottleneckTracker::default(),
            pools_needing_lease: Vec::new(),
            needs_first_leases: false,
            rng: fastrand::Rng::with_seed(seed),
        };
        scheduler.add_keys(keys);
        scheduler.apply_strict_mode();
        scheduler.bottlenecks.set_routes(scheduler.routes.len());
        scheduler.rebuild_ranking();
        scheduler
    }

    fn add_keys(&mut self, keys: &[Key]) {
        let mut projects: HashMap<String, usize> = HashMap::new();
        let mut pools: HashMap<String, usize> = HashMap::new();
        let mut group_indices: HashMap<(usize, String), usize> = HashMap::new();
        for key in keys {
            let provider = key.provider.index();
            let project_name = format!("{}/{}", self.providers[provider].name, key.project);
            let project = *projects.entry(project_name.clone()).or_insert_with(|| {
                self.projects.push(ProjectState { name: project_name.clone(), out_of_credit: None });
                self.projects.len() - 1
            });
            let index = self.keys.len();
            let mut routes = Vec::new();
            for model_index in 0..self.models.len() {
                let model = &self.models[model_index].model;
                let is_served = key.models.as_ref().is_none_or(|only| only.contains(&model.name));
                if model.provider != key.provider || !is_served {
                    continue;
                }
                let quota_name = model.pool.as_deref().unwrap_or(&model.name);
                let pool_name = format!("{project_name}/{quota_name}");
                let label = format!("{quota_name}@{}", key.project);
                let pool = *pools.entry(pool_name.clone()).or_insert(self.pools.len());
                if pool == self.pools.len() {
                    let limits = self.pool_limits(model_index);
                    let group = group_indices.entry((provider, quota_name.to_owned())).or_insert_with(|| {
                        self.model_groups.push(crate::scheduler::ModelGroup::default());
                        self.model_groups.len() - 1
                    });
                    self.model_groups[*group].pools.push(pool);
                    self.pools.push(QuotaPool::new(pool_name, label, *group, &limits));
                }
                let route = RouteId(self.routes.len() as u32);
                self.pools[pool].routes.push(route);
                routes.push(route);
                self.routes.push(RouteState {
                    key: index,
                    model: model_index,
                    pool,
                    provider,
                    switched_off_at: None,
                    unavailable: None,
                    needs_operator: None,
                    breaker: Breaker::default(),
                    ramp: None,
                    in_flight: 0,
                    identical_rejections: (0, 0),
                    picture_rejections: 0,
                    has_accepted_request: false,
                    last_accepted_at: None,
                    latency: LatencyAverage::default(),
                    last_use_number: 0,
                    wakeup_at: None,
                });
            }
            self.keys.push(KeyState {
                key: key.clone(),
                project,
                switched_off_at: None,
                disabled: None,
                health: Health::default(),
                recent_failures: crate::scheduler::RecentFailures::default(),
                in_flight: 0,
                routes,
                budget: Budget::new(key.spend_limits),
            });
        }
    }

    /// The limits of the pool that a model uses. If several models share it, the lowest of each limit applies.
    fn pool_limits(&self, model: usize) -> Limits {
        let model = &self.models[model].model;
        let mut limits = model.limits.clone();
        let Some(pool) = &model.pool else { return limits };
        let models = self.models.iter().map(|state| &state.model);
        for other in models.filter(|other| other.provider == model.provider && other.pool.as_ref() == Some(pool)) {
            let lower = |one: Option<u64>, two: Option<u64>| one.into_iter().chain(two).min();
            let lower_u32 = |one: Option<u32>, two: Option<u32>| one.into_iter().chain(two).min();
            limits.rpm = lower_u32(limits.rpm, other.limits.rpm);
            limits.rpd = lower_u32(limits.rpd, other.limits.rpd);
            limits.burst = lower_u32(limits.burst, other.limits.burst);
            limits.concurrency = lower_u32(limits.concurrency, other.limits.concurrency);
            limits.tpm = lower(limits.tpm, other.limits.tpm);
            limits.itpm = lower(limits.itpm, other.limits.itpm);
            limits.otpm = lower(limits.otpm, other.limits.otpm);
            limits.tpd = lower(limits.tpd, other.limits.tpd);
        }
        limits
    }
}
