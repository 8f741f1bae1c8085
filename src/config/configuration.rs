//! The configuration of a run, and where it comes from.

use std::{fmt, path::PathBuf};

use secrecy::SecretString;

use super::{
    dashboard::Dashboard, defaults::Defaults, env_providers::EnvironmentKeys, input_limits::InputLimits,
    metrics::MetricsSettings, webhooks::Webhook,
};
use crate::{
    checks::CheckSet,
    domain::{
        Api, KeptParts, Key, Model, PictureSettings, PictureTokenizer, Policy, Provider, RowModelPolicy, SpendLimits,
        UnknownModelPolicy,
    },
};

/// The whole configuration of a run. Ids are indices into the vectors.
#[derive(Debug)]
pub struct Config {
    pub providers: Vec<Provider>,
    /// In cascade order, best first.
    pub models: Vec<Model>,
    pub keys: Vec<Key>,
    /// By `KeyId`; `None` for servers that need no key.
    pub secrets: Vec<Option<SecretString>>,
    /// By `KeyId`: true if the file names the key's project. Otherwise the key's project contains only this key and has
    /// the alias as its name. Such a name is unique only within this file, so it must not identify a project in data
    /// that other runs read, like the daily ledger.
    pub has_named_project: Vec<bool>,
    pub policy: Policy,
    pub defaults: Defaults,
    /// The checks of answers.
    pub checks: CheckSet,
    pub input_limits: InputLimits,
    /// The treatment of rows that name a model which is not configured. `None` if it is not set: such a row is refused,
    /// except in batch formats whose lines must name a model.
    pub unknown_model: Option<UnknownModelPolicy>,
    /// The parts of an answer that are kept besides its text.
    pub kept_parts: KeptParts,
    /// How pictures are changed before they are sent.
    pub pictures: PictureSettings,
    /// Further beginnings of answers that are refusals and not captions.
    pub refusals: Vec<String>,
    /// The meaning of the model that a row names, unless the row says it itself.
    pub row_model: RowModelPolicy,
    pub dashboard: Dashboard,
    pub metrics: MetricsSettings,
    pub webhooks: Vec<Webhook>,
    /// Warnings, one sentence each. They don't stop a run.
    pub warnings: Vec<String>,
    pub origin: Origin,
}

/// The source of a configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    File(PathBuf),
    /// The providers whose keys in the environment are used, in this order.
    Environment(Vec<EnvironmentKeys>),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(found) => {
                let variables: Vec<&str> =
                    found.iter().flat_map(|keys| keys.variables.iter().map(String::as_str)).collect();
                write!(f, "the environment ({})", variables.join(", "))
            }
        }
    }
}

impl Config {
    /// The models for which a request's cost has no upper bound, and why: no price, or no limit on the answer's length.
    /// With any of these, a budget can't be guaranteed, so one on the command line must be refused.
    /// [`load`](super::load) refuses one in the file.
    pub fn models_with_unbounded_cost(&self) -> Vec<(&str, String)> {
        self.models.iter().filter_map(|model| Some((model.name.as_str(), model.unbounded_cost_reason()?))).collect()
    }

    /// Counts the tokens of pictures for the models that accept them.
    pub fn picture_tokenizer(&self) -> PictureTokenizer {
        let models = self.models.iter().filter(|model| model.vision);
        PictureTokenizer::new(models.map(|model| (self.api_of(model), model.name.clone())), self.pictures.longest_side)
    }

    /// The API of a model's provider.
    pub fn api_of(&self, model: &Model) -> Api {
        self.providers[model.provider.index()].api
    }

    /// Whether any cap limits what the run, a key or an item may cost.
    pub fn has_spend_cap(&self) -> bool {
        let Policy { max_usd, max_usd_per_day, rules, .. } = &self.policy;
        max_usd.is_some()
            || max_usd_per_day.is_some()
            || self.keys.iter().any(|key| key.spend_limits != SpendLimits::default())
            || rules.iter().any(|rule| rule.max_usd.is_some())
    }
}
