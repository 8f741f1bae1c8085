//! What waits: tickets by class, in input order, with those that were tried before ahead of the fresh ones.

use std::collections::VecDeque;

use smallvec::SmallVec;

use crate::domain::{Api, ModelId, Money, MonoTime, Outcome, RouteId, Seq};

use super::{
    bitset::BitSet,
    candidates::{Candidates, ClassKey},
    fault_attribution::HealthPenalties,
    pool::TokenEstimate,
    route_selector::RouteSelector,
};

/// An item as the scheduler knows it: its size and its history, never its text.
#[derive(Clone, Debug)]
pub struct QueuedItem {
    pub seq: Seq,
    /// Estimated input tokens.
    pub input_tokens: u64,
    /// The most output tokens its own parameters allow.
    pub max_output_tokens: Option<u32>,
    pub max_usd: Option<Money>,
    /// The answer becomes a sidecar: a truncated one is no answer.
    pub is_caption: bool,
    /// APIs that can't express its request.
    pub unsupported_apis: SmallVec<[Api; 2]>,
    /// When it could first have been sent.
    pub waiting_since: MonoTime,
    /// `None` until something went wrong; most items never need one.
    pub retry_state: Option<Box<RetryState>>,
}

/// What an item has been through.
#[derive(Clone, Debug, Default)]
pub struct RetryState {
    /// HTTP requests so far.
    pub attempts: u32,
    /// Models that it is done with.
    pub models_given_up: SmallVec<[ModelId; 4]>,
    /// The model it was last sent to.
    last_model: Option<ModelId>,
    /// By model: an item that spills to and fro must run out of tries nevertheless.
    retries_by_model: SmallVec<[(ModelId, ModelRetries); 1]>,
    /// The one retry with a larger output limit has been used.
    pub has_larger_output: bool,
    pub last_outcome: Option<Outcome>,
    pub penalties: HealthPenalties,
}

/// What went wrong on one model.
#[derive(Clone, Copy, Debug, Default)]
pub struct ModelRetries {
    /// Provider faults charged to the item.
    pub counted: u32,
    /// Provider faults that nobody else's success has confirmed as the item's.
    pub excused: u32,
    pub empty_outputs: u32,
    pub timeouts: u32,
}

impl ModelRetries {
    pub const fn provider_errors(self) -> u32 {
        self.counted + self.excused
    }
}

impl QueuedItem {
    pub fn retry_state_mut(&mut self) -> &mut RetryState {
        self.retry_state.get_or_insert_default()
    }

    pub fn attempts(&self) -> u32 {
        self.retry_state.as_ref().map_or(0, |retry_state| retry_state.attempts)
    }

    /// Earlier processes have sent it this many times already.
    pub fn restore_attempts(&mut self, attempts: u32) {
        self.retry_state_mut().attempts = attempts;
    }

    pub fn has_given_up_on(&self, model: ModelId) -> bool {
        self.retry_state.as_ref().is_some_and(|retry_state| retry_state.models_given_up.contains(&model))
    }

    /// How often it has failed on a model in a way that may yet be its own fault.
    pub fn provider_errors_on(&self, model: ModelId) -> u32 {
        let model_retries = self
            .retry_state
            .as_ref()
            .and_then(|retry_state| retry_state.retries_by_model.iter().find(|(other, _)| *other == model));
        model_retries.map_or(0, |(_, tries)| tries.provider_errors())
    }

    /// What went wrong on the model that it was last sent to.
    pub fn last_model_retries(&self) -> ModelRetries {
        self.retry_state.as_ref().map_or_else(ModelRetries::default, |retry_state| retry_state.last_model_retries())
    }
}

impl RetryState {
    /// Counts are per model.
    pub fn switch_to_model(&mut self, model: ModelId) -> &mut ModelRetries {
        self.last_model = Some(model);
        let found = self.retries_by_model.iter().position(|(other, _)| *other == model);
        let index = found.unwrap_or_else(|| {
            self.retries_by_model.push((model, ModelRetries::default()));
            self.retries_by_model.len() - 1
        });
        &mut self.retries_by_model[index].1
    }

    fn last_model_retries(&self) -> ModelRetries {
        let here = self.retries_by_model.iter().find(|(model, _)| Some(*model) == self.last_model);
        here.map_or_else(ModelRetries::default, |(_, model_retries)| *model_retries)
    }
}

/// What decides where an untried ticket fits.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Requirements {
    input: u64,
    max_output: Option<u32>,
    max_usd: Option<Money>,
    inexpressible: SmallVec<[Api; 2]>,
}

impl Requirements {
    fn from_untried(item: &QueuedItem) -> Option<Self> {
        item.retry_state.is_none().then(|| Self {
            input: item.input_tokens,
            max_output: item.max_output_tokens,
            max_usd: item.max_usd,
            inexpressible: item.unsupported_apis.clone(),
        })
    }
}

/// Items that may use the same routes.
#[derive(Debug)]
pub struct ItemClass {
    pub class_key: ClassKey,
    /// In order of preference.
    pub candidates: Vec<RouteId>,
    /// By route: its place in `candidates`, or `ABSENT`.
    rank_of: Vec<u32>,
    /// Ranks that may be ready; a bit is cleared when a look says otherwise and set when that may have changed.
    pub ready: BitSet,
    /// Chooses among them.
    pub selector: RouteSelector,
    /// The rank of the primary that was last found in service, under `primary_backup`.
    pub last_available_primary: usize,
    pub pending: VecDeque<QueuedItem>,
    /// Tried before and free to go again.
    pub retries: VecDeque<QueuedItem>,
    /// Blocked when they were looked at, and not to be looked at again before something changes: retries, and fresh
    /// tickets that nothing but their own needs kept from a ready route, so that others may pass.
    blocked: VecDeque<QueuedItem>,
    /// The scheduler's version at which `aside` was looked at.
    blocked_at_version: u64,
    /// The smallest untried ticket that was set aside since the last change: whoever is like it and no smaller is
    /// kept from the same routes.
    smallest_blocked: Option<Requirements>,
    /// Routes that a ticket which has waited long for token room keeps its place on: no other of the class takes them.
    pub aged_claims: SmallVec<[(RouteId, Seq); 4]>,
    /// A suspect left a trial to others.
    pub yielded_probe: bool,
    /// Waiting items of this class that are not loaded yet.
    pub backlog: u64,
    /// The scheduler's version at which nothing of this class could go.
    pub stuck_at_version: Option<u64>,
}

const ABSENT: u32 = u32::MAX;

/// Fresh tickets that may be set aside in a class.
const MAX_BLOCKED: usize = 1_024;

/// Items that were tried, or set aside, are in memory whole: so many of a class, and no more are loaded.
const MAX_TRIED: usize = 16_384;

impl ItemClass {
    pub fn new(class_key: ClassKey, candidates: Candidates, routes: usize) -> Self {
        let mut class = Self {
            class_key,
            candidates: Vec::new(),
            rank_of: Vec::new(),
            ready: BitSet::default(),
            selector: candidates.selector,
            last_available_primary: 0,
            pending: VecDeque::new(),
            retries: VecDeque::new(),
            blocked: VecDeque::new(),
            blocked_at_version: 0,
            smallest_blocked: None,
            aged_claims: SmallVec::new(),
            yielded_probe: false,
            backlog: 0,
            stuck_at_version: None,
        };
        class.reset_candidates(candidates.routes, routes);
        class
    }

    pub fn set_candidates(&mut self, candidates: Candidates, routes: usize) {
        self.selector = candidates.selector;
        self.reset_candidates(candidates.routes, routes);
    }

    fn reset_candidates(&mut self, candidates: Vec<RouteId>, routes: usize) {
        self.rank_of = vec![ABSENT; routes];
        for (rank, route) in candidates.iter().enumerate() {
            self.rank_of[route.index()] = rank as u32;
        }
        self.ready = BitSet::full(candidates.len());
        self.candidates = candidates;
        self.stuck_at_version = None;
    }

    pub fn rank(&self, route: RouteId) -> Option<usize> {
        let rank = self.rank_of[route.index()];
        (rank != ABSENT).then_some(rank as usize)
    }

    pub fn park(&mut self, route: RouteId) {
        if let Some(rank) = self.rank(route) {
            self.ready.remove(rank);
            self.selector.park(rank);
        }
    }

    pub fn unpark(&mut self, route: RouteId) {
        if let Some(rank) = self.rank(route) {
            self.ready.insert(rank);
            self.selector.unpark(rank);
        }
    }

    pub fn loaded_count(&self) -> usize {
        self.pending.len() + self.retries.len() + self.blocked.len()
    }

    /// The ticket to be looked at first.
    pub fn first_item(&self) -> Option<&QueuedItem> {
        self.retries.front().or(self.blocked.front()).or(self.pending.front())
    }

    pub fn items(&self) -> impl Iterator<Item = &QueuedItem> {
        self.pending.iter().chain(self.tried_items())
    }

    /// Those that were looked at before, or sent.
    pub fn tried_items(&self) -> impl Iterator<Item = &QueuedItem> {
        self.retries.iter().chain(&self.blocked)
    }

    /// Something has changed since `version`, perhaps: what was set aside before gets another look.
    pub fn requeue_blocked_if_changed(&mut self, version: u64) {
        if self.blocked_at_version != version {
            self.blocked_at_version = version;
            self.requeue_blocked();
        }
    }

    /// What was set aside is looked at again, after what has not been looked at yet: so each gets its turn, however
    /// often something changes.
    pub fn requeue_blocked(&mut self) {
        self.aged_claims.clear();
        self.smallest_blocked = None;
        self.retries.append(&mut self.blocked);
    }

    /// Lets go of waiting tickets.
    pub fn retain(&mut self, mut keep: impl FnMut(&QueuedItem) -> bool) {
        self.aged_claims.clear();
        for queue in [&mut self.pending, &mut self.retries, &mut self.blocked] {
            queue.retain(&mut keep);
        }
    }

    pub fn block(&mut self, item: QueuedItem) {
        self.blocked.push_back(item);
    }

    /// Nothing but the ticket's own needs kept it from every ready route.
    pub fn remember_blocked(&mut self, item: &QueuedItem) {
        let requirements = Requirements::from_untried(item);
        if requirements.is_some() {
            self.smallest_blocked = requirements;
        }
    }

    /// Whether looking would find the same as for the one noted last: what a request costs, and the room it takes,
    /// only grow with its input.
    pub fn is_known_blocked(&self, item: &QueuedItem) -> bool {
        let (Some(blocked), Some(requirements)) = (&self.smallest_blocked, Requirements::from_untried(item)) else {
            return false;
        };
        requirements.input >= blocked.input && Requirements { input: blocked.input, ..requirements } == *blocked
    }

    /// Whether more should be loaded behind those that were tried and can't go on.
    pub fn has_capacity(&self) -> bool {
        self.retries.len() + self.blocked.len() < MAX_TRIED
    }

    /// Others may pass so many that only their own needs keep from going, and no more: what waits is in memory.
    pub fn can_block_more(&self) -> bool {
        self.blocked.len() < MAX_BLOCKED
    }
}

/// What an attempt took and from where.
#[derive(Clone, Debug)]
pub struct Reserved {
    pub class: usize,
    pub item: QueuedItem,
    pub route: RouteId,
    pub reserved_at: crate::domain::Now,
    /// When its request left the process; when it was reserved, until that is told.
    pub sent_at: crate::domain::Now,
    pub tokens: TokenEstimate,
    pub max_cost: Money,
}
