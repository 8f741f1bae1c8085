//! Builds the fleet: keys and models become routes, and routes share pools.

use std::collections::HashMap;

use crate::{
    domain::{
        CostFactors, HealthCheckTarget, Key, KeyId, Limits, Model, ModelId, PoolId, ProjectId, Provider, RouteId,
    },
    scheduler::{
        health::{
            breaker::Breaker, connection::Connection, fault_attribution::RecentFailures,
            latency_average::LatencyAverage, rejections::Rejections, score::Health,
        },
        limits::{pool::QuotaPool, slow_start::SlowStart},
    },
};

use super::{Fleet, KeyState, ModelGroup, ModelState, ProjectState, ProviderState, RouteState};

impl Fleet {
    pub fn new(providers: &[Provider], models: &[Model], keys: &[Key]) -> Self {
        let mut fleet = Self {
            providers: providers
                .iter()
                .map(|provider| ProviderState {
                    name: provider.name.clone(),
                    api: provider.api,
                    connection: Connection::default(),
                    is_down: false,
                    failures: None,
                    has_health_checks: provider.health_check.target != HealthCheckTarget::Off,
                    last_proof: None,
                    in_flight: 0,
                    slow_start: SlowStart::default(),
                })
                .collect(),
            projects: Vec::new(),
            keys: Vec::new(),
            models: models
                .iter()
                .map(|model| ModelState {
                    model: model.clone(),
                    has_unbounded_cost: model.has_unbounded_cost(),
                    cost_factors: CostFactors::of_body(&model.extra_body),
                    switched_off_at: None,
                    recent_successes: [None; 2],
                    mean_output_tokens: None,
                    latency: LatencyAverage::default(),
                })
                .collect(),
            pools: Vec::new(),
            routes: Vec::new(),
            model_groups: Vec::new(),
            requests_started: 0,
        };
        fleet.add_keys(keys);
        fleet
    }

    fn add_keys(&mut self, keys: &[Key]) {
        let mut projects: HashMap<String, ProjectId> = HashMap::new();
        let mut pools: HashMap<String, PoolId> = HashMap::new();
        let mut group_indices: HashMap<(usize, String), usize> = HashMap::new();
        for key in keys {
            let provider = key.provider.index();
            let project_name = format!("{}/{}", self.providers[provider].name, key.project);
            let project = *projects.entry(project_name.clone()).or_insert_with(|| {
                self.projects.push(ProjectState { name: project_name.clone(), out_of_credit: None });
                ProjectId((self.projects.len() - 1) as u32)
            });
            let key_id = KeyId(self.keys.len() as u32);
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
                let pool = *pools.entry(pool_name.clone()).or_insert(PoolId(self.pools.len() as u32));
                if pool.index() == self.pools.len() {
                    let group = *group_indices.entry((provider, quota_name.to_owned())).or_insert_with(|| {
                        self.model_groups.push(ModelGroup::default());
                        self.model_groups.len() - 1
                    });
                    self.model_groups[group].pools.push(pool);
                    let pool = QuotaPool::new(pool_name, label, group, &self.pool_limits(model));
                    self.pools.push(pool);
                }
                let route = RouteId(self.routes.len() as u32);
                self.pools[pool.index()].routes.push(route);
                routes.push(route);
                self.routes.push(RouteState {
                    key: key_id,
                    model: ModelId(model_index as u32),
                    pool,
                    provider: key.provider,
                    switched_off_at: None,
                    unavailable: None,
                    needs_operator: None,
                    breaker: Breaker::default(),
                    ramp: None,
                    in_flight: 0,
                    rejections: Rejections::default(),
                    last_accepted: None,
                    last_failed_at: None,
                    latency: LatencyAverage::default(),
                    last_use_number: 0,
                });
            }
            self.keys.push(KeyState {
                key: key.clone(),
                project,
                switched_off_at: None,
                disabled: None,
                health: Health::default(),
                recent_failures: RecentFailures::default(),
                in_flight: 0,
                routes,
            });
        }
    }

    /// The limits of a model, followed by those of the other models that share its pool.
    fn pool_limits<'a>(&'a self, model: &'a Model) -> Vec<&'a Limits> {
        let shares_pool =
            |other: &&Model| model.pool.is_some() && other.pool == model.pool && other.provider == model.provider;
        let others = self.models.iter().map(|state| &state.model).filter(shares_pool);
        [model].into_iter().chain(others).map(|model| &model.limits).collect()
    }
}
