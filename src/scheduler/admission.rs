//! Why not now, and until when: the one vocabulary of limits, budgets, pools and routes. Dispatch, the screens, the
//! bottlenecks and the forecast are all derived from these answers.
//!
//! [`Admission`] says when something that takes room may be used, [`Availability`] also why a route, or the pool behind
//! it, can't be used. [`LimitKind`] names a limit that is reached, [`Cooldown`] a time of unavailability.

use std::time::Duration;

use crate::domain::{
    LimitDimension, MonoTime, Now, Outcome, WallTime,
    bottleneck::Bottleneck,
    snapshot::{Cause, CauseSource, Condition},
};

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

    /// The same instant on the wall clock.
    pub fn until(self, now: Now) -> Option<WallTime> {
        self.deadline().map(|deadline| deadline.to_wall(now))
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
    /// A cooldown that ends after `wait` by the monotonic clock.
    pub fn lasting(now: Now, wait: Duration, cause: Cause) -> Self {
        Self { since: now, until: now + wait, ends_by_calendar: false, cause }
    }

    /// A cooldown that ends at an instant of the wall clock.
    pub fn until_wall(now: Now, until: WallTime, cause: Cause) -> Self {
        let until = Now { mono: now.mono + until.since(now.wall), wall: until };
        Self { since: now, until, ends_by_calendar: true, cause }
    }

    pub fn is_over(&self, now: Now) -> bool {
        if self.ends_by_calendar { now.wall >= self.until.wall } else { now.mono >= self.until.mono }
    }

    /// The cooldown in `slot`, unless it is over.
    pub fn running(slot: Option<&Self>, now: Now) -> Option<&Self> {
        slot.filter(|cooldown| !cooldown.is_over(now))
    }

    pub const fn deadline(&self) -> Deadline {
        if self.ends_by_calendar { Deadline::Wall(self.until.wall) } else { Deadline::Mono(self.until.mono) }
    }

    /// Whether a project's cooldown is for lack of credit rather than of daily quota.
    pub const fn is_out_of_credit(&self) -> bool {
        matches!(self.cause.outcome, Outcome::QuotaExhaustedBilling)
    }

    /// Stores `new`, unless the current cooldown ends later. An extended cooldown keeps the start of its episode.
    pub fn extend(slot: &mut Option<Self>, new: Self, now: Now) {
        match Self::running(slot.as_ref(), now) {
            Some(old) if old.until.wall >= new.until.wall => {}
            old => *slot = Some(Self { since: old.map_or(new.since, |old| old.since), ..new }),
        }
    }
}

/// The kind of a local limit that is reached: a counter of a pool, a ramp, or a probe that allows one request at a
/// time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LimitKind {
    /// A limit of the provider: configured, stated or learned.
    Provider(LimitDimension),
    /// Requests are spread over the minute.
    Pacing,
    /// The leased part of a daily quota shared with other processes is used up; the next lease is requested.
    Lease,
    /// Concurrency ramp after a failure.
    Ramp,
    /// Slow start towards a limit that isn't known yet.
    SlowStart,
    /// One request in flight checks whether the project has credit again.
    CreditProbe,
    /// One request in flight checks whether the provider can be reached again.
    ConnectionProbe,
    /// One request in flight probes a route whose breaker was open.
    Probe,
}

impl LimitKind {
    /// The text shown on the screen.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Provider(LimitDimension::RequestsPerMinute) => "RPM limit reached",
            Self::Provider(LimitDimension::TokensPerMinute) => "TPM limit reached",
            Self::Provider(LimitDimension::InputTokensPerMinute) => "input TPM limit reached",
            Self::Provider(LimitDimension::OutputTokensPerMinute) => "output TPM limit reached",
            Self::Provider(LimitDimension::RequestsPerDay) => "day quota of requests reached",
            Self::Provider(LimitDimension::TokensPerDay) => "day quota of tokens reached",
            Self::Provider(LimitDimension::Concurrency) => "concurrency limit reached",
            Self::Pacing => "pacing requests",
            Self::Lease => "syncing day quota with other runs",
            Self::Ramp => "ramping up after a failure",
            Self::SlowStart => "raising its requests in flight",
            Self::CreditProbe => "trial request in flight: credit",
            Self::ConnectionProbe => "trial request in flight: connection",
            Self::Probe => "trial request in flight",
        }
    }

    /// The bottleneck that time blocked by this limit is counted under.
    pub const fn bottleneck(self) -> Bottleneck {
        match self {
            Self::Provider(dimension) => dimension.bottleneck(),
            Self::Pacing => Bottleneck::RequestsPerMinute,
            Self::Lease => Bottleneck::DailyQuota,
            Self::Ramp => Bottleneck::Concurrency,
            Self::SlowStart => Bottleneck::SlowStart,
            Self::CreditProbe | Self::ConnectionProbe | Self::Probe => Bottleneck::CircuitOpen,
        }
    }
}

/// Why a route, or the pool behind it, can or can't be used at an instant.
#[derive(Debug)]
pub enum Availability<'a> {
    Ready,
    /// The operator switched off the route, its key or its model.
    SwitchedOff {
        since: WallTime,
    },
    /// The key was rejected, the project can't use the model, or identical rejections need the operator. It ends when
    /// the secret changes, a key check succeeds or the operator switches it on.
    Disabled(&'a Cause),
    CoolingDown(&'a Cooldown),
    /// The provider said that the daily quota or the credit is used up.
    Exhausted(&'a Cooldown),
    /// The daily quota is used up by our own count, or by that of all processes that share it.
    DailyLimitReached {
        until: WallTime,
        used: u64,
        limit: u64,
    },
    /// The breaker is open after provider errors.
    CircuitOpen {
        until: Now,
        cause: &'a Cause,
    },
    /// A local limit is reached, or a probe is in flight. `Never` if the request exceeds the limit itself.
    Limited {
        kind: LimitKind,
        admission: Admission,
    },
}

impl Availability<'_> {
    /// The availability under a limit of this kind.
    pub const fn of_limit(kind: LimitKind, admission: Admission) -> Self {
        match admission {
            Admission::Now => Self::Ready,
            admission => Self::Limited { kind, admission },
        }
    }

    /// A limit that allows no more requests at once than are in flight.
    pub const fn limited_until_completion(kind: LimitKind) -> Self {
        Self::Limited { kind, admission: Admission::OnCompletion }
    }

    pub const fn is_ready(&self) -> bool {
        matches!(self, Self::Ready)
    }

    /// Whether it can be used now, and if not, when to check again. `Never`: only the operator or a changed
    /// configuration makes it available.
    pub const fn admission(&self) -> Admission {
        match self {
            Self::Ready => Admission::Now,
            Self::SwitchedOff { .. } | Self::Disabled(_) => Admission::Never,
            Self::CoolingDown(cooldown) | Self::Exhausted(cooldown) => Admission::At(cooldown.deadline()),
            Self::DailyLimitReached { until, .. } => Admission::at_wall(*until),
            Self::CircuitOpen { until, .. } => Admission::at_mono(until.mono),
            Self::Limited { admission, .. } => *admission,
        }
    }

    /// The limit that is reached; `None` if something else makes it unavailable.
    pub const fn limit_kind(&self) -> Option<LimitKind> {
        match self {
            Self::Limited { kind, .. } => Some(*kind),
            _ => None,
        }
    }

    /// Whether it is out of daily quota, out of credit or disabled: the states that the setting `on_exhausted` is
    /// about.
    pub const fn is_exhausted(&self) -> bool {
        matches!(self, Self::Disabled(_) | Self::Exhausted(_) | Self::DailyLimitReached { .. })
    }

    /// Whether only the operator or a changed configuration makes it available.
    pub const fn is_off(&self) -> bool {
        matches!(self, Self::SwitchedOff { .. } | Self::Disabled(_))
    }

    /// The text shown where only one route is named.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::SwitchedOff { .. } => "switched off",
            Self::Disabled(_) => "disabled",
            Self::CoolingDown(cooldown) if matches!(cooldown.cause.outcome, Outcome::ClientTrouble) => {
                "no connection (network or local)"
            }
            Self::CoolingDown(_) => "cooling down",
            Self::Exhausted(cooldown) if cooldown.is_out_of_credit() => "no credit",
            Self::Exhausted(_) | Self::DailyLimitReached { .. } => "day quota spent",
            Self::CircuitOpen { .. } => "circuit open",
            Self::Limited { kind, .. } => kind.label(),
        }
    }

    /// The bottleneck that its unavailable time counts under; `None` if it is ready.
    pub const fn bottleneck(&self) -> Option<Bottleneck> {
        match self {
            Self::Ready => None,
            Self::SwitchedOff { .. } => Some(Bottleneck::SwitchedOff),
            Self::Disabled(_) => Some(Bottleneck::Disabled),
            Self::CoolingDown(_) => Some(Bottleneck::Cooldown),
            Self::Exhausted(_) | Self::DailyLimitReached { .. } => Some(Bottleneck::DailyQuota),
            Self::CircuitOpen { .. } => Some(Bottleneck::CircuitOpen),
            Self::Limited { kind, .. } => Some(kind.bottleneck()),
        }
    }

    /// The condition that screens show.
    pub fn condition(&self, now: Now) -> Condition {
        let until = self.admission().until(now);
        let ends_at = until.unwrap_or(now.wall);
        match self {
            Self::Ready => Condition::Ready,
            Self::SwitchedOff { since } => Condition::SwitchedOff { since: *since },
            Self::Disabled(cause) => Condition::Disabled { since: cause.since, cause: (*cause).clone() },
            Self::CoolingDown(cooldown) => Condition::CoolingDown { until: ends_at, cause: cooldown.cause.clone() },
            Self::Exhausted(cooldown) => Condition::Exhausted { until: ends_at, cause: cooldown.cause.clone() },
            Self::DailyLimitReached { used, limit, .. } => {
                Condition::Exhausted { until: ends_at, cause: daily_limit_cause(now, *used, *limit) }
            }
            Self::CircuitOpen { cause, .. } => Condition::CircuitOpen { until: ends_at, cause: (*cause).clone() },
            Self::Limited { kind, .. } => Condition::Limited { limit: kind.label().to_owned(), until },
        }
    }
}

/// The cause of a daily quota that is used up by our own count.
pub fn daily_limit_cause(now: Now, used: u64, limit: u64) -> Cause {
    let message = format!("{used} of {limit} used today by our own count");
    let (outcome, source) = (Outcome::QuotaExhaustedDay, CauseSource::Measured);
    Cause { outcome, source, message, since: now.wall, status: None }
}
