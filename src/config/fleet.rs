//! A whole keys.toml, from text to a checked configuration: the parts are read in the order in which they refer to
//! each other, then checked against each other.

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::{
    Config, Origin, dashboard, defaults,
    fault::{Fault, Faults, Position, shown},
    input_limits,
    keys::Keys,
    models::{self, Placed},
    policy,
    providers::Providers,
    rules, schema, secret,
    sheet::{Sheet, Table},
    small_file,
    variables::Variables,
    webhooks::Webhooks,
};

/// Longest keys.toml that is read: tens of thousands of keys.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// A configuration file on its way to being read.
pub(super) struct Source<'f> {
    /// As the user would name it.
    pub shown: &'f Path,
    /// Where it really is; relative paths in it start beside it.
    pub real: PathBuf,
    pub home: Option<PathBuf>,
}

pub(super) fn read(source: &Source<'_>, variables: &Variables<'_>) -> Result<Config, Faults> {
    let bytes = std::fs::File::open(&source.real)
        .and_then(|file| small_file::read_at_most(file, MAX_FILE_BYTES))
        .map_err(|error| Faults::one(Some(source.shown.to_owned()), small_file::unreadable(&error)))?;
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) => text,
        Err(error) => {
            let position = Position::of(&String::from_utf8_lossy(&bytes), error.valid_up_to());
            let message = "this is not UTF-8 text; save the file as UTF-8".to_owned();
            return Err(Faults(vec![Fault { file: Some(source.shown.to_owned()), position: Some(position), message }]));
        }
    };
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(syntax(source.shown, text, &errors));
    }
    let sheet = Sheet::new(source.shown, text);
    let config = examine(&sheet, document.get_ref(), source, variables);
    let found = sheet.close()?;
    Ok(Config { warnings: found.into_iter().chain(config.warnings).collect(), ..config })
}

/// What the parser could not make sense of. Only its description is used: its full text quotes the line, and the
/// line may hold a secret.
fn syntax(path: &Path, text: &str, errors: &[toml::de::Error]) -> Faults {
    let fault = |error: &toml::de::Error| Fault {
        file: Some(path.to_owned()),
        position: error.span().map(|span| Position::of(text, span.start)),
        message: format!("this is not TOML: {}", error.message()),
    };
    let mut faults: Vec<Fault> = errors.iter().map(fault).collect();
    // One slip often trips the parser several times over on its line.
    faults.dedup_by_key(|fault| fault.position.map(|position| position.line));
    Faults(faults)
}

fn examine(sheet: &Sheet<'_>, document: &DeTable<'_>, source: &Source<'_>, variables: &Variables<'_>) -> Config {
    let root = Table::open(sheet, &schema::FILE, document, 0);
    let mut providers = Providers::read(&root);
    let models = models::read(&root, &mut providers);
    let places = secret::Places { file: &source.real, home: source.home.as_deref() };
    let mut keys = Keys::read(&root, &mut providers, &models, &places, variables);
    let placed = rules::read(&root, &models);
    let strategies_at = placed.iter().filter_map(|it| Some((it.strategy_at?, it.rule.strategy?))).collect();
    let policy = policy::read(&root, &models, placed.into_iter().map(|it| it.rule).collect(), strategies_at);
    let defaults = defaults::read(&root, source.real.parent().unwrap_or(Path::new("")));
    let (input, unknown_model) = input_limits::read(&root);
    let dashboard = dashboard::read(&root);
    let webhooks = Webhooks::read(&root, &places, variables);
    keys.imply(&providers, &models);
    if models.is_empty() && root.field("model").is_none() {
        sheet.fault(0, "there is no [[model]]: list the models to use, best first, each with name and provider");
    }
    // Keys and models that could not be read would be missed here too.
    if sheet.is_clean() {
        check_routes(sheet, &providers, &models, &keys);
    }
    let mut held_by = keys.held_by;
    held_by.extend(webhooks.held_by);
    held_by.sort();
    held_by.dedup();
    let exposed = held_by.iter().filter_map(|path| small_file::exposure(path));
    Config {
        warnings: exposed.chain(variables.complaints().iter().cloned()).collect(),
        providers: providers.into_providers(),
        models: models.into_iter().map(|placed| placed.model).collect(),
        keys: keys.list,
        secrets: keys.secrets,
        project_stated: keys.project_stated,
        policy,
        defaults,
        input,
        unknown_model,
        dashboard,
        webhooks: webhooks.list,
        origin: Origin::File(source.shown.to_owned()),
    }
}

/// Every model needs a key and every key a model; where nothing fits anything, nothing can run.
fn check_routes(sheet: &Sheet<'_>, providers: &Providers, models: &[Placed], keys: &Keys) {
    let mut routes = 0;
    for placed in models {
        let model = &placed.model;
        let fitting = keys.list.iter().filter(|key| {
            key.provider == model.provider && key.models.as_ref().is_none_or(|names| names.contains(&model.name))
        });
        let fitting = fitting.count();
        routes += fitting;
        if fitting == 0 {
            let provider = shown(&providers.get(model.provider).provider.name);
            sheet.warn(
                placed.at,
                &format!("model {} is never used: no key of {provider} may use it", shown(&model.name)),
            );
        }
    }
    for (index, key) in keys.list.iter().enumerate() {
        if !models.iter().any(|placed| placed.model.provider == key.provider) {
            let provider = shown(&providers.get(key.provider).provider.name);
            let message = format!("key {} is never used: {provider} has no [[model]]", shown(&key.name));
            sheet.warn(keys.place(index), &message);
        }
    }
    if routes == 0 {
        let message = if keys.list.is_empty() {
            "there is no [[key]]: give each key a name, a provider and a secret, like secret = \"env:GEMINI_KEY\""
        } else {
            "no key fits any model: keys and models must name the same provider"
        };
        sheet.fault(0, message);
    }
}
