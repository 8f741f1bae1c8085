//! Where an item may go: the properties that decide it, and the target that an operator may choose.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    item::ItemSpec,
    named::names,
    policy::{SpillTo, WhenLimited},
    rule::{self, RoutingRule},
};

/// A model on any of its keys, or one route.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct RouteTarget {
    pub model: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl fmt::Display for RouteTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.model)?;
        self.key.as_ref().map_or(Ok(()), |key| write!(f, "@{key}"))
    }
}

/// Which routes an item may use, relative to its preferred route: the first one in its order that it makes sense to
/// wait on. Dispatch, probes and the forecast all follow this rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpillRule {
    /// Any route, whatever the preferred one is.
    Any,
    /// Routes of the model that the item's row names, while one of them only has too many requests in flight.
    RowModel,
    /// Routes of the preferred route's model; any if there is no preferred route.
    PreferredModel,
    /// The preferred route alone, until the item has waited for `spill_after`; any if there is no preferred route.
    PreferredRoute,
    /// Strict order: the preferred route alone, in the order from the cursor on. The model that the item's row
    /// names comes first: on the cursor's key, then on later keys.
    FromCursor,
}

/// The routes that a [`SpillRule`] allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AllowedRoutes<R> {
    Any,
    RowModel,
    SameModelAs(R),
    /// A single route; `None`: no route.
    Only(Option<R>),
}

impl SpillRule {
    /// `waits_for_preferred`: the item has a preferred route and has not waited for `spill_after` yet.
    /// `is_row_model_busy`: a route of the model that the item's row names only has too many requests in flight.
    pub fn new(
        when_limited: WhenLimited,
        spill_to: SpillTo,
        waits_for_preferred: bool,
        is_row_model_busy: impl FnOnce() -> bool,
    ) -> Self {
        match (when_limited, spill_to) {
            (WhenLimited::Wait, _) => Self::FromCursor,
            _ if waits_for_preferred => Self::PreferredRoute,
            (_, SpillTo::Any) if is_row_model_busy() => Self::RowModel,
            (_, SpillTo::Any) => Self::Any,
            (_, SpillTo::SameModel) => Self::PreferredModel,
        }
    }

    /// `preferred` finds the preferred route. It is not called if any route is allowed.
    pub fn allowed<R>(self, preferred: impl FnOnce() -> Option<R>) -> AllowedRoutes<R> {
        match self {
            Self::Any => AllowedRoutes::Any,
            Self::RowModel => AllowedRoutes::RowModel,
            Self::PreferredModel => preferred().map_or(AllowedRoutes::Any, AllowedRoutes::SameModelAs),
            Self::PreferredRoute => preferred().map_or(AllowedRoutes::Any, |route| AllowedRoutes::Only(Some(route))),
            Self::FromCursor => AllowedRoutes::Only(preferred()),
        }
    }
}

impl<R: Copy + PartialEq> AllowedRoutes<R> {
    /// `is_row_model`: whether a route is of the model that the item's row names.
    pub fn allows<M: PartialEq>(
        &self,
        route: R,
        model_of: impl Fn(R) -> M,
        is_row_model: impl FnOnce(R) -> bool,
    ) -> bool {
        match self {
            Self::Any => true,
            Self::RowModel => is_row_model(route),
            Self::SameModelAs(preferred) => model_of(route) == model_of(*preferred),
            Self::Only(only) => *only == Some(route),
        }
    }
}

/// How to handle a row that names a model that can't be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnknownModelPolicy {
    Refuse,
    /// Any other model answers it.
    UseAnyModel,
}

names!(UnknownModelPolicy { Refuse = "refuse", UseAnyModel = "any" });

/// The meaning of the model that a row names, for its item.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RowModelPolicy {
    /// It is tried first.
    #[default]
    Prefer,
    /// It is the only one.
    Only,
}

names!(RowModelPolicy { Prefer = "prefer", Only = "only" });

/// The properties that routing depends on, apart from the text. Items with the same traits share a queue. There are few
/// by design: an item's money limit and the text of its row count only through the rule that they match.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RoutingTraits {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[serde(rename = "vision")]
    pub needs_vision: bool,
    /// The model that the item's row asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(rename = "model")]
    pub preferred_model: Option<String>,
    /// Whether the item may use no other model.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub model_pinned: bool,
    /// The name of the rule that applies. It is determined again for every unfinished item when the rules change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The only model or route that the item may use, chosen by the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(rename = "only")]
    pub required_target: Option<RouteTarget>,
}

impl ItemSpec {
    pub fn routing_traits(&self, rules: &[RoutingRule]) -> RoutingTraits {
        RoutingTraits {
            needs_vision: self.request.needs_vision(),
            preferred_model: self.preferred_model.clone(),
            model_pinned: self.model_pinned,
            rule: rule::first_match(rules, self).map(|rule_match| rule_match.rule.name.clone()),
            required_target: None,
        }
    }
}
