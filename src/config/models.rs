//! `[[model]]`: the cascade, best first, with limits, prices and abilities.

use super::{
    deprecated_models,
    error::quote_unless_secret,
    extra_body,
    preset::CachePrices,
    providers::{ProviderEntry, Providers, check_name},
    schema,
    toml_reader::{TomlTable, TomlText},
};
use crate::domain::{Api, Limits, MAX_PRICE_STEPS, Model, Money, Price, ProviderId, Rates, merge_under};

/// Highest number of requests that a limit can be set to. A larger number is probably a mistake.
const MAX_REQUEST_SETTING: i64 = 1_000_000_000;
/// Highest number of tokens that a limit can be set to. A larger number is probably a mistake.
const MAX_TOKEN_SETTING: i64 = 1_000_000_000_000;
/// Highest price that can be set, in dollars per million tokens. The most expensive known model costs a hundredth of
/// this.
const MAX_USD_PER_MTOK: f64 = 100_000.0;
/// Highest price of a picture that can be set, in dollars.
const MAX_USD_PER_IMAGE: f64 = 1_000.0;

/// A model and the byte offset of its name.
#[derive(Debug)]
pub(super) struct LocatedModel {
    pub model: Model,
    pub name_offset: usize,
}

pub(super) fn read(root: &TomlTable<'_>, providers: &mut Providers) -> Vec<LocatedModel> {
    let mut models: Vec<LocatedModel> = Vec::new();
    for table in root.tables("model", &schema::MODEL) {
        let name = table.required_text("name");
        let provider =
            table.required_text("provider").and_then(|provider_name| providers.find(table.doc, provider_name));
        let model = read_model(&table, name, provider, providers);
        let (Some(name), Some(provider), Some(model)) = (name, provider, model) else { continue };
        check_name(table.doc, "a model's name", name);
        let duplicate =
            models.iter().find(|located| located.model.name == name.text && located.model.provider == provider);
        if let Some(duplicate) = duplicate {
            let line = table.doc.line_number(duplicate.name_offset);
            let provider_name = quote_unless_secret(&providers.get(provider).provider.name);
            let message = format!(
                "model {} of provider {provider_name} is already defined on line {line}",
                quote_unless_secret(name.text)
            );
            table.doc.add_error(name.offset, message);
        }
        if let Some(notice) = deprecated_models::deprecation_notice(name.text) {
            table.doc.add_warning(name.offset, &format!("{} {notice}", name.text));
        }
        models.push(LocatedModel { model, name_offset: name.offset });
    }
    models
}

/// Reads the settings of a model. If its name or provider are bad, the settings are read all the same, so that their
/// errors are reported too, and there is no model.
fn read_model(
    table: &TomlTable<'_>,
    name: Option<TomlText<'_>>,
    provider_id: Option<ProviderId>,
    providers: &Providers,
) -> Option<Model> {
    let provider = provider_id.map(|id| providers.get(id));
    let max_output = table.limit("max_output", i64::from(u32::MAX));
    let context = table.limit("context", MAX_TOKEN_SETTING);
    if let (Some(output), Some(context)) = (max_output, context)
        && u64::from(output) > context
    {
        table.doc.add_error(table.offset, format!("max_output = {output} must not be larger than context = {context}"));
    }
    let is_free = provider.is_some_and(|provider| provider.is_free);
    let limits = read_limits(table, provider);
    let vision = table.flag("vision").unwrap_or(false);
    let weight = table.count("weight", 1..=1_000_000).unwrap_or(1);
    let pool = table.text("pool").map(|pool| pool.text.to_owned());
    let mut extra_body = extra_body::read(table);
    if let Some(provider) = provider {
        merge_under(&mut extra_body, &provider.extra_body, provider.provider.api);
    }
    let max_tokens_field = table.choice("max_tokens_field");
    if let (Some(provider), Some(field)) = (provider, table.field("max_tokens_field"))
        && provider.provider.api != Api::OpenAi
    {
        let message =
            format!("max_tokens_field applies only to the openai API, not to {}", provider.provider.api.name());
        table.doc.add_error(field.offset, message);
    }
    let cache_prices = provider.map_or(CachePrices::AS_INPUT, |provider| provider.cache_prices);
    let price = read_price(table, cache_prices).or(is_free.then_some(Price::FREE));
    let price = with_image_price(table, price);
    Some(Model {
        name: name?.text.to_owned(),
        provider: provider_id?,
        limits,
        vision,
        context,
        max_output,
        weight,
        pool,
        price,
        extra_body,
        max_tokens_field,
    })
}

fn read_limits(table: &TomlTable<'_>, provider: Option<&ProviderEntry>) -> Limits {
    let (token_counting, quota_day) =
        provider.map(|provider| (provider.token_counting, provider.quota_day)).unwrap_or_default();
    let limits = Limits {
        rpm: table.limit("rpm", MAX_REQUEST_SETTING),
        tpm: table.limit("tpm", MAX_TOKEN_SETTING),
        token_counting: table.choice("counted").unwrap_or(token_counting),
        itpm: table.limit("itpm", MAX_TOKEN_SETTING),
        otpm: table.limit("otpm", MAX_TOKEN_SETTING),
        rpd: table.limit("rpd", MAX_REQUEST_SETTING),
        tpd: table.limit("tpd", MAX_TOKEN_SETTING),
        quota_day: table.choice("day").unwrap_or(quota_day),
        burst: table.limit("burst", MAX_REQUEST_SETTING),
        concurrency: table.limit("concurrency", MAX_REQUEST_SETTING),
    };
    if let (Some(burst), Some(field)) = (limits.burst, table.field("burst")) {
        match limits.rpm {
            None if table.field("rpm").is_none() => {
                table
                    .doc
                    .add_error(field.offset, "burst limits how much of rpm may be sent at once, but rpm is not set");
            }
            Some(rpm) if burst > rpm => {
                table.doc.add_error(field.offset, format!("burst = {burst} must not be larger than rpm = {rpm}"));
            }
            _ => {}
        }
    }
    limits
}

fn read_price(table: &TomlTable<'_>, cache_prices: CachePrices) -> Option<Price> {
    let prices = table.table("usd_per_mtok", &schema::PRICE)?;
    let base = read_rates(&prices, cache_prices);
    let steps = prices.tables("steps", &schema::PRICE_STEP);
    let price = Price::new(base?);
    steps.iter().try_fold(price, |price, step| {
        let above = step.require("above").and_then(|above| above.count(1..=MAX_TOKEN_SETTING));
        let (rates, above) = (read_rates(step, cache_prices)?, above?);
        let with_step = price.with_step(above, rates);
        if with_step.is_none() {
            let message = format!("steps must be in ascending order of `above`, and at most {MAX_PRICE_STEPS}");
            step.doc.add_error(step.offset, message);
        }
        with_step
    })
}

/// Reads the prices of `usd_per_mtok` or of one of its steps. `cache_prices` are those that it does not state.
fn read_rates(table: &TomlTable<'_>, cache_prices: CachePrices) -> Option<Rates> {
    let read_field = |name| table.require(name)?.number(0.0..=MAX_USD_PER_MTOK);
    // All are read before any is checked, so that errors in several are reported.
    let (input, output) = (read_field("input"), read_field("output"));
    let read_optional = |name| {
        let usd = table.number(name, 0.0..=MAX_USD_PER_MTOK)?;
        Rates::from_usd_per_mtok(usd, 0.0).map(|rates| rates.input)
    };
    let (cached, write, write_1h) =
        (read_optional("cached_input"), read_optional("cache_write"), read_optional("cache_write_1h"));
    let default = cache_prices.apply(Rates::from_usd_per_mtok(input?, output?)?);
    let cache_write = write.unwrap_or(default.cache_write);
    Some(Rates {
        cached_input: cached.unwrap_or(default.cached_input),
        cache_write,
        cache_write_1h: write_1h.unwrap_or(default.cache_write_1h.max(cache_write)),
        ..default
    })
}

/// Adds `usd_per_image`, which needs the prices of tokens.
fn with_image_price(table: &TomlTable<'_>, price: Option<Price>) -> Option<Price> {
    let Some(field) = table.field("usd_per_image") else { return price };
    let usd = field.number(0.0..=MAX_USD_PER_IMAGE)?;
    if price.is_none() && table.field("usd_per_mtok").is_none() {
        table.doc.add_error(field.offset, "usd_per_image adds to usd_per_mtok, which is not set");
    }
    Some(price?.with_image(Money::from_usd(usd)?))
}
