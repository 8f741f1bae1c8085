//! Well-known providers: what `[[provider]]` need not say for them.

use crate::domain::{Api, QuotaDay, TokenCounting};

#[derive(Debug)]
pub(super) struct Preset {
    pub name: &'static str,
    pub api: Api,
    /// OpenAI-compatible addresses include the version path; `/chat/completions` is appended. For the others
    /// the whole path is.
    pub base_url: &'static str,
    pub day: QuotaDay,
    pub counted: TokenCounting,
    /// A server of one's own: needs no key and costs nothing.
    pub local: bool,
}

const fn hosted(name: &'static str, base_url: &'static str) -> Preset {
    Preset { name, api: Api::OpenAi, base_url, day: QuotaDay::Rolling, counted: TokenCounting::Total, local: false }
}

const fn local(name: &'static str, base_url: &'static str) -> Preset {
    Preset { local: true, ..hosted(name, base_url) }
}

pub(super) const PRESETS: [Preset; 19] = [
    Preset {
        name: "gemini",
        api: Api::Gemini,
        base_url: "https://generativelanguage.googleapis.com",
        day: day_of(Api::Gemini),
        counted: counted_by(Api::Gemini),
        local: false,
    },
    hosted("openai", "https://api.openai.com/v1"),
    Preset { api: Api::Anthropic, ..hosted("anthropic", "https://api.anthropic.com") },
    hosted("deepseek", "https://api.deepseek.com"),
    hosted("moonshot", "https://api.moonshot.ai/v1"),
    hosted("minimax", "https://api.minimax.io/v1"),
    Preset { day: QuotaDay::Utc, ..hosted("openrouter", "https://openrouter.ai/api/v1") },
    hosted("groq", "https://api.groq.com/openai/v1"),
    hosted("mistral", "https://api.mistral.ai/v1"),
    hosted("xai", "https://api.x.ai/v1"),
    hosted("together", "https://api.together.ai/v1"),
    hosted("fireworks", "https://api.fireworks.ai/inference/v1"),
    hosted("cerebras", "https://api.cerebras.ai/v1"),
    hosted("deepinfra", "https://api.deepinfra.com/v1/openai"),
    hosted("nvidia", "https://integrate.api.nvidia.com/v1"),
    local("ollama", "http://127.0.0.1:11434/v1"),
    // llama-server's default since 2026; older builds listen on 8080.
    local("llamacpp", "http://127.0.0.1:9931/v1"),
    local("vllm", "http://127.0.0.1:8000/v1"),
    local("lmstudio", "http://127.0.0.1:1234/v1"),
];

pub(super) fn preset(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

/// Gemini's days end at midnight Pacific; where nothing else is known, a day is 24 hours.
pub(super) const fn day_of(api: Api) -> QuotaDay {
    match api {
        Api::Gemini => QuotaDay::Pacific,
        Api::OpenAi | Api::Anthropic => QuotaDay::Rolling,
    }
}

/// Gemini's tokens per minute are input tokens only.
pub(super) const fn counted_by(api: Api) -> TokenCounting {
    match api {
        Api::Gemini => TokenCounting::Input,
        Api::OpenAi | Api::Anthropic => TokenCounting::Total,
    }
}
