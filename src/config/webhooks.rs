//! `[[webhook]]`: addresses that get messages about a run. An address is a secret like a key, since anyone who knows it
//! can send messages there.

use std::path::PathBuf;

use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    address,
    env_vars::EnvVars,
    error::quote_unless_secret,
    providers::check_name,
    schema, secret,
    toml_reader::{TomlField, TomlTable, TomlText},
};
use crate::domain::names;

/// An address that messages are sent to.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// The alias shown everywhere instead of the address.
    pub name: String,
    /// A valid URL, secret like a key.
    pub url: SecretString,
    /// True if it is on this machine. Proxies from the environment are then not used.
    pub is_local: bool,
    /// The kinds of alerts to send, each once, in the order of [`AlertKind::ALL`].
    pub alert_kinds: Vec<AlertKind>,
    pub format: WebhookFormat,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AlertKind {
    Finished,
    Stopped,
    /// A problem that needs attention, and its end.
    Attention,
}

/// The format of messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WebhookFormat {
    /// All data as one JSON object.
    Json,
    /// `{"text": …}` and nothing else: Slack, Mattermost, Rocket.Chat, Google Chat.
    Slack,
    /// `{"content": …}`, with mentions disabled.
    Discord,
    /// An adaptive card for the workflows of Teams.
    Teams,
    /// Only the sentence, as plain text: ntfy.
    Text,
}

names!(AlertKind { Finished = "finished", Stopped = "stopped", Attention = "attention" });

names!(WebhookFormat { Json = "json", Slack = "slack", Discord = "discord", Teams = "teams", Text = "text" });

impl WebhookFormat {
    /// The format that a well-known service expects, by its host; JSON for other hosts.
    fn for_url(url: &Url) -> Self {
        const KNOWN: [(&str, WebhookFormat); 9] = [
            ("hooks.slack.com", WebhookFormat::Slack),
            ("hooks.slack-gov.com", WebhookFormat::Slack),
            ("chat.googleapis.com", WebhookFormat::Slack),
            ("discord.com", WebhookFormat::Discord),
            ("discordapp.com", WebhookFormat::Discord),
            ("webhook.office.com", WebhookFormat::Teams),
            ("logic.azure.com", WebhookFormat::Teams),
            ("api.powerplatform.com", WebhookFormat::Teams),
            ("ntfy.sh", WebhookFormat::Text),
        ];
        let host = url.host_str().unwrap_or_default();
        let matches_host =
            |known: &str| host == known || host.strip_suffix(known).is_some_and(|rest| rest.ends_with('.'));
        KNOWN.iter().find(|(known, _)| matches_host(known)).map_or(Self::Json, |&(_, format)| format)
    }
}

/// The webhooks of a configuration.
#[derive(Debug, Default)]
pub(super) struct Webhooks {
    pub all: Vec<Webhook>,
    /// The files that contain the addresses. A file may occur several times.
    pub secret_files: Vec<PathBuf>,
    /// Byte offsets of the aliases in the file, in the order of `all`.
    alias_offsets: Vec<usize>,
}

impl Webhooks {
    pub fn read(root: &TomlTable<'_>, secret_bases: &secret::SecretBases<'_>, env_vars: &EnvVars<'_>) -> Self {
        let mut webhooks = Self::default();
        for table in root.tables("webhook", &schema::WEBHOOK) {
            webhooks.read_webhook(&table, secret_bases, env_vars);
        }
        webhooks
    }

    fn read_webhook(&mut self, table: &TomlTable<'_>, secret_bases: &secret::SecretBases<'_>, env_vars: &EnvVars<'_>) {
        let alias = table.required_text("name");
        let alert_kinds = read_alert_kinds(table);
        let format = table.choice("format");
        let insecure = table.flag("insecure").unwrap_or_default();
        let address = self.read_address(table, insecure, secret_bases, env_vars);
        let Some(alias) = alias else { return };
        self.check_alias(table, alias);
        let Some((secret, url)) = address else { return };
        self.alias_offsets.push(alias.offset);
        self.all.push(Webhook {
            name: alias.text.to_owned(),
            url: secret,
            is_local: address::is_this_machine(url.host_str().unwrap_or_default()),
            alert_kinds: alert_kinds.unwrap_or_else(|| AlertKind::ALL.to_vec()),
            format: format.unwrap_or_else(|| WebhookFormat::for_url(&url)),
        });
    }

    fn read_address(
        &mut self,
        table: &TomlTable<'_>,
        insecure: bool,
        secret_bases: &secret::SecretBases<'_>,
        env_vars: &EnvVars<'_>,
    ) -> Option<(SecretString, Url)> {
        let field = table.require("url")?;
        let Some(text) = field.value.as_str() else {
            field.wrong_type("a string in quotes: \"env:NAME\", \"file:PATH\" or the address itself");
            return None;
        };
        let add_error = |reason: &str| table.doc.add_error(field.offset, reason);
        let resolved = secret::resolve(text, secret_bases, env_vars).map_err(|reason| add_error(&reason)).ok()?;
        let url = address::check_webhook_url(resolved.secret.expose_secret(), insecure).map_err(add_error).ok()?;
        if let Some(duplicate) = self.all.iter().find(|hook| secret::is_same_secret(&hook.url, &resolved.secret)) {
            add_error(&format!(
                "webhook {} has the same address; list it only once",
                quote_unless_secret(&duplicate.name)
            ));
        }
        self.secret_files.extend(resolved.file);
        Some((resolved.secret, url))
    }

    fn check_alias(&self, table: &TomlTable<'_>, alias: TomlText<'_>) {
        check_name(table.doc, "a webhook's name", alias);
        if let Some(duplicate) = self.all.iter().position(|hook| hook.name == alias.text) {
            let line = table.doc.line_number(self.alias_offsets[duplicate]);
            let message = format!(
                "a webhook named {} is already defined on line {line}; webhook names must be unique",
                quote_unless_secret(alias.text)
            );
            table.doc.add_error(alias.offset, message);
        }
    }
}

fn read_alert_kinds(table: &TomlTable<'_>) -> Option<Vec<AlertKind>> {
    let entries = table.field("on")?.list("alerts")?;
    let named: Vec<AlertKind> = entries.iter().filter_map(TomlField::choice).collect();
    Some(AlertKind::ALL.into_iter().filter(|kind| named.contains(kind)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_known_services_get_their_own_format() {
        let cases = [
            ("https://hooks.slack.com/services/T0/B0/x", WebhookFormat::Slack),
            ("https://chat.googleapis.com/v1/spaces/A/messages?key=k&token=t", WebhookFormat::Slack),
            ("https://discord.com/api/webhooks/1/x", WebhookFormat::Discord),
            ("https://canary.discord.com/api/webhooks/1/x", WebhookFormat::Discord),
            ("https://acme.webhook.office.com/webhookb2/x", WebhookFormat::Teams),
            ("https://prod-1.westeurope.logic.azure.com:443/workflows/x", WebhookFormat::Teams),
            ("https://ntfy.sh/topic", WebhookFormat::Text),
            ("https://notntfy.sh/topic", WebhookFormat::Json),
            ("https://discord.com.example.org/", WebhookFormat::Json),
            ("http://127.0.0.1:8080/", WebhookFormat::Json),
        ];
        for (url, want) in cases {
            assert_eq!(WebhookFormat::for_url(&Url::parse(url).unwrap()), want, "{url}");
        }
    }
}
