//! Cooldowns: until when something is unavailable, why, and from which source that is known.

use crate::domain::{Now, snapshot::Cause};

use super::admission::Deadline;

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

impl Cooldown {
    pub fn is_over(&self, now: Now) -> bool {
        if self.ends_by_calendar { now.wall >= self.until.wall } else { now.mono >= self.until.mono }
    }

    pub const fn deadline(&self) -> Deadline {
        if self.ends_by_calendar { Deadline::Wall(self.until.wall) } else { Deadline::Mono(self.until.mono) }
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
