//! Routing rules: the properties of an item decide which models it may use, how a model is chosen, and the most it may
//! cost.
//!
//! A rule is plain data from the configuration. Matching needs only the item. So the store can find the rule that
//! applies, and the reason, at any later time, also after the rules have changed.

use std::{cell::OnceCell, collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::{complexity::Complexity, item::ItemSpec, money::Money, strategy::Strategy};

/// The row's field that says whether a person waits for the answer.
pub const LATENCY_SENSITIVE_FIELD: &str = "latency_sensitive";

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RoutingRule {
    /// Unique among the rules.
    pub name: String,
    #[serde(rename = "when")]
    pub conditions: RuleConditions,
    /// The only models for matching items, best first; they replace the cascade's order. `None`: all.
    pub models: Option<Vec<String>>,
    /// Replaces the run's strategy.
    pub strategy: Option<Strategy>,
    /// Maximum cost of a matching item. The item's own limit applies as well.
    pub max_usd: Option<Money>,
}

/// Conditions on an item. All must hold; one that is not set always holds.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RuleConditions {
    pub words_over: Option<u64>,
    pub code: Option<bool>,
    pub terms: Option<RequiredTerms>,
    pub images: Option<bool>,
    pub tier: Option<String>,
    pub latency_sensitive: Option<bool>,
    /// Fields of the input row, each with the text it must equal.
    #[serde(rename = "field")]
    pub row_fields: BTreeMap<String, String>,
}

/// Technical terms, and how many different ones an item must contain.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RequiredTerms {
    #[serde(rename = "words")]
    pub terms: Vec<String>,
    #[serde(rename = "at_least")]
    pub min_matches: u32,
}

/// A rule that matches an item, and the reason.
#[derive(Clone, PartialEq, Debug)]
pub struct RuleMatch<'r> {
    pub rule: &'r RoutingRule,
    pub reason: String,
}

/// The first rule that matches `item`.
pub fn first_match<'r>(rules: &'r [RoutingRule], item: &ItemSpec) -> Option<RuleMatch<'r>> {
    let complexity = OnceCell::new();
    let complexity = || complexity.get_or_init(|| Complexity::of(&item.request));
    rules.iter().find_map(|rule| Some(RuleMatch { rule, reason: rule.conditions.match_reason(item, complexity)? }))
}

/// The row fields that any of the rules looks at, sorted.
pub fn referenced_fields(rules: &[RoutingRule]) -> Vec<String> {
    let latency = rules.iter().any(|rule| rule.conditions.latency_sensitive.is_some());
    let named = rules.iter().flat_map(|rule| rule.conditions.row_fields.keys().cloned());
    let mut fields: Vec<String> = named.chain(latency.then(|| LATENCY_SENSITIVE_FIELD.to_owned())).collect();
    fields.sort_unstable();
    fields.dedup();
    fields
}

impl RuleConditions {
    /// The reason why `item` meets every condition; `None` if it misses one. Cheap conditions are tested first.
    fn match_reason<'c>(&self, item: &ItemSpec, complexity: impl Fn() -> &'c Complexity) -> Option<String> {
        let mut reasons: Vec<String> = Vec::new();
        if let Some(images) = self.images {
            (images == item.request.needs_vision()).then_some(())?;
            reasons.push(if images { "has pictures" } else { "has no pictures" }.to_owned());
        }
        if let Some(tier) = &self.tier {
            (item.tier.as_ref() == Some(tier)).then_some(())?;
            reasons.push(format!("tier {tier}"));
        }
        if let Some(wanted) = self.latency_sensitive {
            (wanted == item.is_latency_sensitive()).then_some(())?;
            reasons.push(if wanted { "latency sensitive" } else { "not latency sensitive" }.to_owned());
        }
        for (name, value) in &self.row_fields {
            (item.kept_fields.get(name) == Some(value)).then_some(())?;
            reasons.push(format!("{name} is {value}"));
        }
        if let Some(limit) = self.words_over {
            let word_count = complexity().word_count;
            (word_count > limit).then_some(())?;
            reasons.push(format!("{word_count} words, over {limit}"));
        }
        if let Some(code) = self.code {
            (code == complexity().has_code).then_some(())?;
            reasons.push(if code { "has code" } else { "has no code" }.to_owned());
        }
        if let Some(terms) = &self.terms {
            let found = complexity().find_terms(&terms.terms);
            (found.len() >= terms.min_matches as usize).then_some(())?;
            reasons.push(format!("mentions {}", found.join(", ")));
        }
        Some(if reasons.is_empty() { "any item".to_owned() } else { reasons.join("; ") })
    }
}

impl ItemSpec {
    /// Whether the row says that a person waits for the answer.
    pub fn is_latency_sensitive(&self) -> bool {
        self.kept_fields
            .get(LATENCY_SENSITIVE_FIELD)
            .is_some_and(|value| ["true", "yes", "1"].contains(&value.trim().to_lowercase().as_str()))
    }
}

/// `rule long (612 words, over 500): models pro, flash; strategy fastest; at most $0.01`
impl fmt::Display for RuleMatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RoutingRule { name, models, strategy, max_usd, .. } = self.rule;
        let models = models.as_ref().map(|models| format!("models {}", models.join(", ")));
        let strategy = strategy.map(|strategy| format!("strategy {}", strategy.name()));
        let limit = max_usd.map(|max_usd| format!("at most {max_usd}"));
        let actions: Vec<String> = [models, strategy, limit].into_iter().flatten().collect();
        let actions = if actions.is_empty() { "no change".to_owned() } else { actions.join("; ") };
        write!(f, "rule {name} ({}): {actions}", self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Image, Part, Request};

    fn item(prompt: &str) -> ItemSpec {
        ItemSpec {
            id: "1".to_owned(),
            request: Request::from_prompt(prompt),
            line: 1,
            tier: Some("batch".to_owned()),
            kept_fields: BTreeMap::from([
                ("lang".to_owned(), "de".to_owned()),
                (LATENCY_SENSITIVE_FIELD.to_owned(), "True".to_owned()),
            ]),
            ..ItemSpec::default()
        }
    }

    fn rule(name: &str, conditions: RuleConditions) -> RoutingRule {
        RoutingRule { name: name.to_owned(), conditions, ..RoutingRule::default() }
    }

    fn fits(when: RuleConditions, item: &ItemSpec) -> bool {
        first_match(&[rule("r", when)], item).is_some()
    }

    #[test]
    fn each_condition_is_met_or_missed() {
        let any = RuleConditions::default();
        let terms =
            |min_matches| Some(RequiredTerms { terms: vec!["qubit".to_owned(), "tensor".to_owned()], min_matches });
        let field = |value: &str| BTreeMap::from([("lang".to_owned(), value.to_owned())]);
        let plain = item("How does a qubit differ from a bit?");
        for (want, when) in [
            (true, any.clone()),
            (true, RuleConditions { words_over: Some(7), ..any.clone() }),
            (false, RuleConditions { words_over: Some(8), ..any.clone() }),
            (true, RuleConditions { code: Some(false), ..any.clone() }),
            (false, RuleConditions { code: Some(true), ..any.clone() }),
            (true, RuleConditions { terms: terms(1), ..any.clone() }),
            (false, RuleConditions { terms: terms(2), ..any.clone() }),
            (false, RuleConditions { images: Some(true), ..any.clone() }),
            (true, RuleConditions { images: Some(false), ..any.clone() }),
            (true, RuleConditions { tier: Some("batch".to_owned()), ..any.clone() }),
            (false, RuleConditions { tier: Some("live".to_owned()), ..any.clone() }),
            (true, RuleConditions { latency_sensitive: Some(true), ..any.clone() }),
            (false, RuleConditions { latency_sensitive: Some(false), ..any.clone() }),
            (true, RuleConditions { row_fields: field("de"), ..any.clone() }),
            (false, RuleConditions { row_fields: field("en"), ..any.clone() }),
            (false, RuleConditions { row_fields: field("de"), words_over: Some(100), ..any.clone() }),
        ] {
            assert_eq!(fits(when.clone(), &plain), want, "{when:?}");
        }
    }

    #[test]
    fn a_row_without_the_field_is_not_latency_sensitive() {
        let mut quiet = item("?");
        quiet.kept_fields.clear();
        assert!(fits(RuleConditions { latency_sensitive: Some(false), ..RuleConditions::default() }, &quiet));
        assert!(!fits(
            RuleConditions { row_fields: BTreeMap::from([("a".into(), "b".into())]), ..RuleConditions::default() },
            &quiet
        ));
    }

    #[test]
    fn the_first_matching_rule_applies_and_gives_its_reason() {
        let pictures = rule("pictures", RuleConditions { images: Some(true), ..RuleConditions::default() });
        let long = RoutingRule {
            models: Some(vec!["pro".to_owned(), "flash".to_owned()]),
            strategy: Some(Strategy::Fastest),
            max_usd: Money::from_usd(0.25),
            ..rule("long", RuleConditions { words_over: Some(2), code: Some(false), ..RuleConditions::default() })
        };
        let rules = [pictures, long, rule("rest", RuleConditions::default())];
        let said = |item: &ItemSpec| first_match(&rules, item).unwrap().to_string();
        assert_eq!(
            said(&item("one two three")),
            "rule long (3 words, over 2; has no code): models pro, flash; strategy fastest; at most $0.25"
        );
        assert_eq!(first_match(&rules, &item("one")).unwrap().reason, "any item");
        let mut seen = item("one two three");
        seen.request.messages[0].parts.push(Part::Image(Image::Url("https://example.org/a.png".to_owned())));
        assert_eq!(first_match(&rules, &seen).unwrap().rule.name, "pictures");
    }

    #[test]
    fn only_fields_that_rules_look_at_are_named() {
        let named = |name: &str| BTreeMap::from([(name.to_owned(), "x".to_owned())]);
        let rules = [
            rule("a", RuleConditions { row_fields: named("lang"), ..RuleConditions::default() }),
            rule(
                "b",
                RuleConditions {
                    row_fields: named("lang"),
                    latency_sensitive: Some(true),
                    ..RuleConditions::default()
                },
            ),
        ];
        assert_eq!(referenced_fields(&rules), ["lang", "latency_sensitive"]);
        assert_eq!(referenced_fields(&[]), [""; 0]);
    }
}
