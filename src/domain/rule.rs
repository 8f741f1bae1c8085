//! Routing rules: what an item is decides which models it may use, how they are chosen, and what it may cost.
//!
//! A rule is plain data from the configuration. Matching needs nothing but the item, so that the store can
//! say which rule applies and why long after the decision, and work it out anew when the rules have changed.

use std::{cell::OnceCell, collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::{complexity::Complexity, item::ItemSpec, money::Money, strategy::Strategy};

/// The row's field that says whether somebody waits for the answer.
pub const LATENCY_SENSITIVE: &str = "latency_sensitive";

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Rule {
    /// Unique among the rules.
    pub name: String,
    pub when: Conditions,
    /// The only models such items may use, best first: they take the place of the cascade's order. `None`: all.
    pub models: Option<Vec<String>>,
    /// Instead of the run's.
    pub strategy: Option<Strategy>,
    /// Most that such an item may cost. An item's own limit counts as well.
    pub max_usd: Option<Money>,
}

/// What must be true of an item, all of it; a condition that isn't stated is always met.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Conditions {
    pub words_over: Option<u64>,
    pub code: Option<bool>,
    pub terms: Option<Terms>,
    pub images: Option<bool>,
    pub tier: Option<String>,
    pub latency_sensitive: Option<bool>,
    /// Fields of the input row and the text that each must be.
    pub field: BTreeMap<String, String>,
}

/// Technical terms, and how many different ones of them an item must mention.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Terms {
    pub words: Vec<String>,
    pub at_least: u32,
}

/// A rule that fits an item, and what made it fit.
#[derive(Clone, PartialEq, Debug)]
pub struct Applying<'r> {
    pub rule: &'r Rule,
    pub why: String,
}

/// The first rule that fits.
pub fn applying<'r>(rules: &'r [Rule], item: &ItemSpec) -> Option<Applying<'r>> {
    let complexity = OnceCell::new();
    let complexity = || complexity.get_or_init(|| Complexity::of(&item.request));
    rules.iter().find_map(|rule| Some(Applying { rule, why: rule.when.met(item, complexity)? }))
}

/// The fields of a row that any of the rules looks at.
pub fn fields(rules: &[Rule]) -> Vec<String> {
    let latency = rules.iter().any(|rule| rule.when.latency_sensitive.is_some());
    let named = rules.iter().flat_map(|rule| rule.when.field.keys().cloned());
    let mut fields: Vec<String> = named.chain(latency.then(|| LATENCY_SENSITIVE.to_owned())).collect();
    fields.sort_unstable();
    fields.dedup();
    fields
}

impl Conditions {
    /// In words why `item` meets every condition; `None` where it misses one. Cheap conditions come first.
    fn met<'c>(&self, item: &ItemSpec, complexity: impl Fn() -> &'c Complexity) -> Option<String> {
        let mut why: Vec<String> = Vec::new();
        if let Some(images) = self.images {
            (images == item.request.needs_vision()).then_some(())?;
            why.push(if images { "has pictures" } else { "has no pictures" }.to_owned());
        }
        if let Some(tier) = &self.tier {
            (item.tier.as_ref() == Some(tier)).then_some(())?;
            why.push(format!("tier {tier}"));
        }
        if let Some(wanted) = self.latency_sensitive {
            (wanted == item.is_latency_sensitive()).then_some(())?;
            why.push(if wanted { "latency sensitive" } else { "not latency sensitive" }.to_owned());
        }
        for (name, value) in &self.field {
            (item.fields.get(name) == Some(value)).then_some(())?;
            why.push(format!("{name} is {value}"));
        }
        if let Some(most) = self.words_over {
            let words = complexity().words;
            (words > most).then_some(())?;
            why.push(format!("{words} words, over {most}"));
        }
        if let Some(code) = self.code {
            (code == complexity().code).then_some(())?;
            why.push(if code { "has code" } else { "has no code" }.to_owned());
        }
        if let Some(terms) = &self.terms {
            let found = complexity().terms(&terms.words);
            (found.len() >= terms.at_least as usize).then_some(())?;
            why.push(format!("mentions {}", found.join(", ")));
        }
        Some(if why.is_empty() { "any item".to_owned() } else { why.join("; ") })
    }
}

impl ItemSpec {
    /// Whether its row says that somebody waits for the answer.
    pub fn is_latency_sensitive(&self) -> bool {
        self.fields
            .get(LATENCY_SENSITIVE)
            .is_some_and(|said| ["true", "yes", "1"].contains(&said.trim().to_lowercase().as_str()))
    }
}

/// `rule long (612 words, over 500): models pro, flash; strategy fastest; at most $0.01`
impl fmt::Display for Applying<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rule { name, models, strategy, max_usd, .. } = self.rule;
        let models = models.as_ref().map(|models| format!("models {}", models.join(", ")));
        let strategy = strategy.map(|strategy| format!("strategy {}", strategy.name()));
        let limit = max_usd.map(|max_usd| format!("at most {max_usd}"));
        let actions: Vec<String> = [models, strategy, limit].into_iter().flatten().collect();
        let actions = if actions.is_empty() { "as without a rule".to_owned() } else { actions.join("; ") };
        write!(f, "rule {name} ({}): {actions}", self.why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Image, Part, Request};

    fn item(prompt: &str) -> ItemSpec {
        ItemSpec {
            id: "1".to_owned(),
            request: Request::text(prompt),
            hash: String::new(),
            line: 1,
            model: None,
            tier: Some("batch".to_owned()),
            max_usd: None,
            fields: BTreeMap::from([
                ("lang".to_owned(), "de".to_owned()),
                (LATENCY_SENSITIVE.to_owned(), "True".to_owned()),
            ]),
            caption: None,
            picture: None,
        }
    }

    fn rule(name: &str, when: Conditions) -> Rule {
        Rule { name: name.to_owned(), when, ..Rule::default() }
    }

    fn fits(when: Conditions, item: &ItemSpec) -> bool {
        applying(&[rule("r", when)], item).is_some()
    }

    #[test]
    fn each_condition_is_met_or_missed() {
        let any = Conditions::default();
        let terms = |at_least| Some(Terms { words: vec!["qubit".to_owned(), "tensor".to_owned()], at_least });
        let field = |value: &str| BTreeMap::from([("lang".to_owned(), value.to_owned())]);
        let plain = item("How does a qubit differ from a bit?");
        for (want, when) in [
            (true, any.clone()),
            (true, Conditions { words_over: Some(7), ..any.clone() }),
            (false, Conditions { words_over: Some(8), ..any.clone() }),
            (true, Conditions { code: Some(false), ..any.clone() }),
            (false, Conditions { code: Some(true), ..any.clone() }),
            (true, Conditions { terms: terms(1), ..any.clone() }),
            (false, Conditions { terms: terms(2), ..any.clone() }),
            (false, Conditions { images: Some(true), ..any.clone() }),
            (true, Conditions { images: Some(false), ..any.clone() }),
            (true, Conditions { tier: Some("batch".to_owned()), ..any.clone() }),
            (false, Conditions { tier: Some("live".to_owned()), ..any.clone() }),
            (true, Conditions { latency_sensitive: Some(true), ..any.clone() }),
            (false, Conditions { latency_sensitive: Some(false), ..any.clone() }),
            (true, Conditions { field: field("de"), ..any.clone() }),
            (false, Conditions { field: field("en"), ..any.clone() }),
            (false, Conditions { field: field("de"), words_over: Some(100), ..any.clone() }),
        ] {
            assert_eq!(fits(when.clone(), &plain), want, "{when:?}");
        }
    }

    #[test]
    fn a_row_that_says_nothing_is_not_latency_sensitive() {
        let mut quiet = item("?");
        quiet.fields.clear();
        assert!(fits(Conditions { latency_sensitive: Some(false), ..Conditions::default() }, &quiet));
        assert!(!fits(
            Conditions { field: BTreeMap::from([("a".into(), "b".into())]), ..Conditions::default() },
            &quiet
        ));
    }

    #[test]
    fn the_first_rule_that_fits_applies_and_says_why() {
        let pictures = rule("pictures", Conditions { images: Some(true), ..Conditions::default() });
        let long = Rule {
            models: Some(vec!["pro".to_owned(), "flash".to_owned()]),
            strategy: Some(Strategy::Fastest),
            max_usd: Money::from_usd(0.25),
            ..rule("long", Conditions { words_over: Some(2), code: Some(false), ..Conditions::default() })
        };
        let rules = [pictures, long, rule("rest", Conditions::default())];
        let said = |item: &ItemSpec| applying(&rules, item).unwrap().to_string();
        assert_eq!(
            said(&item("one two three")),
            "rule long (3 words, over 2; has no code): models pro, flash; strategy fastest; at most $0.25"
        );
        assert_eq!(applying(&rules, &item("one")).unwrap().why, "any item");
        let mut seen = item("one two three");
        seen.request.messages[0].parts.push(Part::Image(Image::Url("https://example.org/a.png".to_owned())));
        assert_eq!(applying(&rules, &seen).unwrap().rule.name, "pictures");
    }

    #[test]
    fn only_fields_that_rules_look_at_are_named() {
        let named = |name: &str| BTreeMap::from([(name.to_owned(), "x".to_owned())]);
        let rules = [
            rule("a", Conditions { field: named("lang"), ..Conditions::default() }),
            rule("b", Conditions { field: named("lang"), latency_sensitive: Some(true), ..Conditions::default() }),
        ];
        assert_eq!(fields(&rules), ["lang", "latency_sensitive"]);
        assert_eq!(fields(&[]), [""; 0]);
    }
}
