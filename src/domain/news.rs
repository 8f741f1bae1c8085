//! What deserves the attention of somebody who is not looking: decided here once, over snapshots, for the dashboard's
//! bell and for webhooks alike.
//!
//! It decides that there is news, not how often anybody is told: each way of telling has a pace of its own.

use std::{fmt, time::Duration};

use super::{
    event::{Event, EventKind, Level, short_span},
    snapshot::{RunState, Snapshot},
    time::Wall,
};

/// A wait that ends sooner is the ordinary course of things: minutes fill up and open again.
const LONG: Duration = Duration::from_mins(5);

/// A wait is told again after this at the earliest: a quota that returns little by little opens and closes all day.
const AGAIN: Duration = Duration::from_hours(1);

/// Text from outside is in it as it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum News {
    /// Every item is done or failed.
    Finished { done: u64, failed: u64 },
    /// Over, with work left.
    Stopped { why: String },
    /// An event of that level: a key died, a file can't be written.
    Alarm { words: String },
    /// Nothing goes out any more: every route is out for long, the money is spent, the disk is full.
    Standstill {
        why: String,
        /// As soon as it may end by itself; `None`: somebody has to do something.
        until: Option<Until>,
    },
    /// Items end again after a standstill that was told.
    Resumed,
}

/// When a wait ends, and how far off that was when it was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Until {
    pub at: Wall,
    pub from: Wall,
}

impl News {
    pub const fn is_ending(&self) -> bool {
        matches!(self, Self::Finished { .. } | Self::Stopped { .. })
    }
}

/// What follows the run's name in a sentence; not yet neutralised for anybody's screen.
impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished { done, failed } => write!(f, "is finished: {done} done, {failed} failed"),
            Self::Stopped { why } => write!(f, "stopped: {why}"),
            Self::Alarm { words } => f.write_str(words),
            Self::Standstill { why, until: None } => write!(f, "stands still: {why}"),
            Self::Standstill { why, until: Some(Until { at, from }) } => {
                let when = at.timestamp().strftime("%Y-%m-%d %H:%M UTC");
                write!(f, "waits until {when} (for {}): {why}", short_span(at.since(*from)))
            }
            Self::Resumed => f.write_str("goes on"),
        }
    }
}

/// Follows a run, and says each thing once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Watch {
    /// The newest event that was looked at.
    event: u64,
    over: bool,
    standing: Option<Standing>,
    /// When a wait was last told.
    waited: Option<Wall>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Standing {
    /// Only somebody's doing ends it.
    held: bool,
    /// Items that had ended when it began.
    ended: u64,
    told: bool,
}

impl Watch {
    /// Events up to this number have been told by others.
    pub fn after(event: u64) -> Self {
        Self { event, ..Self::default() }
    }

    /// What `snapshot` says is no news.
    pub fn having_seen(snapshot: &Snapshot) -> Self {
        let mut watch = Self::default();
        watch.news(snapshot);
        watch
    }

    /// What is new since the last snapshot, in the order in which it came about.
    pub fn news(&mut self, snapshot: &Snapshot) -> Vec<News> {
        let fresh = snapshot.events.iter().filter(|event| event.number > self.event);
        let alarms: Vec<&Event> = fresh.map(AsRef::as_ref).filter(|event| event.level() == Level::Alarm).collect();
        self.event = snapshot.events.last().map_or(self.event, |newest| newest.number.max(self.event));
        let over = snapshot.state.is_over();
        let was_over = std::mem::replace(&mut self.over, over);
        let ends = over && !was_over;
        let state = if ends {
            self.standing = None;
            Some(ending(snapshot))
        } else if over {
            None
        } else {
            self.standstill(snapshot)
        };
        let said_by_state = |event: &&Event| match (&event.kind, &state) {
            (EventKind::Run { words, .. }, Some(News::Stopped { why } | News::Standstill { why, .. })) => {
                words.ends_with(why.as_str())
            }
            _ => false,
        };
        let mut news: Vec<News> = alarms
            .into_iter()
            .filter(|event| !said_by_state(event))
            .map(|event| News::Alarm { words: event.kind.to_string() })
            .collect();
        news.extend(state);
        news
    }

    fn standstill(&mut self, snapshot: &Snapshot) -> Option<News> {
        let ended = snapshot.totals.done + snapshot.totals.failed;
        let Some((why, until)) = stands(snapshot) else {
            // A trial that failed is no end of it, nor are the last minutes of a wait.
            let standing = self.standing.filter(|standing| ended > standing.ended)?;
            self.standing = None;
            return standing.told.then_some(News::Resumed);
        };
        let held = until.is_none();
        if self.standing.is_some_and(|standing| standing.held == held) {
            return None;
        }
        let told = held || self.waited.is_none_or(|waited| snapshot.at.since(waited) >= AGAIN);
        self.standing = Some(Standing { held, ended, told });
        if !told {
            return None;
        }
        if !held {
            self.waited = Some(snapshot.at);
        }
        Some(News::Standstill { why: why.to_owned(), until: until.map(|at| Until { at, from: snapshot.at }) })
    }
}

fn stands(snapshot: &Snapshot) -> Option<(&str, Option<Wall>)> {
    match &snapshot.state {
        RunState::Held { why } | RunState::Waiting { why, until: None } => Some((why, None)),
        RunState::Waiting { why, until: Some(until) } if until.since(snapshot.at) >= LONG => Some((why, Some(*until))),
        _ => None,
    }
}

fn ending(snapshot: &Snapshot) -> News {
    match &snapshot.state {
        RunState::Stopped { why } => News::Stopped { why: why.clone() },
        _ => News::Finished { done: snapshot.totals.done, failed: snapshot.totals.failed },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::{Outcome, snapshot::Totals};

    const NOON: Wall = Wall::from_unix_seconds(1_795_262_400);

    /// A run of which so much is done so many minutes after noon.
    fn at(minutes: u64, done: u64, state: RunState) -> Snapshot {
        Snapshot {
            state,
            elapsed: Duration::from_mins(minutes),
            totals: Totals { total: 10, done, waiting: 10 - done, ..Totals::default() },
            ..Snapshot::blank("r", NOON + Duration::from_mins(minutes), 1.0)
        }
    }

    fn with(mut snapshot: Snapshot, kinds: impl IntoIterator<Item = EventKind>) -> Snapshot {
        let at = snapshot.at;
        let events = (1..).zip(kinds).map(|(number, kind)| Arc::new(Event { number, at, kind }));
        snapshot.events = events.collect();
        snapshot
    }

    fn dead(what: &str) -> EventKind {
        EventKind::Disabled { what: what.to_owned(), outcome: Outcome::InvalidKey, words: String::new() }
    }

    fn alarm(words: &str) -> EventKind {
        EventKind::Run { level: Level::Alarm, words: words.to_owned() }
    }

    fn waiting(from: u64, minutes: u64) -> RunState {
        RunState::Waiting { why: "all are out".to_owned(), until: Some(NOON + Duration::from_mins(from + minutes)) }
    }

    fn held(why: &str) -> RunState {
        RunState::Held { why: why.to_owned() }
    }

    /// What is told of a run that goes through these.
    fn told(snapshots: impl IntoIterator<Item = Snapshot>) -> Vec<String> {
        let mut watch = Watch::default();
        snapshots.into_iter().flat_map(|snapshot| watch.news(&snapshot)).map(|news| news.to_string()).collect()
    }

    #[test]
    fn each_thing_is_said_once_and_an_ending_includes_its_own_alarm() {
        let stopped = || RunState::Stopped { why: "no route is left".to_owned() };
        let last = [dead("dave"), alarm("stopped with work left: no route is left")];
        assert_eq!(
            told([
                with(at(0, 0, RunState::Running), [dead("dave")]),
                with(at(0, 0, RunState::Running), [dead("dave")]),
                with(at(0, 0, stopped()), last.clone()),
                with(at(1, 0, stopped()), last.clone()),
                with(at(2, 0, stopped()), last.into_iter().chain([alarm("key bob is no good")])),
                at(4, 0, RunState::Running),
                at(5, 10, RunState::Finished),
            ]),
            [
                "dave is off, invalid_key",
                "stopped: no route is left",
                "key bob is no good",
                "is finished: 10 done, 0 failed"
            ],
            "and what was over, goes on, and ends again, ends again"
        );
    }

    #[test]
    fn what_others_have_told_or_seen_is_no_news() {
        let old = with(at(0, 0, held("the disk is full")), [dead("dave")]);
        assert_eq!(Watch::having_seen(&old).news(&old), []);
        assert_eq!(Watch::after(1).news(&with(at(0, 0, RunState::Running), [dead("dave")])), []);
    }

    #[test]
    fn full_minutes_are_no_standstill_and_long_waits_are() {
        assert_eq!(told([at(0, 0, waiting(0, 1)), at(1, 0, RunState::Running), at(2, 0, RunState::Paused)]), [""; 0]);
        assert_eq!(
            told([at(0, 7, waiting(0, 372)), at(368, 7, waiting(0, 372)), at(372, 7, RunState::Running)]),
            ["waits until 2026-11-21 18:12 UTC (for 6h12m): all are out"],
            "its last minutes are no other wait, and a trial is no end of it"
        );
    }

    #[test]
    fn work_that_goes_on_after_a_standstill_is_told_once() {
        let full = "the disk is full";
        assert_eq!(
            told([
                with(at(0, 3, held(full)), [alarm(full)]),
                at(1, 3, RunState::Running),
                at(2, 3, held(full)),
                at(3, 4, RunState::Running),
                at(4, 5, RunState::Running),
                at(5, 5, held(full)),
            ]),
            ["stands still: the disk is full", "goes on", "stands still: the disk is full"]
        );
    }

    #[test]
    fn a_quota_that_returns_little_by_little_is_told_once_an_hour() {
        let day = (0..9).flat_map(|n| [at(15 * n, n, waiting(15 * n, 14)), at(15 * n + 14, n + 1, RunState::Running)]);
        let told = told(day);
        let waits = told.iter().filter(|words| words.starts_with("waits")).count();
        assert_eq!((waits, told.len() - waits), (3, 3), "{told:?}");
    }
}
