//! Which routes `when_limited` and `spill` allow an item, and which of the others must be checked again when.

use smallvec::SmallVec;

use crate::{
    domain::{AllowedRoutes, Now, RouteId, SpillRule},
    scheduler::{
        admission::{Admission, Deadline},
        queue::QueuedItem,
        view::View,
    },
};

use super::{ClassRoutes, Routing};

/// The routes that one item may use, and what follows from having looked.
#[derive(Debug)]
pub struct RouteAllowance {
    pub routes: AllowedRoutes<RouteId>,
    /// Routes that come before the allowed ones and will become available. Dispatch does not check routes that are not
    /// allowed, so these must be woken.
    pub wakeups: SmallVec<[(RouteId, Deadline); 4]>,
    /// The new place of the strict pipeline's cursor.
    pub cursor: usize,
}

impl RouteAllowance {
    pub fn allows(&self, view: View<'_>, route: RouteId) -> bool {
        self.routes.allows(route, |route| view.fleet.route(route).model)
    }
}

impl Routing {
    /// The routes that the item may take by `when_limited` and `spill`.
    pub fn allowed_routes(&self, view: View<'_>, now: Now, class: usize, item: &QueuedItem) -> RouteAllowance {
        let class = self.class(class);
        let rule = spill_rule(view, now, class, item);
        let mut wakeups = SmallVec::new();
        let mut cursor = self.cursor();
        let mut can_wait_on = |route: RouteId| {
            let Some(admission) = view.eligibility(now, route, item) else { return false };
            let wakeup = match (view.fleet.can_wait_on(now, route), admission) {
                (true, Admission::Now) => return true,
                (true, later) => later.deadline(),
                (false, _) => view.fleet.availability(now, route).admission().deadline(),
            };
            wakeups.extend(wakeup.map(|at| (route, at)));
            false
        };
        if rule == SpillRule::FromCursor {
            cursor = self.advanced_cursor(|route| view.fleet.can_wait_on(now, route));
        }
        let routes = rule.allowed(|| self.preferred_route(class, rule, cursor, &mut can_wait_on));
        if let (SpillRule::PreferredRoute, AllowedRoutes::Only(Some(route))) = (rule, routes) {
            wakeups.push((route, Deadline::Mono(item.waiting_since + view.policy.spill_after)));
        }
        RouteAllowance { routes, wakeups, cursor }
    }

    /// Whether the item may take this route by `when_limited` and `spill`. Money and daily tokens don't count.
    pub fn may_spill_to(&self, view: View<'_>, now: Now, class: usize, route: RouteId, item: &QueuedItem) -> bool {
        let class = self.class(class);
        let rule = spill_rule(view, now, class, item);
        let can_wait_on = |other| view.is_eligible(other, item) && view.fleet.can_wait_on(now, other);
        let allowed = rule.allowed(|| self.preferred_route(class, rule, self.cursor(), can_wait_on));
        allowed.allows(route, |route| view.fleet.route(route).model)
    }

    /// The first route in the order of the rule that the item can wait on.
    fn preferred_route(
        &self,
        class: &ClassRoutes,
        rule: SpillRule,
        cursor: usize,
        mut can_wait_on: impl FnMut(RouteId) -> bool,
    ) -> Option<RouteId> {
        if rule == SpillRule::FromCursor {
            self.ranking_from(cursor).find(|route| class.rank(*route).is_some() && can_wait_on(*route))
        } else {
            class.candidates().iter().copied().find(|route| can_wait_on(*route))
        }
    }
}

fn spill_rule(view: View<'_>, now: Now, class: &ClassRoutes, item: &QueuedItem) -> SpillRule {
    let policy = view.policy;
    let waits_for_preferred = class.is_ordered() && now.mono.since(item.waiting_since) < policy.spill_after;
    SpillRule::new(policy.when_limited, policy.spill_to, waits_for_preferred)
}
