//! Admission: whether something that takes room may be used now, and if not, when.

use crate::domain::{MonoTime, Now, WallTime};

/// Whether there is room, or when there will be. Every limit, budget and route answers with this.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    Now,
    /// From this instant on.
    At(Deadline),
    /// After a request in flight completes or a lease is granted.
    OnCompletion,
    /// Waiting doesn't help: the amount exceeds the limit itself, or only the operator can change it.
    Never,
}

/// An instant on one of the two clocks. Calendar ends (a provider's day) move with the wall clock when it jumps, other
/// waits don't.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deadline {
    Mono(MonoTime),
    Wall(WallTime),
}

impl Admission {
    pub const fn at_mono(at: MonoTime) -> Self {
        Self::At(Deadline::Mono(at))
    }

    pub const fn at_wall(at: WallTime) -> Self {
        Self::At(Deadline::Wall(at))
    }

    /// The admission if both `self` and `other` are needed.
    pub fn and(self, other: Self, now: Now) -> Self {
        match (self, other) {
            (Self::Now, admission) | (admission, Self::Now) => admission,
            (Self::Never, _) | (_, Self::Never) => Self::Never,
            (Self::OnCompletion, _) | (_, Self::OnCompletion) => Self::OnCompletion,
            (Self::At(one), Self::At(two)) => Self::At(if two.to_mono(now) > one.to_mono(now) { two } else { one }),
        }
    }

    /// The instant from which there is room; `None` if there is room now or no instant is known.
    pub const fn deadline(self) -> Option<Deadline> {
        match self {
            Self::At(deadline) => Some(deadline),
            Self::Now | Self::OnCompletion | Self::Never => None,
        }
    }
}

impl Deadline {
    /// The instant on the monotonic clock, as seen from `now`.
    pub fn to_mono(self, now: Now) -> MonoTime {
        match self {
            Self::Mono(at) => at,
            Self::Wall(at) => now.mono + at.since(now.wall),
        }
    }

    /// The instant on the wall clock, as seen from `now`.
    pub fn to_wall(self, now: Now) -> WallTime {
        match self {
            Self::Mono(at) => now.wall + at.since(now.mono),
            Self::Wall(at) => at,
        }
    }
}
