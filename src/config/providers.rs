//! `[[provider]]`: presets, and the settings of the file that override them.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{
    address,
    error::{format_suggestion, quote_unless_secret},
    extra_body,
    preset::{self, CachePrices, PRESETS, Preset},
    schema,
    toml_reader::{TomlDoc, TomlTable, TomlText},
};
use crate::domain::{Api, HealthCheck, HealthCheckTarget, Provider, ProviderId, QuotaDay, TokenCounting, sanitize};

/// Shorter intervals would be a burden for a provider that recovers.
const MIN_HEALTH_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A provider and the defaults for its models and keys.
#[derive(Debug)]
pub(super) struct ProviderEntry {
    pub provider: Provider,
    pub quota_day: QuotaDay,
    pub token_counting: TokenCounting,
    /// For models whose prices don't state them.
    pub cache_prices: CachePrices,
    /// Fields added to the body of every request for its models.
    pub extra_body: Map<String, Value>,
    /// True if the server is on this machine or in a private network: it works without a key.
    pub is_keyless: bool,
    /// True for the preset of a local server, whose answers cost nothing.
    pub is_free: bool,
}

/// The providers in the order of the file. A preset that is not declared there is added when a model or key names it.
#[derive(Debug, Default)]
pub(super) struct Providers(Vec<ProviderEntry>);

impl Providers {
    pub fn read(root: &TomlTable<'_>) -> Self {
        let mut providers = Self::default();
        let mut name_offsets: Vec<usize> = Vec::new();
        for table in root.tables("provider", &schema::PROVIDER) {
            let Some(name) = table.required_text("name") else { continue };
            if let Some(first) = providers.position(name.text) {
                let line = table.doc.line_number(name_offsets[first]);
                table.doc.add_error(
                    name.offset,
                    format!("provider {} is already defined on line {line}", quote_unless_secret(name.text)),
                );
                continue;
            }
            name_offsets.push(name.offset);
            providers.0.push(read_provider(&table, name));
        }
        providers
    }

    /// Returns the provider with this name, which may be a preset. Otherwise reports an error.
    pub fn find(&mut self, doc: &TomlDoc<'_>, name: TomlText<'_>) -> Option<ProviderId> {
        if let Some(position) = self.position(name.text) {
            return Some(ProviderId(position as u32));
        }
        if let Some(preset) = preset::find_preset(name.text) {
            return Some(self.add(preset));
        }
        let known = self.0.iter().map(|entry| entry.provider.name.as_str());
        let did_you_mean = format_suggestion(name.text, known.chain(PRESETS.iter().map(|preset| preset.name)));
        let message = format!(
            "there is no provider {}{did_you_mean}; declare it with [[provider]] (name, api and base_url)",
            quote_unless_secret(name.text)
        );
        doc.add_error(name.offset, message);
        None
    }

    pub fn add(&mut self, preset: &Preset) -> ProviderId {
        self.0.push(from_preset(preset));
        ProviderId((self.0.len() - 1) as u32)
    }

    pub fn get(&self, id: ProviderId) -> &ProviderEntry {
        &self.0[id.index()]
    }

    pub fn iter(&self) -> impl Iterator<Item = (ProviderId, &ProviderEntry)> {
        self.0.iter().enumerate().map(|(index, entry)| (ProviderId(index as u32), entry))
    }

    pub fn into_providers(self) -> Vec<Provider> {
        self.0.into_iter().map(|entry| entry.provider).collect()
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|entry| entry.provider.name == name)
    }
}

fn from_preset(preset: &Preset) -> ProviderEntry {
    ProviderEntry {
        provider: Provider {
            max_tokens_field: preset.max_tokens_field(),
            ..Provider::new(preset.name, preset.api, preset.base_url)
        },
        quota_day: preset.quota_day,
        token_counting: preset.token_counting,
        cache_prices: preset.cache_prices,
        extra_body: Map::new(),
        is_keyless: preset.is_local,
        is_free: preset.is_local,
    }
}

/// Reads a provider. Reports each bad value and replaces it by a default, so that models and keys that name this
/// provider cause no further errors.
fn read_provider(table: &TomlTable<'_>, name: TomlText<'_>) -> ProviderEntry {
    check_name(table.doc, "a provider's name", name);
    let preset = preset::find_preset(name.text);
    let api = match preset {
        None if table.field("api").is_none() => {
            let did_you_mean = format_suggestion(name.text, PRESETS.iter().map(|preset| preset.name));
            let message = format!(
                "{} is not a well-known provider{did_you_mean}, so it needs an api: gemini, openai or anthropic",
                quote_unless_secret(name.text)
            );
            table.doc.add_error(table.offset, message);
            None
        }
        _ => table.choice("api").or(preset.map(|preset| preset.api)),
    };
    let insecure = table.flag("insecure").unwrap_or(false);
    let base_url = if preset.is_none() { table.required_text("base_url") } else { table.text("base_url") };
    let address = base_url.and_then(|base_url| {
        address::check_base_url(base_url.text, api, insecure)
            .map_err(|reason| table.doc.add_error(base_url.offset, reason))
            .ok()
    });
    let is_local_preset = preset.is_some_and(|preset| preset.is_local);
    let api = api.unwrap_or(Api::OpenAi);
    ProviderEntry {
        is_keyless: address.as_ref().map_or(is_local_preset, |address| address.is_private),
        is_free: is_local_preset,
        quota_day: table
            .choice("day")
            .or(preset.map(|preset| preset.quota_day))
            .unwrap_or(preset::default_quota_day(api)),
        token_counting: table
            .choice("counted")
            .or(preset.map(|preset| preset.token_counting))
            .unwrap_or(preset::default_token_counting(api)),
        extra_body: extra_body::read(table),
        cache_prices: preset.map_or_else(|| CachePrices::default_of(api), |preset| preset.cache_prices),
        provider: Provider {
            name: name.text.to_owned(),
            api,
            base_url: address
                .map(|address| address.url)
                .or(preset.map(|preset| preset.base_url.to_owned()))
                .unwrap_or_default(),
            headers: read_headers(table),
            health_check: read_health_check(table),
            max_tokens_field: preset.and_then(Preset::max_tokens_field),
        },
    }
}

fn read_health_check(table: &TomlTable<'_>) -> HealthCheck {
    let default = HealthCheck::default();
    let target = table.text("health").and_then(|health| match health.text {
        "models" => Some(HealthCheckTarget::Models),
        "off" => Some(HealthCheckTarget::Off),
        path if path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte)) => {
            Some(HealthCheckTarget::Path(path.to_owned()))
        }
        _ => {
            let message = "health must be \"models\", \"off\" or a path like \"/health\"";
            table.doc.add_error(health.offset, message.to_owned());
            None
        }
    });
    let interval = table.field("health_interval").and_then(|field| {
        field.duration().filter(|interval| {
            if *interval < MIN_HEALTH_CHECK_INTERVAL {
                field.doc.add_error(field.offset, "health_interval must be at least \"1s\"".to_owned());
            }
            *interval >= MIN_HEALTH_CHECK_INTERVAL
        })
    });
    HealthCheck { target: target.unwrap_or(default.target), interval: interval.unwrap_or(default.interval) }
}

fn read_headers(table: &TomlTable<'_>) -> Vec<(String, String)> {
    let Some(field) = table.field("headers") else { return Vec::new() };
    let Some(entries) = field.value.as_table() else {
        field.wrong_type("a table, like { name = \"value\" }");
        return Vec::new();
    };
    let mut headers = Vec::new();
    for (key, value) in entries {
        let name: &str = key.get_ref();
        let add_error = |offset: usize, reason: &str| {
            table.doc.add_error(offset, format!("header {}: {reason}", quote_unless_secret(name)));
        };
        let value_text = value.get_ref().as_str();
        match (header_error(name, value_text.unwrap_or_default()), value_text) {
            (Some(why), _) => add_error(key.span().start, why),
            (None, None) => add_error(value.span().start, "its value must be a string in quotes"),
            (None, Some(text)) if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) => {
                add_error(value.span().start, "its value may only contain visible ASCII characters");
            }
            (None, Some(text)) => headers.push((name.to_ascii_lowercase(), text.to_owned())),
        }
    }
    headers
}

fn header_error(name: &str, value: &str) -> Option<&'static str> {
    const CREDENTIALS: [&str; 6] =
        ["authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie"];
    const RESERVED: [&str; 5] = ["host", "content-length", "content-type", "transfer-encoding", "connection"];
    let lowered = name.to_ascii_lowercase();
    let is_token_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token_byte) {
        Some("this is not a valid header name")
    } else if CREDENTIALS.contains(&lowered.as_str()) && !value.contains("{key}") {
        Some(
            "credentials belong in the secret of a [[key]], which is kept out of logs; write {key} in their place, as in \
             \"Bearer {key}\"",
        )
    } else if RESERVED.contains(&lowered.as_str()) {
        Some("every request sets it already")
    } else {
        None
    }
}

/// Reports an error if a name can't be used. Names appear in logs, tables and commands, so each must be one visible
/// word that doesn't look like a secret. `label` says in the message whose name it is.
pub(super) fn check_name(doc: &TomlDoc<'_>, label: &str, name: TomlText<'_>) {
    let text = name.text;
    if super::error::looks_like_secret(text) {
        doc.add_error(
            name.offset,
            format!("{label} is shown everywhere, and this one looks like a secret; choose another"),
        );
    } else if text.contains(char::is_whitespace) || sanitize(text) != text {
        doc.add_error(
            name.offset,
            format!("{label} must be a single word of visible characters, not {}", quote_unless_secret(text)),
        );
    } else if text.chars().count() > 100 {
        doc.add_error(name.offset, format!("{label} may have at most 100 characters"));
    }
}
