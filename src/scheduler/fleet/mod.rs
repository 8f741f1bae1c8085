//! The fleet: providers, projects, keys, models, and the routes and quota pools that they make up, with their state.

mod availability;
mod build;

use std::time::Duration;

use crate::domain::{
    Api, Key, KeyId, KeyRole, Model, ModelId, MonoTime, Now, PoolId, ProjectId, ProviderId, RouteId, RouteTarget, Seq,
    WallTime, snapshot::Cause,
};

use super::{
    admission::Cooldown,
    health::{
        breaker::Breaker,
        connection::Connection,
        fault_attribution::{EVIDENCE_WINDOW, RecentFailures},
        latency_average::LatencyAverage,
        rejections::Rejections,
        score::Health,
    },
    limits::{min_rtt::MinRtt, pool::QuotaPool, ramp::Ramp},
};

/// All keys, models and routes of the configuration. Ids are indices, and none is ever removed.
#[derive(Debug)]
pub struct Fleet {
    providers: Vec<ProviderState>,
    projects: Vec<ProjectState>,
    keys: Vec<KeyState>,
    models: Vec<ModelState>,
    routes: Vec<RouteState>,
    pools: Vec<QuotaPool>,
    model_groups: Vec<ModelGroup>,
}

/// The pools of one model (or of one named shared pool) at one provider, over all projects. They reach the same
/// servers.
#[derive(Debug, Default)]
struct ModelGroup {
    pools: Vec<PoolId>,
    min_rtt: MinRtt,
}

#[derive(Debug)]
pub struct ProviderState {
    pub name: String,
    pub api: Api,
    pub connection: Connection,
    in_flight: u32,
}

#[derive(Debug)]
pub struct ProjectState {
    /// `provider/project`.
    pub name: String,
    /// Cooldown while the project has no credit; it ends with a probe.
    pub out_of_credit: Option<Cooldown>,
}

#[derive(Debug)]
pub struct KeyState {
    pub key: Key,
    pub project: ProjectId,
    pub switched_off_at: Option<WallTime>,
    pub disabled: Option<Cause>,
    pub health: Health,
    /// Items that recently failed on this key while other keys succeeded.
    pub recent_failures: RecentFailures,
    in_flight: u32,
    routes: Vec<RouteId>,
}

#[derive(Debug)]
pub struct ModelState {
    pub model: Model,
    pub switched_off_at: Option<WallTime>,
    /// The last two items it answered, and when. They show that the model works when another item fails.
    recent_successes: [Option<(Seq, MonoTime)>; 2],
    /// Running mean of billed output tokens, for token estimates.
    pub mean_output_tokens: Option<f64>,
    /// Over all routes of the model.
    pub latency: LatencyAverage,
}

#[derive(Debug)]
pub struct RouteState {
    pub key: KeyId,
    pub model: ModelId,
    pub pool: PoolId,
    pub provider: ProviderId,
    pub switched_off_at: Option<WallTime>,
    /// The provider says that this project can't use this model.
    pub unavailable: Option<Cause>,
    /// Set after several identical rejections in a row. The route stays unavailable until the operator switches it on
    /// again.
    pub needs_operator: Option<Cause>,
    pub breaker: Breaker,
    /// Limits concurrency after the breaker has closed.
    pub ramp: Option<Ramp>,
    in_flight: u32,
    pub rejections: Rejections,
    pub last_accepted_at: Option<MonoTime>,
    pub latency: LatencyAverage,
    /// The number of this process's attempts up to its last use; 0 before the first use.
    pub last_use_number: u64,
}

/// Assumed output tokens before a model has answered.
pub const TYPICAL_OUTPUT_TOKENS: f64 = 256.0;

/// The health of a key that has just been re-enabled.
const REENABLED_HEALTH: u8 = 50;

impl Fleet {
    pub fn route(&self, id: RouteId) -> &RouteState {
        &self.routes[id.index()]
    }

    pub fn route_mut(&mut self, id: RouteId) -> &mut RouteState {
        &mut self.routes[id.index()]
    }

    pub fn key(&self, id: KeyId) -> &KeyState {
        &self.keys[id.index()]
    }

    pub fn key_mut(&mut self, id: KeyId) -> &mut KeyState {
        &mut self.keys[id.index()]
    }

    pub fn model(&self, id: ModelId) -> &ModelState {
        &self.models[id.index()]
    }

    pub fn model_mut(&mut self, id: ModelId) -> &mut ModelState {
        &mut self.models[id.index()]
    }

    pub fn pool(&self, id: PoolId) -> &QuotaPool {
        &self.pools[id.index()]
    }

    pub fn pool_mut(&mut self, id: PoolId) -> &mut QuotaPool {
        &mut self.pools[id.index()]
    }

    pub fn provider_mut(&mut self, id: ProviderId) -> &mut ProviderState {
        &mut self.providers[id.index()]
    }

    pub fn project_mut(&mut self, id: ProjectId) -> &mut ProjectState {
        &mut self.projects[id.index()]
    }

    pub fn key_of(&self, route: RouteId) -> &KeyState {
        self.key(self.route(route).key)
    }

    pub fn key_of_mut(&mut self, route: RouteId) -> &mut KeyState {
        self.key_mut(self.route(route).key)
    }

    pub fn model_of(&self, route: RouteId) -> &Model {
        &self.model(self.route(route).model).model
    }

    pub fn pool_of(&self, route: RouteId) -> &QuotaPool {
        self.pool(self.route(route).pool)
    }

    pub fn pool_of_mut(&mut self, route: RouteId) -> &mut QuotaPool {
        self.pool_mut(self.route(route).pool)
    }

    pub fn provider_of(&self, route: RouteId) -> &ProviderState {
        &self.providers[self.route(route).provider.index()]
    }

    pub fn project_of(&self, route: RouteId) -> &ProjectState {
        &self.projects[self.key_of(route).project.index()]
    }

    pub fn providers(&self) -> &[ProviderState] {
        &self.providers
    }

    pub fn projects(&self) -> &[ProjectState] {
        &self.projects
    }

    pub fn projects_mut(&mut self) -> &mut [ProjectState] {
        &mut self.projects
    }

    pub fn keys(&self) -> &[KeyState] {
        &self.keys
    }

    pub fn keys_mut(&mut self) -> &mut [KeyState] {
        &mut self.keys
    }

    pub fn models(&self) -> &[ModelState] {
        &self.models
    }

    pub fn models_mut(&mut self) -> &mut [ModelState] {
        &mut self.models
    }

    pub fn routes(&self) -> &[RouteState] {
        &self.routes
    }

    pub fn pools(&self) -> &[QuotaPool] {
        &self.pools
    }

    pub fn pools_mut(&mut self) -> &mut [QuotaPool] {
        &mut self.pools
    }

    pub fn route_ids(&self) -> impl DoubleEndedIterator<Item = RouteId> + use<> {
        (0..self.routes.len() as u32).map(RouteId)
    }

    pub fn key_ids(&self) -> impl Iterator<Item = KeyId> + use<> {
        (0..self.keys.len() as u32).map(KeyId)
    }

    pub fn pool_ids(&self) -> impl Iterator<Item = PoolId> + use<> {
        (0..self.pools.len() as u32).map(PoolId)
    }

    pub fn find_key(&self, name: &str) -> Option<KeyId> {
        self.keys.iter().position(|state| state.key.name == name).map(|index| KeyId(index as u32))
    }

    pub fn find_route(&self, key: &str, model: &str) -> Option<RouteId> {
        self.route_ids().find(|id| self.key_of(*id).key.name == key && self.model_of(*id).name == model)
    }

    /// `model@key`.
    pub fn route_name(&self, id: RouteId) -> String {
        format!("{}@{}", self.model_of(id).name, self.key_of(id).key.name)
    }

    pub fn matches_target(&self, id: RouteId, target: &RouteTarget) -> bool {
        self.model_of(id).name == target.model
            && target.key.as_ref().is_none_or(|name| self.key_of(id).key.name == *name)
    }

    /// Whether any route serves this target.
    pub fn has_route(&self, target: &RouteTarget) -> bool {
        self.route_ids().any(|route| self.matches_target(route, target))
    }

    pub fn is_backup(&self, id: RouteId) -> bool {
        self.key_of(id).key.role == KeyRole::Backup
    }

    /// Counts a request that is about to be sent on this route.
    pub fn start_request(&mut self, now: Now, id: RouteId) {
        let route = &mut self.routes[id.index()];
        route.in_flight += 1;
        route.breaker.half_open_if_due(now);
        self.keys[route.key.index()].in_flight += 1;
        self.providers[route.provider.index()].in_flight += 1;
    }

    /// Counts a request on this route as ended.
    pub fn end_request(&mut self, id: RouteId) {
        let route = &mut self.routes[id.index()];
        route.in_flight -= 1;
        self.keys[route.key.index()].in_flight -= 1;
        self.providers[route.provider.index()].in_flight -= 1;
    }

    /// The pools of the same model at the same provider.
    pub fn sibling_pools(&self, id: PoolId) -> &[PoolId] {
        &self.model_groups[self.pool(id).model_group].pools
    }

    /// The shortest round trips to the servers behind a pool.
    pub fn min_rtt_mut(&mut self, id: PoolId) -> &mut MinRtt {
        &mut self.model_groups[self.pools[id.index()].model_group].min_rtt
    }

    /// The name of the first key on a pool, to identify it to the operator.
    pub fn first_key_name(&self, id: PoolId) -> &str {
        self.pool(id).routes.first().map_or("", |route| &self.key_of(*route).key.name)
    }

    /// Whether another key has had a request for this route's model accepted within [`EVIDENCE_WINDOW`].
    pub fn has_other_key_success(&self, now: Now, id: RouteId) -> bool {
        let RouteState { key, model, .. } = *self.route(id);
        self.routes.iter().any(|route| {
            route.model == model
                && route.key != key
                && route.last_accepted_at.is_some_and(|at| now.mono.since(at) < EVIDENCE_WINDOW)
        })
    }

    /// Marks the route's model as unavailable for all keys of its project. Returns the first route for which that is
    /// new.
    pub fn mark_model_unavailable(&mut self, id: RouteId, cause: &Cause) -> Option<RouteId> {
        let (model, project) = (self.route(id).model, self.key_of(id).project);
        let mut first = None;
        for id in self.route_ids() {
            let is_affected = self.route(id).model == model && self.key_of(id).project == project;
            let unavailable = &mut self.routes[id.index()].unavailable;
            if is_affected && unavailable.is_none() {
                *unavailable = Some(cause.clone());
                first = first.or(Some(id));
            }
        }
        first
    }

    /// Opens the closed breakers of all routes of a key. True if there was any.
    pub fn open_breakers(&mut self, now: Now, id: KeyId, open_time: Duration, cause: &Cause) -> bool {
        let mut any_opened = false;
        for route in &self.keys[id.index()].routes {
            let breaker = &mut self.routes[route.index()].breaker;
            if matches!(breaker, Breaker::Closed { .. }) {
                *breaker = Breaker::new_open(now, open_time, cause.clone());
                any_opened = true;
            }
        }
        any_opened
    }

    /// Ends every cooldown, exhausted day and open breaker of a key's routes, pools, project and providers. True if
    /// there was any.
    pub fn clear_cooldowns(&mut self, id: KeyId) -> bool {
        let key = &self.keys[id.index()];
        let mut has_ended_any = self.projects[key.project.index()].out_of_credit.take().is_some();
        for route in &key.routes {
            let route = &mut self.routes[route.index()];
            has_ended_any |= matches!(route.breaker, Breaker::Open { .. });
            route.breaker = Breaker::default();
            route.ramp = None;
            has_ended_any |= self.pools[route.pool.index()].clear_cooldowns();
            has_ended_any |= self.providers[route.provider.index()].connection.clear();
        }
        has_ended_any
    }
}

impl KeyState {
    pub fn routes(&self) -> &[RouteId] {
        &self.routes
    }

    pub const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Disables the key: the provider does not accept it. False if it was disabled before.
    pub fn disable(&mut self, cause: Cause) -> bool {
        self.health.set_to_zero();
        let is_new = self.disabled.is_none();
        if is_new {
            self.disabled = Some(cause);
        }
        is_new
    }

    /// Re-enables the key. Returns why it was disabled, if it was.
    pub fn enable(&mut self) -> Option<Cause> {
        let previous_cause = self.disabled.take();
        if previous_cause.is_some() {
            self.health = Health::from_score(REENABLED_HEALTH);
        }
        previous_cause
    }
}

impl ModelState {
    /// Records that the model answered an item.
    pub fn record_success(&mut self, now: MonoTime, seq: Seq) {
        if self.recent_successes[0].is_none_or(|(last, _)| last != seq) {
            self.recent_successes[1] = self.recent_successes[0];
        }
        self.recent_successes[0] = Some((seq, now));
    }

    /// Whether the model answered an item other than `seq` within [`EVIDENCE_WINDOW`].
    pub fn has_recent_success(&self, now: MonoTime, seq: Seq) -> bool {
        let recent = |(other, at): &(Seq, MonoTime)| *other != seq && now.since(*at) < EVIDENCE_WINDOW;
        self.recent_successes.iter().flatten().any(recent)
    }

    /// Adds the output tokens of one answer to the running mean.
    pub fn record_output_tokens(&mut self, tokens: u64) {
        let mean = self.mean_output_tokens.unwrap_or(tokens as f64);
        self.mean_output_tokens = Some(mean + (tokens as f64 - mean) * 0.05);
    }
}

impl RouteState {
    pub const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Records a response other than a provider error. True if the route's breaker was open or
    /// half-open.
    pub fn record_response(&mut self) -> bool {
        let was_open = self.breaker.record_response();
        if was_open {
            self.ramp = Some(Ramp::AFTER_PROBE);
        }
        was_open
    }

    /// Records that the provider accepted and processed a request.
    pub fn record_accepted(&mut self, now: MonoTime) {
        self.rejections.on_accepted();
        self.last_accepted_at = Some(now);
        self.ramp = self.ramp.and_then(Ramp::on_success);
    }

    /// Makes the route usable again, at the operator's request.
    pub fn enable(&mut self) {
        self.unavailable = None;
        self.needs_operator = None;
        self.rejections.clear();
    }
}
