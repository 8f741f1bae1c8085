//! Changes of routing that no refusal shows: work moves to another route because one is full, a day's quota is spent by
//! our own count or is back, a limit is learned. Each is an event, and repeated moves are one.

use std::{collections::BTreeMap, time::Duration};

use crate::domain::{
    EventKind, EventLevel, LimitDimension, LimitSource, MonoTime, Now, Outcome, RouteId,
    snapshot::{CauseSource, Condition, CooldownView, PoolView},
};

/// How often the routing is compared with that before.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The shortest time between two events about moving work. Moves in between are counted in the next one.
const MIN_MOVE_INTERVAL: Duration = Duration::from_secs(30);
/// A route that was named is not named again for this long, so that work that goes to and fro is no endless list.
const RENAMED_AFTER: Duration = Duration::from_mins(10);
/// A learned limit is an event again if it has changed by at least this factor, by more than one, and after this time.
const LEARNED_LIMIT_FACTOR: f64 = 1.25;
const MIN_LEARNED_LIMIT_INTERVAL: Duration = Duration::from_mins(1);

/// Notices changes of routing.
#[derive(Debug)]
pub(super) struct RoutingChanges {
    next_check_at: MonoTime,
    /// Requests sent since the last check, by route.
    sent: Vec<u32>,
    /// The route that got most of the work, as last seen.
    main_route: Option<RouteId>,
    last_move_at: Option<MonoTime>,
    /// When work was last said to move to a route.
    named_at: BTreeMap<RouteId, MonoTime>,
    /// Moves since the last event about one, and the one that follows.
    moves_since_event: u32,
    /// Pools whose day is spent by our own count.
    spent_days: Vec<String>,
    /// The learned limits that were events and when, by pool and dimension.
    learned: BTreeMap<(String, &'static str), (u64, MonoTime)>,
    /// Whether days and limits were looked at. What an earlier process has left is no event.
    has_checked: bool,
}

impl RoutingChanges {
    pub fn new(routes: usize) -> Self {
        Self {
            next_check_at: MonoTime::default(),
            sent: vec![0; routes],
            main_route: None,
            last_move_at: None,
            named_at: BTreeMap::new(),
            moves_since_event: 0,
            spent_days: Vec::new(),
            learned: BTreeMap::new(),
            has_checked: false,
        }
    }

    pub fn on_sent(&mut self, route: RouteId) {
        if let Some(sent) = self.sent.get_mut(route.index()) {
            *sent += 1;
        }
    }

    /// Whether the next check is due.
    pub fn is_due(&self, now: MonoTime) -> bool {
        now >= self.next_check_at
    }

    /// The events that follow from the present state. `condition` and `name` are asked about single routes.
    pub fn check(
        &mut self,
        now: Now,
        cooldowns: &[CooldownView],
        pools: &[PoolView],
        condition: impl Fn(RouteId) -> Condition,
        name: impl Fn(RouteId) -> String,
    ) -> Vec<EventKind> {
        self.next_check_at = now.mono + CHECK_INTERVAL;
        let mut events = Vec::new();
        self.check_days(now, cooldowns, &mut events);
        self.check_learned_limits(now, pools, &mut events);
        if !std::mem::replace(&mut self.has_checked, true) {
            events.clear();
        }
        events.extend(self.check_route(now, condition, name));
        events
    }

    /// An event if most of the work now goes to another route, because the one before it is full.
    fn check_route(
        &mut self,
        now: Now,
        condition: impl Fn(RouteId) -> Condition,
        name: impl Fn(RouteId) -> String,
    ) -> Option<EventKind> {
        let busiest =
            (0..self.sent.len()).filter(|route| self.sent[*route] > 0).max_by_key(|route| self.sent[*route])?;
        let route = RouteId(busiest as u32);
        self.sent.fill(0);
        let before = self.main_route.replace(route).filter(|before| *before != route)?;
        let Condition::Limited { limit, .. } = condition(before) else { return None };
        self.moves_since_event += 1;
        let was_named = self.named_at.get(&route).is_some_and(|at| now.mono.since(*at) < RENAMED_AFTER);
        if was_named || self.last_move_at.is_some_and(|at| now.mono.since(at) < MIN_MOVE_INTERVAL) {
            return None;
        }
        self.last_move_at = Some(now.mono);
        self.named_at.insert(route, now.mono);
        let more = match std::mem::take(&mut self.moves_since_event) {
            1 => String::new(),
            moves => format!(" ({moves} moves since the last one named)"),
        };
        let message = format!("work moves {} → {}: {limit}{more}", name(before), name(route));
        Some(EventKind::Run { level: EventLevel::Info, message })
    }

    /// Events for days that are spent by our own count, and for those that are back. If a provider says so, its refusal
    /// is the event.
    fn check_days(&mut self, now: Now, cooldowns: &[CooldownView], events: &mut Vec<EventKind>) {
        let is_spent = |view: &&CooldownView| {
            view.cause.outcome == Outcome::QuotaExhaustedDay && view.cause.source == CauseSource::Measured
        };
        let spent: Vec<&CooldownView> = cooldowns.iter().filter(is_spent).collect();
        for view in &spent {
            if !self.spent_days.contains(&view.subject) {
                events.push(EventKind::Cooldown {
                    subject: view.subject.clone(),
                    outcome: Outcome::QuotaExhaustedDay,
                    wait: Some(view.until.since(now.wall)),
                    message: view.cause.message.clone(),
                });
            }
        }
        let still_spent = |subject: &String| cooldowns.iter().any(|view| view.subject == *subject);
        for subject in self.spent_days.extract_if(.., |subject| !still_spent(subject)) {
            events.push(EventKind::Recovered { subject, message: "the day's quota is available again".to_owned() });
        }
        for view in spent {
            if !self.spent_days.contains(&view.subject) {
                self.spent_days.push(view.subject.clone());
            }
        }
    }

    /// Events for limits that were learned, or have changed much since.
    fn check_learned_limits(&mut self, now: Now, pools: &[PoolView], events: &mut Vec<EventKind>) {
        for pool in pools {
            for (dimension, gauge) in &pool.quotas {
                let (Some(limit), Some(LimitSource::Learned)) = (gauge.limit, gauge.source) else { continue };
                let key = (pool.name.clone(), dimension_name(*dimension));
                let known = self.learned.get(&key).copied();
                let has_changed = |(known, at): (u64, MonoTime)| {
                    let (low, high) = (known.min(limit), known.max(limit));
                    high - low > 1
                        && high as f64 / low.max(1) as f64 >= LEARNED_LIMIT_FACTOR
                        && now.mono.since(at) >= MIN_LEARNED_LIMIT_INTERVAL
                };
                if known.is_none_or(has_changed) {
                    let before = known.map_or_else(String::new, |(known, _)| format!(" (before: {known})"));
                    let message = format!("{}: learned a limit of {limit} {}{before}", pool.name, key.1);
                    events.push(EventKind::Run { level: EventLevel::Info, message });
                    self.learned.insert(key, (limit, now.mono));
                }
            }
        }
    }
}

const fn dimension_name(dimension: LimitDimension) -> &'static str {
    match dimension {
        LimitDimension::RequestsPerMinute => "requests/min",
        LimitDimension::TokensPerMinute => "tokens/min",
        LimitDimension::InputTokensPerMinute => "input tokens/min",
        LimitDimension::OutputTokensPerMinute => "output tokens/min",
        LimitDimension::RequestsPerDay => "requests/day",
        LimitDimension::TokensPerDay => "tokens/day",
        LimitDimension::Concurrency => "requests in flight",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        WallTime,
        snapshot::{Cause, Gauge},
    };

    fn at(seconds: u64) -> Now {
        Now { mono: MonoTime(seconds * 1_000_000), wall: WallTime(seconds as i64 * 1_000_000) }
    }

    fn full() -> Condition {
        Condition::Limited { limit: "RPM limit reached".to_owned(), until: None }
    }

    fn route_name(route: RouteId) -> String {
        ["flash@alice", "flash@bob", "lite@alice"][route.index()].to_owned()
    }

    /// Sends a request on a route, and returns the events of the next check, at which full routes are in `condition`.
    fn send(log: &mut RoutingChanges, second: u64, route: u32, condition: &Condition) -> Vec<String> {
        log.on_sent(RouteId(route));
        let events = log.check(at(second), &[], &[], |_| condition.clone(), route_name);
        events.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn work_that_moves_from_a_full_route_is_an_event_at_most_every_half_minute() {
        let mut log = RoutingChanges::new(3);
        assert!(log.is_due(at(0).mono));
        assert!(send(&mut log, 1, 0, &full()).is_empty(), "the first route");
        assert!(!log.is_due(at(1).mono) && log.is_due(at(2).mono));
        assert_eq!(send(&mut log, 2, 1, &full()), ["work moves flash@alice → flash@bob: RPM limit reached"]);
        for second in 3..32 {
            assert!(send(&mut log, second, (second % 2) as u32, &full()).is_empty());
        }
        let to_alice = send(&mut log, 32, 0, &full());
        assert_eq!(
            to_alice,
            ["work moves flash@bob → flash@alice: RPM limit reached (29 moves since the last one named)"]
        );
        for second in 33..600 {
            assert!(send(&mut log, second, (second % 2) as u32, &full()).is_empty(), "to and fro at {second} s");
        }
        assert_eq!(send(&mut log, 700, 2, &full()).len(), 1, "another route");
        assert!(send(&mut log, 2_000, 0, &Condition::Ready).is_empty(), "a strategy's choice");
    }

    #[test]
    fn a_day_that_is_spent_by_our_own_count_is_an_event_and_so_is_its_end() {
        let spent = |source| CooldownView {
            subject: "flash@one".to_owned(),
            started_at: at(0).wall,
            until: at(3_600).wall,
            cause: Cause {
                outcome: Outcome::QuotaExhaustedDay,
                source,
                message: "250 of 250 used today by our own count".to_owned(),
                since: at(0).wall,
                status: None,
            },
        };
        let mut log = RoutingChanges::new(0);
        log.check(at(0), &[], &[], |_| Condition::Ready, route_name);
        let mut check = |second, views: &[CooldownView]| {
            let events = log.check(at(second), views, &[], |_| Condition::Ready, route_name);
            events.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let spent_text = "flash@one: day quota spent, frees in 1h00m: 250 of 250 used today by our own count";
        assert_eq!(check(0, &[spent(CauseSource::Measured)]), [spent_text]);
        assert!(check(1, &[spent(CauseSource::Measured)]).is_empty());
        assert!(check(2, &[spent(CauseSource::Provider)]).is_empty(), "the provider has said so meanwhile");
        assert_eq!(check(3_600, &[]), ["flash@one recovered: the day's quota is available again"]);
        assert!(check(3_601, &[spent(CauseSource::Provider)]).is_empty(), "the refusal is the event");
    }

    #[test]
    fn what_an_earlier_process_has_learned_and_spent_is_no_event() {
        let mut log = RoutingChanges::new(0);
        let gauge = Gauge { used: 1, limit: Some(60), source: Some(LimitSource::Learned) };
        let quotas = vec![(LimitDimension::RequestsPerMinute, gauge)];
        let pools = [PoolView { provider: "p".to_owned(), name: "flash@one".to_owned(), quotas }];
        for second in [0, 1] {
            assert!(log.check(at(second), &[], &pools, |_| Condition::Ready, route_name).is_empty());
        }
    }

    #[test]
    fn a_learned_limit_is_an_event_unless_it_changes_only_a_little_or_again_at_once() {
        let mut log = RoutingChanges::new(0);
        let mut check = |second, limit, source| {
            let gauge = Gauge { used: 1, limit: Some(limit), source: Some(source) };
            let quotas = vec![(LimitDimension::RequestsPerMinute, gauge)];
            let pool = PoolView { provider: "p".to_owned(), name: "flash@one".to_owned(), quotas };
            let events = log.check(at(second), &[], &[pool], |_| Condition::Ready, route_name);
            events.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert!(check(0, 60, LimitSource::Configured).is_empty());
        assert_eq!(check(1, 60, LimitSource::Learned), ["flash@one: learned a limit of 60 requests/min"]);
        assert!(check(90, 66, LimitSource::Learned).is_empty() && check(2, 30, LimitSource::Learned).is_empty());
        assert_eq!(check(61, 30, LimitSource::Learned), ["flash@one: learned a limit of 30 requests/min (before: 60)"]);
    }
}
