//! Outages: providers whose usable routes all fail.

use crate::{
    domain::{Now, Outcome, ProviderId, RouteId, WallTime, snapshot::ProviderOutage},
    scheduler::{admission::Cooldown, health::breaker::Breaker},
};

use super::{Fleet, RouteState};

/// A provider that can't be reached counts as down from this number of failed requests in a row on.
const MIN_FAILED_CONNECTIONS: u64 = 3;

impl Fleet {
    /// Number of requests to a provider that have failed one after another.
    pub fn failed_in_a_row(&self, id: ProviderId) -> u64 {
        self.providers[id.index()].failures.map_or(0, |streak| streak.requests)
    }

    /// The outage of a provider, if it is down: it can't be reached, or the circuits of all of its usable routes are
    /// open or on trial.
    pub fn outage(&self, now: Now, id: ProviderId) -> Option<ProviderOutage> {
        let provider = &self.providers[id.index()];
        let streak = provider.failures?;
        let unreachable = provider.connection.unreachable();
        let usable: Vec<(RouteId, &RouteState)> = self.usable_routes(now, id).collect();
        let failing = usable.iter().filter(|(_, route)| !matches!(route.breaker, Breaker::Closed { .. })).count();
        let (fault, failing) = match unreachable {
            Some(cooldown) if streak.requests >= MIN_FAILED_CONNECTIONS => {
                (connection_fault(&cooldown.cause.message).to_owned(), usable.len())
            }
            None if failing == usable.len() => (common_fault(&usable, streak.last), failing),
            Some(_) | None => return None,
        };
        (failing > 0).then(|| ProviderOutage {
            provider: provider.name.clone(),
            fault,
            last_outcome: streak.last.0,
            since: streak.since,
            failing_routes: failing as u64,
            routes: usable.len() as u64,
            next_trial: next_trial(now, unreachable, &usable),
            failed_requests: streak.requests,
        })
    }

    /// The routes of a provider that are neither switched off, disabled nor exhausted.
    fn usable_routes(&self, now: Now, id: ProviderId) -> impl Iterator<Item = (RouteId, &RouteState)> {
        self.route_ids().map(|route| (route, self.route(route))).filter(move |(route, state)| {
            state.provider == id && {
                let availability = self.availability(now, *route);
                !availability.is_off() && !availability.is_exhausted()
            }
        })
    }
}

/// When the first of these routes is tried again; `None` if a trial is in flight.
fn next_trial(now: Now, unreachable: Option<&Cooldown>, usable: &[(RouteId, &RouteState)]) -> Option<WallTime> {
    if let Some(cooldown) = unreachable {
        return Cooldown::running(Some(cooldown), now).map(|cooldown| cooldown.deadline().to_wall(now));
    }
    let until = |(_, route): &(RouteId, &RouteState)| match &route.breaker {
        Breaker::Open { until, .. } => Some(now.wall + until.mono.since(now.mono)),
        Breaker::Closed { .. } | Breaker::HalfOpen { .. } => None,
    };
    if usable.iter().any(|(_, route)| route.in_flight() > 0) {
        return None;
    }
    usable.iter().filter_map(until).min()
}

/// How the requests of these routes ended: `HTTP 503`, or `HTTP 5xx` if that differs. `last` is what the last one
/// ended with; it counts while all routes are on trial.
fn common_fault(usable: &[(RouteId, &RouteState)], last: (Outcome, Option<u16>)) -> String {
    let of_route = |(_, route): &(RouteId, &RouteState)| match &route.breaker {
        Breaker::Open { cause, .. } => Some((cause.outcome, cause.status)),
        Breaker::Closed { .. } | Breaker::HalfOpen { .. } => None,
    };
    let mut faults: Vec<(Outcome, Option<u16>)> = usable.iter().filter_map(of_route).collect();
    if faults.is_empty() {
        faults.push(last);
    }
    let first = faults[0];
    if faults.iter().all(|fault| *fault == first) {
        match first {
            (Outcome::Timeout, None) => "no answers in time".to_owned(),
            (Outcome::MalformedResponse, _) => "unreadable answers".to_owned(),
            (_, Some(status)) => format!("HTTP {status}"),
            (outcome, None) => outcome.to_string(),
        }
    } else if faults.iter().all(|(_, status)| status.is_some_and(|status| status >= 500)) {
        "HTTP 5xx".to_owned()
    } else {
        "different errors".to_owned()
    }
}

/// The kind of a failed connection, by its message.
fn connection_fault(message: &str) -> &'static str {
    let message = message.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if has(&["refused"]) {
        "connection refused"
    } else if has(&["certificate", "tls", "handshake"]) {
        "TLS failure"
    } else if has(&["dns", "resolve", "lookup", "name or service"]) {
        "DNS failure"
    } else {
        "no connection"
    }
}
