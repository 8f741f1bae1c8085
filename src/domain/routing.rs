//! Where an item may go: what of it counts for that, and the one place that an operator may send it to.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    item::ItemSpec,
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

/// How a row is treated that names a model that can't be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnknownModelPolicy {
    Refuse,
    /// Any other model answers it.
    UseAnyModel,
}

/// What routing may depend on, apart from the text: items that share these share a queue. Few by design: an
/// item's money limit and the text of its row count only through the rule that they lead to.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RoutingTraits {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[serde(rename = "vision")]
    pub needs_vision: bool,
    /// The item's own preferred model.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(rename = "model")]
    pub preferred_model: Option<String>,
    /// The name of the rule that applies; worked out anew for every unfinished item when the rules change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Where the operator sent it, and nowhere else.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(rename = "only")]
    pub required_target: Option<RouteTarget>,
}

impl ItemSpec {
    pub fn routing_traits(&self, rules: &[RoutingRule]) -> RoutingTraits {
        RoutingTraits {
            needs_vision: self.request.needs_vision(),
            preferred_model: self.preferred_model.clone(),
            rule: rule::first_match(rules, self).map(|rule_match| rule_match.rule.name.clone()),
            required_target: None,
        }
    }
}
