//! Reads a whole keys.toml, from text to a checked configuration. A part is read after the parts that it refers to.
//! Then the parts are checked against each other.

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::{
    bounded_read, captions, checks,
    configuration::{Config, Origin},
    dashboard,
    defaults::{self, Defaults},
    env_vars::EnvVars,
    error::{ConfigError, ConfigErrors, Position, quote_unless_secret},
    input_limits,
    keys::ConfiguredKeys,
    metrics,
    models::{self, LocatedModel},
    pictures, policy,
    providers::Providers,
    results, rules, schema, secret,
    toml_reader::{TomlDoc, TomlTable},
    webhooks::Webhooks,
};
use crate::domain::{ANTHROPIC_DEFAULT_MAX_OUTPUT, Api, group_digits};

/// Maximum size of keys.toml in bytes: enough for tens of thousands of keys.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// A configuration file to read.
pub(super) struct ConfigFile<'f> {
    /// The path as the user would write it.
    pub display_path: &'f Path,
    /// The actual path. Relative paths in the file start from its folder.
    pub path: PathBuf,
    pub home_dir: Option<PathBuf>,
}

pub(super) fn read(file: &ConfigFile<'_>, env_vars: &EnvVars<'_>) -> Result<Config, ConfigErrors> {
    let bytes =
        std::fs::File::open(&file.path).and_then(|file| bounded_read::read_at_most(file, MAX_FILE_BYTES)).map_err(
            |error| ConfigErrors::single(Some(file.display_path.to_owned()), bounded_read::describe_read_error(&error)),
        )?;
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) => text,
        Err(error) => {
            let position = Position::from_offset(&String::from_utf8_lossy(&bytes), error.valid_up_to());
            let message = "this is not UTF-8 text; save the file as UTF-8".to_owned();
            return Err(ConfigErrors(vec![ConfigError {
                file: Some(file.display_path.to_owned()),
                position: Some(position),
                message,
            }]));
        }
    };
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(syntax_errors(file.display_path, text, &errors));
    }
    let doc = TomlDoc::new(file.display_path, text);
    let config = read_document(&doc, document.get_ref(), file, env_vars);
    let doc_warnings = doc.finish()?;
    Ok(Config { warnings: doc_warnings.into_iter().chain(config.warnings).collect(), ..config })
}

/// Converts syntax errors of the parser. Only the description is used: the full text quotes the line, which may contain
/// a secret.
fn syntax_errors(path: &Path, text: &str, errors: &[toml::de::Error]) -> ConfigErrors {
    let to_error = |error: &toml::de::Error| ConfigError {
        file: Some(path.to_owned()),
        position: error.span().map(|span| Position::from_offset(text, span.start)),
        message: format!("this is not TOML: {}", error.message()),
    };
    let mut config_errors: Vec<ConfigError> = errors.iter().map(to_error).collect();
    // A single mistake often causes several errors on its line: only the first one is kept.
    config_errors.dedup_by_key(|error| error.position.map(|position| position.line));
    ConfigErrors(config_errors)
}

fn read_document(doc: &TomlDoc<'_>, document: &DeTable<'_>, file: &ConfigFile<'_>, env_vars: &EnvVars<'_>) -> Config {
    let root = TomlTable::open(doc, &schema::FILE, document, 0);
    let mut providers = Providers::read(&root);
    let models = models::read(&root, &mut providers);
    let secret_bases = secret::SecretBases { config_file: &file.path, home_dir: file.home_dir.as_deref() };
    let mut keys = ConfiguredKeys::read(&root, &mut providers, &models, &secret_bases, env_vars);
    let located_rules = rules::read(&root, &models);
    let rule_strategies =
        located_rules.iter().filter_map(|it| Some((it.strategy_offset?, it.rule.strategy?))).collect();
    let policy = policy::read(&root, &models, located_rules.into_iter().map(|it| it.rule).collect(), rule_strategies);
    let directory = file.path.parent().unwrap_or(Path::new(""));
    let defaults = defaults::read(&root, directory);
    let checks = checks::read(&root, directory, &policy.rules, &defaults, env_vars);
    let (input_limits, unknown_model, row_model) = input_limits::read(&root);
    let dashboard = dashboard::read(&root);
    let metrics = metrics::read(&root);
    let webhooks = Webhooks::read(&root, &secret_bases, env_vars);
    keys.add_implied(&providers, &models);
    if models.is_empty() && root.field("model").is_none() {
        doc.add_error(0, "there is no [[model]]: list the models to use, best first, each with name and provider");
    }
    // Keys and models with errors are missing from the vectors, so the check would report misleading errors.
    if doc.has_no_errors() {
        check_routes(doc, &providers, &models, &keys);
        warn_of_default_output_limit(doc, &providers, &models, &defaults);
    }
    let mut secret_files = keys.secret_files;
    secret_files.extend(webhooks.secret_files);
    secret_files.sort();
    secret_files.dedup();
    let permission_warnings = secret_files.iter().filter_map(|path| bounded_read::permission_warning(path));
    Config {
        warnings: permission_warnings.chain(env_vars.dotenv_problems().iter().cloned()).collect(),
        providers: providers.into_providers(),
        models: models.into_iter().map(|located| located.model).collect(),
        keys: keys.keys,
        secrets: keys.secrets,
        has_named_project: keys.has_named_project,
        policy,
        defaults,
        checks,
        input_limits,
        unknown_model,
        row_model,
        dashboard,
        metrics,
        kept_parts: results::read(&root),
        pictures: pictures::read(&root),
        refusals: captions::read(&root),
        webhooks: webhooks.all,
        origin: Origin::File(file.display_path.to_owned()),
    }
}

/// Warns about models of Anthropic's API whose requests get an output limit that nobody chose: the API requires one.
fn warn_of_default_output_limit(
    doc: &TomlDoc<'_>,
    providers: &Providers,
    models: &[LocatedModel],
    defaults: &Defaults,
) {
    if defaults.params.max_output_tokens.is_some() {
        return;
    }
    let is_affected = |located: &&LocatedModel| {
        located.model.max_output.is_none() && providers.get(located.model.provider).provider.api == Api::Anthropic
    };
    for located in models.iter().filter(is_affected) {
        let message = format!(
            "model {} has no max_output, so requests without a limit of their own are sent with max_tokens = {}: longer \
             answers are cut off",
            quote_unless_secret(&located.model.name),
            group_digits(u64::from(ANTHROPIC_DEFAULT_MAX_OUTPUT))
        );
        doc.add_warning(located.name_offset, &message);
    }
}

/// Warns about models without a key and keys without a model. If there is no route at all, reports an error.
fn check_routes(doc: &TomlDoc<'_>, providers: &Providers, models: &[LocatedModel], keys: &ConfiguredKeys) {
    let mut route_count = 0;
    for located in models {
        let model = &located.model;
        let usable_keys = keys.keys.iter().filter(|key| {
            key.provider == model.provider && key.models.as_ref().is_none_or(|names| names.contains(&model.name))
        });
        let key_count = usable_keys.count();
        route_count += key_count;
        if key_count == 0 {
            let provider = quote_unless_secret(&providers.get(model.provider).provider.name);
            doc.add_warning(
                located.name_offset,
                &format!("model {} is never used: no key of {provider} may use it", quote_unless_secret(&model.name)),
            );
        }
    }
    for (index, key) in keys.keys.iter().enumerate() {
        if !models.iter().any(|located| located.model.provider == key.provider) {
            let provider = quote_unless_secret(&providers.get(key.provider).provider.name);
            let message = format!("key {} is never used: {provider} has no [[model]]", quote_unless_secret(&key.name));
            doc.add_warning(keys.alias_offset(index), &message);
        }
    }
    if route_count == 0 {
        let message = if keys.keys.is_empty() {
            "there is no [[key]]: give each key a name, a provider and a secret, like secret = \"env:GEMINI_KEY\""
        } else {
            "no key can be used with any model: a key and a model must name the same provider"
        };
        doc.add_error(0, message);
    }
}
