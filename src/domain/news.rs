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
        let ends = over && !std::mem::replace(&mut self.over, over);
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
