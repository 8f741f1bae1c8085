//! Which routes `when_limited` and `spill` allow an item, and which of the others must be checked again when.

use smallvec::SmallVec;

use crate::{
    domain::{AllowedRoutes, LimitDimension, Now, RouteId, SpillRule},
    scheduler::{
        admission::{Admission, Availability, Deadline, LimitKind},
        queue::QueuedItem,
        view::View,
    },
};

use super::{ClassRoutes, Routing};

/// The routes that one item may use, and what follows from having looked.
#[derive(Debug)]
pub struct SpillDecision {
    pub routes: AllowedRoutes<RouteId>,
    /// Routes that come before the allowed ones and will become available. Dispatch does not check routes that are not
    /// allowed, so these must be woken.
    pub wakeups: SmallVec<[(RouteId, Deadline); 4]>,
    /// The new place of strict order's cursor.
    pub cursor: usize,
}

impl Routing {
    /// The routes that the item may take by `when_limited` and `spill`.
    pub fn allowed_routes(&self, view: View<'_>, now: Now, class: usize, item: &QueuedItem) -> SpillDecision {
        let class = self.class(class);
        let rule = spill_rule(view, now, class, item);
        let mut wakeups = SmallVec::new();
        let mut cursor = self.cursor();
        let mut can_wait_on = |route: RouteId, patience: Patience| {
            let Some(admission) = view.eligibility(now, route, item) else { return false };
            let wakeup = match (view.fleet.can_wait_on(now, route), admission) {
                (true, Admission::Now) if !patience.rules_out(view, now, route) => return true,
                (true, Admission::Now) | (false, _) => view.fleet.availability(now, route).admission().deadline(),
                (true, later) => later.deadline(),
            };
            wakeups.extend(wakeup.map(|at| (route, at)));
            false
        };
        if rule == SpillRule::FromCursor {
            cursor = self.advanced_cursor(|route| view.fleet.can_wait_on(now, route));
        }
        let routes = rule.allowed(|| self.preferred_route(view, class, rule, cursor, &mut can_wait_on));
        if let (SpillRule::PreferredRoute, AllowedRoutes::Only(Some(route))) = (rule, routes) {
            wakeups.push((route, Deadline::Mono(item.waiting_since + view.policy.spill_after)));
        }
        SpillDecision { routes, wakeups, cursor }
    }

    /// Whether the item may take this route by `when_limited` and `spill`, and waits for no better one. Money and daily
    /// tokens don't count.
    pub fn may_spill_to(&self, view: View<'_>, now: Now, class: usize, route: RouteId, item: &QueuedItem) -> bool {
        let class = self.class(class);
        let rule = spill_rule(view, now, class, item);
        let can_wait_on = |other, patience: Patience| {
            view.is_eligible(other, item) && view.fleet.can_wait_on(now, other) && !patience.rules_out(view, now, other)
        };
        let allowed = rule.allowed(|| self.preferred_route(view, class, rule, self.cursor(), can_wait_on));
        class.is_allowed(view, allowed, route) && !class.awaits_better_route(view, now, item, allowed, route)
    }

    /// The first route in the order of the rule that the item can wait on.
    fn preferred_route(
        &self,
        view: View<'_>,
        class: &ClassRoutes,
        rule: SpillRule,
        cursor: usize,
        mut can_wait_on: impl FnMut(RouteId, Patience) -> bool,
    ) -> Option<RouteId> {
        if rule != SpillRule::FromCursor {
            return class.candidates().iter().copied().find(|route| can_wait_on(*route, Patience::Unlimited));
        }
        let row_model_route = if class.row_model_routes().is_empty() {
            None
        } else {
            let mut routes = self.row_model_ranking(view, class, cursor);
            routes.find(|route| can_wait_on(*route, Patience::UntilScheduleEnds))
        };
        row_model_route.or_else(|| {
            let mut from_cursor = self.ranking_from(cursor);
            from_cursor.find(|route| class.rank(*route).is_some() && can_wait_on(*route, Patience::Unlimited))
        })
    }

    /// The routes of the model that the items' rows name: on the cursor's key, then on later keys.
    fn row_model_ranking(&self, view: View<'_>, class: &ClassRoutes, cursor: usize) -> impl Iterator<Item = RouteId> {
        let key_of = |route: RouteId| view.fleet.route(route).key;
        let cursor_key = self.ranking.get(cursor).map(|route| key_of(*route));
        let is_on_cursors_key = |route: &RouteId| class.is_row_model(*route) && Some(key_of(*route)) == cursor_key;
        let start = self.ranking.iter().position(is_on_cursors_key).unwrap_or(cursor);
        self.ranking_from(start).filter(|route| class.is_row_model(*route))
    }
}

fn spill_rule(view: View<'_>, now: Now, class: &ClassRoutes, item: &QueuedItem) -> SpillRule {
    let policy = view.policy;
    let waits_for_preferred = class.is_ordered() && now.mono.since(item.waiting_since) < policy.spill_after;
    let is_busy = |route: &RouteId| is_only_busy(view, now, *route, item);
    let is_row_model_busy = || class.row_model_routes().iter().any(is_busy);
    SpillRule::new(policy.when_limited, policy.spill_to, waits_for_preferred, is_row_model_busy)
}

/// Whether a route can take the item as soon as a request in flight ends. A route that is being probed after a failure
/// is not only busy.
fn is_only_busy(view: View<'_>, now: Now, route: RouteId, item: &QueuedItem) -> bool {
    let availability = view.fleet.availability(now, route);
    let concurrency = LimitKind::Provider(LimitDimension::Concurrency);
    let is_busy = matches!(
        availability,
        Availability::Limited { kind, .. } if kind == concurrency || matches!(kind, LimitKind::SlowStart | LimitKind::Ramp)
    );
    is_busy && !view.fleet.is_probe(now, route) && view.eligibility(now, route, item) == Some(Admission::Now)
}

/// How long strict order waits on a route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Patience {
    Unlimited,
    /// Until a refusal after the last step of the backoff schedule.
    UntilScheduleEnds,
}

impl Patience {
    fn rules_out(self, view: View<'_>, now: Now, route: RouteId) -> bool {
        let pool = view.fleet.pool_of(route);
        self == Self::UntilScheduleEnds
            && pool.backoff_step > view.policy.backoff.len()
            && matches!(view.fleet.availability(now, route), Availability::CoolingDown(_))
    }
}
