//! `[[key]]`: credentials by alias, and implied keys for servers that need none.

use std::path::PathBuf;

use secrecy::SecretString;

use super::{
    env_vars::EnvVars,
    error::{format_suggestion, join_alternatives, quote_unless_secret},
    models::LocatedModel,
    policy,
    providers::{Providers, check_name},
    schema, secret,
    toml_reader::{TomlTable, TomlText},
};
use crate::domain::{Key, KeyRole, ProviderId, SpendLimits};

/// The keys of a configuration. `keys`, `secrets`, `has_named_project` and `alias_offsets` are indexed by `KeyId`.
#[derive(Debug, Default)]
pub(super) struct ConfiguredKeys {
    pub keys: Vec<Key>,
    pub secrets: Vec<Option<SecretString>>,
    /// True if the file names the key's project. Otherwise the key has a project of its own.
    pub has_named_project: Vec<bool>,
    /// The files that contain secrets, in no relation to the keys. A file may occur several times.
    pub secret_files: Vec<PathBuf>,
    /// Byte offsets of the aliases in the file; 0 for keys that are not in the file.
    alias_offsets: Vec<usize>,
}

impl ConfiguredKeys {
    pub fn read(
        root: &TomlTable<'_>,
        providers: &mut Providers,
        models: &[LocatedModel],
        secret_bases: &secret::SecretBases<'_>,
        env_vars: &EnvVars<'_>,
    ) -> Self {
        let mut keys = Self::default();
        for table in root.tables("key", &schema::KEY) {
            keys.read_key(&table, providers, models, secret_bases, env_vars);
        }
        keys
    }

    fn read_key(
        &mut self,
        table: &TomlTable<'_>,
        providers: &mut Providers,
        models: &[LocatedModel],
        secret_bases: &secret::SecretBases<'_>,
        env_vars: &EnvVars<'_>,
    ) {
        let doc = table.doc;
        let alias = table.required_text("name");
        let provider = table.required_text("provider").and_then(|provider_name| providers.find(doc, provider_name));
        let is_keyless = provider.is_some_and(|id| providers.get(id).is_keyless);
        let secret_field = if is_keyless { table.field("secret") } else { table.require("secret") };
        let resolved_secret = secret_field.and_then(|field| {
            // `TomlField::text` would report a blank text. `secret::resolve` reports it with a message about secrets.
            let Some(text) = field.value.as_str() else {
                field.wrong_type("a string in quotes: \"env:NAME\", \"file:PATH\" or the secret itself");
                return None;
            };
            secret::resolve(text, secret_bases, env_vars).map_err(|reason| doc.add_error(field.offset, reason)).ok()
        });
        let project = table.text("project");
        if let Some(project) = project {
            check_name(doc, "a project's name", project);
        }
        let weight = table.count("weight", 1..=1_000_000).unwrap_or(1);
        let role = table.choice("role").unwrap_or_default();
        let (Some(alias), Some(provider)) = (alias, provider) else { return };
        self.check_alias(table, alias);
        if let Some(resolved) = &resolved_secret {
            self.check_duplicate_secret(table, &resolved.secret, provider);
        }
        let allowed = read_allowed_models(table, provider, models);
        let models_of_key = || {
            models.iter().filter(|located| {
                let name = &located.model.name;
                located.model.provider == provider && allowed.as_ref().is_none_or(|allowed| allowed.contains(name))
            })
        };
        let spend_limits = SpendLimits {
            max_usd: policy::read_budget(table, "max_usd", models_of_key()),
            max_usd_per_day: policy::read_budget(table, "max_usd_per_day", models_of_key()),
        };
        let key = Key {
            name: alias.text.to_owned(),
            provider,
            project: project.unwrap_or(alias).text.to_owned(),
            weight,
            role,
            models: allowed,
            spend_limits,
        };
        let (secret, secret_file) =
            resolved_secret.map_or((None, None), |resolved| (Some(resolved.secret), resolved.file));
        self.secret_files.extend(secret_file);
        self.push(key, secret, project.is_some(), alias.offset);
    }

    fn check_alias(&self, table: &TomlTable<'_>, alias: TomlText<'_>) {
        check_name(table.doc, "a key's name", alias);
        if alias.text.contains('@') {
            table.doc.add_error(alias.offset, "a key's name may not contain @, since routes are written model@key");
        }
        if let Some(duplicate) = self.keys.iter().position(|key| key.name == alias.text) {
            let line = table.doc.line_number(self.alias_offsets[duplicate]);
            let message = format!(
                "a key named {} is already defined on line {line}; key names must be unique",
                quote_unless_secret(alias.text)
            );
            table.doc.add_error(alias.offset, message);
        }
    }

    /// Reports an error if another key of the provider has the same secret: its quota would be counted twice.
    fn check_duplicate_secret(&self, table: &TomlTable<'_>, secret: &SecretString, provider: ProviderId) {
        let is_duplicate = |&index: &usize| {
            self.keys[index].provider == provider
                && self.secrets[index].as_ref().is_some_and(|other| secret::is_same_secret(other, secret))
        };
        if let Some(duplicate) = (0..self.keys.len()).find(is_duplicate) {
            let offset = table.field("secret").map_or(table.offset, |field| field.offset);
            table.doc.add_error(
                offset,
                format!(
                    "key {} has the same secret; list it only once",
                    quote_unless_secret(&self.keys[duplicate].name)
                ),
            );
        }
    }

    /// Adds a key without a secret for each provider that has models, works without a key, and has no key in the file.
    pub fn add_implied(&mut self, providers: &Providers, models: &[LocatedModel]) {
        for (id, entry) in providers.iter() {
            let has_models = models.iter().any(|located| located.model.provider == id);
            if !entry.is_keyless || !has_models || self.keys.iter().any(|key| key.provider == id) {
                continue;
            }
            let provider_name = &entry.provider.name;
            let is_taken = |alias: &String| self.keys.iter().any(|key| key.name == *alias);
            let mut alias = provider_name.clone();
            let mut suffix = 2;
            while is_taken(&alias) {
                alias = format!("{provider_name}-{suffix}");
                suffix += 1;
            }
            self.push(key_with_own_project(alias, id), None, false, 0);
        }
    }

    pub fn push(&mut self, key: Key, secret: Option<SecretString>, has_named_project: bool, alias_offset: usize) {
        self.keys.push(key);
        self.secrets.push(secret);
        self.has_named_project.push(has_named_project);
        self.alias_offsets.push(alias_offset);
    }

    /// Byte offset of the alias of the key with this index; 0 if the key is not in the file.
    pub fn alias_offset(&self, index: usize) -> usize {
        self.alias_offsets[index]
    }
}

/// A key with its own project and default settings.
pub(super) fn key_with_own_project(alias: String, provider: ProviderId) -> Key {
    Key {
        project: alias.clone(),
        name: alias,
        provider,
        weight: 1,
        role: KeyRole::Primary,
        models: None,
        spend_limits: SpendLimits::default(),
    }
}

fn read_allowed_models(table: &TomlTable<'_>, provider: ProviderId, models: &[LocatedModel]) -> Option<Vec<String>> {
    let entries = table.field("models")?.list("model names")?;
    let provider_models = || {
        models.iter().filter(|located| located.model.provider == provider).map(|located| located.model.name.as_str())
    };
    let mut allowed: Vec<String> = Vec::new();
    for entry in entries {
        let Some(name) = entry.text() else { continue };
        if !provider_models().any(|model| model == name.text) {
            let did_you_mean = format_suggestion(name.text, provider_models());
            let available = join_alternatives(provider_models());
            let message = format!(
                "models: this provider has no model {}{did_you_mean}; use {available}",
                quote_unless_secret(name.text)
            );
            table.doc.add_error(name.offset, message);
        } else if !allowed.iter().any(|model| model == name.text) {
            allowed.push(name.text.to_owned());
        }
    }
    Some(allowed)
}
