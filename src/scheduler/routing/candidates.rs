//! The routes that a class of items may use, in order of preference. The order is the cascade's, rotated daily if
//! configured, then adjusted by rules and by the items' own preferred model.

use crate::domain::{
    CascadeOrder, Key, KeyRole, Model, Now, Outcome, RouteId, RouteTarget, RoutingTraits, Strategy, WhenLimited,
};

use super::selector::{ModelRange, RouteSelector, RouteStats, Tiers};
use crate::scheduler::{ItemClass, Scheduler, fleet::availability::Availability};

/// The properties that items of one class have in common. There are at most (models + 1) x (rules + 1) x 2 classes,
/// plus those of items that the operator sent to a required target.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::scheduler) struct ClassKey {
    pub needs_vision: bool,
    /// A model name that the fleet has.
    pub preferred_model: Option<String>,
    /// Index into the policy's rules.
    pub rule: Option<usize>,
    /// The only target allowed, if the operator sent the items there.
    pub required_target: Option<RouteTarget>,
}

/// Routes in order of preference, and the selector that chooses among the ready ones.
#[derive(Debug)]
pub(in crate::scheduler) struct Candidates {
    pub routes: Vec<RouteId>,
    pub selector: Box<dyn RouteSelector>,
    /// Under `primary_backup`: the rank of the first route of a backup key.
    pub first_backup_rank: Option<usize>,
}

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Assumed latency of a route whose first request is still in flight. It is so high that other routes are preferred.
const UNKNOWN_LATENCY_MICROS: u64 = 1 << 40;

/// Sort key of a route: tier, then key and model in the order that the cascade prescribes.
type RankKey = (usize, usize, usize);

impl Scheduler {
    /// The class of items with these traits; created on first use.
    pub fn find_or_add_class(&mut self, traits: &RoutingTraits) -> usize {
        let class_key = self.class_key(traits);
        if let Some(index) = self.classes.iter().position(|class| class.class_key == class_key) {
            return index;
        }
        let candidates = self.candidates_for(&class_key);
        self.uses_stats |= candidates.selector.uses_stats();
        self.classes.push(ItemClass::new(class_key, candidates, self.routes.len()));
        self.classes.len() - 1
    }

    fn class_key(&self, traits: &RoutingTraits) -> ClassKey {
        let is_in_fleet = |name: &&String| self.models.iter().any(|state| state.model.name == **name);
        let rule_named = |name: &String| self.policy.rules.iter().position(|rule| rule.name == *name);
        ClassKey {
            needs_vision: traits.needs_vision,
            preferred_model: traits.preferred_model.as_ref().filter(is_in_fleet).cloned(),
            rule: traits.rule.as_ref().and_then(rule_named),
            required_target: traits.required_target.as_ref().filter(|target| self.has_route(target)).cloned(),
        }
    }

    /// Whether any route serves this target.
    pub fn has_route(&self, target: &RouteTarget) -> bool {
        self.routes.iter().any(|route| self.matches_target(route.key, route.model, target))
    }

    /// The outcome that makes the target permanently unusable, if all of its routes are disabled.
    pub fn permanent_failure(&self, now: Now, target: &RouteTarget) -> Option<Outcome> {
        let mut cause = None;
        for id in (0..self.routes.len() as u32).map(RouteId) {
            let route = &self.routes[id.index()];
            if self.matches_target(route.key, route.model, target) {
                let Availability::Disabled(disabled) = self.availability(now, id) else { return None };
                cause = cause.or(Some(disabled.outcome));
            }
        }
        cause
    }

    fn matches_target(&self, key: usize, model: usize, target: &RouteTarget) -> bool {
        self.models[model].model.name == target.model
            && target.key.as_ref().is_none_or(|name| self.keys[key].key.name == *name)
    }

    /// Sorts the routes into the cascade's order and rebuilds the candidates of every class.
    pub(in crate::scheduler) fn rebuild_ranking(&mut self) {
        let keys = self.key_ranks();
        let mut ranking: Vec<RouteId> = (0..self.routes.len() as u32).map(RouteId).collect();
        ranking.sort_by_key(|route| {
            let route = &self.routes[route.index()];
            let backup = usize::from(self.keys[route.key].key.role == KeyRole::Backup);
            self.rank_key(backup, keys[route.key], route.model, false)
        });
        self.ranking = ranking;
        for index in 0..self.classes.len() {
            let candidates = self.candidates_for(&self.classes[index].class_key);
            self.classes[index].set_candidates(candidates, self.routes.len());
        }
        self.uses_stats = self.classes.iter().any(|class| class.selector.uses_stats());
        self.readiness_version += 1;
    }

    /// Like [`Scheduler::rebuild_ranking`], but the strict pipeline's cursor stays on its route.
    pub(in crate::scheduler) fn rebuild_ranking_keeping_cursor(&mut self) {
        let cursor_route = self.ranking.get(self.cursor).copied();
        self.rebuild_ranking();
        self.cursor = self.ranking.iter().position(|route| Some(*route) == cursor_route).unwrap_or(0);
    }

    /// Rotates the keys at the start of a UTC day: the first key of the order becomes the last.
    pub(in crate::scheduler) fn rotate_keys(&mut self, now: Now) {
        let today = now.wall.0.div_euclid(MICROS_PER_DAY);
        if self.policy.rotate_keys_daily && self.rotation_day != Some(today) {
            self.rotation_day = Some(today);
            self.rebuild_ranking_keeping_cursor();
        }
    }

    /// By key: its rank among the keys of the same role.
    fn key_ranks(&self) -> Vec<usize> {
        let shift = self.rotation_day.unwrap_or_default();
        let mut ranks = vec![0; self.keys.len()];
        for role in [KeyRole::Primary, KeyRole::Backup] {
            let of_role: Vec<usize> = (0..self.keys.len()).filter(|index| self.keys[*index].key.role == role).collect();
            let first = shift.rem_euclid(of_role.len().max(1) as i64) as usize;
            for (rank, index) in of_role.iter().enumerate() {
                ranks[*index] = (rank + of_role.len() - first) % of_role.len();
            }
        }
        ranks
    }

    /// The sort key of a route. `is_model_first` puts the model before the key, whatever the cascade's order.
    const fn rank_key(&self, tier: usize, key: usize, model: usize, is_model_first: bool) -> RankKey {
        match self.policy.order {
            CascadeOrder::KeyFirst if !is_model_first => (tier, key, model),
            CascadeOrder::KeyFirst | CascadeOrder::ModelFirst => (tier, model, key),
        }
    }

    /// The strategy for items of this class.
    pub(in crate::scheduler) fn strategy_for(&self, class_key: &ClassKey) -> Strategy {
        // The strict pipeline always follows the cascade.
        if self.policy.when_limited == WhenLimited::Wait {
            return Strategy::Cascade;
        }
        let rule = class_key.rule.and_then(|rule| self.policy.rules.get(rule));
        rule.and_then(|rule| rule.strategy).unwrap_or(self.policy.strategy)
    }

    /// Routes that items of this class may use. Routes of the preferred model come first, and among equals routes of
    /// backup keys come last. Under `primary_backup`, routes of backup keys come last overall. A rule's models come in
    /// the rule's order.
    fn candidates_for(&self, class_key: &ClassKey) -> Candidates {
        let strategy = self.strategy_for(class_key);
        let is_model_first = matches!(strategy, Strategy::Cheapest | Strategy::Balanced);
        let rule = class_key.rule.and_then(|rule| self.policy.rules.get(rule));
        let rule_models = rule.and_then(|rule| rule.models.as_ref());
        // A model's rank for this class; `None` if the class may not use it.
        let rank_of = |(index, state): (usize, &crate::scheduler::ModelState)| {
            let model = &state.model;
            let can_serve = model.vision || !class_key.needs_vision;
            let rank = match rule_models {
                // The operator's target overrides the rule's list of models.
                _ if class_key.required_target.is_some() => Some(index),
                // The item's own preferred model overrides the rule's list too.
                Some(_) if class_key.preferred_model.as_ref() == Some(&model.name) => Some(0),
                Some(listed) => listed.iter().position(|name| *name == model.name),
                None => Some(index),
            };
            rank.filter(|_| can_serve)
        };
        let model_ranks: Vec<Option<usize>> = self.models.iter().enumerate().map(rank_of).collect();
        let keys = self.key_ranks();
        let mut ranked: Vec<(RankKey, RouteId)> = Vec::with_capacity(self.routes.len());
        for (index, route) in self.routes.iter().enumerate() {
            let Some(model_rank) = model_ranks[route.model] else { continue };
            if class_key
                .required_target
                .as_ref()
                .is_some_and(|target| !self.matches_target(route.key, route.model, target))
            {
                continue;
            }
            let backup = usize::from(self.keys[route.key].key.role == KeyRole::Backup);
            let model = &self.models[route.model].model.name;
            let not_preferred =
                usize::from(class_key.preferred_model.as_ref().is_some_and(|preferred| preferred != model));
            let tier = if strategy == Strategy::PrimaryBackup {
                backup * 2 + not_preferred
            } else {
                not_preferred * 2 + backup
            };
            ranked.push((self.rank_key(tier, keys[route.key], model_rank, is_model_first), RouteId(index as u32)));
        }
        ranked.sort_unstable();
        self.build_candidates(strategy, &ranked)
    }

    /// Groups ranked routes by tier and model, and builds the selector for them.
    fn build_candidates(&self, strategy: Strategy, ranked: &[(RankKey, RouteId)]) -> Candidates {
        let routes: Vec<RouteId> = ranked.iter().map(|(_, route)| *route).collect();
        let mut tiers = Tiers::new();
        let mut model_ranges: Vec<ModelRange> = Vec::new();
        let mut previous_tier = None;
        for (rank, ((tier, ..), route)) in ranked.iter().enumerate() {
            if previous_tier.replace(*tier) != Some(*tier) {
                tiers.push(rank..rank);
            }
            if let Some(last) = tiers.last_mut() {
                last.end = rank + 1;
            }
            let (tier, model) = (tiers.len() - 1, self.routes[route.index()].model);
            match model_ranges.last_mut().filter(|range| range.tier == tier && range.model == model) {
                Some(range) => range.ranks.end = rank + 1,
                None => model_ranges.push(ModelRange { model, tier, ranks: rank..rank + 1 }),
            }
        }
        let stats: Vec<RouteStats> = routes.iter().map(|route| self.route_stats(*route)).collect();
        let selector = super::new_selector(strategy, &self.policy, tiers, model_ranges, &stats);
        let is_backup = |route: &RouteId| self.keys[self.routes[route.index()].key].key.role == KeyRole::Backup;
        let first_backup = routes.iter().position(is_backup);
        let first_backup_rank = first_backup.filter(|_| strategy == Strategy::PrimaryBackup);
        Candidates { routes, selector, first_backup_rank }
    }

    /// The measurements of one route that strategies use.
    pub(in crate::scheduler) fn route_stats(&self, id: RouteId) -> RouteStats {
        let route = &self.routes[id.index()];
        let (key, model) = (&self.keys[route.key], &self.models[route.model]);
        let weight = route_weight(&key.key, &model.model);
        let latency_micros = match (route.latency.mean_micros(), model.latency.mean_micros()) {
            (Some(route_mean), _) => route_mean as u64,
            (None, Some(model_mean)) => model_mean as u64,
            // A route without measurements gets one item at a time until its first answer.
            (None, None) if route.in_flight > 0 => UNKNOWN_LATENCY_MICROS,
            (None, None) => 0,
        };
        RouteStats {
            weight,
            health_weight: u64::from(key.health.weight()) * weight,
            last_use_number: route.last_use_number,
            latency_micros,
        }
    }

    /// Passes the current measurements of a route to every class that uses them.
    pub(in crate::scheduler) fn update_stats(&mut self, id: RouteId) {
        if !self.uses_stats {
            return;
        }
        let stats = self.route_stats(id);
        for class in self.classes.iter_mut().filter(|class| class.selector.uses_stats()) {
            if let Some(rank) = class.rank(id) {
                class.selector.update_stats(rank, stats);
            }
        }
    }

    /// Updates the measurements of all routes of a key, after its health changed.
    pub(in crate::scheduler) fn update_key_stats(&mut self, key: usize) {
        for index in 0..self.keys[key].routes.len() {
            self.update_stats(self.keys[key].routes[index]);
        }
    }

    /// Records that a route was chosen for an item of `class`.
    pub(in crate::scheduler) fn on_dispatch(&mut self, class: usize, id: RouteId) {
        self.dispatch_count += 1;
        self.routes[id.index()].last_use_number = self.dispatch_count;
        for (index, state) in self.classes.iter_mut().enumerate() {
            if let Some(rank) = state.rank(id) {
                state.selector.on_used(rank, index == class);
            }
        }
        self.update_stats(id);
    }
}

fn route_weight(key: &Key, model: &Model) -> u64 {
    u64::from(key.weight.max(1)) * u64::from(model.weight.max(1))
}
