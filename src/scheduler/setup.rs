//! Building the machine: keys and models become routes, routes share pools.

use std::collections::HashMap;

use crate::domain::{Key, Limits, Model, MoneyCaps, Policy, Provider, RouteId};

use super::{
    KeyState, Ledger, ModelState, ProjectState, ProviderState, Route, Scheduler, breaker::Breaker, health::Health,
    latency::Latency, pool::Pool, purse::Purse,
};

impl Scheduler {
    /// A fleet at rest. `seed` decides every jitter: the same seed and the same inputs give the same history.
    pub fn new(providers: &[Provider], models: &[Model], keys: &[Key], policy: Policy, seed: u64) -> Self {
        let day_cap = MoneyCaps { max_usd: None, max_usd_per_day: policy.max_usd_per_day };
        let mut scheduler = Self {
            policy,
            providers: providers
                .iter()
                .map(|provider| ProviderState {
                    name: provider.name.clone(),
                    api: provider.api,
                    hold: None,
                    hold_step: 0,
                })
                .collect(),
            projects: Vec::new(),
            keys: Vec::new(),
            models: models
                .iter()
                .map(|model| ModelState {
                    model: model.clone(),
                    off: None,
                    witnesses: [None; 2],
                    mean_output: None,
                    latency: Latency::default(),
                })
                .collect(),
            pools: Vec::new(),
            routes: Vec::new(),
            ranking: Vec::new(),
            classes: Vec::new(),
            flights: std::collections::HashMap::new(),
            backing_off: HashMap::new(),
            backoff: std::collections::BinaryHeap::new(),
            alarms: std::collections::BinaryHeap::new(),
            refused: Vec::new(),
            suspects: std::collections::HashSet::new(),
            families: Vec::new(),
            kinship: super::Kinship::default(),
            next_attempt: 1,
            paused: false,
            money: Ledger::default(),
            purse: Purse::new(day_cap),
            cursor: 0,
            uses: 0,
            measuring: false,
            rotated_on: None,
            version: 1,
            last_poll: None,
            holding: super::holding::Holding::default(),
            lease_wanted: Vec::new(),
            first_leases: false,
            random: fastrand::Rng::with_seed(seed),
        };
        scheduler.add_keys(keys);
        scheduler.apply_strictness();
        scheduler.holding.set_routes(scheduler.routes.len());
        scheduler.rank();
        scheduler
    }

    fn add_keys(&mut self, keys: &[Key]) {
        let mut projects: HashMap<String, usize> = HashMap::new();
        let mut pools: HashMap<String, usize> = HashMap::new();
        let mut families: HashMap<(usize, String), usize> = HashMap::new();
        for key in keys {
            let provider = key.provider.index();
            let project_name = format!("{}/{}", self.providers[provider].name, key.project);
            let project = *projects.entry(project_name.clone()).or_insert_with(|| {
                self.projects.push(ProjectState { name: project_name.clone(), billing: None });
                self.projects.len() - 1
            });
            let index = self.keys.len();
            let mut routes = Vec::new();
            for model_index in 0..self.models.len() {
                let model = &self.models[model_index].model;
                let served = key.models.as_ref().is_none_or(|only| only.contains(&model.name));
                if model.provider != key.provider || !served {
                    continue;
                }
                let shared = model.pool.as_deref().unwrap_or(&model.name);
                let pool_name = format!("{project_name}/{shared}");
                let label = format!("{shared}@{}", key.project);
                let pool = *pools.entry(pool_name.clone()).or_insert(self.pools.len());
                if pool == self.pools.len() {
                    let limits = self.shared_limits(model_index);
                    let family = families.entry((provider, shared.to_owned())).or_insert_with(|| {
                        self.families.push(super::Family::default());
                        self.families.len() - 1
                    });
                    self.families[*family].pools.push(pool);
                    self.pools.push(Pool::new(pool_name, label, *family, &limits));
                }
                let route = RouteId(self.routes.len() as u32);
                self.pools[pool].routes.push(route);
                routes.push(route);
                self.routes.push(Route {
                    key: index,
                    model: model_index,
                    pool,
                    provider,
                    off: None,
                    gone: None,
                    held: None,
                    breaker: Breaker::default(),
                    ramp: None,
                    in_flight: 0,
                    refused_alike: (0, 0),
                    ever_accepted: false,
                    last_ok: None,
                    latency: Latency::default(),
                    last_used: 0,
                    alarm: None,
                });
            }
            self.keys.push(KeyState {
                key: key.clone(),
                project,
                off: None,
                dead: None,
                health: Health::default(),
                accusers: super::Accusers::default(),
                in_flight: 0,
                routes,
                purse: Purse::new(key.caps),
            });
        }
    }

    /// The limits of the pool that a model draws on: where several models share it, the tightest stated of each.
    fn shared_limits(&self, model: usize) -> Limits {
        let model = &self.models[model].model;
        let mut limits = model.limits.clone();
        let Some(pool) = &model.pool else { return limits };
        let sharing = self.models.iter().map(|state| &state.model);
        for other in sharing.filter(|other| other.provider == model.provider && other.pool.as_ref() == Some(pool)) {
            let tighter = |one: Option<u64>, two: Option<u64>| one.into_iter().chain(two).min();
            let tighter32 = |one: Option<u32>, two: Option<u32>| one.into_iter().chain(two).min();
            limits.rpm = tighter32(limits.rpm, other.limits.rpm);
            limits.rpd = tighter32(limits.rpd, other.limits.rpd);
            limits.burst = tighter32(limits.burst, other.limits.burst);
            limits.concurrency = tighter32(limits.concurrency, other.limits.concurrency);
            limits.tpm = tighter(limits.tpm, other.limits.tpm);
            limits.itpm = tighter(limits.itpm, other.limits.itpm);
            limits.otpm = tighter(limits.otpm, other.limits.otpm);
            limits.tpd = tighter(limits.tpd, other.limits.tpd);
        }
        limits
    }
}
