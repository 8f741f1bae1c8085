//! Why a route can or can't be used at an instant: one answer, from which dispatch, screens and
//! "why is nothing going out?" are all derived.

use crate::domain::{Money, Now, RouteId, WallTime, snapshot::Cause};

use super::{
    Scheduler,
    breaker::Breaker,
    capacity::Capacity,
    cooldown::{Cooldown, Wake},
    pool::Block,
    purse::Fit,
};

#[derive(Debug)]
pub(super) enum Standing<'a> {
    Ready,
    /// Switched off by the operator: the route, its key or its model.
    Off {
        since: WallTime,
    },
    /// Out until the secret changes or the operator says otherwise.
    Dead(&'a Cause),
    Cooling(&'a Cooldown),
    /// The provider said that the day, or the credit, is used up.
    Spent(&'a Cooldown),
    /// Our own count says that the day is used up.
    DayFull {
        until: WallTime,
        used: u64,
        limit: u64,
    },
    Broken {
        until: Now,
        cause: &'a Cause,
    },
    Full {
        what: Capacity,
        wake: Wake,
    },
}

impl Standing<'_> {
    /// When to look again; `None` where the route is ready.
    pub fn wake(&self) -> Option<Wake> {
        match self {
            Self::Ready => None,
            Self::Off { .. } | Self::Dead(_) => Some(Wake::Operator),
            Self::Cooling(cooldown) | Self::Spent(cooldown) => Some(cooldown.wake()),
            Self::DayFull { until, .. } => Some(Wake::Wall(*until)),
            Self::Broken { until, .. } => Some(Wake::Mono(until.mono)),
            Self::Full { wake, .. } => Some(*wake),
        }
    }

    /// Out for the day, out of credit or dead: what `on_exhausted` is about.
    pub const fn is_exhausted(&self) -> bool {
        matches!(self, Self::Dead(_) | Self::Spent(_) | Self::DayFull { .. })
    }
}

/// Why nothing is going out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Holdup {
    /// Something can go, or is in flight.
    Working,
    /// No item waits.
    NothingToDo,
    /// Out until then; `why` names what frees first.
    Until { at: WallTime, why: String },
    /// Only the operator can help: everything that could go is switched off.
    SwitchedOff,
    /// The worst case of whatever comes next is over what money there is; the least that one of them `needs`.
    Budget { needs: Option<Money> },
    /// Every candidate of every waiting item is out for the day, out of credit or dead. `returns` is the first
    /// reset; `None` where every one is dead.
    Exhausted { returns: Option<WallTime>, why: String },
}

impl Scheduler {
    pub(super) fn standing(&self, now: Now, id: RouteId) -> Standing<'_> {
        let route = &self.routes[id.index()];
        let (key, model) = (&self.keys[route.key], &self.models[route.model]);
        if let Some(since) = route.off.or(key.off).or(model.off) {
            return Standing::Off { since };
        }
        if let Some(cause) = key.dead.as_ref().or(route.gone.as_ref()).or(route.held.as_ref()) {
            return Standing::Dead(cause);
        }
        let project = &self.projects[key.project];
        if let Some(billing) = &project.billing {
            if !billing.over(now) {
                return Standing::Spent(billing);
            }
            if key.routes.iter().any(|route| self.routes[route.index()].in_flight > 0) {
                return Standing::Full { what: Capacity::CreditTrial, wake: Wake::Settle };
            }
        }
        let provider = &self.providers[route.provider];
        if let Some(hold) = &provider.hold {
            if !hold.over(now) {
                return Standing::Cooling(hold);
            }
            if self.flights.values().any(|flight| self.routes[flight.route.index()].provider == route.provider) {
                return Standing::Full { what: Capacity::ConnectionTrial, wake: Wake::Settle };
            }
        }
        match self.pools[route.pool].block(now) {
            None => {}
            Some(Block::Full { what, wake }) => return Standing::Full { what, wake },
            Some(Block::DayFull { until, used, limit }) => return Standing::DayFull { until, used, limit },
            Some(Block::Cooling(cooldown)) => return Standing::Cooling(cooldown),
            Some(Block::Spent(cooldown)) => return Standing::Spent(cooldown),
            Some(Block::TooLarge { what }) => return Standing::Full { what, wake: Wake::Operator },
        }
        match &route.breaker {
            Breaker::Open { until, cause, .. } if until.mono > now.mono => {
                return Standing::Broken { until: *until, cause };
            }
            Breaker::Open { .. } | Breaker::HalfOpen { .. } if route.in_flight > 0 => {
                return Standing::Full { what: Capacity::Probe, wake: Wake::Settle };
            }
            _ => {}
        }
        if route.ramp.is_some_and(|ramp| route.in_flight >= ramp.width()) {
            return Standing::Full { what: Capacity::Ramp, wake: Wake::Settle };
        }
        Standing::Ready
    }

    /// What keeps waiting items from going out. Looks at every candidate: for when nothing moves.
    pub fn holdup(&self, now: Now) -> Holdup {
        if !self.flights.is_empty() {
            return Holdup::Working;
        }
        if self.live() == 0 {
            return Holdup::NothingToDo;
        }
        let (mut soonest, mut returns): (Option<(WallTime, String)>, Option<WallTime>) = (None, None);
        let (mut any, mut all_exhausted, mut any_off) = (false, true, false);
        let (mut any_ready, mut any_broke) = (false, false);
        let mut why_out = String::new();
        for route in (0..self.routes.len() as u32).map(RouteId) {
            let Some(fit) = self.affordable(now, route) else { continue };
            any = true;
            let standing = self.standing(now, route);
            // Money that no day brings back is not waited for, whatever else the route waits for.
            if fit == Fit::Never && !matches!(standing, Standing::Off { .. } | Standing::Dead(_)) {
                any_broke = true;
                continue;
            }
            match &standing {
                Standing::Off { .. } => any_off = true,
                Standing::Ready => match fit {
                    Fit::Now => any_ready = true,
                    // As good as exhausted: money is what it lacks.
                    fit => {
                        any_broke = true;
                        returns = returns.into_iter().chain(fit.opens()).min();
                        continue;
                    }
                },
                Standing::Dead(cause) => why_out = self.out_words(route, cause.outcome.name()),
                _ => {}
            }
            let at = match standing.wake() {
                Some(Wake::Wall(at)) => Some(at),
                Some(Wake::Mono(at)) => Some(now.wall + at.since(now.mono)),
                _ => None,
            };
            if standing.is_exhausted() {
                returns = returns.into_iter().chain(at).min();
            } else {
                all_exhausted = false;
                if let Some(at) = at
                    && soonest.as_ref().is_none_or(|(earlier, _)| at < *earlier)
                {
                    soonest = Some((at, self.out_words(route, word(&standing))));
                }
            }
        }
        if any_ready {
            let next = self.next_wake().map(|at| now.wall + at.since(now.mono));
            return match next {
                Some(at) if at > now.wall => Holdup::Until { at, why: "a retry delay or token window".to_owned() },
                _ => Holdup::Working,
            };
        }
        if !any {
            // No route may ever serve them: each is refused as it is loaded.
            return Holdup::Working;
        }
        if all_exhausted {
            let why = match returns {
                None if any_broke => return Holdup::Budget { needs: self.least_worst_case(now) },
                Some(_) if any_broke => {
                    "what is left of today, in money or tokens, is less than any waiting item needs".to_owned()
                }
                Some(_) => "every route is out for the day, out of credit or dead".to_owned(),
                None => format!("no route is left: {why_out}"),
            };
            return Holdup::Exhausted { returns, why };
        }
        match soonest {
            Some((at, why)) => Holdup::Until { at, why },
            None if any_off => Holdup::SwitchedOff,
            None => Holdup::Working,
        }
    }

    /// A route holds because items were refused alike: somebody should look.
    pub fn asks_operator(&self) -> bool {
        self.routes.iter().any(|route| route.held.is_some())
    }

    fn out_words(&self, route: RouteId, word: &str) -> String {
        format!("{} {word}", self.route_name(route))
    }

    /// `model@key`.
    pub fn route_name(&self, route: RouteId) -> String {
        let route = &self.routes[route.index()];
        format!("{}@{}", self.models[route.model].model.name, self.keys[route.key].key.name)
    }
}

const fn word(standing: &Standing<'_>) -> &'static str {
    match standing {
        Standing::Ready => "is ready",
        Standing::Off { .. } => "is switched off",
        Standing::Dead(_) => "is dead",
        Standing::Cooling(_) => "cools down",
        Standing::Spent(_) | Standing::DayFull { .. } => "is out for the day",
        Standing::Broken { .. } => "is broken",
        Standing::Full { .. } => "has a full minute",
    }
}
