//! `[[rule]]`: what items are decides where they may go.

use std::collections::BTreeMap;

use toml::de::DeValue;

use super::{
    fault::{alternatives, shown, suggestion},
    models::Placed,
    policy,
    providers::check_name,
    schema,
    sheet::{Field, Table},
};
use crate::domain::{Money, RequiredTerms, RoutingRule, RuleConditions};

/// A rule, and where its name and its strategy stand.
#[derive(Debug)]
pub(super) struct PlacedRule {
    pub rule: RoutingRule,
    pub strategy_at: Option<usize>,
    at: usize,
}

pub(super) fn read(root: &Table<'_>, models: &[Placed]) -> Vec<PlacedRule> {
    let mut rules: Vec<PlacedRule> = Vec::new();
    for table in root.tables("rule", &schema::RULE) {
        let name = table.required_text("name");
        let listed = allowed(&table, models);
        let rule = RoutingRule {
            name: name.map(|name| name.text.to_owned()).unwrap_or_default(),
            conditions: conditions(&table),
            strategy: table.word("strategy", &policy::strategies()),
            max_usd: limit(&table, models, listed.as_deref()),
            models: listed,
        };
        let Some(name) = name else { continue };
        check_name(table.sheet, "a rule's name", name);
        if let Some(twin) = rules.iter().find(|other| other.rule.name == rule.name) {
            let line = table.sheet.line(twin.at);
            table.sheet.fault(name.at, format!("a rule named {} already stands on line {line}", shown(name.text)));
        }
        if let Some(earlier) = rules.iter().find(|other| other.rule.conditions == RuleConditions::default()) {
            let (earlier, line) = (shown(&earlier.rule.name), table.sheet.line(earlier.at));
            let message = format!(
                "this rule can never apply: rule {earlier} on line {line} fits every item, and the first that fits counts"
            );
            table.sheet.fault(table.at, message);
        }
        rules.push(PlacedRule { rule, strategy_at: table.field("strategy").map(|field| field.at), at: name.at });
    }
    rules
}

fn conditions(table: &Table<'_>) -> RuleConditions {
    RuleConditions {
        words_over: table.count("words_over", 0..=1_000_000_000),
        code: table.flag("code"),
        terms: terms(table),
        images: table.flag("images"),
        tier: table.text("tier").map(|tier| tier.text.to_owned()),
        latency_sensitive: table.flag("latency_sensitive"),
        row_fields: table.field("field").and_then(|field| fields(&field)).unwrap_or_default(),
    }
}

fn terms(table: &Table<'_>) -> Option<RequiredTerms> {
    let at_least: Option<u32> = table.count("terms_at_least", 1..=1_000_000);
    let Some(field) = table.field("terms") else {
        if let Some(field) = table.field("terms_at_least") {
            table
                .sheet
                .fault(field.at, "terms_at_least says how many of terms an item must mention, but there are no terms");
        }
        return None;
    };
    let entries = field.list("technical terms")?;
    let words: Vec<String> = entries.iter().filter_map(Field::text).map(|term| term.text.trim().to_owned()).collect();
    let min_matches = at_least.unwrap_or(1);
    if min_matches as usize > words.len() && words.len() == entries.len() {
        let message = format!("terms_at_least = {min_matches} can't be met: there are {} terms", words.len());
        table.sheet.fault(table.field("terms_at_least").map_or(field.at, |field| field.at), message);
    }
    Some(RequiredTerms { terms: words, min_matches })
}

/// `{ lang = "de", level = 3 }`: texts, whole numbers and true or false, each as the row would write it.
fn fields(field: &Field<'_>) -> Option<BTreeMap<String, String>> {
    let Some(entries) = field.value.as_table() else {
        field.wrong("a table of the row's fields, like { lang = \"de\" }");
        return None;
    };
    if entries.is_empty() {
        field.sheet.fault(field.at, "field is empty; leave it out for no condition");
    }
    let mut wanted = BTreeMap::new();
    for (name, value) in entries {
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Boolean(flag) => flag.to_string(),
            _ => {
                let message = format!("field {}: give a text, a whole number, true or false", shown(name.get_ref()));
                field.sheet.fault(value.span().start, message);
                continue;
            }
        };
        wanted.insert(name.get_ref().to_string(), text);
    }
    Some(wanted)
}

fn allowed(table: &Table<'_>, models: &[Placed]) -> Option<Vec<String>> {
    let entries = table.field("models")?.list("model names")?;
    let known = || models.iter().map(|placed| placed.model.name.as_str());
    let mut allowed: Vec<String> = Vec::new();
    for entry in entries {
        let Some(name) = entry.text() else { continue };
        if !known().any(|model| model == name.text) {
            let message = format!(
                "models: there is no [[model]] called {}{}; there are {}",
                shown(name.text),
                suggestion(name.text, known()),
                alternatives(known())
            );
            table.sheet.fault(name.at, message);
        } else if allowed.iter().any(|model| model == name.text) {
            table.sheet.fault(name.at, format!("models: {} stands here twice", shown(name.text)));
        } else {
            allowed.push(name.text.to_owned());
        }
    }
    Some(allowed)
}

fn limit(table: &Table<'_>, models: &[Placed], listed: Option<&[String]>) -> Option<Money> {
    let field = table.field("max_usd")?;
    let usd = field.number(0.0..=10_000_000.0)?;
    if usd <= 0.0 {
        table.sheet.fault(field.at, "max_usd must be more than 0; leave it out for no limit");
        return None;
    }
    let of_rule = |placed: &&Placed| listed.is_none_or(|listed| listed.contains(&placed.model.name));
    policy::hold_to_cap(table, "max_usd", &field, models.iter().filter(of_rule));
    Money::from_usd(usd)
}
