//! Decides from snapshots and the current time which lines to write and when. Writes nothing itself.

use std::time::{Duration, Instant};

use jiff::tz::TimeZone;

use super::progress::{event_line, progress_line};
use crate::domain::{
    Event, EventKind, EventLevel, Snapshot, TRUNCATED_HINT, WallTime, are_mostly_truncated, plural,
    snapshot::{RunState, Totals},
};

/// Maximum number of warnings shown between two progress lines. Further ones are counted. Alerts are always shown.
const MAX_WARNINGS_SHOWN: u64 = 10;

/// Fewer answers are too few to say that most are truncated while the run goes on.
const MIN_ANSWERS_FOR_HINT: u64 = 10;

/// Options for progress lines. Durations are real time, whatever the engine's clock does.
#[derive(Clone, Debug)]
pub struct ProgressOptions {
    /// Minimum time between two progress lines while things change.
    pub progress_interval: Duration,
    /// Time after which a line is written even if nothing changed, so that silence means a problem.
    pub heartbeat_interval: Duration,
    /// Time that a run may wait for an operator (because it is blocked or paused) before it is stopped, since an
    /// operator can't act through a log. The run can be resumed later.
    pub stuck_timeout: Duration,
    /// Events up to this number were reported before.
    pub last_known_event: u64,
    /// Time zone of the times shown.
    pub zone: TimeZone,
}

impl Default for ProgressOptions {
    fn default() -> Self {
        Self {
            progress_interval: Duration::from_secs(5),
            heartbeat_interval: Duration::from_mins(5),
            stuck_timeout: Duration::from_hours(1),
            last_known_event: 0,
            zone: TimeZone::system(),
        }
    }
}

/// Turns a stream of snapshots into lines.
#[derive(Debug)]
pub struct Reporter {
    options: ProgressOptions,
    last_report: Option<LastReport>,
    /// The number of the newest event that was handled.
    last_event_number: u64,
    warnings_shown: u64,
    warnings_suppressed: u64,
    /// True if the newest snapshot differs in its [`ReportKey`] from the last progress line.
    has_changes: bool,
    /// True once the advice about truncated answers was given.
    was_hint_given: bool,
    /// When the run began to wait for an operator; `None` if it does not.
    stuck_since: Option<Instant>,
}

/// The time and content of the last progress line.
#[derive(Debug)]
struct LastReport {
    at: Instant,
    key: ReportKey,
}

/// The values whose change is worth a progress line.
#[derive(Clone, Debug)]
struct ReportKey {
    /// A wait without its end.
    state: RunState,
    waits_until: Option<WallTime>,
    /// Key and model.
    route: Option<(String, String)>,
    silence: Option<String>,
    /// The providers that are down, with their faults, and for how many minutes.
    outages: Vec<(String, String, u64)>,
    done: u64,
    failed: u64,
}

impl Reporter {
    pub const fn new(options: ProgressOptions) -> Self {
        let last_event_number = options.last_known_event;
        Self {
            options,
            last_report: None,
            last_event_number,
            warnings_shown: 0,
            warnings_suppressed: 0,
            has_changes: false,
            was_hint_given: false,
            stuck_since: None,
        }
    }

    /// Returns the lines to write for `snapshot` at `now`: new warnings and alerts at once, progress when it is due.
    pub fn update(&mut self, now: Instant, snapshot: &Snapshot) -> Vec<String> {
        let mut lines = self.new_events(snapshot);
        let key = ReportKey::of(snapshot);
        self.has_changes = self.last_report.as_ref().is_none_or(|last| !last.key.is_like(&key));
        self.stuck_since = needs_operator(snapshot).then(|| self.stuck_since.unwrap_or(now));
        let is_over = snapshot.state.is_over();
        if (is_over && self.has_changes) || self.due_at().is_none_or(|due| due <= now) {
            if self.warnings_suppressed > 0 {
                lines.push(format!(
                    "… and {} more {}, all in the run's log",
                    self.warnings_suppressed,
                    plural(self.warnings_suppressed, "warning")
                ));
            }
            lines.push(progress_line(snapshot, &self.options.zone));
            lines.extend(self.truncated_hint(snapshot));
            (self.warnings_shown, self.warnings_suppressed) = (0, 0);
            (self.last_report, self.has_changes) = (Some(LastReport { at: now, key }), false);
        }
        lines
    }

    /// When the next progress line is due if no snapshot comes before; `None` means at once.
    pub fn due_at(&self) -> Option<Instant> {
        let interval = if self.has_changes || self.warnings_suppressed > 0 {
            self.options.progress_interval
        } else {
            self.options.heartbeat_interval
        };
        self.last_report.as_ref().map(|last| last.at + interval)
    }

    /// When the run is to be stopped because it has waited too long for an operator; `None` if it does not wait.
    pub fn give_up_at(&self) -> Option<Instant> {
        self.stuck_since.map(|since| since + self.options.stuck_timeout)
    }

    /// The advice if most answers are truncated; given once, and not for a run that is over: its summary has it.
    fn truncated_hint(&mut self, snapshot: &Snapshot) -> Option<String> {
        let Totals { done, truncated, .. } = snapshot.totals;
        let is_due = !self.was_hint_given
            && !snapshot.state.is_over()
            && done >= MIN_ANSWERS_FOR_HINT
            && are_mostly_truncated(done, truncated);
        self.was_hint_given |= is_due;
        is_due.then(|| format!("hint: {TRUNCATED_HINT}"))
    }

    fn new_events(&mut self, snapshot: &Snapshot) -> Vec<String> {
        let mut lines = Vec::new();
        for event in snapshot.events.iter().filter(|event| event.number > self.last_event_number) {
            let line = || event_line(event, &self.options.zone);
            match event.level() {
                // The end of what a warning said.
                EventLevel::Info if is_provider_recovery(event, snapshot) => lines.push(line()),
                EventLevel::Info | EventLevel::Operator => {}
                EventLevel::Alert => lines.push(line()),
                EventLevel::Warn if self.warnings_shown < MAX_WARNINGS_SHOWN => {
                    self.warnings_shown += 1;
                    lines.push(line());
                }
                EventLevel::Warn => self.warnings_suppressed += 1,
            }
        }
        self.last_event_number =
            snapshot.events.last().map_or(self.last_event_number, |newest| newest.number.max(self.last_event_number));
        lines
    }
}

impl ReportKey {
    fn of(snapshot: &Snapshot) -> Self {
        let (state, waits_until) = match snapshot.state.clone() {
            RunState::Waiting { reason, until } => (RunState::Waiting { reason, until: None }, until),
            state => (state, None),
        };
        Self {
            state,
            waits_until,
            route: snapshot.current_route.as_ref().map(|route| (route.key.clone(), route.model.clone())),
            silence: snapshot.silence.clone(),
            outages: snapshot
                .outages
                .iter()
                .map(|outage| {
                    let minutes = snapshot.at.since(outage.since).as_secs() / 60;
                    (outage.provider.clone(), outage.fault.clone(), minutes)
                })
                .collect(),
            done: snapshot.totals.done,
            failed: snapshot.totals.failed,
        }
    }

    /// Whether nothing differs that is worth a line. The end of a wait on the monotonic clock differs by microseconds
    /// from snapshot to snapshot.
    fn is_like(&self, other: &Self) -> bool {
        let same_end = match (self.waits_until, other.waits_until) {
            (Some(one), Some(two)) => one.since(two).max(two.since(one)) < Duration::from_secs(1),
            (one, two) => one == two,
        };
        // While a provider is down, one trial after another is awaited.
        let same_wait = same_end || !self.outages.is_empty();
        let key = |it: &Self| {
            let state = if it.outages.is_empty() { it.state.clone() } else { RunState::Running };
            (state, it.route.clone(), it.silence.clone(), it.outages.clone(), it.done, it.failed)
        };
        same_wait && key(self) == key(other)
    }
}

/// Whether a provider can be used again.
fn is_provider_recovery(event: &Event, snapshot: &Snapshot) -> bool {
    let EventKind::Recovered { subject, .. } = &event.kind else { return false };
    snapshot.keys.iter().any(|key| key.provider == *subject)
}

/// True if nothing is in flight and only an operator can change that.
fn needs_operator(snapshot: &Snapshot) -> bool {
    let is_halted = matches!(
        snapshot.state,
        RunState::NeedsOperator { .. } | RunState::Paused | RunState::Waiting { until: None, .. }
    );
    is_halted && snapshot.totals.in_flight == 0
}
