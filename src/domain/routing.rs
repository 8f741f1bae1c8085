//! Where an item may go: what of it counts for that, and the one place that an operator may send it to.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    item::ItemSpec,
    rule::{self, Rule},
};

/// A model on any of its keys, or one route.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Target {
    pub model: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.model)?;
        self.key.as_ref().map_or(Ok(()), |key| write!(f, "@{key}"))
    }
}

/// How a row is treated that names a model that can't be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnknownModel {
    Refuse,
    /// Any other model answers it.
    Any,
}

/// What routing may depend on, apart from the text: items that share these share a queue. Few by design: an
/// item's money limit and the text of its row count only through the rule that they lead to.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Traits {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub vision: bool,
    /// The item's own preferred model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The name of the rule that applies; worked out anew for every unfinished item when the rules change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Where the operator sent it, and nowhere else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only: Option<Target>,
}

impl ItemSpec {
    pub fn traits(&self, rules: &[Rule]) -> Traits {
        Traits {
            vision: self.request.needs_vision(),
            model: self.model.clone(),
            rule: rule::applying(rules, self).map(|applying| applying.rule.name.clone()),
            only: None,
        }
    }
}
