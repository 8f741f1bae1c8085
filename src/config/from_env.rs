//! The configuration without a file: keys from the environment or a `.env`, with default models.

use std::fmt::Write as _;

use secrecy::SecretString;

use super::{
    bounded_read,
    configuration::{Config, Origin},
    dashboard::Dashboard,
    defaults::Defaults,
    deprecated_models,
    env_vars::{EnvVarSource, EnvVars},
    error::{ConfigError, ConfigErrors},
    input_limits::InputLimits,
    keys::{ConfiguredKeys, key_with_own_project},
    preset,
    providers::Providers,
    secret,
};
use crate::domain::{Limits, Model, Policy, Price, ProviderId, QuotaDay, TokenCounting};

/// A provider whose keys may come from the environment.
struct EnvProvider {
    preset_name: &'static str,
    /// Both variables are read. Each may contain several keys, separated by commas.
    variables: [&'static str; 2],
    /// Best first.
    models: &'static [DefaultModel],
}

struct DefaultModel {
    name: &'static str,
    /// Free-tier limits. Limits of paid tiers depend on the account and are learned.
    rpm: Option<u32>,
    tpm: Option<u64>,
    rpd: Option<u32>,
    /// Dollars per million tokens, input and output.
    usd_per_mtok: (f64, f64),
}

const fn free_tier_model(name: &'static str, rpm: u32, rpd: u32, usd: (f64, f64)) -> DefaultModel {
    DefaultModel { name, rpm: Some(rpm), tpm: Some(250_000), rpd: Some(rpd), usd_per_mtok: usd }
}

const fn paid_model(name: &'static str, usd: (f64, f64)) -> DefaultModel {
    DefaultModel { name, rpm: None, tpm: None, rpd: None, usd_per_mtok: usd }
}

const ENV_PROVIDERS: [EnvProvider; 3] = [
    EnvProvider {
        preset_name: "gemini",
        variables: ["GEMINI_API_KEYS", "GEMINI_API_KEY"],
        models: &[
            free_tier_model("gemini-3.8-flash", 5, 20, (0.75, 3.75)),
            free_tier_model("gemini-3.6-flash", 5, 20, (0.75, 3.75)),
            free_tier_model("gemini-3.5-flash-lite", 15, 500, (0.30, 2.50)),
            free_tier_model("gemini-3.1-flash-lite", 15, 500, (0.25, 1.50)),
        ],
    },
    EnvProvider {
        preset_name: "openai",
        variables: ["OPENAI_API_KEYS", "OPENAI_API_KEY"],
        models: &[paid_model("gpt-5.4-mini", (0.75, 4.50)), paid_model("gpt-5.4-nano", (0.20, 1.25))],
    },
    EnvProvider {
        preset_name: "anthropic",
        variables: ["ANTHROPIC_API_KEYS", "ANTHROPIC_API_KEY"],
        models: &[paid_model("claude-haiku-4-5", (1.0, 5.0))],
    },
];

/// A number of output tokens that every default model supports. It gives the cost of a request an upper bound.
const MAX_OUTPUT_TOKENS: u32 = 8_192;

/// Builds the configuration from the environment; `searched_files` names the files that were not found.
pub(super) fn config_from_env(env_vars: &EnvVars<'_>, searched_files: &[String]) -> Result<Config, ConfigErrors> {
    let mut providers = Providers::default();
    let (mut keys, mut models) = (ConfiguredKeys::default(), Vec::new());
    let (mut errors, mut used_variables) = (Vec::new(), Vec::new());
    for env_provider in &ENV_PROVIDERS {
        let secrets = read_secrets(env_provider, env_vars, &mut keys, &mut used_variables, &mut errors);
        let Some(preset) = preset::find_preset(env_provider.preset_name).filter(|_| !secrets.is_empty()) else {
            continue;
        };
        let provider = providers.add(preset);
        for (index, secret) in secrets.into_iter().enumerate() {
            keys.push(
                key_with_own_project(format!("{}-{}", env_provider.preset_name, index + 1), provider),
                Some(secret),
                false,
                0,
            );
        }
        models.extend(
            env_provider.models.iter().map(|model| model.to_model(provider, preset.token_counting, preset.quota_day)),
        );
    }
    if !errors.is_empty() {
        return Err(ConfigErrors(errors));
    }
    if keys.keys.is_empty() {
        return Err(no_keys_error(env_vars, searched_files));
    }
    let permission_warning = keys.secret_files.first().and_then(|path| bounded_read::permission_warning(path));
    Ok(Config {
        warnings: permission_warning.into_iter().chain(env_vars.dotenv_problems().iter().cloned()).collect(),
        providers: providers.into_providers(),
        models,
        keys: keys.keys,
        secrets: keys.secrets,
        has_named_project: keys.has_named_project,
        policy: Policy::default(),
        defaults: Defaults::default(),
        input_limits: InputLimits::default(),
        unknown_model: None,
        dashboard: Dashboard::default(),
        webhooks: Vec::new(),
        origin: Origin::Environment(used_variables),
    })
}

/// Reads the keys of a provider in the order in which they are listed, without duplicates.
fn read_secrets(
    env_provider: &EnvProvider,
    env_vars: &EnvVars<'_>,
    keys: &mut ConfiguredKeys,
    used_variables: &mut Vec<String>,
    errors: &mut Vec<ConfigError>,
) -> Vec<SecretString> {
    let mut secrets: Vec<SecretString> = Vec::new();
    for name in env_provider.variables {
        let Some((value, source)) = env_vars.get(name) else { continue };
        let from_dotenv = source == EnvVarSource::Dotenv;
        used_variables.push(if from_dotenv { format!("{name} in .env") } else { name.to_owned() });
        if from_dotenv {
            keys.secret_files.push(env_vars.dotenv_path().to_owned());
        }
        let entries = value.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        for (index, entry) in entries.enumerate() {
            match secret::parse_secret(entry) {
                Ok(secret) if secrets.iter().any(|other| secret::is_same_secret(other, &secret)) => {}
                Ok(secret) => secrets.push(secret),
                Err(reason) => errors.push(ConfigError {
                    file: from_dotenv.then(|| ".env".into()),
                    position: None,
                    message: format!("{name}: key number {} {reason}; separate keys with commas", index + 1),
                }),
            }
        }
    }
    secrets
}

fn no_keys_error(env_vars: &EnvVars<'_>, searched_files: &[String]) -> ConfigErrors {
    let names: Vec<&str> = ENV_PROVIDERS.iter().flat_map(|env_provider| env_provider.variables).collect();
    let mut message = "no keys found: ".to_owned();
    if !env_vars.dotenv_problems().is_empty() {
        let problems = env_vars.dotenv_problems().join("\n");
        message = format!("no keys found, and .env could not be read completely:\n{problems}\nApart from that, ");
    }
    let _ = write!(
        message,
        "there is no {}, and none of {} is set.\n\
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

impl DefaultModel {
    fn to_model(&self, provider: ProviderId, token_counting: TokenCounting, quota_day: QuotaDay) -> Model {
        let (input, output) = self.usd_per_mtok;
        debug_assert_eq!(
            deprecated_models::deprecation_notice(self.name),
            None,
            "the default models must not be deprecated"
        );
        Model {
            name: self.name.to_owned(),
            provider,
            limits: Limits {
                rpm: self.rpm,
                tpm: self.tpm,
                rpd: self.rpd,
                token_counting,
                quota_day,
                ..Limits::default()
            },
            vision: true,
            context: None,
            max_output: Some(MAX_OUTPUT_TOKENS),
            weight: 1,
            pool: None,
            price: Price::from_usd_per_mtok(input, output),
        }
    }
}
