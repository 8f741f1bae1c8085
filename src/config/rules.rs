//! `[[rule]]`: decides by an item's properties where it may go.

use std::collections::BTreeMap;

use toml::de::DeValue;

use super::{
    error::{format_suggestion, join_alternatives, quote_unless_secret},
    models::LocatedModel,
    policy,
    providers::check_name,
    schema,
    toml_reader::{TomlField, TomlTable},
};
use crate::domain::{Money, RequiredTerms, RoutingRule, RuleConditions};

/// A rule, and the byte offsets of its name and of its strategy, if it sets one.
#[derive(Debug)]
pub(super) struct LocatedRule {
    pub rule: RoutingRule,
    pub strategy_offset: Option<usize>,
    name_offset: usize,
}

pub(super) fn read(root: &TomlTable<'_>, models: &[LocatedModel]) -> Vec<LocatedRule> {
    let mut rules: Vec<LocatedRule> = Vec::new();
    for table in root.tables("rule", &schema::RULE) {
        let name = table.required_text("name");
        let allowed_models = read_models(&table, models);
        let rule = RoutingRule {
            name: name.map(|name| name.text.to_owned()).unwrap_or_default(),
            conditions: read_conditions(&table),
            strategy: table.choice("strategy"),
            max_usd: read_max_usd(&table, models, allowed_models.as_deref()),
            models: allowed_models,
        };
        let Some(name) = name else { continue };
        check_name(table.doc, "a rule's name", name);
        if let Some(duplicate) = rules.iter().find(|other| other.rule.name == rule.name) {
            let line = table.doc.line_number(duplicate.name_offset);
            table.doc.add_error(
                name.offset,
                format!("a rule named {} is already defined on line {line}", quote_unless_secret(name.text)),
            );
        }
        if let Some(earlier) = rules.iter().find(|other| other.rule.conditions == RuleConditions::default()) {
            let (earlier, line) = (quote_unless_secret(&earlier.rule.name), table.doc.line_number(earlier.name_offset));
            let message = format!(
                "this rule can never apply: rule {earlier} on line {line} matches every item, and the first match applies"
            );
            table.doc.add_error(table.offset, message);
        }
        rules.push(LocatedRule {
            rule,
            strategy_offset: table.field("strategy").map(|field| field.offset),
            name_offset: name.offset,
        });
    }
    rules
}

fn read_conditions(table: &TomlTable<'_>) -> RuleConditions {
    RuleConditions {
        words_over: table.count("words_over", 0..=1_000_000_000),
        code: table.flag("code"),
        terms: read_terms(table),
        images: table.flag("images"),
        tier: table.text("tier").map(|tier| tier.text.to_owned()),
        latency_sensitive: table.flag("latency_sensitive"),
        row_fields: table.field("field").and_then(|field| read_field_conditions(&field)).unwrap_or_default(),
    }
}

fn read_terms(table: &TomlTable<'_>) -> Option<RequiredTerms> {
    let at_least: Option<u32> = table.count("terms_at_least", 1..=1_000_000);
    let Some(field) = table.field("terms") else {
        if let Some(field) = table.field("terms_at_least") {
            table.doc.add_error(
                field.offset,
                "terms_at_least sets how many of terms an item must mention, but terms is not set",
            );
        }
        return None;
    };
    let entries = field.list("technical terms")?;
    let terms: Vec<String> =
        entries.iter().filter_map(TomlField::text).map(|term| term.text.trim().to_owned()).collect();
    let min_matches = at_least.unwrap_or(1);
    if min_matches as usize > terms.len() && terms.len() == entries.len() {
        let message = format!("terms_at_least = {min_matches} can't be met: there are {} terms", terms.len());
        table.doc.add_error(table.field("terms_at_least").map_or(field.offset, |field| field.offset), message);
    }
    Some(RequiredTerms { terms, min_matches })
}

/// Reads `{ lang = "de", level = 3 }`. Values may be texts, whole numbers and booleans. They are converted to text, as
/// the fields of rows are.
fn read_field_conditions(field: &TomlField<'_>) -> Option<BTreeMap<String, String>> {
    let Some(entries) = field.value.as_table() else {
        field.wrong_type("a table of the row's fields, like { lang = \"de\" }");
        return None;
    };
    if entries.is_empty() {
        field.doc.add_error(field.offset, "field is empty; leave it out for no condition");
    }
    let mut conditions = BTreeMap::new();
    for (name, value) in entries {
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Boolean(flag) => flag.to_string(),
            _ => {
                let message = format!(
                    "field {}: the value must be a string, a whole number, true or false",
                    quote_unless_secret(name.get_ref())
                );
                field.doc.add_error(value.span().start, message);
                continue;
            }
        };
        conditions.insert(name.get_ref().to_string(), text);
    }
    Some(conditions)
}

fn read_models(table: &TomlTable<'_>, models: &[LocatedModel]) -> Option<Vec<String>> {
    let entries = table.field("models")?.list("model names")?;
    let known = || models.iter().map(|located| located.model.name.as_str());
    let mut allowed: Vec<String> = Vec::new();
    for entry in entries {
        let Some(name) = entry.text() else { continue };
        if !known().any(|model| model == name.text) {
            let message = format!(
                "models: there is no [[model]] named {}{}; use {}",
                quote_unless_secret(name.text),
                format_suggestion(name.text, known()),
                join_alternatives(known())
            );
            table.doc.add_error(name.offset, message);
        } else if allowed.iter().any(|model| model == name.text) {
            table.doc.add_error(name.offset, format!("models: {} is listed twice", quote_unless_secret(name.text)));
        } else {
            allowed.push(name.text.to_owned());
        }
    }
    Some(allowed)
}

fn read_max_usd(table: &TomlTable<'_>, models: &[LocatedModel], allowed_models: Option<&[String]>) -> Option<Money> {
    let field = table.field("max_usd")?;
    let usd = field.number(0.0..=10_000_000.0)?;
    if usd <= 0.0 {
        table.doc.add_error(field.offset, "max_usd must be more than 0; leave it out for no limit");
        return None;
    }
    let is_rule_model =
        |located: &&LocatedModel| allowed_models.is_none_or(|listed| listed.contains(&located.model.name));
    policy::report_unbounded_costs(table, "max_usd", &field, models.iter().filter(is_rule_model));
    Money::from_usd(usd)
}
