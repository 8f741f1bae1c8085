//! The order of routes: the cascade's, rotated daily if configured, then for each class adjusted by rules and by the
//! items' own preferred model.

use crate::{
    domain::{CascadeOrder, KeyId, KeyRole, Policy, RouteId, Strategy, WhenLimited},
    scheduler::fleet::{Fleet, ModelState},
};

use super::{
    by_model::ByModel,
    class_routes::{ClassKey, ClassRoutes},
    health_weighted::HealthWeighted,
    in_order::InOrder,
    lowest_first::LowestFirst,
    round_robin::RoundRobin,
    selector::{ModelRange, RouteSelector, RouteStats, Tiers},
    weighted::Weighted,
};

/// Sort key of a route: tier, then key and model in the order that the cascade prescribes.
type RankKey = (usize, usize, usize);

/// Sorts the routes of a fleet by a policy.
pub struct Ranking<'a> {
    fleet: &'a Fleet,
    policy: &'a Policy,
    /// By key: its rank among the keys of the same role.
    key_ranks: Vec<usize>,
}

impl<'a> Ranking<'a> {
    /// `rotation_day` is the day (since 1970) for which the keys are rotated; 0 if they aren't.
    pub fn new(fleet: &'a Fleet, policy: &'a Policy, rotation_day: i64) -> Self {
        let mut key_ranks = vec![0; fleet.keys().len()];
        for role in [KeyRole::Primary, KeyRole::Backup] {
            let of_role: Vec<usize> =
                (0..key_ranks.len()).filter(|index| fleet.keys()[*index].key.role == role).collect();
            let first = rotation_day.rem_euclid(of_role.len().max(1) as i64) as usize;
            for (rank, index) in of_role.iter().enumerate() {
                key_ranks[*index] = (rank + of_role.len() - first) % of_role.len();
            }
        }
        Self { fleet, policy, key_ranks }
    }

    /// All routes in the cascade's order.
    pub fn all_routes(&self) -> Vec<RouteId> {
        let mut routes: Vec<RouteId> = self.fleet.route_ids().collect();
        routes.sort_by_key(|id| {
            let route = self.fleet.route(*id);
            self.rank_key(usize::from(self.fleet.is_backup(*id)), route.key, route.model.index(), false)
        });
        routes
    }

    /// `is_model_first` puts the model before the key, whatever the cascade's order.
    fn rank_key(&self, tier: usize, key: KeyId, model: usize, is_model_first: bool) -> RankKey {
        let key = self.key_ranks[key.index()];
        match self.policy.order {
            CascadeOrder::KeyFirst if !is_model_first => (tier, key, model),
            CascadeOrder::KeyFirst | CascadeOrder::ModelFirst => (tier, model, key),
        }
    }

    /// The routes that items of a class may use. Routes of the preferred model come first, and among equals routes of
    /// backup keys come last. A pinned model's routes are the only ones. Under `primary_backup`, routes of backup keys
    /// come last overall. A rule's models come in the rule's order. `stats` returns the measurements of a route.
    pub fn class_routes(&self, class_key: ClassKey, stats: impl Fn(RouteId) -> RouteStats) -> ClassRoutes {
        let strategy = strategy_for(self.policy, &class_key);
        let is_model_first = matches!(strategy, Strategy::Cheapest | Strategy::Balanced);
        let rule = class_key.rule.and_then(|rule| self.policy.rules.get(rule));
        let rule_models = rule.and_then(|rule| rule.models.as_ref());
        // A model's rank for this class; `None` if the class may not use it.
        let rank_of = |(index, state): (usize, &ModelState)| {
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
        let model_ranks: Vec<Option<usize>> = self.fleet.models().iter().enumerate().map(rank_of).collect();
        let mut ranked: Vec<(RankKey, RouteId)> = Vec::with_capacity(self.fleet.routes().len());
        for id in self.fleet.route_ids() {
            let route = self.fleet.route(id);
            let Some(model_rank) = model_ranks[route.model.index()] else { continue };
            let preferred = class_key.preferred_model.as_ref();
            let is_other_model = preferred.is_some_and(|name| *name != self.fleet.model_of(id).name);
            // The operator's target overrides the row.
            if is_other_model && class_key.is_model_pinned && class_key.required_target.is_none() {
                continue;
            }
            if class_key.required_target.as_ref().is_some_and(|target| !self.fleet.matches_target(id, target)) {
                continue;
            }
            let backup = usize::from(self.fleet.is_backup(id));
            let not_preferred = usize::from(is_other_model);
            let tier = if strategy == Strategy::PrimaryBackup {
                backup * 2 + not_preferred
            } else {
                not_preferred * 2 + backup
            };
            ranked.push((self.rank_key(tier, route.key, model_rank, is_model_first), id));
        }
        ranked.sort_unstable();
        let routes: Vec<RouteId> = ranked.iter().map(|(_, route)| *route).collect();
        let stats: Vec<RouteStats> = routes.iter().map(|route| stats(*route)).collect();
        let tiers = tiers(&ranked);
        let model_places =
            routes.iter().filter_map(|route| model_ranks[self.fleet.route(*route).model.index()]).collect();
        let selector = self.new_selector(strategy, &tiers, &routes, model_places, &stats);
        let first_backup = routes.iter().position(|route| self.fleet.is_backup(*route));
        let first_backup_rank = first_backup.filter(|_| strategy == Strategy::PrimaryBackup);
        let preferred = class_key.preferred_model.as_ref();
        let is_row_model = |route: &RouteId| preferred.is_some_and(|name| *name == self.fleet.model_of(*route).name);
        let row_model_routes = routes.iter().copied().filter(is_row_model).collect();
        let route_count = self.fleet.routes().len();
        ClassRoutes::new(class_key, routes, row_model_routes, tiers, selector, first_backup_rank, route_count)
    }

    /// The selector of a strategy for ranked routes, with all of them ready. `model_places` and `stats` are by rank.
    fn new_selector(
        &self,
        strategy: Strategy,
        tiers: &Tiers,
        routes: &[RouteId],
        model_places: Vec<usize>,
        stats: &[RouteStats],
    ) -> Box<dyn RouteSelector> {
        match strategy {
            Strategy::Cascade | Strategy::PrimaryBackup => Box::new(InOrder { model_places }),
            Strategy::RoundRobin => Box::new(RoundRobin::new(tiers, stats)),
            Strategy::Weighted => Box::new(Weighted::new(tiers.clone(), stats)),
            Strategy::LeastRecentlyUsed => Box::new(LowestFirst::least_recently_used(tiers.clone(), stats)),
            Strategy::Fastest => Box::new(LowestFirst::fastest(tiers.clone(), stats, self.policy.explore_every)),
            Strategy::Health => Box::new(HealthWeighted::new(tiers.clone(), stats)),
            Strategy::Cheapest => Box::new(ByModel::new(self.model_ranges(tiers, routes), None)),
            Strategy::Balanced => {
                Box::new(ByModel::new(self.model_ranges(tiers, routes), Some(self.policy.balance_weights)))
            }
        }
    }

    /// The ranges of ranks with the same model, within the tiers.
    fn model_ranges(&self, tiers: &Tiers, routes: &[RouteId]) -> Vec<ModelRange> {
        let mut ranges: Vec<ModelRange> = Vec::new();
        for (tier, ranks) in tiers.iter().enumerate() {
            for rank in ranks.clone() {
                let model = self.fleet.route(routes[rank]).model.index();
                match ranges.last_mut().filter(|range| range.tier == tier && range.model == model) {
                    Some(range) => range.ranks.end = rank + 1,
                    None => ranges.push(ModelRange { model, tier, ranks: rank..rank + 1 }),
                }
            }
        }
        ranges
    }
}

/// The ranks of each tier.
fn tiers(ranked: &[(RankKey, RouteId)]) -> Tiers {
    let mut start = 0;
    let by_tier = ranked.chunk_by(|((one, ..), _), ((other, ..), _)| one == other);
    by_tier
        .map(|routes| {
            start += routes.len();
            start - routes.len()..start
        })
        .collect()
}

/// The strategy for items of this class.
fn strategy_for(policy: &Policy, class_key: &ClassKey) -> Strategy {
    // Strict order always follows the cascade.
    if policy.when_limited == WhenLimited::Wait {
        return Strategy::Cascade;
    }
    let rule = class_key.rule.and_then(|rule| policy.rules.get(rule));
    rule.and_then(|rule| rule.strategy).unwrap_or(policy.strategy)
}
