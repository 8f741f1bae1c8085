//! `[[provider]]`: presets, and what the file says over them.

use super::{
    address,
    fault::{shown, suggestion},
    preset::{self, PRESETS, Preset},
    schema,
    sheet::{Sheet, Table, Text},
};
use crate::domain::{Api, Provider, ProviderId, QuotaDay, TokenCounting, sanitize};

pub(super) const APIS: [(&str, Api); 3] =
    [("gemini", Api::Gemini), ("openai", Api::OpenAi), ("anthropic", Api::Anthropic)];
pub(super) const DAYS: [(&str, QuotaDay); 3] =
    [("pacific", QuotaDay::Pacific), ("utc", QuotaDay::Utc), ("rolling", QuotaDay::Rolling)];
pub(super) const COUNTED: [(&str, TokenCounting); 2] =
    [("input", TokenCounting::Input), ("total", TokenCounting::Total)];

/// A provider and what its models and keys take over from it.
#[derive(Debug)]
pub(super) struct Declared {
    pub provider: Provider,
    pub day: QuotaDay,
    pub counted: TokenCounting,
    /// On this machine or in a private network: works without a key.
    pub keyless: bool,
    /// A preset for a server of one's own, whose answers cost nothing.
    pub free: bool,
}

/// The providers of a file in its order; presets join when something first names them.
#[derive(Debug, Default)]
pub(super) struct Providers(Vec<Declared>);

impl Providers {
    pub fn read(root: &Table<'_>) -> Self {
        let mut providers = Self::default();
        let mut lines: Vec<usize> = Vec::new();
        for table in root.tables("provider", &schema::PROVIDER) {
            let Some(name) = table.required_text("name") else { continue };
            if let Some(first) = providers.position(name.text) {
                let line = table.sheet.line(lines[first]);
                table.sheet.fault(name.at, format!("provider {} already stands on line {line}", shown(name.text)));
                continue;
            }
            lines.push(name.at);
            providers.0.push(declared(&table, name));
        }
        providers
    }

    /// The provider of this name, a preset included; otherwise a fault.
    pub fn find(&mut self, sheet: &Sheet<'_>, name: Text<'_>) -> Option<ProviderId> {
        if let Some(position) = self.position(name.text) {
            return Some(ProviderId(position as u32));
        }
        if let Some(preset) = preset::preset(name.text) {
            return Some(self.add(preset));
        }
        let known = self.0.iter().map(|declared| declared.provider.name.as_str());
        let near = suggestion(name.text, known.chain(PRESETS.iter().map(|preset| preset.name)));
        let message = format!(
            "there is no provider {}{near}; declare it with [[provider]] (name, api and base_url)",
            shown(name.text)
        );
        sheet.fault(name.at, message);
        None
    }

    pub fn add(&mut self, preset: &Preset) -> ProviderId {
        self.0.push(from_preset(preset));
        ProviderId((self.0.len() - 1) as u32)
    }

    pub fn get(&self, id: ProviderId) -> &Declared {
        &self.0[id.index()]
    }

    pub fn iter(&self) -> impl Iterator<Item = (ProviderId, &Declared)> {
        self.0.iter().enumerate().map(|(index, declared)| (ProviderId(index as u32), declared))
    }

    pub fn into_providers(self) -> Vec<Provider> {
        self.0.into_iter().map(|declared| declared.provider).collect()
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|declared| declared.provider.name == name)
    }
}

fn from_preset(preset: &Preset) -> Declared {
    Declared {
        provider: Provider {
            name: preset.name.to_owned(),
            api: preset.api,
            base_url: preset.base_url.to_owned(),
            headers: Vec::new(),
        },
        day: preset.day,
        counted: preset.counted,
        keyless: preset.local,
        free: preset.local,
    }
}

/// Whatever is faulty is reported and replaced by something plausible, so that what refers to this provider is
/// not reported as well.
fn declared(table: &Table<'_>, name: Text<'_>) -> Declared {
    check_name(table.sheet, "a provider's name", name);
    let preset = preset::preset(name.text);
    let api = match preset {
        None if table.field("api").is_none() => {
            let near = suggestion(name.text, PRESETS.iter().map(|preset| preset.name));
            let message = format!(
                "{} is no well-known provider{near}, so its api must be given: gemini, openai or anthropic",
                shown(name.text)
            );
            table.sheet.fault(table.at, message);
            None
        }
        _ => table.word("api", &APIS).or(preset.map(|preset| preset.api)),
    };
    let insecure = table.flag("insecure").unwrap_or(false);
    let given = if preset.is_none() { table.required_text("base_url") } else { table.text("base_url") };
    let address = given.and_then(|given| {
        address::check(given.text, api, insecure).map_err(|why| table.sheet.fault(given.at, why)).ok()
    });
    let local = preset.is_some_and(|preset| preset.local);
    let api = api.unwrap_or(Api::OpenAi);
    Declared {
        keyless: address.as_ref().map_or(local, |address| address.near),
        free: local,
        day: table.word("day", &DAYS).or(preset.map(|preset| preset.day)).unwrap_or(preset::day_of(api)),
        counted: table
            .word("counted", &COUNTED)
            .or(preset.map(|preset| preset.counted))
            .unwrap_or(preset::counted_by(api)),
        provider: Provider {
            name: name.text.to_owned(),
            api,
            base_url: address
                .map(|address| address.url)
                .or(preset.map(|preset| preset.base_url.to_owned()))
                .unwrap_or_default(),
            headers: headers(table),
        },
    }
}

fn headers(table: &Table<'_>) -> Vec<(String, String)> {
    let Some(field) = table.field("headers") else { return Vec::new() };
    let Some(entries) = field.value.as_table() else {
        field.wrong("a table, like { name = \"value\" }");
        return Vec::new();
    };
    let mut headers = Vec::new();
    for (key, value) in entries {
        let name: &str = key.get_ref();
        let complain = |at: usize, why: &str| table.sheet.fault(at, format!("header {}: {why}", shown(name)));
        let value_text = value.get_ref().as_str();
        match (header_fault(name, value_text.unwrap_or_default()), value_text) {
            (Some(why), _) => complain(key.span().start, why),
            (None, None) => complain(value.span().start, "its value must be a text in quotes"),
            (None, Some(text)) if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) => {
                complain(value.span().start, "its value may only hold visible ASCII characters");
            }
            (None, Some(text)) => headers.push((name.to_ascii_lowercase(), text.to_owned())),
        }
    }
    headers
}

fn header_fault(name: &str, value: &str) -> Option<&'static str> {
    const CREDENTIALS: [&str; 6] =
        ["authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie"];
    const OURS: [&str; 5] = ["host", "content-length", "content-type", "transfer-encoding", "connection"];
    let lowered = name.to_ascii_lowercase();
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        Some("this can't be the name of a header")
    } else if CREDENTIALS.contains(&lowered.as_str()) && !value.contains("{key}") {
        Some(
            "credentials are sent from [[key]] secret, where they are kept out of logs: write {key} in their place, as in \
             \"Bearer {key}\"",
        )
    } else if OURS.contains(&lowered.as_str()) {
        Some("every request sets it already")
    } else {
        None
    }
}

/// Names stand in logs, tables and commands: one visible word, and never a secret.
pub(super) fn check_name(sheet: &Sheet<'_>, what: &str, name: Text<'_>) {
    let text = name.text;
    if super::fault::looks_secret(text) {
        sheet.fault(name.at, format!("{what} is shown everywhere, and this one looks like a secret; choose another"));
    } else if text.contains(char::is_whitespace) || sanitize(text) != text {
        sheet.fault(name.at, format!("{what} must be one visible word, not {}", shown(text)));
    } else if text.chars().count() > 100 {
        sheet.fault(name.at, format!("{what} may have at most 100 characters"));
    }
}
