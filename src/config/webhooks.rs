//! `[[webhook]]`: who is told of a run from afar. Their addresses are secrets like keys: whoever has one can write
//! there.

use std::path::PathBuf;

use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    address,
    fault::shown,
    providers::check_name,
    schema, secret,
    sheet::{Table, Text},
    variables::Variables,
};

/// One address that messages are sent to.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// The alias shown everywhere, instead of the address.
    pub name: String,
    /// Known to be a URL that messages may be sent to.
    pub url: SecretString,
    /// On this machine: reached without the proxies that the environment names.
    pub is_local: bool,
    /// What it wants to hear of, each once, in the order of [`Occasion::ALL`].
    pub on: Vec<Occasion>,
    pub format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Occasion {
    Finished,
    Stopped,
    /// Also the end of what wanted attention.
    Attention,
}

/// What the address wants to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Everything, as one object.
    Json,
    /// `{"text": …}` and nothing else: Slack, Mattermost, Rocket.Chat, Google Chat.
    Slack,
    /// `{"content": …}`, with nobody mentioned.
    Discord,
    /// An adaptive card, as Teams' workflows take it.
    Teams,
    /// The sentence alone, as plain text: ntfy.
    Text,
}

impl Occasion {
    pub const ALL: [Self; 3] = [Self::Finished, Self::Stopped, Self::Attention];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Stopped => "stopped",
            Self::Attention => "attention",
        }
    }
}

impl Format {
    pub const ALL: [Self; 5] = [Self::Json, Self::Slack, Self::Discord, Self::Teams, Self::Text];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Slack => "slack",
            Self::Discord => "discord",
            Self::Teams => "teams",
            Self::Text => "text",
        }
    }

    /// What a well-known service wants, by its host; of others nothing is known.
    fn of(url: &Url) -> Self {
        const KNOWN: [(&str, Format); 9] = [
            ("hooks.slack.com", Format::Slack),
            ("hooks.slack-gov.com", Format::Slack),
            ("chat.googleapis.com", Format::Slack),
            ("discord.com", Format::Discord),
            ("discordapp.com", Format::Discord),
            ("webhook.office.com", Format::Teams),
            ("logic.azure.com", Format::Teams),
            ("api.powerplatform.com", Format::Teams),
            ("ntfy.sh", Format::Text),
        ];
        let host = url.host_str().unwrap_or_default();
        let is = |known: &str| host == known || host.strip_suffix(known).is_some_and(|rest| rest.ends_with('.'));
        KNOWN.iter().find(|(known, _)| is(known)).map_or(Self::Json, |&(_, format)| format)
    }
}

/// The webhooks of a configuration.
#[derive(Debug, Default)]
pub(super) struct Webhooks {
    pub list: Vec<Webhook>,
    /// Files that hold their addresses.
    pub held_by: Vec<PathBuf>,
    /// Where the aliases stand in the file.
    places: Vec<usize>,
}

impl Webhooks {
    pub fn read(root: &Table<'_>, places: &secret::Places<'_>, variables: &Variables<'_>) -> Self {
        let mut webhooks = Self::default();
        for table in root.tables("webhook", &schema::WEBHOOK) {
            webhooks.read_one(&table, places, variables);
        }
        webhooks
    }

    fn read_one(&mut self, table: &Table<'_>, places: &secret::Places<'_>, variables: &Variables<'_>) {
        let name = table.required_text("name");
        let on = occasions(table);
        let stated = table.word("format", &Format::ALL.map(|format| (format.name(), format)));
        let insecure = table.flag("insecure").unwrap_or_default();
        let address = self.address(table, insecure, places, variables);
        let Some(name) = name else { return };
        self.check_alias(table, name);
        let Some((secret, url)) = address else { return };
        self.places.push(name.at);
        self.list.push(Webhook {
            name: name.text.to_owned(),
            url: secret,
            is_local: address::is_this_machine(url.host_str().unwrap_or_default()),
            on: on.unwrap_or_else(|| Occasion::ALL.to_vec()),
            format: stated.unwrap_or_else(|| Format::of(&url)),
        });
    }

    fn address(
        &mut self,
        table: &Table<'_>,
        insecure: bool,
        places: &secret::Places<'_>,
        variables: &Variables<'_>,
    ) -> Option<(SecretString, Url)> {
        let field = table.require("url")?;
        let Some(text) = field.value.as_str() else {
            field.wrong("a text in quotes: \"env:NAME\", \"file:PATH\" or the address itself");
            return None;
        };
        let fault = |why: &str| table.sheet.fault(field.at, why);
        let found = secret::resolve(text, places, variables).map_err(|why| fault(&why)).ok()?;
        let url = address::check_webhook(found.secret.expose_secret(), insecure).map_err(fault).ok()?;
        if let Some(twin) = self.list.iter().find(|hook| secret::same(&hook.url, &found.secret)) {
            fault(&format!("this is the same address as webhook {}'s; list it once", shown(&twin.name)));
        }
        self.held_by.extend(found.held_by);
        Some((found.secret, url))
    }

    fn check_alias(&self, table: &Table<'_>, name: Text<'_>) {
        check_name(table.sheet, "a webhook's name", name);
        if let Some(twin) = self.list.iter().position(|hook| hook.name == name.text) {
            let line = table.sheet.line(self.places[twin]);
            let message = format!(
                "a webhook named {} already stands on line {line}; names tell webhooks apart",
                shown(name.text)
            );
            table.sheet.fault(name.at, message);
        }
    }
}

fn occasions(table: &Table<'_>) -> Option<Vec<Occasion>> {
    let words = Occasion::ALL.map(|occasion| (occasion.name(), occasion));
    let entries = table.field("on")?.list("occasions")?;
    let named: Vec<Occasion> = entries.iter().filter_map(|entry| entry.word(&words)).collect();
    Some(Occasion::ALL.into_iter().filter(|occasion| named.contains(occasion)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_known_services_get_what_they_want() {
        let cases = [
            ("https://hooks.slack.com/services/T0/B0/x", Format::Slack),
            ("https://chat.googleapis.com/v1/spaces/A/messages?key=k&token=t", Format::Slack),
            ("https://discord.com/api/webhooks/1/x", Format::Discord),
            ("https://canary.discord.com/api/webhooks/1/x", Format::Discord),
            ("https://acme.webhook.office.com/webhookb2/x", Format::Teams),
            ("https://prod-1.westeurope.logic.azure.com:443/workflows/x", Format::Teams),
            ("https://ntfy.sh/topic", Format::Text),
            ("https://notntfy.sh/topic", Format::Json),
            ("https://discord.com.example.org/", Format::Json),
            ("http://127.0.0.1:8080/", Format::Json),
        ];
        for (url, want) in cases {
            assert_eq!(Format::of(&Url::parse(url).unwrap()), want, "{url}");
        }
    }
}
