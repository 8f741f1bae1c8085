//! `cascadeck check`: is the configuration good, and is each key?

use std::{collections::HashMap, time::Duration};

use clap::Args;
use secrecy::ExposeSecret as _;

use super::{Failure, options::Keys, print, say, shown};
use crate::{
    alerts,
    clock::Clock,
    config::{Config, Webhook},
    domain::{Outcome, is_or_are, pluralize},
    engine::KeyCheck,
    provider::{Client, Endpoint, ModelListAccess},
};

/// Validate keys.toml and each key, by listing the models at its provider; try webhooks out
///
/// Where a provider lists its models to anybody, as llama-server does, that proves no key: it is said, and only a run
/// shows whether the key is good. Exits with 0 only where every key was checked and is good, unless --offline or
/// --allow-unchecked says that this is enough.
#[derive(Args, Clone, Debug)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    pub keys: Keys,

    /// Only the file: ask no provider
    #[arg(long)]
    pub offline: bool,

    /// Exit with 0 also where nothing could be learned of some keys, as without a network; a bad key still fails the check
    #[arg(long)]
    pub allow_unchecked: bool,

    /// Send each webhook a message that says it is a test
    #[arg(long)]
    pub webhooks: bool,
}

/// For one key.
const DEADLINE: Duration = Duration::from_secs(10);

pub(super) async fn run(args: CheckArgs) -> Result<u8, Failure> {
    let config = args.keys.load()?;
    let (keys, models) = (config.keys.len(), config.models.len());
    let mut lines = vec![format!(
        "{}: {}, {}, {}",
        config.origin,
        count(keys, "key"),
        count(models, "model"),
        count(config.providers.len(), "provider")
    )];
    let (mut bad, mut unknown) = (0, 0);
    if !args.offline {
        for (name, finding) in examine(&config, &Clock::real()).await? {
            bad += u64::from(matches!(finding, Finding::Bad(..)));
            unknown += usize::from(matches!(finding, Finding::Unknown(..) | Finding::Unproven { .. }));
            lines.push(format!("  {name:16} {}", finding.words()));
        }
    }
    lines.extend(match unknown {
        _ if args.offline => Some("the file is good; no key was checked".to_owned()),
        0 => None,
        all if all == keys => {
            Some("NOT CHECKED: no provider gave a verdict, so nothing is known of any key".to_owned())
        }
        some => Some(format!("NOT CHECKED: {some} of {}; nothing is known of those", count(keys, "key"))),
    });
    let mut deaf = 0;
    for webhook in &config.webhooks {
        let mut words = about(webhook);
        if args.webhooks {
            let answer = alerts::test(webhook).await;
            deaf += u64::from(answer.is_err());
            words = match answer {
                Ok(()) => format!("took the test message; {words}"),
                Err(why) => format!("NOT DELIVERED, it {why}; {words}"),
            };
        }
        lines.push(format!("  {:16} webhook: {words}", webhook.name));
    }
    if args.webhooks && config.webhooks.is_empty() {
        lines.push("there is no [[webhook]] to try".to_owned());
    }
    print(&(shown(&lines.join("\n")) + "\n"))?;
    if bad > 0 {
        return Err(Failure::usage(format!(
            "{bad} of {} {} no good; mend or remove what is named above in {}",
            count(keys, "key"),
            is_or_are(bad),
            config.origin
        )));
    }
    if deaf > 0 {
        return Err(Failure::usage(format!(
            "{deaf} of {} did not take the test message; mend what is named above in {}",
            count(config.webhooks.len(), "webhook"),
            config.origin
        )));
    }
    if unknown > 0 && !args.allow_unchecked {
        return Err(Failure::usage(format!(
            "{unknown} of {} could not be checked, for the reasons above; check again once that is mended, or give \
             --allow-unchecked where this is enough",
            count(keys, "key"),
        )));
    }
    Ok(super::DONE)
}

/// What a webhook is sent, and when.
fn about(webhook: &Webhook) -> String {
    let on: Vec<&str> = webhook.alert_kinds.iter().map(|occasion| occasion.name()).collect();
    format!("{}, on {}", webhook.format.name(), on.join(", "))
}

fn count(number: usize, one: &str) -> String {
    pluralize(number as u64, one)
}

/// What a provider says of a key.
enum Finding {
    /// It accepts it, lists so many models, and lacks these of the configuration's.
    Good {
        listed: usize,
        missing: Vec<String>,
    },
    Bad(Outcome, String),
    /// A list that says what is served, and nothing of the key: anybody gets it, or may get it for all that is known.
    Unproven {
        why: &'static str,
        listed: usize,
        missing: Vec<String>,
    },
    /// The provider could not be asked: nothing is known of the key.
    Unknown(String),
}

impl Finding {
    fn words(&self) -> String {
        match self {
            Self::Good { listed, missing } => format!("good, {}", list(*listed, missing)),
            Self::Bad(outcome, words) => format!("BAD: {outcome}: {words}"),
            Self::Unproven { why, listed, missing } => format!("not known: {why}; {}", list(*listed, missing)),
            Self::Unknown(words) => format!("not known: {words}"),
        }
    }
}

/// A list is what can be seen, not what may be called: a model that is not on it is no verdict.
fn list(listed: usize, missing: &[String]) -> String {
    let listed = format!("{} listed", count(listed, "model"));
    if missing.is_empty() { listed } else { format!("{listed}; not among them: {}", missing.join(", ")) }
}

async fn examine(config: &Config, clock: &Clock) -> Result<Vec<(String, Finding)>, Failure> {
    let client = Client::new(clock.to_real(config.policy.connect_timeout), DEADLINE)
        .map_err(|error| Failure::broken(error.to_string()))?;
    let (mut tasks, mut public) = (Vec::new(), HashMap::new());
    for (index, (key, secret)) in config.keys.iter().zip(&config.secrets).enumerate() {
        let provider = config.providers[key.provider.index()].clone();
        let secret = secret.as_ref().map(|secret| secret.expose_secret().to_owned().into());
        let endpoint = Endpoint::new(provider, secret).map_err(|error| Failure::usage(error.to_string()))?;
        // Once for each provider, not with every key: nobody's asking looks like somebody's trying doors.
        if endpoint.has_key() && !public.contains_key(&key.provider) {
            let (client, endpoint) = (client.clone(), endpoint.clone());
            let asked = tokio::spawn(async move { client.check_model_list_access(&endpoint, DEADLINE).await });
            public.insert(key.provider, asked);
        }
        let client = client.clone();
        tasks.push((index, tokio::spawn(async move { client.list_models(&endpoint, DEADLINE).await })));
    }
    let mut audiences = HashMap::new();
    for (provider, asked) in public {
        audiences.insert(provider, asked.await.map_err(|error| Failure::broken(error.to_string()))?);
    }
    let mut findings = Vec::new();
    for (index, task) in tasks {
        let key = &config.keys[index];
        let finding = match task.await.map_err(|error| Failure::broken(error.to_string()))? {
            Ok(listed) => {
                let serves = |name: &str| listed.iter().any(|id| id == name || id.rsplit('/').next() == Some(name));
                let wanted = config.models.iter().filter(|model| {
                    model.provider == key.provider && key.models.as_ref().is_none_or(|only| only.contains(&model.name))
                });
                let missing: Vec<_> = wanted.map(|model| model.name.clone()).filter(|name| !serves(name)).collect();
                let listed = listed.len();
                let audience = config.secrets[index].is_some().then(|| audiences.get(&key.provider)).flatten();
                match audience {
                    Some(ModelListAccess::Public) => {
                        let why = "the provider lists its models to anybody, which proves no key";
                        Finding::Unproven { why, listed, missing }
                    }
                    Some(ModelListAccess::Unknown) => {
                        let why = "the provider did not say whether it lists its models to anybody, so its list proves no key";
                        Finding::Unproven { why, listed, missing }
                    }
                    Some(ModelListAccess::KeyRequired) | None => Finding::Good { listed, missing },
                }
            }
            Err(verdict) if verdict.outcome.is_key_error() => Finding::Bad(verdict.outcome, verdict.message),
            Err(verdict) => Finding::Unknown(format!("{}: {}", verdict.outcome, verdict.message)),
        };
        findings.push((key.name.clone(), finding));
    }
    Ok(findings)
}

/// Before a run: bad keys are named, and what the providers said for certain is given back; where every key is bad there
/// is no point in starting.
pub(super) async fn sort_out_keys(config: &Config, clock: &Clock) -> Result<Vec<KeyCheck>, Failure> {
    let findings = examine(config, clock).await?;
    let bad: Vec<_> = findings.iter().filter(|(_, finding)| matches!(finding, Finding::Bad(..))).collect();
    for (name, finding) in &bad {
        say(&format!("key {name} {}", finding.words()));
    }
    // Whom the list is forbidden may yet be answered.
    let refused = |finding: &Finding| matches!(finding, Finding::Bad(outcome, _) if *outcome != Outcome::KeyForbidden);
    if !bad.is_empty() && findings.iter().all(|(_, finding)| refused(finding)) {
        return Err(Failure::usage(format!(
            "no key is good; mend {} and run again, or skip this check with --no-check",
            config.origin
        )));
    }
    let checked = |(name, finding)| match finding {
        Finding::Good { missing, .. } => Some(KeyCheck::Valid { name, missing_models: missing }),
        Finding::Unproven { missing, .. } => Some(KeyCheck::Unproven { name, missing_models: missing }),
        Finding::Bad(Outcome::InvalidKey, message) => Some(KeyCheck::Invalid { name, message }),
        // Whom the list is forbidden may yet be answered, and credit may have come.
        Finding::Bad(..) | Finding::Unknown(_) => None,
    };
    Ok(findings.into_iter().filter_map(checked).collect())
}
