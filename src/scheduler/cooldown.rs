//! Being out for a while: until when, why, and on whose word.

use crate::domain::{MonoTime, Now, WallTime, snapshot::Cause};

/// A key, pool, project or provider is out until an instant. A later end always wins over an earlier one.
#[derive(Clone, Debug)]
pub struct Cooldown {
    pub since: Now,
    pub until: Now,
    /// Ends by the calendar (a provider's day) rather than after a span; decides which axis counts.
    pub ends_by_calendar: bool,
    pub cause: Cause,
}

/// When something that is out may be looked at again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wakeup {
    Mono(MonoTime),
    Wall(WallTime),
    /// When something in flight on the same pool or route settles.
    OnCompletion,
    /// When the operator, or a changed configuration, says so.
    OnOperator,
}

impl Cooldown {
    pub fn is_over(&self, now: Now) -> bool {
        if self.ends_by_calendar { now.wall >= self.until.wall } else { now.mono >= self.until.mono }
    }

    pub const fn wakeup(&self) -> Wakeup {
        if self.ends_by_calendar { Wakeup::Wall(self.until.wall) } else { Wakeup::Mono(self.until.mono) }
    }

    /// Puts `new` in place unless what is there ends later.
    pub fn extend(slot: &mut Option<Self>, new: Self, now: Now) {
        let keeps_old = slot.as_ref().is_some_and(|old| !old.is_over(now) && old.until.wall >= new.until.wall);
        if !keeps_old {
            // One episode keeps its beginning, however often it is extended.
            let since = slot.as_ref().filter(|old| !old.is_over(now)).map_or(new.since, |old| old.since);
            *slot = Some(Self { since, ..new });
        }
    }
}

impl Wakeup {
    /// On the monotonic axis, as seen from `now`; `None` where no clock will help.
    pub fn to_mono(self, now: Now) -> Option<MonoTime> {
        match self {
            Self::Mono(at) => Some(at),
            Self::Wall(at) => Some(now.mono + at.since(now.wall)),
            Self::OnCompletion | Self::OnOperator => None,
        }
    }
}
