//! Cooldowns: until when something is unavailable, why, and from which source that is known.

use crate::domain::{MonoTime, Now, WallTime, snapshot::Cause};

/// A pool, project or provider is unavailable until an instant. If a second one starts, the later end applies.
#[derive(Clone, Debug)]
pub struct Cooldown {
    pub since: Now,
    pub until: Now,
    /// Whether it ends by the wall clock (at the end of a provider's day, or when credit is checked again) rather than
    /// by the monotonic clock.
    pub ends_by_calendar: bool,
    pub cause: Cause,
}

/// When something unavailable should be checked again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wakeup {
    Mono(MonoTime),
    Wall(WallTime),
    /// When a request in flight on the same route, pool, project or provider completes, or a lease is granted.
    OnCompletion,
    /// When the operator or a changed configuration makes it available.
    OnOperator,
}

impl Cooldown {
    pub fn is_over(&self, now: Now) -> bool {
        if self.ends_by_calendar { now.wall >= self.until.wall } else { now.mono >= self.until.mono }
    }

    pub const fn wakeup(&self) -> Wakeup {
        if self.ends_by_calendar { Wakeup::Wall(self.until.wall) } else { Wakeup::Mono(self.until.mono) }
    }

    /// Stores `new`, unless the current cooldown ends later.
    pub fn extend(slot: &mut Option<Self>, new: Self, now: Now) {
        let keeps_old = slot.as_ref().is_some_and(|old| !old.is_over(now) && old.until.wall >= new.until.wall);
        if !keeps_old {
            // An extended cooldown keeps the start of its episode.
            let since = slot.as_ref().filter(|old| !old.is_over(now)).map_or(new.since, |old| old.since);
            *slot = Some(Self { since, ..new });
        }
    }
}

impl Wakeup {
    /// The instant on the monotonic clock, as seen from `now`; `None` if no instant is known.
    pub fn to_mono(self, now: Now) -> Option<MonoTime> {
        match self {
            Self::Mono(at) => Some(at),
            Self::Wall(at) => Some(now.mono + at.since(now.wall)),
            Self::OnCompletion | Self::OnOperator => None,
        }
    }
}
