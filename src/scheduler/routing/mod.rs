//! Routing: the order of all routes, the candidates of each class of items, and which of them may be ready.

mod allowed_routes;
mod bitset;
mod by_model;
mod class_routes;
mod health_weighted;
mod in_order;
mod lowest_first;
mod ranking;
pub mod readiness;
mod round_robin;
mod selector;
mod slow_start_wait;
mod tiered_tree;
mod weighted;

use crate::domain::{KeyId, Now, Policy, RouteId, RoutingTraits};

use super::fleet::Fleet;

use ranking::Ranking;
use selector::RouteStats;

pub use allowed_routes::SpillDecision;
pub use class_routes::{ClassKey, ClassRoutes};
pub use selector::RouteSearch;

/// Classes are numbered in the order of their creation, as in [`super::queue::Queue`].
#[derive(Debug)]
pub struct Routing {
    /// All routes in the cascade's order.
    ranking: Vec<RouteId>,
    /// `when_limited = "wait"`: the index in `ranking` of the route in use.
    cursor: usize,
    classes: Vec<ClassRoutes>,
    /// The UTC day (days since 1970) for which the keys were last rotated.
    rotation_day: Option<i64>,
    /// Whether any class uses a strategy that needs measurements.
    uses_stats: bool,
}

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Assumed latency of a route whose first request is still in flight. It is so high that other routes are preferred.
const UNKNOWN_LATENCY_MICROS: u64 = 1 << 40;

impl Routing {
    pub fn new(fleet: &Fleet, policy: &Policy) -> Self {
        let mut routing =
            Self { ranking: Vec::new(), cursor: 0, classes: Vec::new(), rotation_day: None, uses_stats: false };
        routing.rebuild(fleet, policy);
        routing
    }

    pub fn class(&self, class: usize) -> &ClassRoutes {
        &self.classes[class]
    }

    pub fn class_mut(&mut self, class: usize) -> &mut ClassRoutes {
        &mut self.classes[class]
    }

    pub fn classes(&self) -> &[ClassRoutes] {
        &self.classes
    }

    /// The classes whose items may use a route.
    pub fn classes_with(&self, route: RouteId) -> impl Iterator<Item = usize> {
        self.classes.iter().enumerate().filter(move |(_, class)| class.rank(route).is_some()).map(|(index, _)| index)
    }

    /// The class of items with these traits, and whether it is new.
    pub fn find_or_add_class(&mut self, fleet: &Fleet, policy: &Policy, traits: &RoutingTraits) -> (usize, bool) {
        let is_in_fleet = |name: &String| fleet.models().iter().any(|state| state.model.name == *name);
        // A pinned model that is gone leaves its items without a route, not with another model.
        let is_usable = |name: &&String| traits.model_pinned || is_in_fleet(name);
        let rule_named = |name: &String| policy.rules.iter().position(|rule| rule.name == *name);
        let key = ClassKey {
            needs_vision: traits.needs_vision,
            preferred_model: traits.preferred_model.as_ref().filter(is_usable).cloned(),
            is_model_pinned: traits.model_pinned && traits.preferred_model.is_some(),
            rule: traits.rule.as_ref().and_then(rule_named),
            required_target: traits.required_target.as_ref().filter(|target| fleet.has_route(target)).cloned(),
        };
        if let Some(index) = self.classes.iter().position(|class| *class.key() == key) {
            return (index, false);
        }
        let class = Self::build_class(fleet, &self.ranking_rule(fleet, policy), key);
        self.uses_stats |= class.uses_stats();
        self.classes.push(class);
        (self.classes.len() - 1, true)
    }

    fn build_class(fleet: &Fleet, ranking: &Ranking<'_>, key: ClassKey) -> ClassRoutes {
        ranking.class_routes(key, |route| route_stats(fleet, route))
    }

    fn ranking_rule<'a>(&self, fleet: &'a Fleet, policy: &'a Policy) -> Ranking<'a> {
        Ranking::new(fleet, policy, self.rotation_day.unwrap_or_default())
    }

    /// Sorts the routes into the cascade's order and rebuilds the candidates of every class. The cursor stays on its
    /// route.
    pub fn rebuild(&mut self, fleet: &Fleet, policy: &Policy) {
        let cursor_route = self.cursor_route();
        let ranking = self.ranking_rule(fleet, policy);
        let classes = self.classes.iter().map(|class| Self::build_class(fleet, &ranking, class.key().clone()));
        let classes: Vec<ClassRoutes> = classes.collect();
        self.ranking = ranking.all_routes();
        self.uses_stats = classes.iter().any(ClassRoutes::uses_stats);
        self.classes = classes;
        self.set_cursor(|route| Some(route) == cursor_route);
    }

    /// Rotates the keys at the start of a UTC day: the first key of the order becomes the last. True if it did.
    pub fn rotate_keys(&mut self, now: Now, fleet: &Fleet, policy: &Policy) -> bool {
        let today = now.wall.0.div_euclid(MICROS_PER_DAY);
        let is_due = policy.rotate_keys_daily && self.rotation_day != Some(today);
        if is_due {
            self.rotation_day = Some(today);
            self.rebuild(fleet, policy);
        }
        is_due
    }

    pub fn ranking(&self) -> &[RouteId] {
        &self.ranking
    }

    pub const fn cursor(&self) -> usize {
        self.cursor
    }

    /// Strict order's current route.
    pub fn cursor_route(&self) -> Option<RouteId> {
        self.ranking.get(self.cursor).copied()
    }

    /// Puts the cursor on the first route that matches, or else on the first of all.
    pub fn set_cursor(&mut self, matches: impl Fn(RouteId) -> bool) {
        self.cursor = self.ranking.iter().position(|route| matches(*route)).unwrap_or(0);
    }

    /// Moves the cursor. True if it stood elsewhere: items blocked before may use the new route.
    pub const fn move_cursor(&mut self, cursor: usize) -> bool {
        std::mem::replace(&mut self.cursor, cursor) != cursor
    }

    /// Moves the cursor past a route, if it is there.
    pub fn advance_cursor_past(&mut self, route: RouteId) {
        if self.cursor_route() == Some(route) {
            self.cursor = (self.cursor + 1) % self.ranking.len();
        }
    }

    /// Where the cursor is after it has moved off routes that one can't wait on. It stays if all routes are such.
    fn advanced_cursor(&self, can_wait_on: impl Fn(RouteId) -> bool) -> usize {
        let steps = self.ranking_from(self.cursor).position(can_wait_on);
        steps.map_or(self.cursor, |steps| (self.cursor + steps) % self.ranking.len())
    }

    /// All routes in the cascade's order, starting at `cursor`.
    fn ranking_from(&self, cursor: usize) -> impl Iterator<Item = RouteId> {
        let (before, after) = self.ranking.split_at(cursor);
        after.iter().chain(before).copied()
    }

    /// Marks a route as possibly ready.
    pub fn unpark(&mut self, route: RouteId) {
        self.classes.iter_mut().for_each(|class| class.unpark(route));
    }

    /// Marks a route as not ready. `is_in_slow_start`: only its slow start keeps it full.
    pub fn park(&mut self, route: RouteId, is_in_slow_start: bool) {
        self.classes.iter_mut().for_each(|class| class.park(route, is_in_slow_start));
    }

    /// Passes the current measurements of a route to every class that uses them.
    pub fn update_stats(&mut self, fleet: &Fleet, id: RouteId) {
        if !self.uses_stats {
            return;
        }
        let stats = route_stats(fleet, id);
        for class in self.classes.iter_mut().filter(|class| class.uses_stats()) {
            class.update_stats(id, stats);
        }
    }

    /// Updates the measurements of all routes of a key, after its health changed.
    pub fn update_key_stats(&mut self, fleet: &Fleet, key: KeyId) {
        fleet.key(key).routes().iter().for_each(|route| self.update_stats(fleet, *route));
    }

    /// Records that a route was chosen for an item of `class`.
    pub fn on_dispatch(&mut self, fleet: &Fleet, class: usize, id: RouteId) {
        for (index, state) in self.classes.iter_mut().enumerate() {
            state.on_used(id, index == class);
        }
        self.update_stats(fleet, id);
    }
}

/// The measurements of one route that strategies use.
fn route_stats(fleet: &Fleet, id: RouteId) -> RouteStats {
    let route = fleet.route(id);
    let (key, model) = (fleet.key(route.key), fleet.model(route.model));
    let weight = u64::from(key.key.weight.max(1)) * u64::from(model.model.weight.max(1));
    let latency_micros = match (route.latency.mean_micros(), model.latency.mean_micros()) {
        (Some(route_mean), _) => route_mean as u64,
        (None, Some(model_mean)) => model_mean as u64,
        // A route without measurements gets one item at a time until its first answer.
        (None, None) if route.in_flight() > 0 => UNKNOWN_LATENCY_MICROS,
        (None, None) => 0,
    };
    RouteStats {
        weight,
        health_weight: u64::from(key.health.weight()) * weight,
        last_use_number: route.last_use_number,
        latency_micros,
    }
}
