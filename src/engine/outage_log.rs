//! Groups the events of providers whose requests all fail: one event at the beginning, one when the provider is down, a
//! few while that lasts, and one at the end. Otherwise each failed request would be an event of its own.

use std::time::Duration;

use crate::domain::{
    EventKind, EventLevel, MonoTime, Now, Outcome, ProviderId, event::format_duration, pluralize,
    snapshot::ProviderOutage,
};

/// From this number of requests on that fail one after another, their events are grouped.
const MIN_GROUPED: u64 = 6;
/// A provider is reported as down once it has been down for this long. Before that, requests that were in flight when
/// it went down may still be answered.
const MIN_OUTAGE: Duration = Duration::from_secs(5);
/// The first report that a provider is still down comes after this time; the time until the next one doubles.
const FIRST_REPORT: Duration = Duration::from_secs(60);
/// The longest time between two such reports.
const MAX_REPORT_INTERVAL: Duration = Duration::from_secs(3_600);

#[derive(Debug)]
pub(super) struct OutageLog {
    providers: Vec<ProviderLog>,
}

#[derive(Clone, Debug, Default)]
struct ProviderLog {
    /// The events of its failed requests are grouped.
    is_grouped: bool,
    /// The fault of the last one.
    fault: String,
    /// Since when it is down, as was reported.
    down: Option<DownSince>,
}

#[derive(Clone, Debug)]
struct DownSince {
    outage: ProviderOutage,
    report_at: MonoTime,
    report_interval: Duration,
}

impl OutageLog {
    pub fn new(provider_count: usize) -> Self {
        Self { providers: vec![ProviderLog::default(); provider_count] }
    }

    /// Whether the event of a request to this provider, or of its route, that ended like this, is part of a group.
    pub fn is_grouped(&self, provider: ProviderId, outcome: Outcome) -> bool {
        let is_failure = outcome.is_provider_error() || outcome == Outcome::ClientTrouble;
        is_failure && self.providers[provider.index()].is_grouped
    }

    /// Whether the log has to be updated, given the number of requests to this provider that failed one after another.
    pub fn is_concerned(&self, provider: ProviderId, failed_in_a_row: u64) -> bool {
        failed_in_a_row >= MIN_GROUPED || self.providers[provider.index()].is_grouped || self.is_down(provider)
    }

    pub fn is_down(&self, provider: ProviderId) -> bool {
        self.providers[provider.index()].down.is_some()
    }

    /// The providers whose events are grouped.
    pub fn grouped(&self) -> impl Iterator<Item = ProviderId> + use<> {
        let is_grouped: Vec<bool> = self.providers.iter().map(|log| log.is_grouped).collect();
        (0..is_grouped.len() as u32).map(ProviderId).filter(move |provider| is_grouped[provider.index()])
    }

    /// Returns the events that follow from a provider's present state: the number of requests that failed one after
    /// another, the last of them with `fault`, and its outage, if it is down.
    pub fn update(
        &mut self,
        now: Now,
        provider: ProviderId,
        name: &str,
        failed_in_a_row: u64,
        fault: Option<String>,
        outage: Option<ProviderOutage>,
    ) -> Vec<EventKind> {
        let log = &mut self.providers[provider.index()];
        if let Some(fault) = fault {
            log.fault = fault;
        }
        let mut events = Vec::new();
        let warn = |message| EventKind::Run { level: EventLevel::Warn, message };
        if failed_in_a_row == 0 {
            let was_grouped = std::mem::take(&mut log.is_grouped);
            if let Some(DownSince { outage, .. }) = log.down.take() {
                let lasted = format_duration(Duration::from_secs(now.wall.since(outage.since).as_secs()));
                let failed = pluralize(outage.failed_requests, "request");
                let message = format!("it answers again after {lasted}, in which {failed} failed ({})", outage.fault);
                events.push(EventKind::Recovered { subject: name.to_owned(), message });
            } else if was_grouped {
                let message = "it answers again".to_owned();
                events.push(EventKind::Recovered { subject: name.to_owned(), message });
            }
            return events;
        }
        if !log.is_grouped && (failed_in_a_row >= MIN_GROUPED || outage.is_some()) {
            log.is_grouped = true;
            if outage.is_none() {
                events.push(warn(format!(
                    "{name}: {} failed one after another ({}); their events are one from here on",
                    pluralize(failed_in_a_row, "request"),
                    log.fault
                )));
            }
        }
        match (outage, &mut log.down) {
            (Some(outage), None) if now.wall.since(outage.since) < MIN_OUTAGE => {}
            (Some(outage), None) => {
                events.push(warn(format!("PROVIDER DOWN {name}: {}", outage.summary())));
                let report_at = now.mono + FIRST_REPORT;
                log.down = Some(DownSince { outage, report_at, report_interval: FIRST_REPORT });
            }
            (Some(outage), Some(down)) => {
                if now.mono >= down.report_at {
                    let lasts = format_duration(Duration::from_secs(now.wall.since(outage.since).as_secs()));
                    let failed = pluralize(outage.failed_requests, "request");
                    events
                        .push(warn(format!("PROVIDER DOWN {name} for {lasts}: {}; {failed} failed", outage.summary())));
                    down.report_interval = (down.report_interval * 2).min(MAX_REPORT_INTERVAL);
                    down.report_at = now.mono + down.report_interval;
                }
                down.outage = outage;
            }
            // A route became usable that has not failed yet. It will fail too, or it will answer.
            (None, _) => {}
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::WallTime;

    const P: ProviderId = ProviderId(0);

    fn at(seconds: u64) -> Now {
        Now { mono: MonoTime(seconds * 1_000_000), wall: WallTime(seconds as i64 * 1_000_000) }
    }

    fn outage(failed_requests: u64) -> ProviderOutage {
        ProviderOutage {
            provider: "p".to_owned(),
            fault: "HTTP 503".to_owned(),
            last_outcome: Outcome::ServerError,
            since: at(0).wall,
            failing_routes: 4,
            routes: 4,
            next_trial: None,
            failed_requests,
        }
    }

    /// Fails one request a second, and is down from the 20th on, until it answers at second 600. Returns the events.
    fn long_outage() -> Vec<String> {
        let mut log = OutageLog::new(1);
        let mut events = Vec::new();
        for second in 1..600 {
            let outage = (second >= 20).then(|| outage(second));
            events.extend(log.update(at(second), P, "p", second, Some("HTTP 503".to_owned()), outage));
            assert_eq!(log.is_grouped(P, Outcome::ServerError), second >= MIN_GROUPED);
        }
        assert!(!log.is_grouped(P, Outcome::BadRequest));
        events.extend(log.update(at(600), P, "p", 0, None, None));
        assert!(!log.is_grouped(P, Outcome::ServerError) && !log.is_down(P));
        events.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_long_outage_has_few_events() {
        let down = |words: &str| format!("PROVIDER DOWN p{words}");
        assert_eq!(
            long_outage(),
            [
                "p: 6 requests failed one after another (HTTP 503); their events are one from here on".to_owned(),
                down(": HTTP 503 on 4 of 4 routes"),
                down(" for 1:20: HTTP 503 on 4 of 4 routes; 80 requests failed"),
                down(" for 3:20: HTTP 503 on 4 of 4 routes; 200 requests failed"),
                down(" for 7:20: HTTP 503 on 4 of 4 routes; 440 requests failed"),
                "p recovered: it answers again after 10:00, in which 599 requests failed (HTTP 503)".to_owned(),
            ]
        );
    }
}
