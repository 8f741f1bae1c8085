//! Waiting items by class, in input order. Items that were sent or blocked before come first.

use std::collections::VecDeque;

use smallvec::SmallVec;

use crate::domain::{Api, ModelId, Money, MonoTime, Outcome, RouteId, Seq};

use super::{
    health::fault_attribution::HealthPenalties,
    limits::pool::TokenEstimate,
    routing::{
        bitset::BitSet,
        candidates::{Candidates, ClassKey},
        selector::RouteSelector,
    },
};

/// An item as the scheduler knows it: its size and its history, but not its text.
#[derive(Clone, Debug)]
pub struct QueuedItem {
    pub seq: Seq,
    /// Estimated number of input tokens.
    pub input_tokens: u64,
    /// The most output tokens that its own parameters allow.
    pub max_output_tokens: Option<u32>,
    /// The most that one attempt for it may cost.
    pub max_usd: Option<Money>,
    /// The answer is written to a caption file, so a truncated answer counts as a failure.
    pub is_caption: bool,
    /// APIs that can't encode its request.
    pub unsupported_apis: SmallVec<[Api; 2]>,
    /// When it could first have been sent.
    pub waiting_since: MonoTime,
    /// `None` until an attempt failed, so most items never have one.
    pub retry_state: Option<Box<RetryState>>,
}

/// History of an item whose attempts failed.
#[derive(Clone, Debug, Default)]
pub struct RetryState {
    /// HTTP requests so far.
    pub attempts: u32,
    /// Models that the item is no longer sent to.
    pub models_given_up: SmallVec<[ModelId; 4]>,
    last_model: Option<ModelId>,
    /// Counted per model, so that an item that moves back and forth between models runs out of retries too.
    failures_by_model: SmallVec<[(ModelId, ModelFailures); 1]>,
    /// Whether the one retry with a larger output limit was used.
    pub has_larger_output: bool,
    pub last_outcome: Option<Outcome>,
    pub penalties: HealthPenalties,
}

/// Failures of an item on one model.
#[derive(Clone, Copy, Debug, Default)]
pub struct ModelFailures {
    /// Provider errors that count against the item.
    pub counted_errors: u32,
    /// Provider errors that don't count against the item, since no other item's success shows that the model works.
    pub excused_errors: u32,
    pub empty_outputs: u32,
    pub timeouts: u32,
}

impl ModelFailures {
    pub const fn provider_errors(self) -> u32 {
        self.counted_errors + self.excused_errors
    }
}

impl QueuedItem {
    pub fn retry_state_mut(&mut self) -> &mut RetryState {
        self.retry_state.get_or_insert_default()
    }

    pub fn attempts(&self) -> u32 {
        self.retry_state.as_ref().map_or(0, |retry_state| retry_state.attempts)
    }

    /// Sets the number of attempts that earlier processes made.
    pub fn restore_attempts(&mut self, attempts: u32) {
        self.retry_state_mut().attempts = attempts;
    }

    pub fn has_given_up_on(&self, model: ModelId) -> bool {
        self.retry_state.as_ref().is_some_and(|retry_state| retry_state.models_given_up.contains(&model))
    }

    /// Number of provider errors on a model, whether or not they count against the item.
    pub fn provider_errors_on(&self, model: ModelId) -> u32 {
        let model_failures = self
            .retry_state
            .as_ref()
            .and_then(|retry_state| retry_state.failures_by_model.iter().find(|(other, _)| *other == model));
        model_failures.map_or(0, |(_, failures)| failures.provider_errors())
    }

    /// Failures on the model it was last sent to.
    pub fn last_model_failures(&self) -> ModelFailures {
        self.retry_state.as_ref().map_or_else(ModelFailures::default, |retry_state| retry_state.last_model_failures())
    }
}

impl RetryState {
    /// Makes `model` the last model. Returns the failures on it.
    pub fn switch_to_model(&mut self, model: ModelId) -> &mut ModelFailures {
        self.last_model = Some(model);
        let found = self.failures_by_model.iter().position(|(other, _)| *other == model);
        let index = found.unwrap_or_else(|| {
            self.failures_by_model.push((model, ModelFailures::default()));
            self.failures_by_model.len() - 1
        });
        &mut self.failures_by_model[index].1
    }

    fn last_model_failures(&self) -> ModelFailures {
        let found = self.failures_by_model.iter().find(|(model, _)| Some(*model) == self.last_model);
        found.map_or_else(ModelFailures::default, |(_, model_failures)| *model_failures)
    }
}

/// The properties that decide where an item without a retry state can be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Requirements {
    input_tokens: u64,
    max_output_tokens: Option<u32>,
    max_usd: Option<Money>,
    unsupported_apis: SmallVec<[Api; 2]>,
}

impl Requirements {
    fn from_untried(item: &QueuedItem) -> Option<Self> {
        item.retry_state.is_none().then(|| Self {
            input_tokens: item.input_tokens,
            max_output_tokens: item.max_output_tokens,
            max_usd: item.max_usd,
            unsupported_apis: item.unsupported_apis.clone(),
        })
    }
}

/// A class: items that may use the same routes.
#[derive(Debug)]
pub struct ItemClass {
    pub class_key: ClassKey,
    /// In order of preference.
    pub candidates: Vec<RouteId>,
    /// By route: its rank in `candidates`, or `ABSENT`.
    rank_of: Vec<u32>,
    /// Ranks that may be ready. A bit is cleared when a check fails and set when that may have changed.
    pub ready: BitSet,
    /// Chooses among the ready candidates.
    pub selector: Box<dyn RouteSelector>,
    /// Under `primary_backup`: the rank of the first route of a backup key.
    pub first_backup_rank: Option<usize>,
    /// Under `primary_backup`: the rank of the primary last found in service.
    pub last_available_primary: usize,
    /// Neither sent nor blocked yet, in input order.
    pub pending: VecDeque<QueuedItem>,
    /// Checked before `pending`: items that were sent before, and items that were blocked until something changed.
    pub retries: VecDeque<QueuedItem>,
    /// Blocked when last checked, and not checked again until something changes. Holds retries, and also untried items
    /// that could not use a ready route because of their own requirements. Other items may overtake those.
    blocked: VecDeque<QueuedItem>,
    /// The scheduler's `readiness_version` when `blocked` was last moved to `retries`.
    blocked_at_version: u64,
    /// Requirements of the untried item that was last found blocked; `None` after a change. Items with the same
    /// requirements and at least as many input tokens are blocked too.
    last_blocked: Option<Requirements>,
    /// Routes whose token room is claimed by an item that has aged. No other item may take it.
    pub aged_claims: SmallVec<[(RouteId, Seq); 4]>,
    /// Whether an item has yielded a probe to others since the last full check.
    pub has_yielded_probe: bool,
    /// Number of waiting items that are not loaded yet.
    pub backlog: u64,
    /// The scheduler's `readiness_version` at which no item of this class could be sent.
    pub stuck_at_version: Option<u64>,
}

const ABSENT: u32 = u32::MAX;

/// While `blocked` of a class holds this many items, no further untried item is added to it.
const MAX_BLOCKED: usize = 1_024;

/// While a class has this many retries and blocked items, no more items are loaded, to bound memory.
const MAX_TRIED: usize = 16_384;

impl ItemClass {
    pub fn new(class_key: ClassKey, candidates: Candidates, routes: usize) -> Self {
        let mut class = Self {
            class_key,
            candidates: Vec::new(),
            rank_of: Vec::new(),
            ready: BitSet::default(),
            selector: candidates.selector,
            first_backup_rank: candidates.first_backup_rank,
            last_available_primary: 0,
            pending: VecDeque::new(),
            retries: VecDeque::new(),
            blocked: VecDeque::new(),
            blocked_at_version: 0,
            last_blocked: None,
            aged_claims: SmallVec::new(),
            has_yielded_probe: false,
            backlog: 0,
            stuck_at_version: None,
        };
        class.reset_candidates(candidates.routes, routes);
        class
    }

    pub fn set_candidates(&mut self, candidates: Candidates, routes: usize) {
        self.selector = candidates.selector;
        self.first_backup_rank = candidates.first_backup_rank;
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

    /// The item whose position in the input decides when this class is polled.
    pub fn first_item(&self) -> Option<&QueuedItem> {
        self.retries.front().or(self.blocked.front()).or(self.pending.front())
    }

    pub fn items(&self) -> impl Iterator<Item = &QueuedItem> {
        self.pending.iter().chain(self.tried_items())
    }

    /// Items that were checked or sent before.
    pub fn tried_items(&self) -> impl Iterator<Item = &QueuedItem> {
        self.retries.iter().chain(&self.blocked)
    }

    /// Makes blocked items retries again if `version` shows that something may have changed since.
    pub fn requeue_blocked_if_changed(&mut self, version: u64) {
        if self.blocked_at_version != version {
            self.blocked_at_version = version;
            self.requeue_blocked();
        }
    }

    /// Appends blocked items to the retries. They come after items that were not checked yet, so that each item is
    /// checked in turn however often something changes.
    pub fn requeue_blocked(&mut self) {
        self.aged_claims.clear();
        self.last_blocked = None;
        self.retries.append(&mut self.blocked);
    }

    /// Removes the waiting items for which `keep` returns false.
    pub fn retain(&mut self, mut keep: impl FnMut(&QueuedItem) -> bool) {
        self.aged_claims.clear();
        for queue in [&mut self.pending, &mut self.retries, &mut self.blocked] {
            queue.retain(&mut keep);
        }
    }

    pub fn block(&mut self, item: QueuedItem) {
        self.blocked.push_back(item);
    }

    /// Remembers the requirements of an untried item if only they keep it from every ready route.
    pub fn remember_blocked(&mut self, item: &QueuedItem) {
        let requirements = Requirements::from_untried(item);
        if requirements.is_some() {
            self.last_blocked = requirements;
        }
    }

    /// Whether a check of this item would fail as it did for the remembered one, since cost and tokens only grow with
    /// the input.
    pub fn is_known_blocked(&self, item: &QueuedItem) -> bool {
        let (Some(blocked), Some(requirements)) = (&self.last_blocked, Requirements::from_untried(item)) else {
            return false;
        };
        requirements.input_tokens >= blocked.input_tokens
            && Requirements { input_tokens: blocked.input_tokens, ..requirements } == *blocked
    }

    /// Whether more items may be loaded: not while too many retries and blocked items are in memory.
    pub fn has_capacity(&self) -> bool {
        self.retries.len() + self.blocked.len() < MAX_TRIED
    }

    /// Whether one more untried item may be blocked and overtaken. Blocked items stay in memory, so their number is
    /// limited.
    pub fn can_block_more(&self) -> bool {
        self.blocked.len() < MAX_BLOCKED
    }
}

/// An attempt in flight, and what it has reserved.
#[derive(Clone, Debug)]
pub struct Reserved {
    pub class: usize,
    pub item: QueuedItem,
    pub route: RouteId,
    pub created_at: crate::domain::Now,
    /// When the request left the process; until then, when it was reserved.
    pub sent_at: crate::domain::Now,
    pub tokens: TokenEstimate,
    pub max_cost: Money,
}
