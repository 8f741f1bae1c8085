//! Reads keys.toml, or the environment, into validated domain types.
//!
//! This module owns the file format: its settings ([`schema`]), the presets of well-known providers, the sources of
//! secrets, and the error reports. All errors are reported together, each with its line, and none shows a secret. After
//! [`load`] every value is valid. It knows nothing of the command line, the engine or HTTP.

mod address;
mod bounded_read;
mod dashboard;
mod defaults;
mod deprecated_models;
mod duration;
mod env_vars;
mod error;
mod from_env;
mod input_limits;
mod keys;
mod keys_file;
mod known_models;
mod models;
mod placeholder;
mod policy;
mod preset;
mod providers;
mod rules;
pub mod schema;
mod secret;
mod toml_reader;
mod webhooks;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use secrecy::SecretString;

pub use self::{
    bounded_read::read_at_most,
    dashboard::{Dashboard, KeyBinding, PictureSetting},
    defaults::Defaults,
    duration::parse_duration,
    env_vars::{EnvLookup, process_env},
    error::{ConfigError, ConfigErrors, Position, nearest_match},
    input_limits::InputLimits,
    known_models::KnownModels,
    webhooks::{AlertKind, Webhook, WebhookFormat},
};
use crate::domain::{Key, Model, Policy, Provider, UnknownModelPolicy};

const FILE_NAME: &str = "keys.toml";

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
    pub input_limits: InputLimits,
    /// The treatment of rows that name a model which is not configured. `None` if it is not set: such a row is refused,
    /// except in batch formats whose lines must name a model.
    pub unknown_model: Option<UnknownModelPolicy>,
    pub dashboard: Dashboard,
    pub webhooks: Vec<Webhook>,
    /// Warnings, one sentence each. They don't stop a run.
    pub warnings: Vec<String>,
    pub origin: Origin,
}

/// The source of a configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    File(PathBuf),
    /// The environment variables that were used.
    Environment(Vec<String>),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(variables) => write!(f, "the environment ({})", variables.join(", ")),
        }
    }
}

impl Config {
    /// The models for which a request's cost has no upper bound, and why: no price, or no limit on the answer's length.
    /// With any of these, a budget can't be guaranteed, so one on the command line must be refused. [`load`]
    /// refuses one in the file.
    pub fn models_with_unbounded_cost(&self) -> Vec<(&str, &'static str)> {
        self.models.iter().filter_map(|model| Some((model.name.as_str(), model.unbounded_cost_reason()?))).collect()
    }
}

/// Finds and reads the configuration: `keys_path` if it is given, or else the first of these that exists: `keys.toml`
/// in `working_dir`, `$XDG_CONFIG_HOME/cascadeck/keys.toml` (by default under `~/.config`), keys in the environment. A
/// `.env` in `working_dir` may set variables that are missing from the environment.
///
/// # Errors
/// All errors together. If a file exists but has errors, the next candidate is not tried.
pub fn load(keys_path: Option<&Path>, env: &EnvLookup<'_>, working_dir: &Path) -> Result<Config, ConfigErrors> {
    let env_vars = env_vars::EnvVars::new(env, working_dir.join(".env"));
    let env_dir = |name: &str| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home_dir = env_dir("HOME");
    let read = |display_path: &Path| {
        keys_file::read(
            &keys_file::ConfigFile { display_path, path: working_dir.join(display_path), home_dir: home_dir.clone() },
            &env_vars,
        )
    };
    if let Some(explicit) = keys_path {
        return read(explicit);
    }
    let user_config_dir = env_dir("XDG_CONFIG_HOME").or_else(|| home_dir.as_ref().map(|home| home.join(".config")));
    let mut candidates = vec![PathBuf::from(FILE_NAME)];
    candidates.extend(user_config_dir.map(|base| base.join("cascadeck").join(FILE_NAME)));
    // A dangling symlink counts as present: reading it reports the error.
    if let Some(candidate) = candidates.iter().find(|candidate| working_dir.join(candidate).symlink_metadata().is_ok())
    {
        return read(candidate);
    }
    let searched: Vec<String> = candidates.iter().map(|candidate| candidate.display().to_string()).collect();
    from_env::config_from_env(&env_vars, &searched)
}
