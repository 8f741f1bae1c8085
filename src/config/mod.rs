//! Reads keys.toml, or the environment, into validated domain types.
//!
//! This module owns the file format: its settings ([`schema`]), the presets of well-known providers, the sources of
//! secrets, and the error reports. All errors are reported together, each with its line, and none shows a secret. After
//! [`load`] every value is valid. It knows nothing of the command line, the engine or HTTP.

mod address;
mod bounded_read;
mod captions;
mod checks;
mod configuration;
mod dashboard;
mod defaults;
mod deprecated_models;
mod duration;
mod env_providers;
mod env_vars;
mod error;
mod extra_body;
mod from_env;
mod input_limits;
mod json_schema;
mod keys;
mod keys_file;
mod known_models;
mod metrics;
mod models;
mod pictures;
mod placeholder;
mod policy;
mod preset;
mod providers;
mod results;
mod rules;
pub mod schema;
mod secret;
mod toml_json;
mod toml_reader;
mod webhooks;

use std::path::{Path, PathBuf};

pub use self::{
    bounded_read::read_at_most,
    configuration::{Config, Origin},
    dashboard::Dashboard,
    defaults::Defaults,
    duration::{DurationError, parse_duration},
    env_providers::{EnvironmentKeys, describe_environment_keys},
    env_vars::{EnvLookup, process_env},
    error::{ConfigError, ConfigErrors, Position, nearest_match},
    input_limits::InputLimits,
    known_models::KnownModels,
    metrics::{MetricsAddress, MetricsSettings},
    webhooks::{AlertKind, Webhook, WebhookFormat},
};

const FILE_NAME: &str = "keys.toml";

/// Finds and reads the configuration: `keys_path` if it is given, or else the first of these that exists: `keys.toml`
/// in `working_dir`, `$XDG_CONFIG_HOME/cascadeck/keys.toml` (by default under `~/.config`), keys in the environment. A
/// `.env` in `working_dir` may set variables that are missing from the environment.
///
/// # Errors
/// All errors together. If a file exists but has errors, the next candidate is not tried. If there is no file and the
/// environment has keys of several providers, [`load_for_providers`] must say which may be used.
pub fn load(keys_path: Option<&Path>, env: &EnvLookup<'_>, working_dir: &Path) -> Result<Config, ConfigErrors> {
    load_for_providers(keys_path, &[], env, working_dir)
}

/// Reads the configuration as [`load`] does, but uses only the keys of these providers from the environment, in this
/// order. If there are none, the environment must have keys of only one provider.
///
/// # Errors
/// As [`load`]; and if a provider is unknown or has no keys, or if providers are named and a file is used.
pub fn load_for_providers(
    keys_path: Option<&Path>,
    provider_names: &[String],
    env: &EnvLookup<'_>,
    working_dir: &Path,
) -> Result<Config, ConfigErrors> {
    let env_vars = env_vars::EnvVars::new(env, working_dir.join(".env"));
    match find_file(keys_path, env, working_dir) {
        Ok(display_path) if !provider_names.is_empty() => Err(ConfigErrors::single(
            None,
            format!(
                "--provider chooses among the keys in the environment, but {} is used: omit --provider, or remove the \
                 other providers' keys from the file",
                display_path.display()
            ),
        )),
        Ok(display_path) => {
            let path = working_dir.join(&display_path);
            let file = keys_file::ConfigFile { display_path: &display_path, path, home_dir: absolute_dir(env, "HOME") };
            keys_file::read(&file, &env_vars)
        }
        Err(searched) => from_env::config_from_env(&env_vars, provider_names, &searched),
    }
}

/// The providers whose keys the environment has, if no file is used; none if any of these keys is faulty.
pub fn environment_keys(keys_path: Option<&Path>, env: &EnvLookup<'_>, working_dir: &Path) -> Vec<EnvironmentKeys> {
    if find_file(keys_path, env, working_dir).is_ok() {
        return Vec::new();
    }
    from_env::environment_keys(&env_vars::EnvVars::new(env, working_dir.join(".env")))
}

/// Finds the file to read. If there is none, the error names the files that were looked for.
fn find_file(keys_path: Option<&Path>, env: &EnvLookup<'_>, working_dir: &Path) -> Result<PathBuf, Vec<String>> {
    if let Some(explicit) = keys_path {
        return Ok(explicit.to_owned());
    }
    let user_config_dir =
        absolute_dir(env, "XDG_CONFIG_HOME").or_else(|| absolute_dir(env, "HOME").map(|home| home.join(".config")));
    let mut candidates = vec![PathBuf::from(FILE_NAME)];
    candidates.extend(user_config_dir.map(|base| base.join("cascadeck").join(FILE_NAME)));
    // A dangling symlink counts as present: reading it reports the error.
    let found = candidates.iter().find(|candidate| working_dir.join(candidate).symlink_metadata().is_ok());
    found.cloned().ok_or_else(|| candidates.iter().map(|candidate| candidate.display().to_string()).collect())
}

fn absolute_dir(env: &EnvLookup<'_>, variable: &str) -> Option<PathBuf> {
    env(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}
