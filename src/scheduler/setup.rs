//! Building the machine: keys and models become routes, routes share pools, traits become classes.

use std::collections::HashMap;

use crate::domain::{CascadeOrder, Key, Limits, Model, Policy, Provider, RouteId, Traits};

use super::{
    Class, KeyState, Ledger, ModelState, ProjectState, ProviderState, Route, Scheduler, breaker::Breaker,
    health::Health, pool::Pool,
};

impl Scheduler {
    /// A fleet at rest. `seed` decides every jitter: the same seed and the same inputs give the same history.
    pub fn new(providers: &[Provider], models: &[Model], keys: &[Key], policy: Policy, seed: u64) -> Self {
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
                .map(|model| ModelState { model: model.clone(), off: None, witnesses: [None; 2], mean_output: None })
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
            cursor: 0,
            kept_for_others: false,
            version: 1,
            last_poll: None,
            random: fastrand::Rng::with_seed(seed),
        };
        scheduler.add_keys(keys);
        scheduler.apply_strictness();
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

    /// Puts the routes in the cascade's order, and every class's candidates with them.
    pub(super) fn rank(&mut self) {
        let mut ranking: Vec<RouteId> = (0..self.routes.len() as u32).map(RouteId).collect();
        ranking.sort_by_key(|route| {
            let route = &self.routes[route.index()];
            // Backup keys come after all primaries, whatever the order.
            let backup = self.keys[route.key].key.role == crate::domain::Role::Backup;
            match self.policy.order {
                CascadeOrder::KeyFirst => (backup, route.key, route.model),
                CascadeOrder::ModelFirst => (backup, route.model, route.key),
            }
        });
        self.ranking = ranking;
        for index in 0..self.classes.len() {
            let candidates = self.candidates(&self.classes[index].traits);
            self.classes[index].set_candidates(candidates, self.routes.len());
        }
        self.version += 1;
    }

    /// The class of items with these traits, made when it is first asked for.
    pub fn class(&mut self, traits: &Traits) -> usize {
        if let Some(index) = self.classes.iter().position(|class| class.traits == *traits) {
            return index;
        }
        let candidates = self.candidates(traits);
        self.classes.push(Class::new(traits.clone(), candidates, self.routes.len()));
        self.classes.len() - 1
    }

    /// Routes that such items may use: those of the preferred model first, then the cascade.
    fn candidates(&self, traits: &Traits) -> Vec<RouteId> {
        let model_of = |route: &RouteId| &self.models[self.routes[route.index()].model].model;
        let able = self.ranking.iter().copied().filter(|route| !traits.vision || model_of(route).vision);
        let (mut preferred, rest): (Vec<_>, Vec<_>) =
            able.partition(|route| traits.model.as_ref() == Some(&model_of(route).name));
        preferred.extend(rest);
        preferred
    }
}
