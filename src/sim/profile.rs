//! Simulation profile: one TOML file, checked as a whole before the server listens.
//!
//! Times are in seconds, or in milliseconds if the name ends with `_ms`, of the simulator's clock, which may run faster
//! than real time. Points in time count from the simulator's start.

use std::collections::HashSet;

use serde::Deserialize;

use super::faults::{FaultRates, FaultRatesError, InjectedFault};
use crate::domain::{Api, Limits, QuotaDay, TokenCounting};

const BUILT_IN_PROFILES: [(&str, &str); 3] = [
    ("free-tier", include_str!("profiles/free-tier.toml")),
    ("open", include_str!("profiles/open.toml")),
    ("storm", include_str!("profiles/storm.toml")),
];

#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Name, shown in the statistics.
    pub name: String,
    /// Seed for all random choices (latencies, faults).
    #[serde(default)]
    pub seed: u64,
    /// Whether requests refused with 429 count against the requests per minute.
    #[serde(default)]
    pub refusals_count: bool,
    /// Time that a refused or rejected request takes, in milliseconds.
    #[serde(default = "default_refusal_ms")]
    pub refusal_ms: u64,
    /// Time in which the body of a `slow_body` answer is sent, in seconds.
    #[serde(default = "default_slow_body_s")]
    pub slow_body_s: f64,
    /// Default for models without a latency of their own.
    #[serde(default)]
    pub latency: LatencyProfile,
    /// Default for models without fault rates of their own.
    #[serde(default)]
    pub faults: FaultRates,
    #[serde(rename = "provider")]
    pub providers: Vec<ProviderProfile>,
    #[serde(rename = "model")]
    pub models: Vec<ModelProfile>,
    #[serde(rename = "key")]
    pub keys: Vec<KeyProfile>,
    #[serde(rename = "outage", default)]
    pub outages: Vec<Outage>,
    /// Quota that was used elsewhere on the day of the start, before the simulator started.
    #[serde(default)]
    pub used: Vec<PriorUsage>,
}

#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderProfile {
    pub name: String,
    pub api: Api,
}

/// A model and each project's limits on it. A missing limit is not enforced; a limit of 0 means that the model is not
/// offered on this tier.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelProfile {
    pub name: String,
    pub provider: String,
    /// Requests in any sliding minute.
    pub rpm: Option<u32>,
    /// Tokens in any sliding minute, counted as `counted` says.
    pub tpm: Option<u64>,
    /// Default: `input` for Gemini, `total` for the others.
    pub counted: Option<TokenCounting>,
    /// Input tokens in any sliding minute.
    pub itpm: Option<u64>,
    /// Output tokens in any sliding minute.
    pub otpm: Option<u64>,
    /// Requests per provider day.
    pub rpd: Option<u32>,
    /// Tokens per provider day, counted as `counted` says.
    pub tpd: Option<u64>,
    /// Default: `pacific` for Gemini, `rolling` for OpenAI, `utc` for Anthropic.
    pub day: Option<QuotaDay>,
    /// A leaky bucket in addition to `rpm`: this many requests may arrive at once; the rest must be evenly spaced.
    pub burst: Option<u32>,
    /// Requests in flight at most.
    pub concurrency: Option<u32>,
    #[serde(default = "default_vision")]
    pub vision: bool,
    /// Input tokens of a request at most.
    #[serde(default = "default_context_tokens")]
    pub context: u64,
    /// Output tokens of an answer at most.
    #[serde(default = "default_max_output_tokens")]
    pub max_output: u32,
    /// Tokens per picture: 258 on older models, 1120 on Gemini 3.
    #[serde(default = "default_picture_tokens")]
    pub image_tokens: u64,
    /// Thinking tokens before each answer; they count against its output limit and are billed as output.
    #[serde(default)]
    pub thinking_tokens: u64,
    /// Model that the answer names. Default: the requested model.
    pub model_version: Option<String>,
    /// Projects that may not use this model (404, "no longer available to new users").
    #[serde(default)]
    pub closed_to: Vec<String>,
    pub usd_per_mtok: Option<PriceProfile>,
    pub latency: Option<LatencyProfile>,
    pub faults: Option<FaultRates>,
}

/// Dollars per million tokens.
#[derive(Clone, Copy, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceProfile {
    pub input: f64,
    pub output: f64,
}

/// Log-normal latency, limited to between a quarter of the median and six times the median.
#[derive(Clone, Copy, PartialEq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatencyProfile {
    /// Median, in milliseconds.
    pub median_ms: u64,
    /// Standard deviation of the logarithm: 0 is constant, 0.4 moderate, 1 extreme.
    #[serde(default)]
    pub spread: f64,
}

#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyProfile {
    /// Alias, in the statistics and in the printed keys.toml.
    pub name: String,
    pub provider: String,
    /// Keys of one project share every quota.
    pub project: String,
    /// Invented, so it need not be kept secret.
    pub secret: String,
    #[serde(default)]
    pub state: SimKeyState,
    /// Time from which `state` applies. Before it, the key is valid.
    #[serde(default)]
    pub from_s: f64,
    /// Time from which the key is valid again. Default: never.
    pub until_s: Option<f64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SimKeyState {
    #[default]
    Valid,
    /// Unknown to the provider: 400 at Gemini, 401 elsewhere.
    Invalid,
    /// 403, with a body that echoes the whole key.
    Suspended,
    /// 403, "reported as leaked".
    Leaked,
    /// Out of credit.
    Billing,
}

/// A period in which a model, a provider or everything is down. Its requests count against no quota.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outage {
    /// Default: every provider.
    pub provider: Option<String>,
    /// Default: every model.
    pub model: Option<String>,
    pub from_s: f64,
    pub to_s: f64,
    #[serde(default = "default_outage_fault")]
    pub kind: InjectedFault,
}

#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriorUsage {
    pub project: String,
    pub model: String,
    pub requests: u32,
}

/// Reason why a profile cannot be simulated.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error("the profile is not valid: {0}")]
    InvalidToml(#[from] toml::de::Error),
    #[error("the profile is inconsistent: {0}")]
    Contradiction(#[from] ProfileContradiction),
}

/// A rule that a profile breaks. The messages use the names of the file.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum ProfileContradiction {
    #[error("it needs at least one [[provider]], one [[model]] and one [[key]]")]
    NothingToSimulate,
    #[error("the {kind} {name} is defined twice")]
    DefinedTwice { kind: &'static str, name: String },
    #[error("two keys have the same secret; give each its own")]
    SharedSecret,
    #[error(transparent)]
    FaultRates(#[from] FaultRatesError),
    #[error("{subject} is {number}; it must be a number and not negative")]
    Negative { subject: String, number: f64 },
    #[error("{model} has a burst, which requires an rpm")]
    BurstWithoutRpm { model: String },
    #[error("{model} has a burst of 0, which would block every request; remove it, or set it to at least 1")]
    BurstOfZero { model: String },
    #[error("until_s of {key} must be later than its from_s")]
    KeyEndsBeforeStart { key: String },
    #[error("an outage ends ({to_s} s) before it begins ({from_s} s)")]
    OutageEndsBeforeStart { from_s: f64, to_s: f64 },
    #[error("{owner} names the provider {name}, which is not defined")]
    UndefinedProvider { owner: String, name: String },
    #[error("the model {0} is used but not defined")]
    UndefinedModel(String),
    #[error("the project {0} is used, but no key belongs to it")]
    UndefinedProject(String),
}

impl Profile {
    pub fn built_in_names() -> impl Iterator<Item = &'static str> {
        BUILT_IN_PROFILES.iter().map(|(name, _)| *name)
    }

    /// A built-in profile: `free-tier`, `open` or `storm`.
    pub fn named(name: &str) -> Option<Self> {
        let (_, text) = BUILT_IN_PROFILES.iter().find(|(known, _)| *known == name)?;
        Some(Self::from_toml(text).expect("the built-in profiles are checked by a test"))
    }

    /// Reads a profile from TOML.
    ///
    /// # Errors
    /// If the text is not a profile, or the profile is inconsistent.
    pub fn from_toml(text: &str) -> Result<Self, ProfileError> {
        let profile: Self = toml::from_str(text)?;
        profile.check()?;
        Ok(profile)
    }

    pub(super) fn find_provider(&self, name: &str) -> Option<&ProviderProfile> {
        self.providers.iter().find(|provider| provider.name == name)
    }

    /// The limits of each project on `model`.
    pub(super) fn limits(&self, model: &ModelProfile) -> Limits {
        let api = self.find_provider(&model.provider).map_or(Api::OpenAi, |provider| provider.api);
        let (counted, day) = match api {
            Api::Gemini => (TokenCounting::Input, QuotaDay::Pacific),
            Api::OpenAi => (TokenCounting::Total, QuotaDay::Rolling),
            Api::Anthropic => (TokenCounting::Total, QuotaDay::Utc),
        };
        Limits {
            rpm: model.rpm,
            tpm: model.tpm,
            token_counting: model.counted.unwrap_or(counted),
            itpm: model.itpm,
            otpm: model.otpm,
            rpd: model.rpd,
            tpd: model.tpd,
            quota_day: model.day.unwrap_or(day),
            burst: model.burst,
            concurrency: model.concurrency,
        }
    }

    /// Checks the rules that the types don't enforce, also for profiles built in code.
    pub(super) fn check(&self) -> Result<(), ProfileContradiction> {
        if self.providers.is_empty() || self.models.is_empty() || self.keys.is_empty() {
            return Err(ProfileContradiction::NothingToSimulate);
        }
        check_unique("provider", self.providers.iter().map(|provider| provider.name.clone()))?;
        check_unique("model", self.models.iter().map(|model| format!("{} at {}", model.name, model.provider)))?;
        check_unique("key", self.keys.iter().map(|key| key.name.clone()))?;
        if self.keys.iter().map(|key| &key.secret).collect::<HashSet<_>>().len() < self.keys.len() {
            return Err(ProfileContradiction::SharedSecret);
        }
        self.faults.check_rates("[faults]")?;
        self.latency.check("[latency]")?;
        check_not_negative("slow_body_s", self.slow_body_s)?;
        self.models.iter().try_for_each(|model| self.check_model(model))?;
        self.keys.iter().try_for_each(|key| self.check_key(key))?;
        self.outages.iter().try_for_each(|outage| self.check_outage(outage))?;
        self.used.iter().try_for_each(|used| {
            self.check_project_exists(&used.project)?;
            self.check_model_exists(&used.model)
        })
    }

    fn check_model(&self, model: &ModelProfile) -> Result<(), ProfileContradiction> {
        let name = format!("model {}", model.name);
        self.check_provider_exists(&name, &model.provider)?;
        model.closed_to.iter().try_for_each(|project| self.check_project_exists(project))?;
        if model.burst.is_some() && model.rpm.is_none() {
            return Err(ProfileContradiction::BurstWithoutRpm { model: name });
        }
        if model.burst == Some(0) {
            return Err(ProfileContradiction::BurstOfZero { model: name });
        }
        if let Some(faults) = &model.faults {
            faults.check_rates(&name)?;
        }
        model.latency.map_or(Ok(()), |latency| latency.check(&name))
    }

    fn check_key(&self, key: &KeyProfile) -> Result<(), ProfileContradiction> {
        let name = format!("key {}", key.name);
        self.check_provider_exists(&name, &key.provider)?;
        check_not_negative(&format!("from_s of {name}"), key.from_s)?;
        match key.until_s {
            Some(until) if until <= key.from_s => Err(ProfileContradiction::KeyEndsBeforeStart { key: name }),
            _ => Ok(()),
        }
    }

    fn check_outage(&self, outage: &Outage) -> Result<(), ProfileContradiction> {
        check_not_negative("an outage's from_s", outage.from_s)?;
        if outage.to_s <= outage.from_s {
            return Err(ProfileContradiction::OutageEndsBeforeStart { from_s: outage.from_s, to_s: outage.to_s });
        }
        outage.provider.as_deref().map_or(Ok(()), |provider| self.check_provider_exists("an outage", provider))?;
        outage.model.as_deref().map_or(Ok(()), |model| self.check_model_exists(model))
    }

    fn check_provider_exists(&self, owner: &str, name: &str) -> Result<(), ProfileContradiction> {
        let undefined = || ProfileContradiction::UndefinedProvider { owner: owner.to_owned(), name: name.to_owned() };
        self.find_provider(name).map(drop).ok_or_else(undefined)
    }

    fn check_model_exists(&self, name: &str) -> Result<(), ProfileContradiction> {
        let known = self.models.iter().any(|model| model.name == name);
        known.then_some(()).ok_or_else(|| ProfileContradiction::UndefinedModel(name.to_owned()))
    }

    fn check_project_exists(&self, name: &str) -> Result<(), ProfileContradiction> {
        let known = self.keys.iter().any(|key| key.project == name);
        known.then_some(()).ok_or_else(|| ProfileContradiction::UndefinedProject(name.to_owned()))
    }
}

impl LatencyProfile {
    fn check(self, owner: &str) -> Result<(), ProfileContradiction> {
        check_not_negative(&format!("the latency spread of {owner}"), self.spread)
    }
}

fn check_not_negative(subject: &str, number: f64) -> Result<(), ProfileContradiction> {
    let is_valid = number.is_finite() && number >= 0.0;
    is_valid.then_some(()).ok_or_else(|| ProfileContradiction::Negative { subject: subject.to_owned(), number })
}

fn check_unique(kind: &'static str, names: impl Iterator<Item = String>) -> Result<(), ProfileContradiction> {
    let mut seen = HashSet::new();
    for name in names {
        if let Some(duplicate) = seen.replace(name) {
            return Err(ProfileContradiction::DefinedTwice { kind, name: duplicate });
        }
    }
    Ok(())
}

const fn default_vision() -> bool {
    true
}

const fn default_slow_body_s() -> f64 {
    10.0
}

const fn default_refusal_ms() -> u64 {
    40
}

const fn default_context_tokens() -> u64 {
    1_000_000
}

const fn default_max_output_tokens() -> u32 {
    8_192
}

const fn default_picture_tokens() -> u64 {
    1_120
}

const fn default_outage_fault() -> InjectedFault {
    InjectedFault::Overloaded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_profile_is_valid() {
        for (name, text) in BUILT_IN_PROFILES {
            let profile = Profile::from_toml(text).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(profile.name, name);
        }
        assert!(Profile::named("no-such-profile").is_none());
    }

    #[test]
    fn contradictions_are_reported_with_the_files_names() {
        const SOUND: &str = r#"
            name = "t"
            provider = [{ name = "g", api = "gemini" }]
            model = [{ name = "m", provider = "g", rpm = 5 }]
            key = [{ name = "k", provider = "g", project = "p", secret = "s" }]
        "#;
        assert!(Profile::from_toml(SOUND).is_ok());
        let cases = [
            (r#"provider = "g", rpm = 5"#, r#"provider = "x", rpm = 5"#, "names the provider x"),
            ("rpm = 5", "burst = 5", "requires an rpm"),
            ("rpm = 5", "faults = { stall = 0.7, reset = 0.7 }", "add up to 1.4"),
            ("rpm = 5", "rmp = 5", "unknown field `rmp`"),
            ("rpm = 5", r#"closed_to = ["q"]"#, "no key belongs to it"),
            (r#"secret = "s""#, r#"secret = "s", from_s = 9, until_s = 3"#, "until_s of key k must be later"),
            (r#"name = "t""#, "name = \"t\"\noutage = [{ from_s = 9, to_s = 9 }]", "ends (9 s) before"),
            (r#"name = "t""#, "name = \"t\"\nused = [{ project = \"p\", model = \"n\", requests = 1 }]", "model n"),
        ];
        for (sound, broken, message) in cases {
            let error = Profile::from_toml(&SOUND.replacen(sound, broken, 1)).unwrap_err().to_string();
            assert!(error.contains(message), "{broken}: {error}");
        }
    }
}
