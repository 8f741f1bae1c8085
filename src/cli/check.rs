//! `cascadeck check`: validates the configuration and tests each key.

use std::{collections::HashMap, time::Duration};

use clap::Args;
use secrecy::ExposeSecret as _;

use super::{
    CliError,
    options::KeysArgs,
    print::{EXIT_DONE, print, print_stderr, sanitize_lines},
};
use crate::{
    alerts,
    clock::Clock,
    config::{Config, Webhook},
    domain::{Outcome, is_or_are, pluralize},
    engine::KeyCheck,
    provider::{Client, Endpoint, ModelListAccess},
};

/// Validate keys.toml, check each key by listing its provider's models, and test webhooks
///
/// Some providers, such as llama-server, list their models without a key. Such a list does not verify the key: the
/// check reports this, and only a run shows whether the key is valid. Exits with 0 only if every key was checked and is
/// valid, unless --offline or --allow-unchecked is given.
#[derive(Args, Clone, Debug)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    pub keys: KeysArgs,

    /// Check only the file, without contacting the providers
    #[arg(long)]
    pub offline: bool,

    /// Exit with 0 even if some keys could not be checked, for example without a network; a rejected key
    /// still fails the check
    #[arg(long)]
    pub allow_unchecked: bool,

    /// Send a test message to each webhook
    #[arg(long)]
    pub webhooks: bool,
}

/// Time limit for one request to list a key's models.
const KEY_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn run(args: CheckArgs) -> Result<u8, CliError> {
    let config = args.keys.load(true)?;
    let (keys, models) = (config.keys.len(), config.models.len());
    let mut lines = vec![format!(
        "{}: {}, {}, {}",
        config.origin,
        count_label(keys, "key"),
        count_label(models, "model"),
        count_label(config.providers.len(), "provider")
    )];
    let (mut bad_keys, mut unknown_keys) = (0, 0);
    if !args.offline {
        for (name, finding) in query_keys(&config, &Clock::real()).await? {
            bad_keys += u64::from(matches!(finding, KeyFinding::Bad(..)));
            unknown_keys += usize::from(matches!(finding, KeyFinding::Unknown(..) | KeyFinding::Unproven { .. }));
            lines.push(format!("  {name:16} {}", finding.message()));
        }
    }
    lines.extend(match unknown_keys {
        _ if args.offline => Some("the file is valid; no key was checked".to_owned()),
        0 => None,
        all if all == keys => Some("NOT CHECKED: no provider accepted or rejected a key".to_owned()),
        some => Some(format!("NOT CHECKED: {some} of {}, which may or may not be valid", count_label(keys, "key"))),
    });
    let mut failed_webhooks = 0;
    for webhook in &config.webhooks {
        let mut message = describe_webhook(webhook);
        if args.webhooks {
            let delivery = alerts::send_test(webhook).await;
            failed_webhooks += u64::from(delivery.is_err());
            message = match delivery {
                Ok(()) => format!("accepted the test message; {message}"),
                Err(error) => format!("NOT DELIVERED: it {error}; {message}"),
            };
        }
        lines.push(format!("  {:16} webhook: {message}", webhook.name));
    }
    if args.webhooks && config.webhooks.is_empty() {
        lines.push("there is no [[webhook]] to test".to_owned());
    }
    print(&(sanitize_lines(&lines.join("\n")) + "\n"))?;
    if bad_keys > 0 {
        return Err(CliError::usage(format!(
            "{bad_keys} of {} {} rejected; fix or remove the keys named above in {}",
            count_label(keys, "key"),
            is_or_are(bad_keys),
            config.origin
        )));
    }
    if failed_webhooks > 0 {
        return Err(CliError::usage(format!(
            "{failed_webhooks} of {} did not accept the test message; fix the webhooks named above in {}",
            count_label(config.webhooks.len(), "webhook"),
            config.origin
        )));
    }
    if unknown_keys > 0 && !args.allow_unchecked {
        return Err(CliError::usage(format!(
            "{unknown_keys} of {} could not be checked, for the reasons above; fix the cause and check again, or use \
             --allow-unchecked to accept this",
            count_label(keys, "key"),
        )));
    }
    Ok(EXIT_DONE)
}

/// Describes the format of a webhook's messages and the alerts it gets.
fn describe_webhook(webhook: &Webhook) -> String {
    let on: Vec<&str> = webhook.alert_kinds.iter().map(|kind| kind.name()).collect();
    format!("{}, on {}", webhook.format.name(), on.join(", "))
}

fn count_label(number: usize, noun: &str) -> String {
    pluralize(number as u64, noun)
}

/// The result of checking a key.
enum KeyFinding {
    /// The provider accepts the key. It lists this many models; `missing` are configured models that it doesn't list.
    Good { listed: usize, missing: Vec<String> },
    /// The provider rejected the key. The text is its message.
    Bad(Outcome, String),
    /// The provider listed its models, but it lists them without a key too, or may do so. This proves nothing about the
    /// key.
    Unproven { reason: &'static str, listed: usize, missing: Vec<String> },
    /// The request failed for a reason other than the key, so nothing is known about the key. The text is the reason.
    Unknown(String),
}

impl KeyFinding {
    fn message(&self) -> String {
        match self {
            Self::Good { listed, missing } => format!("accepted, {}", describe_model_list(*listed, missing)),
            Self::Bad(outcome, message) => format!("REJECTED: {outcome}: {message}"),
            Self::Unproven { reason, listed, missing } => {
                format!("not checked: {reason}; {}", describe_model_list(*listed, missing))
            }
            Self::Unknown(reason) => format!("not checked: {reason}"),
        }
    }
}

/// Describes the list of models. A model that is not listed may still be usable.
fn describe_model_list(listed: usize, missing: &[String]) -> String {
    let listed = format!("{} listed", count_label(listed, "model"));
    if missing.is_empty() { listed } else { format!("{listed}; not among them: {}", missing.join(", ")) }
}

async fn query_keys(config: &Config, clock: &Clock) -> Result<Vec<(String, KeyFinding)>, CliError> {
    let client = Client::new(clock.to_real_duration(config.policy.connect_timeout), KEY_TIMEOUT)
        .map_err(|error| CliError::internal(error.to_string()))?;
    let (mut tasks, mut access_tasks) = (Vec::new(), HashMap::new());
    for (index, (key, secret)) in config.keys.iter().zip(&config.secrets).enumerate() {
        let provider = config.providers[key.provider.index()].clone();
        let secret = secret.as_ref().map(|secret| secret.expose_secret().to_owned().into());
        let endpoint = Endpoint::new(provider, secret).map_err(|error| CliError::usage(error.to_string()))?;
        // Without a key, send one request per provider and not one per key: many such requests look like an attack.
        if endpoint.has_key() && !access_tasks.contains_key(&key.provider) {
            let (client, endpoint) = (client.clone(), endpoint.clone());
            let task = tokio::spawn(async move { client.check_model_list_access(&endpoint, KEY_TIMEOUT).await });
            access_tasks.insert(key.provider, task);
        }
        let client = client.clone();
        tasks.push((index, tokio::spawn(async move { client.list_models(&endpoint, KEY_TIMEOUT).await })));
    }
    let mut access_by_provider = HashMap::new();
    for (provider, task) in access_tasks {
        access_by_provider.insert(provider, task.await.map_err(|error| CliError::internal(error.to_string()))?);
    }
    let mut findings = Vec::new();
    for (index, task) in tasks {
        let key = &config.keys[index];
        let finding = match task.await.map_err(|error| CliError::internal(error.to_string()))? {
            Ok(listed) => {
                let is_listed = |name: &str| listed.iter().any(|id| id == name || id.rsplit('/').next() == Some(name));
                let usable_models = config.models.iter().filter(|model| {
                    model.provider == key.provider
                        && key.models.as_ref().is_none_or(|allowed| allowed.contains(&model.name))
                });
                let missing: Vec<_> =
                    usable_models.map(|model| model.name.clone()).filter(|name| !is_listed(name)).collect();
                let listed = listed.len();
                let access = config.secrets[index].is_some().then(|| access_by_provider.get(&key.provider)).flatten();
                match access {
                    Some(ModelListAccess::Public) => {
                        let reason = "the provider lists its models without a key, so the list does not verify the key";
                        KeyFinding::Unproven { reason, listed, missing }
                    }
                    Some(ModelListAccess::Unknown) => {
                        let reason = "it is unknown whether the provider lists its models without a key, so the list does not \
                                      verify the key";
                        KeyFinding::Unproven { reason, listed, missing }
                    }
                    Some(ModelListAccess::KeyRequired) | None => KeyFinding::Good { listed, missing },
                }
            }
            Err(failure) if failure.outcome.is_key_error() => KeyFinding::Bad(failure.outcome, failure.message),
            Err(failure) => KeyFinding::Unknown(format!("{}: {}", failure.outcome, failure.message)),
        };
        findings.push((key.name.clone(), finding));
    }
    Ok(findings)
}

/// Checks the keys before a run and reports bad ones. Returns the results that the engine uses.
///
/// # Errors
/// If every key is bad, since a run would be pointless.
pub(super) async fn check_keys(config: &Config, clock: &Clock) -> Result<Vec<KeyCheck>, CliError> {
    let findings = query_keys(config, clock).await?;
    let bad: Vec<_> = findings.iter().filter(|(_, finding)| matches!(finding, KeyFinding::Bad(..))).collect();
    for (name, finding) in &bad {
        print_stderr(&format!("key {name} {}", finding.message()));
    }
    // `KeyForbidden` doesn't count: a key that may not list models may still be able to send requests.
    let refused =
        |finding: &KeyFinding| matches!(finding, KeyFinding::Bad(outcome, _) if *outcome != Outcome::KeyForbidden);
    if !bad.is_empty() && findings.iter().all(|(_, finding)| refused(finding)) {
        return Err(CliError::usage(format!(
            "no key was accepted; fix the keys in {} and run again, or skip this check with --no-check",
            config.origin
        )));
    }
    let checked = |(name, finding)| match finding {
        KeyFinding::Good { missing, .. } => Some(KeyCheck::Valid { name, missing_models: missing }),
        KeyFinding::Unproven { missing, .. } => Some(KeyCheck::Unproven { name, missing_models: missing }),
        KeyFinding::Bad(Outcome::InvalidKey, message) => Some(KeyCheck::Invalid { name, message }),
        // The run decides about other bad keys: one that may not list models may still be able to send requests, and an
        // account may get new credit.
        KeyFinding::Bad(..) | KeyFinding::Unknown(_) => None,
    };
    Ok(findings.into_iter().filter_map(checked).collect())
}
