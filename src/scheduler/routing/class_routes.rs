//! The routes of one class of items, which of them may be ready, and the strategy that chooses among them.

use crate::{
    domain::{AllowedRoutes, Outcome, RouteId, RouteTarget},
    scheduler::{
        fleet::Fleet,
        queue::{LocalRejection, QueuedItem},
        view::View,
    },
};

use super::{
    bitset::BitSet,
    selector::{ModelStats, RouteSearch, RouteSelector, RouteStats, SearchInput, Tiers},
};

/// The properties that items of one class have in common. There are at most (models + 1) x (rules + 1) x 2 classes,
/// plus those of items that the operator sent to a required target.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClassKey {
    pub needs_vision: bool,
    /// The model that the items' rows name; one that the fleet has, unless it is pinned.
    pub preferred_model: Option<String>,
    /// Whether the items may use no other model.
    pub is_model_pinned: bool,
    /// Index into the policy's rules.
    pub rule: Option<usize>,
    /// The only target allowed, if the operator sent the items there.
    pub required_target: Option<RouteTarget>,
}

#[derive(Debug)]
pub struct ClassRoutes {
    key: ClassKey,
    /// In order of preference.
    candidates: Vec<RouteId>,
    /// The candidates of the model that the items' rows name.
    row_model_routes: Vec<RouteId>,
    /// By route: its rank in `candidates`, or `ABSENT`.
    rank_of: Vec<u32>,
    /// Ranks that may be ready. A bit is cleared when a check fails and set when that may have changed.
    ready: BitSet,
    /// Parked ranks that only slow start kept full when they were parked.
    in_slow_start: BitSet,
    tiers: Tiers,
    /// Chooses among the ready candidates.
    selector: Box<dyn RouteSelector>,
    /// Under `primary_backup`: the rank of the first route of a backup key.
    first_backup_rank: Option<usize>,
    /// Under `primary_backup`: the rank of the primary last found in service.
    last_available_primary: usize,
}

const ABSENT: u32 = u32::MAX;

impl ClassRoutes {
    /// Routes in order of preference, out of `route_count` of the fleet, and the selector that chooses among them.
    /// `row_model_routes` are those of the model that the items' rows name.
    pub fn new(
        key: ClassKey,
        candidates: Vec<RouteId>,
        row_model_routes: Vec<RouteId>,
        tiers: Tiers,
        selector: Box<dyn RouteSelector>,
        first_backup_rank: Option<usize>,
        route_count: usize,
    ) -> Self {
        let mut rank_of = vec![ABSENT; route_count];
        for (rank, route) in candidates.iter().enumerate() {
            rank_of[route.index()] = rank as u32;
        }
        Self {
            ready: BitSet::full(candidates.len()),
            in_slow_start: BitSet::empty(candidates.len()),
            key,
            candidates,
            row_model_routes,
            rank_of,
            tiers,
            selector,
            first_backup_rank,
            last_available_primary: 0,
        }
    }

    pub const fn key(&self) -> &ClassKey {
        &self.key
    }

    pub fn candidates(&self) -> &[RouteId] {
        &self.candidates
    }

    /// The candidates of the model that the items' rows name, in order of preference.
    pub fn row_model_routes(&self) -> &[RouteId] {
        &self.row_model_routes
    }

    pub fn is_row_model(&self, route: RouteId) -> bool {
        self.row_model_routes.contains(&route)
    }

    /// Whether a route is one of `allowed`.
    pub fn is_allowed(&self, view: View<'_>, allowed: AllowedRoutes<RouteId>, route: RouteId) -> bool {
        allowed.allows(route, |route| view.fleet.route(route).model, |route| self.is_row_model(route))
    }

    pub fn rank(&self, route: RouteId) -> Option<usize> {
        let rank = self.rank_of[route.index()];
        (rank != ABSENT).then_some(rank as usize)
    }

    /// `is_in_slow_start`: only its slow start keeps it full.
    pub fn park(&mut self, route: RouteId, is_in_slow_start: bool) {
        if let Some(rank) = self.rank(route) {
            self.ready.remove(rank);
            self.selector.park(rank);
            if is_in_slow_start {
                self.in_slow_start.insert(rank);
            } else {
                self.in_slow_start.remove(rank);
            }
        }
    }

    pub fn unpark(&mut self, route: RouteId) {
        if let Some(rank) = self.rank(route) {
            self.ready.insert(rank);
            self.in_slow_start.remove(rank);
            self.selector.unpark(rank);
        }
    }

    /// Whether items may wait for a better route that is in slow start.
    pub const fn has_routes_in_slow_start(&self) -> bool {
        !self.in_slow_start.is_empty()
    }

    pub fn ranks_in_slow_start(&self) -> impl Iterator<Item = usize> {
        self.in_slow_start.iter()
    }

    /// Whether `one` is better for the item than `other`, so that it would rather wait for it a little: it is in an
    /// earlier tier, or the strategy orders models and prefers its model. Both are ranks.
    pub fn prefers(&self, fleet: &Fleet, item: &QueuedItem, one: usize, other: usize) -> bool {
        let tier = |rank| self.tiers.iter().position(|tier| tier.contains(&rank));
        let model_stats = |model| model_stats(fleet, model);
        let is_better_model =
            || self.selector.prefers_model(&search_input(&self.ready, item, &model_stats), one, other);
        tier(one) < tier(other) || (tier(one) == tier(other) && is_better_model())
    }

    /// Whether the candidates have a fixed order, so that an item has one preferred route.
    pub fn is_ordered(&self) -> bool {
        self.selector.is_ordered()
    }

    /// Starts a search through the ready candidates for one item.
    pub fn start_search(&mut self, fleet: &Fleet, item: &QueuedItem, rng: &mut fastrand::Rng) -> RouteSearch {
        let model_stats = |model| model_stats(fleet, model);
        self.selector.start_search(&search_input(&self.ready, item, &model_stats), rng)
    }

    /// The next candidate of a search.
    pub fn next_candidate(&mut self, search: &mut RouteSearch, rng: &mut fastrand::Rng) -> Option<RouteId> {
        self.selector.next_candidate(&self.ready, search, rng).map(|rank| self.candidates[rank])
    }

    pub fn finish_search(&mut self, search: RouteSearch) {
        self.selector.finish_search(&self.ready, search);
    }

    /// The candidate that a search would return first; `None` if that is random.
    pub fn first_candidate(&self, fleet: &Fleet, item: &QueuedItem) -> Option<RouteId> {
        let model_stats = |model: usize| model_stats(fleet, model);
        let rank = self.selector.first_candidate(&search_input(&self.ready, item, &model_stats))?;
        Some(self.candidates[rank])
    }

    /// Under `primary_backup`: whether the route belongs to a backup key, which stays idle while a primary is in
    /// service.
    pub fn is_standby_backup(&self, route: RouteId) -> bool {
        self.first_backup_rank.is_some_and(|first| self.rank(route) >= Some(first))
    }

    /// Whether backup keys stay idle while a primary key is in service.
    pub const fn keeps_backups_idle(&self) -> bool {
        self.first_backup_rank.is_some()
    }

    /// The routes of primary keys. All routes, unless the strategy is `primary_backup`.
    pub fn primaries(&self) -> &[RouteId] {
        &self.candidates[..self.first_backup_rank.unwrap_or(self.candidates.len())]
    }

    /// Whether a primary key is in service, by `is_in_service`. The one found last time is checked first.
    pub fn has_available_primary(&mut self, is_in_service: impl Fn(RouteId) -> bool) -> bool {
        let primaries = self.primaries();
        let last_found = Some(self.last_available_primary).filter(|rank| *rank < primaries.len());
        let found = last_found.into_iter().chain(0..primaries.len()).find(|rank| is_in_service(primaries[*rank]));
        self.last_available_primary = found.unwrap_or_default();
        found.is_some()
    }

    /// Records that a route was used, for an item of this class or of another.
    pub fn on_used(&mut self, route: RouteId, is_own_use: bool) {
        if let Some(rank) = self.rank(route) {
            self.selector.on_used(rank, is_own_use);
        }
    }

    /// The rejection of an item that no candidate can ever serve; `None` if some candidate can.
    pub fn permanent_rejection(&self, view: View<'_>, item: &QueuedItem) -> Option<LocalRejection> {
        let mut reason = (Outcome::NoRoute, self.no_candidates_reason(view));
        for &route in &self.candidates {
            reason = view.ineligibility(route, item)?;
        }
        let (outcome, explanation) = reason;
        let message = match (outcome, item.cost_factors.unbounded_field) {
            (Outcome::OverBudget, Some(field)) => {
                format!("{field}, and a spend cap is set; remove the field, or run without max_usd and max_usd_per_day")
            }
            (Outcome::OverBudget, None) => format!("{explanation}; raise it, or add a cheaper model"),
            (_, _) => format!("no route may serve it: {explanation}"),
        };
        let message = match self.key.rule.and_then(|rule| view.policy.rules.get(rule)) {
            Some(rule) => format!("{message} (rule {} applies)", rule.name),
            None => message,
        };
        let message = match &self.key.preferred_model {
            Some(model) if self.key.is_model_pinned => format!("{message}; its row allows only the model {model}"),
            _ => message,
        };
        Some(LocalRejection { seq: item.seq, outcome, message, attempts: item.attempts() })
    }

    /// Why there are no candidates at all.
    fn no_candidates_reason(&self, view: View<'_>) -> &'static str {
        let any_model_has_vision = view.fleet.models().iter().any(|state| state.model.vision);
        match self.key.needs_vision {
            true if !any_model_has_vision => {
                "it holds a picture, and no model takes pictures; say vision = true for one that does"
            }
            true => "it holds a picture, and no model that it may go to takes pictures",
            false => "no model that it may go to has a key",
        }
    }

    pub fn uses_stats(&self) -> bool {
        self.selector.uses_stats()
    }

    /// Applies changed measurements of a route.
    pub fn update_stats(&mut self, route: RouteId, stats: RouteStats) {
        if let Some(rank) = self.rank(route) {
            self.selector.update_stats(rank, stats);
        }
    }
}

fn search_input<'a>(
    ready: &'a BitSet,
    item: &QueuedItem,
    model_stats: &'a dyn Fn(usize) -> ModelStats,
) -> SearchInput<'a> {
    SearchInput { ready, input_tokens: item.input_tokens, max_output_tokens: item.max_output_tokens, model_stats }
}

fn model_stats(fleet: &Fleet, model: usize) -> ModelStats {
    let state = &fleet.models()[model];
    ModelStats {
        price: state.model.price,
        mean_output_tokens: state.mean_output_tokens,
        latency_micros: state.latency.mean_micros(),
    }
}
