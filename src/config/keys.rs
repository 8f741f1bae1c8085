//! `[[key]]`: credentials by alias, and the implied keys of servers that need none.

use std::path::PathBuf;

use secrecy::SecretString;

use super::{
    fault::{alternatives, shown, suggestion},
    models::Placed,
    policy,
    providers::{Providers, check_name},
    schema, secret,
    sheet::{Table, Text},
    variables::Variables,
};
use crate::domain::{Key, KeyRole, MoneyCaps, ProviderId};

const ROLES: [(&str, KeyRole); 2] = [("primary", KeyRole::Primary), ("backup", KeyRole::Backup)];

/// The keys of a configuration; all vectors go by `KeyId`.
#[derive(Debug, Default)]
pub(super) struct Keys {
    pub list: Vec<Key>,
    pub secrets: Vec<Option<SecretString>>,
    /// Whether the project was named, rather than being the key's own.
    pub project_stated: Vec<bool>,
    /// Files that hold secrets.
    pub held_by: Vec<PathBuf>,
    /// Where the aliases stand in the file.
    places: Vec<usize>,
}

impl Keys {
    pub fn read(
        root: &Table<'_>,
        providers: &mut Providers,
        models: &[Placed],
        places: &secret::Places<'_>,
        variables: &Variables<'_>,
    ) -> Self {
        let mut keys = Self::default();
        for table in root.tables("key", &schema::KEY) {
            keys.read_one(&table, providers, models, places, variables);
        }
        keys
    }

    fn read_one(
        &mut self,
        table: &Table<'_>,
        providers: &mut Providers,
        models: &[Placed],
        places: &secret::Places<'_>,
        variables: &Variables<'_>,
    ) {
        let sheet = table.sheet;
        let name = table.required_text("name");
        let provider = table.required_text("provider").and_then(|given| providers.find(sheet, given));
        let keyless = provider.is_some_and(|id| providers.get(id).keyless);
        let reference = if keyless { table.field("secret") } else { table.require("secret") };
        let found = reference.and_then(|field| {
            // Blank is left to the check of secrets, which says so in its own words.
            let Some(text) = field.value.as_str() else {
                field.wrong("a text in quotes: \"env:NAME\", \"file:PATH\" or the secret itself");
                return None;
            };
            secret::resolve(text, places, variables).map_err(|why| sheet.fault(field.at, why)).ok()
        });
        let project = table.text("project");
        if let Some(project) = project {
            check_name(sheet, "a project's name", project);
        }
        let weight = table.count("weight", 1..=1_000_000).unwrap_or(1);
        let role = table.word("role", &ROLES).unwrap_or_default();
        let (Some(name), Some(provider)) = (name, provider) else { return };
        self.check_alias(table, name);
        if let Some(found) = &found {
            self.check_twin(table, &found.secret, provider);
        }
        let allowed = allowed_models(table, provider, models);
        let covered = || {
            models.iter().filter(|placed| {
                let name = &placed.model.name;
                placed.model.provider == provider && allowed.as_ref().is_none_or(|allowed| allowed.contains(name))
            })
        };
        let caps = MoneyCaps {
            max_usd: policy::cap(table, "max_usd", covered()),
            max_usd_per_day: policy::cap(table, "max_usd_per_day", covered()),
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
        let (secret, held_by) = found.map_or((None, None), |found| (Some(found.secret), found.held_by));
        self.held_by.extend(held_by);
        self.push(key, secret, project.is_some(), name.at);
    }

    fn check_alias(&self, table: &Table<'_>, name: Text<'_>) {
        check_name(table.sheet, "a key's name", name);
        if name.text.contains('@') {
            table.sheet.fault(name.at, "a key's name may not contain @, since routes are written model@key");
        }
        if let Some(twin) = self.list.iter().position(|key| key.name == name.text) {
            let line = table.sheet.line(self.places[twin]);
            let message =
                format!("a key named {} already stands on line {line}; aliases tell keys apart", shown(name.text));
            table.sheet.fault(name.at, message);
        }
    }

    /// One secret under two aliases would be counted as two quotas.
    fn check_twin(&self, table: &Table<'_>, secret: &SecretString, provider: ProviderId) {
        let is_twin = |&index: &usize| {
            self.list[index].provider == provider
                && self.secrets[index].as_ref().is_some_and(|other| secret::same(other, secret))
        };
        if let Some(twin) = (0..self.list.len()).find(is_twin) {
            let at = table.field("secret").map_or(table.at, |field| field.at);
            table
                .sheet
                .fault(at, format!("this is the same secret as key {}'s; list it once", shown(&self.list[twin].name)));
        }
    }

    /// Adds a key for every provider that has models, needs no key and was given none.
    pub fn imply(&mut self, providers: &Providers, models: &[Placed]) {
        for (id, declared) in providers.iter() {
            let used = models.iter().any(|placed| placed.model.provider == id);
            if !declared.keyless || !used || self.list.iter().any(|key| key.provider == id) {
                continue;
            }
            let wanted = &declared.provider.name;
            let taken = |name: &String| self.list.iter().any(|key| key.name == *name);
            let mut name = wanted.clone();
            let mut number = 2;
            while taken(&name) {
                name = format!("{wanted}-{number}");
                number += 1;
            }
            self.push(own_key(name, id), None, false, 0);
        }
    }

    pub fn push(&mut self, key: Key, secret: Option<SecretString>, project_stated: bool, at: usize) {
        self.list.push(key);
        self.secrets.push(secret);
        self.project_stated.push(project_stated);
        self.places.push(at);
    }

    /// Where key number `index` stands in the file.
    pub fn place(&self, index: usize) -> usize {
        self.places[index]
    }
}

/// A key with a project of its own and nothing else said about it.
pub(super) fn own_key(name: String, provider: ProviderId) -> Key {
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

fn allowed_models(table: &Table<'_>, provider: ProviderId, models: &[Placed]) -> Option<Vec<String>> {
    let entries = table.field("models")?.list("model names")?;
    let offered =
        || models.iter().filter(|placed| placed.model.provider == provider).map(|placed| placed.model.name.as_str());
    let mut allowed: Vec<String> = Vec::new();
    for entry in entries {
        let Some(name) = entry.text() else { continue };
        if !offered().any(|model| model == name.text) {
            let near = suggestion(name.text, offered());
            let choice = alternatives(offered());
            let message =
                format!("models: there is no model {} at this provider{near}; it has {choice}", shown(name.text));
            table.sheet.fault(name.at, message);
        } else if !allowed.iter().any(|model| model == name.text) {
            allowed.push(name.text.to_owned());
        }
    }
    Some(allowed)
}
