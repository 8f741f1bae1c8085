//! Providers, models and keys of the configuration, validated and indexed. They contain no secrets; only the endpoints
//! hold those.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    cost_factors::{unbounded_field, unbounded_model_effect},
    ids::ProviderId,
    money::Money,
    named::names,
    price::Price,
    quota_day::QuotaDay,
    response_meta::LimitDimension,
};

/// The output limit that is sent to Anthropic's API if neither the request nor the model states one. The API requires a
/// limit, and all its models allow this one.
pub const ANTHROPIC_DEFAULT_MAX_OUTPUT: u32 = 4_096;

/// A wire API. Everything compatible with OpenAI is `OpenAi`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Api {
    Gemini,
    OpenAi,
    Anthropic,
}

names!(Api { Gemini = "gemini", OpenAi = "openai", Anthropic = "anthropic" });

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Provider {
    pub name: String,
    pub api: Api,
    /// Without a trailing slash.
    pub base_url: String,
    /// Extra headers sent with every request.
    pub headers: Vec<(String, String)>,
    pub health_check: HealthCheck,
    /// The usual name of the output limit at this provider, if it is known.
    pub max_tokens_field: Option<MaxTokensField>,
}

impl Provider {
    /// A provider with the default settings.
    pub fn new(name: impl Into<String>, api: Api, base_url: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            api,
            base_url: base_url.into(),
            headers: Vec::new(),
            health_check: HealthCheck::default(),
            max_tokens_field: None,
        }
    }
}

/// How a provider is asked whether it responds, without a paid request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HealthCheck {
    pub target: HealthCheckTarget,
    /// Time between two checks.
    pub interval: Duration,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HealthCheckTarget {
    /// The list of models.
    Models,
    /// A path on the provider's host, which starts with `/`.
    Path(String),
    /// The provider is not checked.
    Off,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self { target: HealthCheckTarget::Models, interval: Duration::from_secs(60) }
    }
}

/// The name of the output limit in a body for OpenAI's API or a compatible one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaxTokensField {
    MaxTokens,
    /// The name at OpenAI's own models.
    MaxCompletionTokens,
}

names!(MaxTokensField { MaxTokens = "max_tokens", MaxCompletionTokens = "max_completion_tokens" });

impl MaxTokensField {
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::MaxTokens => Self::MaxCompletionTokens,
            Self::MaxCompletionTokens => Self::MaxTokens,
        }
    }
}

#[derive(Clone, PartialEq, Debug)]
pub struct Model {
    /// The id, spelled as the provider spells it.
    pub name: String,
    pub provider: ProviderId,
    pub limits: Limits,
    pub vision: bool,
    /// Context window in tokens, input and output together; `None` if it is unknown.
    pub context: Option<u64>,
    /// Maximum number of output tokens of one answer; used for the worst-case cost. `None` if it is unknown.
    pub max_output: Option<u32>,
    pub weight: u32,
    /// The name of the quota pool. Models with the same name share their counters.
    pub pool: Option<String>,
    pub price: Option<Price>,
    /// Fields added to the body of every request for this model, those of its provider included.
    pub extra_body: Map<String, Value>,
    /// The name of the output limit, if it is set.
    pub max_tokens_field: Option<MaxTokensField>,
}

impl Model {
    /// Whether a request can cost any amount, however long its answer may be.
    pub fn has_unbounded_cost(&self) -> bool {
        self.price.is_none()
            || unbounded_field(&self.extra_body).is_some()
            || unbounded_model_effect(&self.name).is_some()
    }

    /// The reason why the worst-case cost of a request has no upper bound; `None` if it has one.
    pub fn unbounded_cost_reason(&self) -> Option<String> {
        let Some(price) = self.price else { return Some("has no price: set usd_per_mtok".to_owned()) };
        if price.bills_output() && self.max_output.is_none() {
            return Some("has no max_output, so the highest cost of an answer is unknown".to_owned());
        }
        if let Some(field) = unbounded_field(&self.extra_body) {
            return Some(format!(
                "has a field in its extra_body, or in its provider's, that may not be there: {field}"
            ));
        }
        unbounded_model_effect(&self.name).map(|effect| format!("{effect}, so its cost has no upper bound"))
    }
}

/// The limits of one quota pool. `None` is unlimited or unknown.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    /// Requests per sliding minute.
    pub rpm: Option<u32>,
    /// Tokens per sliding minute, counted by `token_counting`.
    pub tpm: Option<u64>,
    pub token_counting: TokenCounting,
    /// Input tokens per sliding minute.
    pub itpm: Option<u64>,
    /// Output tokens per sliding minute.
    pub otpm: Option<u64>,
    /// Requests per provider day.
    pub rpd: Option<u32>,
    /// Tokens per provider day, counted by `token_counting`.
    pub tpd: Option<u64>,
    pub quota_day: QuotaDay,
    /// How many of a minute's requests may be sent at once; the rest is spread over the minute. `None`: all.
    pub burst: Option<u32>,
    /// Maximum number of requests in flight at once.
    pub concurrency: Option<u32>,
}

impl Limits {
    /// The limit of one dimension.
    pub fn get(&self, dimension: LimitDimension) -> Option<u64> {
        match dimension {
            LimitDimension::RequestsPerMinute => self.rpm.map(u64::from),
            LimitDimension::TokensPerMinute => self.tpm,
            LimitDimension::InputTokensPerMinute => self.itpm,
            LimitDimension::OutputTokensPerMinute => self.otpm,
            LimitDimension::RequestsPerDay => self.rpd.map(u64::from),
            LimitDimension::TokensPerDay => self.tpd,
            LimitDimension::Concurrency => self.concurrency.map(u64::from),
        }
    }
}

/// The tokens that a `tpm` or `tpd` limit counts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenCounting {
    /// Input only, as Gemini counts.
    Input,
    /// Input and output together, as most OpenAI-compatible providers count.
    #[default]
    Total,
}

names!(TokenCounting { Input = "input", Total = "total" });

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Key {
    /// The alias shown everywhere.
    pub name: String,
    pub provider: ProviderId,
    /// Keys of one project at one provider share every quota.
    pub project: String,
    pub weight: u32,
    pub role: KeyRole,
    /// The models this key may be used with; `None`: every model of its provider.
    pub models: Option<Vec<String>>,
    pub spend_limits: SpendLimits,
}

/// Hard caps on spend, enforced by reserving the worst case. `None`: no cap.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SpendLimits {
    /// Over the whole run.
    pub max_usd: Option<Money>,
    /// Over a UTC day of the run.
    pub max_usd_per_day: Option<Money>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyRole {
    #[default]
    Primary,
    Backup,
}

names!(KeyRole { Primary = "primary", Backup = "backup" });
