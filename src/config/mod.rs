//! Reads keys.toml, or the environment, into validated domain types.
//!
//! This module owns the file format: its settings ([`schema`]), the presets of well-known providers, the sources of
//! secrets, and the error reports. All errors are reported together, each with its line, and none shows a secret. After
//! [`load`] every value is valid. It knows nothing of the command line, the engine or HTTP.

mod address;
mod bounded_read;
mod configuration;
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

use std::path::{Path, PathBuf};

pub use self::{
    bounded_read::read_at_most,
    configuration::{Config, Origin},
    dashboard::{Dashboard, KeyBinding, PictureSetting},
    defaults::Defaults,
    duration::{DurationError, parse_duration},
    env_vars::{EnvLookup, process_env},
    error::{ConfigError, ConfigErrors, Position, nearest_match},
    input_limits::InputLimits,
    known_models::KnownModels,
    webhooks::{AlertKind, Webhook, WebhookFormat},
};

const FILE_NAME: &str = "keys.toml";

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
