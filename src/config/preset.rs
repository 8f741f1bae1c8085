//! Presets: the defaults of well-known providers.

use crate::domain::{Api, MaxTokensField, QuotaDay, Rates, TokenCounting};

#[derive(Debug)]
pub(super) struct Preset {
    pub name: &'static str,
    pub api: Api,
    /// OpenAI-compatible addresses include the version; `/chat/completions` is appended. For the others the whole path
    /// is appended.
    pub base_url: &'static str,
    pub quota_day: QuotaDay,
    pub token_counting: TokenCounting,
    pub cache_prices: CachePrices,
    /// True for the user's own server, which needs no key and costs nothing.
    pub is_local: bool,
}

impl Preset {
    /// The name of the output limit at this provider. `None` at APIs where it has only one name.
    pub fn max_tokens_field(&self) -> Option<MaxTokensField> {
        match self.api {
            Api::OpenAi if self.name == "openai" => Some(MaxTokensField::MaxCompletionTokens),
            Api::OpenAi => Some(MaxTokensField::MaxTokens),
            Api::Gemini | Api::Anthropic => None,
        }
    }
}

/// The highest prices of cached input at a provider, in percent of its models' input price. They apply to models whose
/// own prices don't state them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct CachePrices {
    read: u64,
    write: u64,
    write_1h: u64,
}

impl CachePrices {
    /// Cached input costs as much as other input.
    pub const AS_INPUT: Self = Self { read: 100, write: 100, write_1h: 100 };

    /// The prices at a provider that is not well known. Whoever speaks Anthropic's API may bill writes as Anthropic
    /// does, but reads cost less in different degrees.
    pub const fn default_of(api: Api) -> Self {
        match api {
            Api::Anthropic => Self { read: 100, ..ANTHROPIC_CACHE },
            Api::Gemini | Api::OpenAi => Self::AS_INPUT,
        }
    }

    /// Sets the prices of cached input by that of other input.
    pub fn apply(self, rates: Rates) -> Rates {
        let percent_of_input = |percent: u64| rates.input.saturating_mul(percent).div_ceil(100);
        Rates {
            cached_input: percent_of_input(self.read),
            cache_write: percent_of_input(self.write),
            cache_write_1h: percent_of_input(self.write_1h),
            ..rates
        }
    }
}

const ANTHROPIC_CACHE: CachePrices = CachePrices { read: 10, write: 125, write_1h: 200 };
/// Writes cost more since GPT-5.6, and nothing before.
const OPENAI_CACHE: CachePrices = CachePrices { read: 50, write: 125, write_1h: 125 };
/// OpenRouter passes on the write prices of OpenAI and Anthropic.
const OPENROUTER_CACHE: CachePrices = CachePrices { read: 100, write: 125, write_1h: 200 };
const GEMINI_CACHE: CachePrices = CachePrices { read: 25, ..CachePrices::AS_INPUT };
/// DeepSeek and Mistral.
const TENTH_CACHE: CachePrices = CachePrices { read: 10, ..CachePrices::AS_INPUT };

const fn hosted_preset(name: &'static str, base_url: &'static str) -> Preset {
    Preset {
        name,
        api: Api::OpenAi,
        base_url,
        quota_day: QuotaDay::Rolling,
        token_counting: TokenCounting::Total,
        cache_prices: CachePrices::AS_INPUT,
        is_local: false,
    }
}

const fn local_preset(name: &'static str, base_url: &'static str) -> Preset {
    Preset { is_local: true, ..hosted_preset(name, base_url) }
}

pub(super) const PRESETS: [Preset; 19] = [
    Preset {
        name: "gemini",
        api: Api::Gemini,
        base_url: "https://generativelanguage.googleapis.com",
        quota_day: default_quota_day(Api::Gemini),
        token_counting: default_token_counting(Api::Gemini),
        cache_prices: GEMINI_CACHE,
        is_local: false,
    },
    Preset { cache_prices: OPENAI_CACHE, ..hosted_preset("openai", "https://api.openai.com/v1") },
    Preset {
        api: Api::Anthropic,
        cache_prices: ANTHROPIC_CACHE,
        ..hosted_preset("anthropic", "https://api.anthropic.com")
    },
    Preset { cache_prices: TENTH_CACHE, ..hosted_preset("deepseek", "https://api.deepseek.com") },
    hosted_preset("moonshot", "https://api.moonshot.ai/v1"),
    hosted_preset("minimax", "https://api.minimax.io/v1"),
    Preset {
        quota_day: QuotaDay::Utc,
        cache_prices: OPENROUTER_CACHE,
        ..hosted_preset("openrouter", "https://openrouter.ai/api/v1")
    },
    hosted_preset("groq", "https://api.groq.com/openai/v1"),
    Preset { cache_prices: TENTH_CACHE, ..hosted_preset("mistral", "https://api.mistral.ai/v1") },
    hosted_preset("xai", "https://api.x.ai/v1"),
    hosted_preset("together", "https://api.together.ai/v1"),
    hosted_preset("fireworks", "https://api.fireworks.ai/inference/v1"),
    hosted_preset("cerebras", "https://api.cerebras.ai/v1"),
    hosted_preset("deepinfra", "https://api.deepinfra.com/v1/openai"),
    hosted_preset("nvidia", "https://integrate.api.nvidia.com/v1"),
    local_preset("ollama", "http://127.0.0.1:11434/v1"),
    // llama-server's default since 2026; older builds listen on 8080.
    local_preset("llamacpp", "http://127.0.0.1:9931/v1"),
    local_preset("vllm", "http://127.0.0.1:8000/v1"),
    local_preset("lmstudio", "http://127.0.0.1:1234/v1"),
];

pub(super) fn find_preset(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

/// Gemini's days end at midnight Pacific time. Otherwise a day is a rolling 24 hours.
pub(super) const fn default_quota_day(api: Api) -> QuotaDay {
    match api {
        Api::Gemini => QuotaDay::Pacific,
        Api::OpenAi | Api::Anthropic => QuotaDay::Rolling,
    }
}

/// Gemini's tokens per minute are input tokens only.
pub(super) const fn default_token_counting(api: Api) -> TokenCounting {
    match api {
        Api::Gemini => TokenCounting::Input,
        Api::OpenAi | Api::Anthropic => TokenCounting::Total,
    }
}
