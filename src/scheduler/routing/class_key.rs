//! What tells one class of items from another.

use crate::domain::RouteTarget;

/// The properties that items of one class have in common. There are at most (models + 1) x (rules + 1) x 2 classes,
/// plus those of items that the operator sent to a required target.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClassKey {
    pub needs_vision: bool,
    /// A model name that the fleet has.
    pub preferred_model: Option<String>,
    /// Index into the policy's rules.
    pub rule: Option<usize>,
    /// The only target allowed, if the operator sent the items there.
    pub required_target: Option<RouteTarget>,
}
