//! `[[model]]`: the cascade, best first, with limits, prices and abilities.

use super::{
    fault::shown,
    providers::{COUNTED, DAYS, Declared, Providers, check_name},
    retired, schema,
    sheet::Table,
};
use crate::domain::{Limits, Model, Price, ProviderId};

const MOST_REQUESTS: i64 = 1_000_000_000;
const MOST_TOKENS: i64 = 1_000_000_000_000;
/// Dollars per million tokens; the dearest known model is a hundredth of this.
const DEAREST: f64 = 100_000.0;

/// A model and where its name stands.
#[derive(Debug)]
pub(super) struct Placed {
    pub model: Model,
    pub at: usize,
}

pub(super) fn read(root: &Table<'_>, providers: &mut Providers) -> Vec<Placed> {
    let mut models: Vec<Placed> = Vec::new();
    for table in root.tables("model", &schema::MODEL) {
        let name = table.required_text("name");
        let provider = table.required_text("provider").and_then(|given| providers.find(table.sheet, given));
        // Settings are read even where name or provider are faulty, for faults of their own.
        let settings = settings(&table, provider.map(|id| providers.get(id)));
        let (Some(name), Some(provider)) = (name, provider) else { continue };
        check_name(table.sheet, "a model's name", name);
        let twin = models.iter().find(|placed| placed.model.name == name.text && placed.model.provider == provider);
        if let Some(twin) = twin {
            let line = table.sheet.line(twin.at);
            let at_provider = shown(&providers.get(provider).provider.name);
            let message = format!("model {} already stands at provider {at_provider} on line {line}", shown(name.text));
            table.sheet.fault(name.at, message);
        }
        if let Some(notice) = retired::notice(name.text) {
            table.sheet.warn(name.at, &format!("{} {notice}", name.text));
        }
        models.push(Placed { model: Model { name: name.text.to_owned(), provider, ..settings }, at: name.at });
    }
    models
}

/// Everything but name and provider.
fn settings(table: &Table<'_>, declared: Option<&Declared>) -> Model {
    let max_output = table.limit("max_output", i64::from(u32::MAX));
    let context = table.limit("context", MOST_TOKENS);
    if let (Some(output), Some(context)) = (max_output, context)
        && u64::from(output) > context
    {
        table.sheet.fault(table.at, format!("max_output = {output} is more than the whole context = {context}"));
    }
    let free = declared.is_some_and(|declared| declared.free);
    Model {
        name: String::new(),
        provider: ProviderId::default(),
        limits: limits(table, declared),
        vision: table.flag("vision").unwrap_or(false),
        context,
        max_output,
        weight: table.count("weight", 1..=1_000_000).unwrap_or(1),
        pool: table.text("pool").map(|pool| pool.text.to_owned()),
        price: price(table).or(free.then_some(Price::default())),
    }
}

fn limits(table: &Table<'_>, declared: Option<&Declared>) -> Limits {
    let (counted, day) = declared.map(|declared| (declared.counted, declared.day)).unwrap_or_default();
    let limits = Limits {
        rpm: table.limit("rpm", MOST_REQUESTS),
        tpm: table.limit("tpm", MOST_TOKENS),
        token_counting: table.word("counted", &COUNTED).unwrap_or(counted),
        itpm: table.limit("itpm", MOST_TOKENS),
        otpm: table.limit("otpm", MOST_TOKENS),
        rpd: table.limit("rpd", MOST_REQUESTS),
        tpd: table.limit("tpd", MOST_TOKENS),
        quota_day: table.word("day", &DAYS).unwrap_or(day),
        burst: table.limit("burst", MOST_REQUESTS),
        concurrency: table.limit("concurrency", MOST_REQUESTS),
    };
    if let (Some(burst), Some(field)) = (limits.burst, table.field("burst")) {
        match limits.rpm {
            None if table.field("rpm").is_none() => {
                table.sheet.fault(field.at, "burst says how much of rpm may go at once, but there is no rpm");
            }
            Some(rpm) if burst > rpm => {
                table.sheet.fault(field.at, format!("burst = {burst} is more than rpm = {rpm} lets through"));
            }
            _ => {}
        }
    }
    limits
}

fn price(table: &Table<'_>) -> Option<Price> {
    let prices = table.table("usd_per_mtok", &schema::PRICE)?;
    let side = |name| prices.require(name)?.number(0.0..=DEAREST);
    // Both are read before either is given up on.
    let (input, output) = (side("input"), side("output"));
    Price::from_usd_per_mtok(input?, output?)
}
