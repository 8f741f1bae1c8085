//! The providers whose keys may come from the environment, and their default models.
//!
//! Prices and limits are those of the vendors' price lists and documentation, as of November 2026. Where a price
//! depends on the time of day, it is the highest one. Where it rises with the length of the prompt, `context` ends
//! before the next step.

use super::{
    deprecated_models,
    preset::{self, CachePrices},
    providers::ProviderEntry,
};
use crate::domain::{Limits, Model, Price, ProviderId, Rates, pluralize};

/// A provider whose keys may come from the environment.
pub(super) struct EnvProvider {
    pub preset_name: &'static str,
    /// Best first.
    pub models: &'static [DefaultModel],
}

/// A model that is used if no keys.toml names any.
pub(super) struct DefaultModel {
    name: &'static str,
    /// Free-tier limits. Limits of paid tiers depend on the account and are learned.
    rpm: Option<u32>,
    tpm: Option<u64>,
    rpd: Option<u32>,
    /// Dollars per million tokens, input and output; `None` if no price list has it.
    usd_per_mtok: Option<(f64, f64)>,
    /// Dollars per million cached input tokens; `None`: as the provider's preset says.
    cached_usd_per_mtok: Option<f64>,
    vision: bool,
    context: Option<u64>,
}

const fn free_tier_model(name: &'static str, rpm: u32, rpd: u32, usd: (f64, f64)) -> DefaultModel {
    DefaultModel { rpm: Some(rpm), tpm: Some(250_000), rpd: Some(rpd), ..vision_model(name, usd) }
}

const fn vision_model(name: &'static str, usd: (f64, f64)) -> DefaultModel {
    DefaultModel { vision: true, ..text_model(name, usd) }
}

const fn text_model(name: &'static str, usd: (f64, f64)) -> DefaultModel {
    DefaultModel {
        name,
        rpm: None,
        tpm: None,
        rpd: None,
        usd_per_mtok: Some(usd),
        cached_usd_per_mtok: None,
        vision: false,
        context: None,
    }
}

const fn cached_vision_model(name: &'static str, usd: (f64, f64), cached_usd: f64) -> DefaultModel {
    DefaultModel { cached_usd_per_mtok: Some(cached_usd), ..vision_model(name, usd) }
}

/// In the order of the presets.
pub(super) const ENV_PROVIDERS: [EnvProvider; 15] = [
    EnvProvider {
        preset_name: "gemini",
        models: &[
            free_tier_model("gemini-3.8-flash", 5, 20, (0.75, 3.75)),
            free_tier_model("gemini-3.6-flash", 5, 20, (0.75, 3.75)),
            free_tier_model("gemini-3.5-flash-lite", 15, 500, (0.30, 2.50)),
            free_tier_model("gemini-3.1-flash-lite", 15, 500, (0.25, 1.50)),
        ],
    },
    EnvProvider {
        preset_name: "openai",
        models: &[
            cached_vision_model("gpt-5.4-mini", (0.75, 4.50), 0.075),
            cached_vision_model("gpt-5.4-nano", (0.20, 1.25), 0.02),
        ],
    },
    EnvProvider { preset_name: "anthropic", models: &[vision_model("claude-haiku-4-5", (1.0, 5.0))] },
    // The price of peak hours; other hours cost half as much.
    EnvProvider { preset_name: "deepseek", models: &[cached_vision_model("deepseek-flash", (0.30, 1.20), 0.006)] },
    EnvProvider { preset_name: "moonshot", models: &[vision_model("kimi-k2.6", (0.95, 4.0))] },
    EnvProvider {
        preset_name: "minimax",
        models: &[DefaultModel { context: Some(512_000), ..vision_model("MiniMax-M3", (0.30, 1.20)) }],
    },
    EnvProvider { preset_name: "openrouter", models: &[vision_model("google/gemini-3.1-flash-lite", (0.25, 1.50))] },
    EnvProvider {
        preset_name: "groq",
        models: &[text_model("openai/gpt-oss-120b", (0.15, 0.60)), text_model("openai/gpt-oss-20b", (0.075, 0.30))],
    },
    EnvProvider { preset_name: "mistral", models: &[vision_model("mistral-small-2603", (0.15, 0.60))] },
    EnvProvider {
        preset_name: "xai",
        models: &[DefaultModel { context: Some(200_000), ..vision_model("grok-4.3", (1.25, 2.50)) }],
    },
    EnvProvider {
        preset_name: "together",
        models: &[vision_model("MiniMaxAI/MiniMax-M3", (0.30, 1.20)), text_model("openai/gpt-oss-120b", (0.15, 0.60))],
    },
    EnvProvider {
        preset_name: "fireworks",
        models: &[
            vision_model("accounts/fireworks/models/deepseek-v4p1-flash", (0.30, 1.20)),
            vision_model("accounts/fireworks/models/glm-5p3-flash", (0.15, 0.50)),
        ],
    },
    EnvProvider { preset_name: "cerebras", models: &[text_model("gpt-oss-120b", (0.35, 0.75))] },
    EnvProvider {
        preset_name: "deepinfra",
        models: &[
            vision_model("deepseek-ai/DeepSeek-V4.1-Flash", (0.14, 0.42)),
            text_model("openai/gpt-oss-120b", (0.037, 0.17)),
        ],
    },
    EnvProvider {
        preset_name: "nvidia",
        models: &[DefaultModel { usd_per_mtok: None, ..text_model("openai/gpt-oss-120b", (0.0, 0.0)) }],
    },
];

/// A number of output tokens that every default model supports. It gives the cost of a request an upper bound.
const MAX_OUTPUT_TOKENS: u32 = 8_192;

/// Finds the provider with this name, if its keys may come from the environment.
pub(super) fn find_env_provider(name: &str) -> Option<&'static EnvProvider> {
    ENV_PROVIDERS.iter().find(|provider| provider.preset_name == name)
}

impl EnvProvider {
    /// Both variables are read. Each may contain several keys, separated by commas.
    pub fn variables(&self) -> [String; 2] {
        let prefix = self.preset_name.to_ascii_uppercase();
        [format!("{prefix}_API_KEYS"), format!("{prefix}_API_KEY")]
    }

    /// `None` would be an error in the table; a test finds it.
    pub fn preset(&self) -> Option<&'static preset::Preset> {
        preset::find_preset(self.preset_name)
    }
}

impl DefaultModel {
    /// `cache_prices` are those of the provider.
    fn price(&self, cache_prices: CachePrices) -> Option<Price> {
        let (input, output) = self.usd_per_mtok?;
        let rates = cache_prices.apply(Rates::from_usd_per_mtok(input, output)?);
        let cached = self.cached_usd_per_mtok.and_then(|usd| Rates::from_usd_per_mtok(usd, 0.0));
        let cached_input = cached.map_or(rates.cached_input, |cached| cached.input);
        Some(Price::new(Rates { cached_input, ..rates }))
    }

    pub fn to_model(&self, id: ProviderId, provider: &ProviderEntry) -> Model {
        debug_assert_eq!(
            deprecated_models::deprecation_notice(self.name),
            None,
            "the default models must not be deprecated"
        );
        Model {
            name: self.name.to_owned(),
            provider: id,
            limits: Limits {
                rpm: self.rpm,
                tpm: self.tpm,
                rpd: self.rpd,
                token_counting: provider.token_counting,
                quota_day: provider.quota_day,
                ..Limits::default()
            },
            vision: self.vision,
            context: self.context,
            max_output: Some(MAX_OUTPUT_TOKENS),
            weight: 1,
            pool: None,
            price: self.price(provider.cache_prices),
            extra_body: serde_json::Map::new(),
            max_tokens_field: None,
        }
    }
}

/// The keys of one provider that were found in the environment, without the secrets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EnvironmentKeys {
    pub provider: &'static str,
    /// The variables that have the keys: `GEMINI_API_KEYS`, `GEMINI_API_KEY in .env`.
    pub variables: Vec<String>,
    pub key_count: usize,
    /// The models that would be used and their prices, best first.
    pub models: Vec<(&'static str, Option<Price>)>,
}

impl EnvironmentKeys {
    pub(super) fn new(env_provider: &EnvProvider, variables: Vec<String>, key_count: usize) -> Self {
        Self {
            provider: env_provider.preset_name,
            variables,
            key_count,
            models: env_provider.models.iter().map(|model| (model.name, model.price(CachePrices::AS_INPUT))).collect(),
        }
    }

    /// The provider, its keys, variables and models: `groq: 2 keys in GROQ_API_KEYS; models: … ($0.15 in, $0.60 out)`.
    fn describe(&self) -> String {
        let models: Vec<String> =
            self.models.iter().map(|(name, price)| format!("{name} ({})", describe_price(*price))).collect();
        format!(
            "{}: {} in {}; models: {}",
            self.provider,
            pluralize(self.key_count as u64, "key"),
            self.variables.join(" and "),
            models.join(", ")
        )
    }
}

/// One line for each provider, numbered if there are several, and the unit of the prices.
pub fn describe_environment_keys(found: &[EnvironmentKeys]) -> String {
    let lines = found.iter().enumerate().map(|(index, keys)| {
        let number = if found.len() > 1 { format!("{}. ", index + 1) } else { String::new() };
        format!("  {number}{}\n", keys.describe())
    });
    lines.collect::<String>() + "Prices are for a million tokens."
}

fn describe_price(price: Option<Price>) -> String {
    let Some(rates) = price.map(|price| price.base()) else { return "price unknown".to_owned() };
    format!("{} in, {} out", describe_mtok_price(rates.input), describe_mtok_price(rates.output))
}

/// A price in pico-dollars per token, as dollars per million tokens: `$0.30`, `$0.075`.
fn describe_mtok_price(pico_per_token: u64) -> String {
    let micro_usd = pico_per_token;
    let (usd, fraction) = (micro_usd / 1_000_000, micro_usd % 1_000_000);
    let digits = format!("{fraction:06}");
    let cents_and_more = digits.trim_end_matches('0');
    format!("${usd}.{cents_and_more:0<2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hosted_preset_may_have_its_keys_in_the_environment() {
        let hosted = preset::PRESETS.iter().filter(|preset| !preset.is_local).map(|preset| preset.name);
        assert_eq!(
            hosted.collect::<Vec<_>>(),
            ENV_PROVIDERS.iter().map(|provider| provider.preset_name).collect::<Vec<_>>()
        );
    }

    #[test]
    fn prices_have_all_their_digits() {
        let price = |input, output| describe_price(Price::from_usd_per_mtok(input, output));
        assert_eq!(price(0.075, 12.5), "$0.075 in, $12.50 out");
        assert_eq!(price(1.0, 0.0), "$1.00 in, $0.00 out");
        assert_eq!(describe_price(None), "price unknown");
    }
}
