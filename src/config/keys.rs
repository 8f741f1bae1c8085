//! `[[key]]`: credentials by alias, and implied keys for servers that need none.

use std::path::PathBuf;

use secrecy::SecretString;

use super::{
    error::{join_alternatives, quote_unless_secret, suggestion},
    models::LocatedModel,
    policy,
    providers::{Providers, check_name},
    schema, secret,
    toml_reader::{TomlTable, TomlText},
    variables::Variables,
};
use crate::domain::{Key, KeyRole, MoneyCaps, ProviderId};

const ROLE_CHOICES: [(&str, KeyRole); 2] = [("primary", KeyRole::Primary), ("backup", KeyRole::Backup)];

/// The keys of a configuration. `keys`, `secrets`, `has_named_project` and `alias_offsets` are indexed by `KeyId`.
#[derive(Debug, Default)]
pub(super) struct ConfiguredKeys {
    pub list: Vec<Key>,
    pub secrets: Vec<Option<SecretString>>,
    /// True if the file names the key's project. Otherwise the key has a project of its own.
    pub has_named_project: Vec<bool>,
    /// The files that contain secrets, in no relation to the keys. A file may occur several times.
    pub secret_files: Vec<PathBuf>,
    /// Byte offsets of the aliases in the file; 0 for keys that are not in the file.
    name_offsets: Vec<usize>,
}

impl ConfiguredKeys {
    pub fn read(
        root: &TomlTable<'_>,
        providers: &mut Providers,
        models: &[LocatedModel],
        secret_paths: &secret::SecretPaths<'_>,
        variables: &Variables<'_>,
    ) -> Self {
        let mut keys = Self::default();
        for table in root.tables("key", &schema::KEY) {
            keys.read_one(&table, providers, models, secret_paths, variables);
        }
        keys
    }

    fn read_one(
        &mut self,
        table: &TomlTable<'_>,
        providers: &mut Providers,
        models: &[LocatedModel],
        secret_paths: &secret::SecretPaths<'_>,
        variables: &Variables<'_>,
    ) {
        let doc = table.doc;
        let name = table.required_text("name");
        let provider = table.required_text("provider").and_then(|given| providers.find(doc, given));
        let keyless = provider.is_some_and(|id| providers.get(id).is_keyless);
        let reference = if keyless { table.field("secret") } else { table.require("secret") };
        let resolved = reference.and_then(|field| {
            // `TomlField::text` would report a blank text. `secret::resolve` reports it with a message about secrets.
            let Some(text) = field.value.as_str() else {
                field.wrong_type("a text in quotes: \"env:NAME\", \"file:PATH\" or the secret itself");
                return None;
            };
            secret::resolve(text, secret_paths, variables).map_err(|reason| doc.add_error(field.offset, reason)).ok()
        });
        let project = table.text("project");
        if let Some(project) = project {
            check_name(doc, "a project's name", project);
        }
        let weight = table.count("weight", 1..=1_000_000).unwrap_or(1);
        let role = table.choice("role", &ROLE_CHOICES).unwrap_or_default();
        let (Some(name), Some(provider)) = (name, provider) else { return };
        self.check_alias(table, name);
        if let Some(found) = &resolved {
            self.check_duplicate_secret(table, &found.secret, provider);
        }
        let allowed = allowed_models(table, provider, models);
        let covered_models = || {
            models.iter().filter(|located| {
                let name = &located.model.name;
                located.model.provider == provider && allowed.as_ref().is_none_or(|allowed| allowed.contains(name))
            })
        };
        let caps = MoneyCaps {
            max_usd: policy::read_money_cap(table, "max_usd", covered_models()),
            max_usd_per_day: policy::read_money_cap(table, "max_usd_per_day", covered_models()),
        };
        let key = Key {
            name: name.text.to_owned(),
            provider,
            project: project.unwrap_or(name).text.to_owned(),
            weight,
            role,
            models: allowed,
            caps,
        };
        let (secret, secret_file) = resolved.map_or((None, None), |found| (Some(found.secret), found.file));
        self.secret_files.extend(secret_file);
        self.push(key, secret, project.is_some(), name.offset);
    }

    fn check_alias(&self, table: &TomlTable<'_>, name: TomlText<'_>) {
        check_name(table.doc, "a key's name", name);
        if name.text.contains('@') {
            table.doc.add_error(name.offset, "a key's name may not contain @, since routes are written model@key");
        }
        if let Some(duplicate) = self.list.iter().position(|key| key.name == name.text) {
            let line = table.doc.line_number(self.name_offsets[duplicate]);
            let message = format!(
                "a key named {} already stands on line {line}; aliases tell keys apart",
                quote_unless_secret(name.text)
            );
            table.doc.add_error(name.offset, message);
        }
    }

    /// Reports an error if another key of the provider has the same secret: its quota would be counted twice.
    fn check_duplicate_secret(&self, table: &TomlTable<'_>, secret: &SecretString, provider: ProviderId) {
        let is_duplicate = |&index: &usize| {
            self.list[index].provider == provider
                && self.secrets[index].as_ref().is_some_and(|other| secret::is_same_secret(other, secret))
        };
        if let Some(duplicate) = (0..self.list.len()).find(is_duplicate) {
            let offset = table.field("secret").map_or(table.offset, |field| field.offset);
            table.doc.add_error(
                offset,
                format!(
                    "this is the same secret as key {}'s; list it once",
                    quote_unless_secret(&self.list[duplicate].name)
                ),
            );
        }
    }

    /// Adds a key without a secret for each provider that has models, works without a key, and has no key in the file.
    pub fn add_implied(&mut self, providers: &Providers, models: &[LocatedModel]) {
        for (id, entry) in providers.iter() {
            let used = models.iter().any(|located| located.model.provider == id);
            if !entry.is_keyless || !used || self.list.iter().any(|key| key.provider == id) {
                continue;
            }
            let provider_name = &entry.provider.name;
            let taken = |name: &String| self.list.iter().any(|key| key.name == *name);
            let mut name = provider_name.clone();
            let mut number = 2;
            while taken(&name) {
                name = format!("{provider_name}-{number}");
                number += 1;
            }
            self.push(key_with_own_project(name, id), None, false, 0);
        }
    }

    pub fn push(&mut self, key: Key, secret: Option<SecretString>, has_named_project: bool, name_offset: usize) {
        self.list.push(key);
        self.secrets.push(secret);
        self.has_named_project.push(has_named_project);
        self.name_offsets.push(name_offset);
    }

    /// Byte offset of the alias of the key with this index; 0 if the key is not in the file.
    pub fn offset_of(&self, index: usize) -> usize {
        self.name_offsets[index]
    }
}

/// A key with its own project and default settings.
pub(super) fn key_with_own_project(name: String, provider: ProviderId) -> Key {
    Key {
        project: name.clone(),
        name,
        provider,
        weight: 1,
        role: KeyRole::Primary,
        models: None,
        caps: MoneyCaps::default(),
    }
}

fn allowed_models(table: &TomlTable<'_>, provider: ProviderId, models: &[LocatedModel]) -> Option<Vec<String>> {
    let entries = table.field("models")?.list("model names")?;
    let provider_models =
        || models.iter().filter(|located| located.model.provider == provider).map(|placed| placed.model.name.as_str());
    let mut allowed: Vec<String> = Vec::new();
    for entry in entries {
        let Some(name) = entry.text() else { continue };
        if !provider_models().any(|model| model == name.text) {
            let near = suggestion(name.text, provider_models());
            let choice = join_alternatives(provider_models());
            let message = format!(
                "models: there is no model {} at this provider{near}; it has {choice}",
                quote_unless_secret(name.text)
            );
            table.doc.add_error(name.offset, message);
        } else if !allowed.iter().any(|model| model == name.text) {
            allowed.push(name.text.to_owned());
        }
    }
    Some(allowed)
}
