//! The configuration without a file: keys from the environment or a `.env`, with default models.

use std::fmt::Write as _;

use secrecy::SecretString;

use super::{
    bounded_read,
    configuration::{Config, Origin},
    dashboard::Dashboard,
    defaults::Defaults,
    env_providers::{ENV_PROVIDERS, EnvProvider, EnvironmentKeys, describe_environment_keys, find_env_provider},
    env_vars::{EnvVarSource, EnvVars},
    error::{ConfigError, ConfigErrors, format_suggestion, quote_unless_secret},
    input_limits::InputLimits,
    keys::{ConfiguredKeys, key_with_own_project},
    metrics::MetricsSettings,
    preset::Preset,
    providers::Providers,
    secret,
};
use crate::{
    checks::CheckSet,
    domain::{KeptParts, PictureSettings, Policy, RowModelPolicy},
};

/// The keys of one provider, as the environment has them.
struct FoundKeys {
    env_provider: &'static EnvProvider,
    preset: &'static Preset,
    /// In the order in which they are listed, without duplicates.
    secrets: Vec<SecretString>,
    /// The variables that are set: `GEMINI_API_KEYS`, `GEMINI_API_KEY in .env`.
    variables: Vec<String>,
    is_from_dotenv: bool,
    errors: Vec<ConfigError>,
}

impl FoundKeys {
    fn summary(&self) -> EnvironmentKeys {
        EnvironmentKeys::new(self.env_provider, self.variables.clone(), self.secrets.len())
    }
}

/// Builds the configuration from the environment. `provider_names` are the providers that may be used, in this order;
/// if it is empty, the environment must have keys of only one. `searched_files` names the files that were not found.
pub(super) fn config_from_env(
    env_vars: &EnvVars<'_>,
    provider_names: &[String],
    searched_files: &[String],
) -> Result<Config, ConfigErrors> {
    let found =
        if provider_names.is_empty() { find_all_keys(env_vars) } else { find_named_keys(env_vars, provider_names)? };
    let errors: Vec<ConfigError> = found.iter().flat_map(|keys| keys.errors.iter().cloned()).collect();
    if !errors.is_empty() {
        return Err(ConfigErrors(add_choice_hint(errors, &found, provider_names)));
    }
    if found.is_empty() {
        return Err(no_keys_error(env_vars, searched_files));
    }
    let summaries: Vec<EnvironmentKeys> = found.iter().map(FoundKeys::summary).collect();
    if provider_names.is_empty() && found.len() > 1 {
        return Err(ambiguous_providers_error(&summaries));
    }
    let mut providers = Providers::default();
    let (mut keys, mut models) = (ConfiguredKeys::default(), Vec::new());
    let is_from_dotenv = found.iter().any(|keys| keys.is_from_dotenv);
    for FoundKeys { env_provider, preset, secrets, .. } in found {
        let provider = providers.add(preset);
        for (index, secret) in secrets.into_iter().enumerate() {
            keys.push(
                key_with_own_project(format!("{}-{}", env_provider.preset_name, index + 1), provider),
                Some(secret),
                false,
                0,
            );
        }
        models.extend(env_provider.models.iter().map(|model| model.to_model(provider, providers.get(provider))));
    }
    let permission_warning =
        if is_from_dotenv { bounded_read::permission_warning(env_vars.dotenv_path()) } else { None };
    Ok(Config {
        warnings: permission_warning.into_iter().chain(env_vars.dotenv_problems().iter().cloned()).collect(),
        providers: providers.into_providers(),
        models,
        keys: keys.keys,
        secrets: keys.secrets,
        has_named_project: keys.has_named_project,
        policy: Policy::default(),
        defaults: Defaults::default(),
        checks: CheckSet::default(),
        input_limits: InputLimits::default(),
        unknown_model: None,
        kept_parts: KeptParts::default(),
        pictures: PictureSettings::default(),
        refusals: Vec::new(),
        row_model: RowModelPolicy::default(),
        dashboard: Dashboard::default(),
        metrics: MetricsSettings::default(),
        webhooks: Vec::new(),
        origin: Origin::Environment(summaries),
    })
}

/// The providers whose keys the environment has; none if any of the keys is faulty.
pub(super) fn environment_keys(env_vars: &EnvVars<'_>) -> Vec<EnvironmentKeys> {
    let found = find_all_keys(env_vars);
    if found.iter().any(|keys| !keys.errors.is_empty()) {
        return Vec::new();
    }
    found.iter().map(FoundKeys::summary).collect()
}

fn find_all_keys(env_vars: &EnvVars<'_>) -> Vec<FoundKeys> {
    ENV_PROVIDERS.iter().filter_map(|env_provider| find_keys(env_provider, env_vars)).collect()
}

/// Finds the keys of the named providers. Each must be known and have keys.
fn find_named_keys(env_vars: &EnvVars<'_>, provider_names: &[String]) -> Result<Vec<FoundKeys>, ConfigErrors> {
    let (mut found, mut errors) = (Vec::<FoundKeys>::new(), Vec::new());
    for name in provider_names {
        if found.iter().any(|keys| keys.env_provider.preset_name == name) {
            continue;
        }
        match find_keys_of(name, env_vars) {
            Ok(keys) => found.push(keys),
            Err(message) => errors.push(ConfigError { file: None, position: None, message }),
        }
    }
    if errors.is_empty() { Ok(found) } else { Err(ConfigErrors(errors)) }
}

fn find_keys_of(provider_name: &str, env_vars: &EnvVars<'_>) -> Result<FoundKeys, String> {
    let env_provider = find_env_provider(provider_name).ok_or_else(|| {
        let names = || ENV_PROVIDERS.iter().map(|provider| provider.preset_name);
        format!(
            "--provider: no keys of {}{} are read from the environment; use one of {}",
            quote_unless_secret(provider_name),
            format_suggestion(provider_name, names()),
            names().collect::<Vec<_>>().join(", ")
        )
    })?;
    find_keys(env_provider, env_vars).ok_or_else(|| {
        let [list, single] = env_provider.variables();
        format!("--provider {provider_name}: neither {list} nor {single} is set")
    })
}

/// Finds the keys of a provider; `None` if there are none.
fn find_keys(env_provider: &'static EnvProvider, env_vars: &EnvVars<'_>) -> Option<FoundKeys> {
    let preset = env_provider.preset()?;
    let (mut secrets, mut errors) = (Vec::<SecretString>::new(), Vec::new());
    let (mut variables, mut is_from_dotenv) = (Vec::new(), false);
    for name in env_provider.variables() {
        let Some((value, source)) = env_vars.get(&name) else { continue };
        let in_dotenv = source == EnvVarSource::Dotenv;
        is_from_dotenv |= in_dotenv;
        variables.push(if in_dotenv { format!("{name} in .env") } else { name.clone() });
        let entries = value.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        for (index, entry) in entries.enumerate() {
            match secret::parse_secret(entry) {
                Ok(secret) if secrets.iter().any(|other| secret::is_same_secret(other, &secret)) => {}
                Ok(secret) => secrets.push(secret),
                Err(reason) => errors.push(ConfigError {
                    file: in_dotenv.then(|| ".env".into()),
                    position: None,
                    message: format!("{name}: key number {} {reason}; separate keys with commas", index + 1),
                }),
            }
        }
    }
    let has_keys = !secrets.is_empty() || !errors.is_empty();
    has_keys.then_some(FoundKeys { env_provider, preset, secrets, variables, is_from_dotenv, errors })
}

/// If another provider's keys are good, says how to use only them.
fn add_choice_hint(mut errors: Vec<ConfigError>, found: &[FoundKeys], provider_names: &[String]) -> Vec<ConfigError> {
    let good = found.iter().find(|keys| keys.errors.is_empty()).filter(|_| provider_names.is_empty());
    if let Some(keys) = good {
        let message = format!(
            "To use only the keys in {}: --provider {}",
            keys.variables.join(" and "),
            keys.env_provider.preset_name
        );
        errors.push(ConfigError { file: None, position: None, message });
    }
    errors
}

fn ambiguous_providers_error(found: &[EnvironmentKeys]) -> ConfigErrors {
    let names: Vec<&str> = found.iter().map(|keys| keys.provider).collect();
    ConfigErrors::single(
        None,
        format!(
            "the environment has keys of several providers, and no keys.toml says which to use:\n{}\n\
             Nothing was sent. Say which may get prompts and cost money: --provider {}, or for all of them, in this order, \
             --provider {}",
            describe_environment_keys(found),
            names[0],
            names.join(",")
        ),
    )
}

fn no_keys_error(env_vars: &EnvVars<'_>, searched_files: &[String]) -> ConfigErrors {
    let names = ENV_PROVIDERS.iter().map(|env_provider| {
        let [list, _] = env_provider.variables();
        list
    });
    let names: Vec<String> = names.collect();
    let mut message = "no keys found: ".to_owned();
    if !env_vars.dotenv_problems().is_empty() {
        let problems = env_vars.dotenv_problems().join("\n");
        message = format!("no keys found, and .env could not be read completely:\n{problems}\nApart from that, ");
    }
    let _ = write!(
        message,
        "there is no {}, and none of {} (or the same with _API_KEY) is set.\n\
         Give keys in one of three ways:\n\
         \x20 1. in the environment:  export GEMINI_API_KEYS=\"key1,key2\"\n\
         \x20 2. in a file .env here: GEMINI_API_KEYS=key1,key2\n\
         \x20 3. in ./keys.toml (or --keys FILE), which also sets models, limits and budget: start from keys.example.toml\n\
         To try the program without a key, run `cascadeck demo`.",
        searched_files.join(" or "),
        names.join(", "),
    );
    ConfigErrors::single(None, message)
}
