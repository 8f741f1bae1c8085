//! The meaning of a piece of the screen, and the roles of the domain's states.

use crate::domain::{
    ItemState,
    event::EventLevel,
    snapshot::{Condition, RunState},
};

/// The meaning of a piece of the screen. The theme has a style for each role.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StyleRole {
    Text,
    Muted,
    Title,
    Border,
    Focus,
    Selection,
    Ok,
    Warn,
    Bad,
    Cooling,
    Exhausted,
    Disabled,
    Operator,
    /// The filled part of a bar.
    Bar,
    /// The empty part of a bar.
    Track,
    /// The name of a key on the keyboard.
    Key,
}

impl From<&Condition> for StyleRole {
    fn from(condition: &Condition) -> Self {
        match condition {
            Condition::Ready => Self::Ok,
            Condition::Limited { .. } | Condition::CoolingDown { .. } => Self::Cooling,
            Condition::Exhausted { .. } => Self::Exhausted,
            Condition::CircuitOpen { .. } => Self::Warn,
            Condition::Disabled { .. } => Self::Bad,
            Condition::SwitchedOff { .. } => Self::Disabled,
        }
    }
}

impl From<&RunState> for StyleRole {
    fn from(state: &RunState) -> Self {
        match state {
            RunState::Running | RunState::Finished => Self::Ok,
            RunState::Waiting { .. } => Self::Cooling,
            RunState::Pausing | RunState::Paused | RunState::Draining => Self::Operator,
            RunState::NeedsOperator { .. } => Self::Bad,
            RunState::Stopped { .. } => Self::Warn,
        }
    }
}

impl From<ItemState> for StyleRole {
    fn from(state: ItemState) -> Self {
        match state {
            ItemState::Waiting => Self::Cooling,
            ItemState::InFlight => Self::Focus,
            ItemState::Done => Self::Ok,
            ItemState::Failed => Self::Bad,
        }
    }
}

impl From<EventLevel> for StyleRole {
    fn from(level: EventLevel) -> Self {
        match level {
            EventLevel::Info => Self::Muted,
            EventLevel::Operator => Self::Operator,
            EventLevel::Warn => Self::Warn,
            EventLevel::Alert => Self::Bad,
        }
    }
}
