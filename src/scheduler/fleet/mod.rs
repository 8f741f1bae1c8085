//! The fleet: providers, projects, keys, models, and the routes and quota pools that they make up, with their state.

mod availability;
mod build;
mod changes;
mod outage;

use crate::domain::{
    Api, CostFactors, Key, KeyId, KeyRole, Model, ModelId, MonoTime, Now, PoolId, ProjectId, ProviderId, RouteId,
    RouteTarget, Seq, WallTime, snapshot::Cause,
};

use super::{
    admission::Cooldown,
    health::{
        breaker::Breaker,
        connection::Connection,
        failure_streak::FailureStreak,
        fault_attribution::{EVIDENCE_WINDOW, RecentFailures},
        latency_average::LatencyAverage,
        rejections::Rejections,
        score::Health,
    },
    limits::{min_rtt::MinRtt, pool::QuotaPool, ramp::Ramp, slow_start::SlowStart},
};

/// All keys, models and routes of the configuration. Ids are indices, and none is ever removed. Everything is changed
/// by the methods in `changes`.
#[derive(Debug)]
pub struct Fleet {
    providers: Vec<ProviderState>,
    projects: Vec<ProjectState>,
    keys: Vec<KeyState>,
    models: Vec<ModelState>,
    routes: Vec<RouteState>,
    pools: Vec<QuotaPool>,
    model_groups: Vec<ModelGroup>,
    /// Requests started so far, to order routes by last use.
    requests_started: u64,
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
    /// Its last health check failed.
    pub is_down: bool,
    /// The requests that failed since its last response of another kind.
    failures: Option<FailureStreak>,
    /// Whether its health is checked. If not, only answers show that it works.
    has_health_checks: bool,
    /// When the newest request or health check was sent that it processed: it was seen to work after that.
    last_proof: Option<MonoTime>,
    in_flight: u32,
    /// The furthest slow start of its pools. Its pools begin there after a time without requests in flight.
    slow_start: SlowStart,
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
    /// No cap can be kept, since a request can cost any amount.
    pub has_unbounded_cost: bool,
    /// Those of the fields that are added to the body of every request.
    pub cost_factors: CostFactors,
    pub switched_off_at: Option<WallTime>,
    /// The last two items it answered. They show that the model works when another item fails.
    recent_successes: [Option<(Seq, Proof)>; 2],
    /// Running mean of billed output tokens, for token estimates.
    pub mean_output_tokens: Option<f64>,
    /// Over all routes of the model.
    pub latency: LatencyAverage,
}

/// A request that was processed: whatever it used was seen to work between these instants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Proof {
    pub sent_at: MonoTime,
    pub answered_at: MonoTime,
}

impl Proof {
    /// Whether it was sent after `failed_at`, and answered within [`EVIDENCE_WINDOW`] before `now`. What was sent before
    /// a failure says nothing: the provider may have gone down since.
    fn is_evidence_since(self, failed_at: MonoTime, now: MonoTime) -> bool {
        self.sent_at > failed_at && now.since(self.answered_at) < EVIDENCE_WINDOW
    }
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
    last_accepted: Option<Proof>,
    /// When a request last ended with a provider error.
    last_failed_at: Option<MonoTime>,
    pub latency: LatencyAverage,
    /// The number of this process's requests up to its last use; 0 before the first use.
    pub last_use_number: u64,
}

/// Assumed output tokens before a model has answered.
pub const TYPICAL_OUTPUT_TOKENS: f64 = 256.0;

impl Fleet {
    pub fn route(&self, id: RouteId) -> &RouteState {
        &self.routes[id.index()]
    }

    pub fn key(&self, id: KeyId) -> &KeyState {
        &self.keys[id.index()]
    }

    pub fn model(&self, id: ModelId) -> &ModelState {
        &self.models[id.index()]
    }

    pub fn pool(&self, id: PoolId) -> &QuotaPool {
        &self.pools[id.index()]
    }

    pub fn pool_mut(&mut self, id: PoolId) -> &mut QuotaPool {
        &mut self.pools[id.index()]
    }

    pub fn key_of(&self, route: RouteId) -> &KeyState {
        self.key(self.route(route).key)
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

    pub fn keys(&self) -> &[KeyState] {
        &self.keys
    }

    pub fn models(&self) -> &[ModelState] {
        &self.models
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

    pub fn provider_ids(&self) -> impl Iterator<Item = ProviderId> + use<> {
        (0..self.providers.len() as u32).map(ProviderId)
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

    /// Whether another key has had a request for this route's model accepted that was sent after the last failure: that
    /// of the item on the model, or else that of the route, if it has had no success since.
    pub fn has_other_key_success(&self, now: Now, id: RouteId, item_failed_at: Option<MonoTime>) -> bool {
        let RouteState { key, model, last_failed_at, last_accepted, .. } = *self.route(id);
        let is_before = |failed_at: &MonoTime| last_accepted.is_none_or(|proof| proof.answered_at <= *failed_at);
        let Some(failed_at) = item_failed_at.or(last_failed_at.filter(is_before)) else { return false };
        let is_evidence = |proof: Proof| proof.is_evidence_since(failed_at, now.mono);
        self.routes
            .iter()
            .any(|route| route.model == model && route.key != key && route.last_accepted.is_some_and(is_evidence))
    }

    /// The model of this name of this provider.
    pub fn find_model(&self, provider: &str, model: &str) -> Option<ModelId> {
        let is_wanted = |state: &ModelState| {
            state.model.name == model && self.providers[state.model.provider.index()].name == provider
        };
        self.models.iter().position(is_wanted).map(|index| ModelId(index as u32))
    }

    /// Whether a provider processed a request or responded to a health check that was sent after `since`. True for a
    /// provider without health checks.
    pub fn works_since(&self, id: ProviderId, since: MonoTime) -> bool {
        let provider = &self.providers[id.index()];
        !provider.has_health_checks || provider.last_proof.is_some_and(|at| at > since)
    }

    /// Whether requests to a provider fail: it can't be reached, or the circuit of one of its routes is open.
    pub fn is_failing(&self, id: ProviderId) -> bool {
        let is_open = |route: &RouteState| route.provider == id && !matches!(route.breaker, Breaker::Closed { .. });
        self.providers[id.index()].connection.unreachable().is_some() || self.routes.iter().any(is_open)
    }
}

impl KeyState {
    pub fn routes(&self) -> &[RouteId] {
        &self.routes
    }

    pub const fn in_flight(&self) -> u32 {
        self.in_flight
    }
}

impl ModelState {
    /// Whether the model answered an item other than `seq` whose request was sent after `since`.
    pub fn has_success_since(&self, since: MonoTime, now: MonoTime, seq: Seq) -> bool {
        let recent = |(other, proof): &(Seq, Proof)| *other != seq && proof.is_evidence_since(since, now);
        self.recent_successes.iter().flatten().any(recent)
    }
}

impl RouteState {
    pub const fn in_flight(&self) -> u32 {
        self.in_flight
    }
}
