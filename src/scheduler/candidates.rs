//! Which routes a class of items may use, in order of preference: the cascade's order, turned round daily where
//! that is asked for, and what a rule or the items themselves prefer.

use crate::domain::{
    CascadeOrder, Key, KeyRole, Model, Now, Outcome, RouteId, RouteTarget, RoutingTraits, Strategy, WhenLimited,
};

use super::{
    Class, Scheduler,
    standing::Standing,
    strategy::{Block, Facts, Picker, Tiers},
};

/// What items of one class have in common. There are at most as many classes as models times rules, times two, but
/// for those that the operator sends to a place of their own.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Routing {
    pub vision: bool,
    /// A model that the fleet has.
    pub model: Option<String>,
    /// An index into the policy's rules.
    pub rule: Option<usize>,
    /// Where the operator sent such items: there alone.
    pub only: Option<RouteTarget>,
}

/// Routes in order of preference, and how to choose among those that are ready.
#[derive(Debug)]
pub(super) struct Candidates {
    pub routes: Vec<RouteId>,
    pub picker: Picker,
}

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// What is expected of a route that is being tried for the first time, until its answer comes.
const UNKNOWN_LATENCY: u64 = 1 << 40;

/// Where a route stands: tier, then the two sides of the cascade.
type Place = (usize, usize, usize);

impl Scheduler {
    /// The class of items with these traits, made when it is first asked for.
    pub fn class(&mut self, traits: &RoutingTraits) -> usize {
        let routing = self.routing(traits);
        if let Some(index) = self.classes.iter().position(|class| class.routing == routing) {
            return index;
        }
        let candidates = self.candidates(&routing);
        self.measuring |= candidates.picker.measures();
        self.classes.push(Class::new(routing, candidates, self.routes.len()));
        self.classes.len() - 1
    }

    fn routing(&self, traits: &RoutingTraits) -> Routing {
        let has = |name: &&String| self.models.iter().any(|state| state.model.name == **name);
        let rule_named = |name: &String| self.policy.rules.iter().position(|rule| rule.name == *name);
        Routing {
            vision: traits.needs_vision,
            model: traits.preferred_model.as_ref().filter(has).cloned(),
            rule: traits.rule.as_ref().and_then(rule_named),
            only: traits.required_target.as_ref().filter(|target| self.serves(target)).cloned(),
        }
    }

    /// Whether there is such a route at all.
    pub fn serves(&self, target: &RouteTarget) -> bool {
        self.routes.iter().any(|route| self.is_of(route.key, route.model, target))
    }

    /// Why nothing that goes there alone would ever be sent, as things are: all of its routes are off for good.
    pub fn dead_end(&self, now: Now, target: &RouteTarget) -> Option<Outcome> {
        let mut cause = None;
        for id in (0..self.routes.len() as u32).map(RouteId) {
            let route = &self.routes[id.index()];
            if self.is_of(route.key, route.model, target) {
                let Standing::Dead(dead) = self.standing(now, id) else { return None };
                cause = cause.or(Some(dead.outcome));
            }
        }
        cause
    }

    fn is_of(&self, key: usize, model: usize, target: &RouteTarget) -> bool {
        self.models[model].model.name == target.model
            && target.key.as_ref().is_none_or(|name| self.keys[key].key.name == *name)
    }

    /// Puts the routes in the cascade's order, and every class's candidates with them.
    pub(super) fn rank(&mut self) {
        let keys = self.key_order();
        let mut ranking: Vec<RouteId> = (0..self.routes.len() as u32).map(RouteId).collect();
        ranking.sort_by_key(|route| {
            let route = &self.routes[route.index()];
            let backup = usize::from(self.keys[route.key].key.role == KeyRole::Backup);
            self.place(backup, keys[route.key], route.model, false)
        });
        self.ranking = ranking;
        for index in 0..self.classes.len() {
            let candidates = self.candidates(&self.classes[index].routing);
            self.classes[index].set_candidates(candidates, self.routes.len());
        }
        self.measuring = self.classes.iter().any(|class| class.picker.measures());
        self.version += 1;
    }

    /// As [`Scheduler::rank`]; the strict pipeline's cursor stays on its route, wherever that ranks now.
    pub(super) fn rank_anew(&mut self) {
        let standing_on = self.ranking.get(self.cursor).copied();
        self.rank();
        self.cursor = self.ranking.iter().position(|route| Some(*route) == standing_on).unwrap_or(0);
    }

    /// A new day: the first key of the order becomes the last.
    pub(super) fn rotate(&mut self, now: Now) {
        let today = now.wall.0.div_euclid(MICROS_PER_DAY);
        if self.policy.rotate_keys_daily && self.rotated_on != Some(today) {
            self.rotated_on = Some(today);
            self.rank_anew();
        }
    }

    /// Every key's place among the keys of its role, by key.
    fn key_order(&self) -> Vec<usize> {
        let days = self.rotated_on.unwrap_or_default();
        let mut places = vec![0; self.keys.len()];
        for role in [KeyRole::Primary, KeyRole::Backup] {
            let of_role: Vec<usize> = (0..self.keys.len()).filter(|index| self.keys[*index].key.role == role).collect();
            let first = days.rem_euclid(of_role.len().max(1) as i64) as usize;
            for (place, index) in of_role.iter().enumerate() {
                places[*index] = (place + of_role.len() - first) % of_role.len();
            }
        }
        places
    }

    const fn place(&self, tier: usize, key: usize, model: usize, by_model: bool) -> Place {
        match self.policy.order {
            CascadeOrder::KeyFirst if !by_model => (tier, key, model),
            CascadeOrder::KeyFirst | CascadeOrder::ModelFirst => (tier, model, key),
        }
    }

    /// The strategy that items of this class go by.
    pub(super) fn strategy_of(&self, routing: &Routing) -> Strategy {
        // The strict pipeline walks the cascade, whatever else was asked for.
        if self.policy.when_limited == WhenLimited::Wait {
            return Strategy::Cascade;
        }
        let rule = routing.rule.and_then(|rule| self.policy.rules.get(rule));
        rule.and_then(|rule| rule.strategy).unwrap_or(self.policy.strategy)
    }

    /// Routes that such items may use: those of the preferred model first, those of backup keys last, a rule's
    /// models in the rule's order.
    fn candidates(&self, routing: &Routing) -> Candidates {
        let strategy = self.strategy_of(routing);
        let by_model = matches!(strategy, Strategy::Cheapest | Strategy::Balanced);
        let rule = routing.rule.and_then(|rule| self.policy.rules.get(rule));
        let listed = rule.and_then(|rule| rule.models.as_ref());
        // A model's place for this class; `None` where the class may not use it.
        let place_of = |(index, state): (usize, &super::ModelState)| {
            let model = &state.model;
            let able = model.vision || !routing.vision;
            let place = match listed {
                // What the operator says needs no leave either.
                _ if routing.only.is_some() => Some(index),
                // What the item itself prefers needs no leave.
                Some(_) if routing.model.as_ref() == Some(&model.name) => Some(0),
                Some(listed) => listed.iter().position(|name| *name == model.name),
                None => Some(index),
            };
            place.filter(|_| able)
        };
        let places: Vec<Option<usize>> = self.models.iter().enumerate().map(place_of).collect();
        let keys = self.key_order();
        let mut placed: Vec<(Place, RouteId)> = Vec::with_capacity(self.routes.len());
        for (index, route) in self.routes.iter().enumerate() {
            let Some(model_place) = places[route.model] else { continue };
            if routing.only.as_ref().is_some_and(|target| !self.is_of(route.key, route.model, target)) {
                continue;
            }
            let backup = usize::from(self.keys[route.key].key.role == KeyRole::Backup);
            let model = &self.models[route.model].model.name;
            let other = usize::from(routing.model.as_ref().is_some_and(|preferred| preferred != model));
            let tier = if strategy == Strategy::PrimaryBackup { backup * 2 + other } else { other * 2 + backup };
            placed.push((self.place(tier, keys[route.key], model_place, by_model), RouteId(index as u32)));
        }
        placed.sort_unstable();
        self.with_picker(strategy, &placed)
    }

    fn with_picker(&self, strategy: Strategy, placed: &[(Place, RouteId)]) -> Candidates {
        let routes: Vec<RouteId> = placed.iter().map(|(_, route)| *route).collect();
        let mut tiers = Tiers::new();
        let mut blocks: Vec<Block> = Vec::new();
        let mut tier_before = None;
        for (rank, ((tier, ..), route)) in placed.iter().enumerate() {
            if tier_before.replace(*tier) != Some(*tier) {
                tiers.push(rank..rank);
            }
            if let Some(last) = tiers.last_mut() {
                last.end = rank + 1;
            }
            let (tier, model) = (tiers.len() - 1, self.routes[route.index()].model);
            match blocks.last_mut().filter(|block| block.tier == tier && block.model == model) {
                Some(block) => block.ranks.end = rank + 1,
                None => blocks.push(Block { model, tier, ranks: rank..rank + 1 }),
            }
        }
        let facts: Vec<Facts> = routes.iter().map(|route| self.facts(*route)).collect();
        let mut picker = Picker::new(strategy, self.policy.explore_every, tiers, blocks, &facts);
        if strategy == Strategy::PrimaryBackup {
            let is_backup = |route: &RouteId| self.keys[self.routes[route.index()].key].key.role == KeyRole::Backup;
            picker.backups_from = routes.iter().position(is_backup);
        }
        Candidates { routes, picker }
    }

    /// What strategies go by, of one route.
    pub(super) fn facts(&self, id: RouteId) -> Facts {
        let route = &self.routes[id.index()];
        let (key, model) = (&self.keys[route.key], &self.models[route.model]);
        let weight = weight(&key.key, &model.model);
        let latency = match (route.latency.mean(), model.latency.mean()) {
            (Some(own), _) => own as u64,
            (None, Some(others)) => others as u64,
            // Everything is tried once, by one item at a time.
            (None, None) if route.in_flight > 0 => UNKNOWN_LATENCY,
            (None, None) => 0,
        };
        Facts { weight, lot: u64::from(key.health.weight()) * weight, last_used: route.last_used, latency }
    }

    /// Tells every class what strategies go by, of one route.
    pub(super) fn measure(&mut self, id: RouteId) {
        if !self.measuring {
            return;
        }
        let facts = self.facts(id);
        for class in self.classes.iter_mut().filter(|class| class.picker.measures()) {
            if let Some(rank) = class.rank(id) {
                class.picker.measure(rank, facts);
            }
        }
    }

    /// The same for every route of a key: its health has changed.
    pub(super) fn measure_key(&mut self, key: usize) {
        for index in 0..self.keys[key].routes.len() {
            self.measure(self.keys[key].routes[index]);
        }
    }

    /// A route was taken for an item of `class`.
    pub(super) fn took(&mut self, class: usize, id: RouteId) {
        self.uses += 1;
        self.routes[id.index()].last_used = self.uses;
        for (index, state) in self.classes.iter_mut().enumerate() {
            if let Some(rank) = state.rank(id) {
                state.picker.used(rank, index == class);
            }
        }
        self.measure(id);
    }
}

fn weight(key: &Key, model: &Model) -> u64 {
    u64::from(key.weight.max(1)) * u64::from(model.weight.max(1))
}
