//! Alerts for people who are not watching the screen. They are derived from snapshots in this one place, for the
//! dashboard's bell and for webhooks.
//!
//! This module decides what is an alert. How often a channel repeats or delays alerts is the channel's own decision.

use std::{fmt, time::Duration};

use super::{
    event::{Event, EventKind, EventLevel, format_duration},
    snapshot::{RunState, Snapshot, Totals},
    time::WallTime,
    truncation::truncated_suffix,
    usable_keys::UsableKeys,
};

/// Shorter waits are not reported: they are normal, since per-minute limits fill up and free up again.
const MIN_STALL_WAIT: Duration = Duration::from_mins(5);

/// Shortest time between two alerts about a wait. A rolling quota frees up and fills again all day.
const WAIT_ALERT_INTERVAL: Duration = Duration::from_hours(1);

/// Something to tell a person who is not watching. Texts from outside are not sanitized.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Alert {
    Finished {
        done: u64,
        /// Part of `done`: answers cut off at a token limit.
        truncated: u64,
        failed: u64,
    },
    /// The run ended with work left.
    Stopped { reason: String },
    /// An event of level [`EventLevel::Alert`]: a key was disabled, a file can't be written.
    Event { message: String },
    /// One usable key is left of several, or none, for whatever reason.
    KeysLeft { message: String },
    /// No request is sent any more: every route is unavailable for long, the money is spent, or the disk is full.
    Stalled {
        reason: String,
        /// When the stall may end by itself; `None` if an operator must act.
        until: Option<ExpectedEnd>,
    },
    /// Items end again after a stall that was reported.
    Resumed,
}

/// The expected end of a wait, and the time at which it was announced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExpectedEnd {
    pub at: WallTime,
    pub announced_at: WallTime,
}

impl Alert {
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Finished { .. } | Self::Stopped { .. })
    }
}

/// A sentence that follows the run's name. It is not sanitized for a terminal.
impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished { done, truncated, failed } => {
                write!(f, "is finished: {done} done{}, {failed} failed", truncated_suffix(*truncated))
            }
            Self::Stopped { reason } => write!(f, "stopped: {reason}"),
            Self::Event { message } | Self::KeysLeft { message } => f.write_str(message),
            Self::Stalled { reason, until: None } => write!(f, "can't continue: {reason}"),
            Self::Stalled { reason, until: Some(ExpectedEnd { at, announced_at }) } => {
                let when = at.timestamp().strftime("%Y-%m-%d %H:%M UTC");
                write!(f, "is waiting until {when} (for {}): {reason}", format_duration(at.since(*announced_at)))
            }
            Self::Resumed => f.write_str("has resumed"),
        }
    }
}

/// Follows the snapshots of a run and reports each alert once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AlertTracker {
    /// Number of the newest event seen.
    last_event: u64,
    is_over: bool,
    stall: Option<Stall>,
    /// When a wait was last announced.
    last_wait_alert: Option<WallTime>,
    usable_keys: UsableKeys,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stall {
    /// The stall ends only if an operator acts.
    needs_operator: bool,
    /// Number of items that had ended when the stall began.
    ended_items: u64,
    was_announced: bool,
}

impl AlertTracker {
    /// Starts after event number `event`: earlier events have been announced by another process.
    pub fn after_event(event: u64) -> Self {
        Self { last_event: event, ..Self::default() }
    }

    /// Starts after `snapshot`: nothing in it is reported.
    pub fn after_snapshot(snapshot: &Snapshot) -> Self {
        let mut tracker = Self::default();
        tracker.new_alerts(snapshot);
        tracker
    }

    /// The alerts that are new since the last snapshot, oldest first.
    pub fn new_alerts(&mut self, snapshot: &Snapshot) -> Vec<Alert> {
        let new_events = snapshot.events.iter().filter(|event| event.number > self.last_event);
        let alert_events: Vec<&Event> =
            new_events.map(AsRef::as_ref).filter(|event| event.level() == EventLevel::Alert).collect();
        self.last_event = snapshot.events.last().map_or(self.last_event, |newest| newest.number.max(self.last_event));
        let is_over = snapshot.state.is_over();
        let was_over = std::mem::replace(&mut self.is_over, is_over);
        let has_just_ended = is_over && !was_over;
        let state_alert = if has_just_ended {
            self.stall = None;
            Some(final_alert(snapshot))
        } else if is_over {
            None
        } else {
            self.update_stall(snapshot)
        };
        let is_in_state_alert = |event: &&Event| match (&event.kind, &state_alert) {
            (EventKind::Run { message, .. }, Some(Alert::Stopped { reason } | Alert::Stalled { reason, .. })) => {
                message.ends_with(reason.as_str())
            }
            _ => false,
        };
        let mut alerts: Vec<Alert> = alert_events
            .into_iter()
            .filter(|event| !is_in_state_alert(event))
            .map(|event| Alert::Event { message: event.kind.to_string() })
            .collect();
        if !is_over {
            alerts.extend(self.usable_keys.update(snapshot).map(|message| Alert::KeysLeft { message }));
        }
        alerts.extend(state_alert);
        alerts
    }

    fn update_stall(&mut self, snapshot: &Snapshot) -> Option<Alert> {
        let ended_items = snapshot.totals.done + snapshot.totals.failed;
        let Some((reason, until)) = stall_cause(snapshot) else {
            // A stall is over only when an item ends. A failed probe does not end it, and neither do the last minutes
            // of a wait.
            let stall = self.stall.filter(|stall| ended_items > stall.ended_items)?;
            self.stall = None;
            return stall.was_announced.then_some(Alert::Resumed);
        };
        let needs_operator = until.is_none();
        if self.stall.is_some_and(|stall| stall.needs_operator == needs_operator) {
            return None;
        }
        let announce = needs_operator
            || self.last_wait_alert.is_none_or(|waited| snapshot.at.since(waited) >= WAIT_ALERT_INTERVAL);
        self.stall = Some(Stall { needs_operator, ended_items, was_announced: announce });
        if !announce {
            return None;
        }
        if !needs_operator {
            self.last_wait_alert = Some(snapshot.at);
        }
        Some(Alert::Stalled {
            reason: reason.to_owned(),
            until: until.map(|at| ExpectedEnd { at, announced_at: snapshot.at }),
        })
    }
}

fn stall_cause(snapshot: &Snapshot) -> Option<(&str, Option<WallTime>)> {
    match &snapshot.state {
        RunState::NeedsOperator { reason } | RunState::Waiting { reason, until: None } => Some((reason, None)),
        RunState::Waiting { reason, until: Some(until) } if until.since(snapshot.at) >= MIN_STALL_WAIT => {
            Some((reason, Some(*until)))
        }
        _ => None,
    }
}

fn final_alert(snapshot: &Snapshot) -> Alert {
    if let RunState::Stopped { reason } = &snapshot.state {
        return Alert::Stopped { reason: reason.clone() };
    }
    let Totals { done, truncated, failed, .. } = snapshot.totals;
    Alert::Finished { done, truncated, failed }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::Outcome;

    const NOON: WallTime = WallTime::from_unix_seconds(1_795_262_400);

    /// A run with `done` items done, `minutes` after noon.
    fn at(minutes: u64, done: u64, state: RunState) -> Snapshot {
        Snapshot {
            state,
            elapsed: Duration::from_mins(minutes),
            totals: Totals { total: 10, done, waiting: 10 - done, ..Totals::default() },
            ..Snapshot::empty("r", NOON + Duration::from_mins(minutes), 1.0)
        }
    }

    fn with_events(mut snapshot: Snapshot, kinds: impl IntoIterator<Item = EventKind>) -> Snapshot {
        let at = snapshot.at;
        let events = (1..).zip(kinds).map(|(number, kind)| Arc::new(Event { number, at, kind }));
        snapshot.events = events.collect();
        snapshot
    }

    fn disabled_event(what: &str) -> EventKind {
        EventKind::Disabled { subject: what.to_owned(), outcome: Outcome::InvalidKey, message: String::new() }
    }

    fn alert_event(message: &str) -> EventKind {
        EventKind::Run { level: EventLevel::Alert, message: message.to_owned() }
    }

    fn waiting(from: u64, minutes: u64) -> RunState {
        RunState::Waiting { reason: "all are out".to_owned(), until: Some(NOON + Duration::from_mins(from + minutes)) }
    }

    fn needs_operator(reason: &str) -> RunState {
        RunState::NeedsOperator { reason: reason.to_owned() }
    }

    /// All alerts of a run that goes through these snapshots, as text.
    fn alert_texts(snapshots: impl IntoIterator<Item = Snapshot>) -> Vec<String> {
        let mut tracker = AlertTracker::default();
        snapshots
            .into_iter()
            .flat_map(|snapshot| tracker.new_alerts(&snapshot))
            .map(|alert| alert.to_string())
            .collect()
    }

    #[test]
    fn each_alert_is_reported_once_and_the_final_alert_includes_its_own_event() {
        let stopped = || RunState::Stopped { reason: "no route is left".to_owned() };
        let last = [disabled_event("dave"), alert_event("stopped with work left: no route is left")];
        assert_eq!(
            alert_texts([
                with_events(at(0, 0, RunState::Running), [disabled_event("dave")]),
                with_events(at(0, 0, RunState::Running), [disabled_event("dave")]),
                with_events(at(0, 0, stopped()), last.clone()),
                with_events(at(1, 0, stopped()), last.clone()),
                with_events(at(2, 0, stopped()), last.into_iter().chain([alert_event("key bob rejected")])),
                at(4, 0, RunState::Running),
                at(5, 10, RunState::Finished),
            ]),
            [
                "dave disabled, invalid_key",
                "stopped: no route is left",
                "key bob rejected",
                "is finished: 10 done, 0 failed"
            ],
            "and what was over, goes on, and ends again, ends again"
        );
    }

    #[test]
    fn earlier_events_and_snapshots_give_no_alerts() {
        let old = with_events(at(0, 0, needs_operator("the disk is full")), [disabled_event("dave")]);
        assert_eq!(AlertTracker::after_snapshot(&old).new_alerts(&old), []);
        assert_eq!(
            AlertTracker::after_event(1)
                .new_alerts(&with_events(at(0, 0, RunState::Running), [disabled_event("dave")])),
            []
        );
    }

    #[test]
    fn the_end_counts_truncated_answers() {
        let mut last = at(5, 10, RunState::Finished);
        last.totals.truncated = 4;
        assert_eq!(alert_texts([last]), ["is finished: 10 done (4 truncated), 0 failed"]);
    }

    #[test]
    fn only_long_waits_are_stalls() {
        assert_eq!(
            alert_texts([at(0, 0, waiting(0, 1)), at(1, 0, RunState::Running), at(2, 0, RunState::Paused)]),
            [""; 0]
        );
        assert_eq!(
            alert_texts([at(0, 7, waiting(0, 372)), at(368, 7, waiting(0, 372)), at(372, 7, RunState::Running)]),
            ["is waiting until 2026-11-21 18:12 UTC (for 6h12m): all are out"],
            "its last minutes are no other wait, and a trial is no end of it"
        );
    }

    #[test]
    fn the_end_of_a_stall_is_reported_once() {
        let full = "the disk is full";
        assert_eq!(
            alert_texts([
                with_events(at(0, 3, needs_operator(full)), [alert_event(full)]),
                at(1, 3, RunState::Running),
                at(2, 3, needs_operator(full)),
                at(3, 4, RunState::Running),
                at(4, 5, RunState::Running),
                at(5, 5, needs_operator(full)),
            ]),
            ["can't continue: the disk is full", "has resumed", "can't continue: the disk is full"]
        );
    }

    #[test]
    fn repeated_waits_are_reported_at_most_once_an_hour() {
        let day = (0..9).flat_map(|n| [at(15 * n, n, waiting(15 * n, 14)), at(15 * n + 14, n + 1, RunState::Running)]);
        let told = alert_texts(day);
        let waits = told.iter().filter(|message| message.starts_with("is waiting")).count();
        assert_eq!((waits, told.len() - waits), (3, 3), "{told:?}");
    }
}
