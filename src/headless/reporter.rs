//! What is worth a line, and when: decides over snapshots and instants, writes nothing.

use std::time::Instant;

use super::{
    Plain,
    progress::{event_line, progress_line},
};
use crate::domain::{EventLevel, Snapshot, plural, snapshot::RunState};

/// Warnings shown one by one between two progress lines; the rest are counted. Alarms always have their line.
const WARNINGS_SHOWN: u64 = 10;

/// Turns a stream of snapshots into lines.
#[derive(Debug)]
pub struct Reporter {
    options: Plain,
    last: Option<Told>,
    /// The number of the newest event dealt with.
    seen: u64,
    warnings_shown: u64,
    warnings_held_back: u64,
    /// Whether the newest snapshot differs noteworthily from what was last told.
    news: bool,
    /// Since when only an operator could help.
    stuck_since: Option<Instant>,
}

/// The last progress line: when, and what it told.
#[derive(Debug)]
struct Told {
    at: Instant,
    what: Noteworthy,
}

/// A change in any of these is news.
#[derive(Clone, PartialEq, Debug)]
struct Noteworthy {
    state: RunState,
    /// Key and model.
    route: Option<(String, String)>,
    done: u64,
    failed: u64,
}

impl Reporter {
    pub const fn new(options: Plain) -> Self {
        let seen = options.after_event;
        Self { options, last: None, seen, warnings_shown: 0, warnings_held_back: 0, news: false, stuck_since: None }
    }

    /// The lines that `snapshot` is worth at `now`: new warnings and alarms at once, progress when it is due.
    pub fn lines(&mut self, now: Instant, snapshot: &Snapshot) -> Vec<String> {
        let mut lines = self.new_events(snapshot);
        let what = Noteworthy::of(snapshot);
        self.news = self.last.as_ref().is_none_or(|last| last.what != what);
        self.stuck_since = needs_an_operator(snapshot).then(|| self.stuck_since.unwrap_or(now));
        let over = snapshot.state.is_over();
        if (over && self.news) || self.due().is_none_or(|due| due <= now) {
            if self.warnings_held_back > 0 {
                lines.push(format!(
                    "… and {} more {}, all in the run's log",
                    self.warnings_held_back,
                    plural(self.warnings_held_back, "warning")
                ));
            }
            lines.push(progress_line(snapshot, &self.options.zone));
            (self.warnings_shown, self.warnings_held_back) = (0, 0);
            (self.last, self.news) = (Some(Told { at: now, what }), false);
        }
        lines
    }

    /// When the next progress line is due if no snapshot comes before; `None`: at once.
    pub fn due(&self) -> Option<Instant> {
        let pause = if self.news || self.warnings_held_back > 0 { self.options.every } else { self.options.heartbeat };
        self.last.as_ref().map(|last| last.at + pause)
    }

    /// When patience with a run that only an operator could help ends.
    pub fn gives_up_at(&self) -> Option<Instant> {
        self.stuck_since.map(|since| since + self.options.patience)
    }

    fn new_events(&mut self, snapshot: &Snapshot) -> Vec<String> {
        let mut lines = Vec::new();
        for event in snapshot.events.iter().filter(|event| event.number > self.seen) {
            let line = || event_line(event, &self.options.zone);
            match event.level() {
                EventLevel::Info | EventLevel::Operator => {}
                EventLevel::Alert => lines.push(line()),
                EventLevel::Warn if self.warnings_shown < WARNINGS_SHOWN => {
                    self.warnings_shown += 1;
                    lines.push(line());
                }
                EventLevel::Warn => self.warnings_held_back += 1,
            }
        }
        self.seen = snapshot.events.last().map_or(self.seen, |newest| newest.number.max(self.seen));
        lines
    }
}

impl Noteworthy {
    fn of(snapshot: &Snapshot) -> Self {
        Self {
            state: snapshot.state.clone(),
            route: snapshot.current_route.as_ref().map(|place| (place.key.clone(), place.model.clone())),
            done: snapshot.totals.done,
            failed: snapshot.totals.failed,
        }
    }
}

/// Nothing moves, and nothing will by itself.
fn needs_an_operator(snapshot: &Snapshot) -> bool {
    let standing = matches!(
        snapshot.state,
        RunState::NeedsOperator { .. } | RunState::Paused | RunState::Waiting { until: None, .. }
    );
    standing && snapshot.totals.in_flight == 0
}
