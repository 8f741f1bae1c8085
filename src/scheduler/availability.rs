//! Availability: why a route, or the pool behind it, can or can't be used at an instant. Dispatch, the screens, the
//! bottlenecks and the forecast are all derived from this one answer.

use crate::domain::{Now, Outcome, WallTime, bottleneck::Bottleneck, snapshot::Cause};

use super::{admission::Admission, cooldown::Cooldown, limit_kind::LimitKind};

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

    /// A limit that allows no more requests at once than are in flight.
    pub const fn limited_until_completion(kind: LimitKind) -> Self {
        Self::Limited { kind, admission: Admission::OnCompletion }
    }

    /// Whether it is out of daily quota, out of credit or disabled: the states that the setting `on_exhausted` is
    /// about.
    pub const fn is_exhausted(&self) -> bool {
        matches!(self, Self::Disabled(_) | Self::Exhausted(_) | Self::DailyLimitReached { .. })
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
            Self::Exhausted(cooldown) if is_out_of_credit(cooldown) => "no credit",
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
}

/// Whether an exhausted project lacks credit rather than daily quota.
pub const fn is_out_of_credit(cooldown: &Cooldown) -> bool {
    matches!(cooldown.cause.outcome, Outcome::QuotaExhaustedBilling)
}
