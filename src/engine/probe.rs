//! A key examined on the operator's word: its provider lists its models, which costs nothing.

use std::{sync::Arc, time::Duration};

use super::core::Engine;
use crate::{
    domain::{AttemptResult, EventLevel, pluralize, snapshot::Condition},
    provider::Audience,
};

const PATIENCE: Duration = Duration::from_secs(10);

/// What the provider said of a key.
#[derive(Debug)]
pub(super) struct Probed {
    key: usize,
    answer: Result<List, AttemptResult>,
}

#[derive(Debug)]
struct List {
    models: u64,
    /// Who else gets it: it is a word on this key only where whoever has none is refused.
    audience: Audience,
}

impl Engine {
    /// Asks; the answer comes as an event.
    pub(super) fn probe(&self, name: &str) -> Result<String, String> {
        let key = self.keys.iter().position(|key| key.name == name);
        let key = key.ok_or_else(|| format!("there is no key called {name}"))?;
        let (client, endpoint, probes) = (self.client.clone(), Arc::clone(&self.endpoints[key]), self.probes.clone());
        tokio::spawn(async move {
            let answer = match client.list_models(&endpoint, PATIENCE).await {
                Ok(models) => {
                    // Where there is no key, none is to be proved.
                    let audience = if endpoint.has_key() {
                        client.audience(&endpoint, PATIENCE).await
                    } else {
                        Audience::KeyHolders
                    };
                    Ok(List { models: models.len() as u64, audience })
                }
                Err(verdict) => Err(verdict),
            };
            // The engine being gone means that nobody asks any more.
            let _ = probes.send(Probed { key, answer }).await;
        });
        let provider = &self.providers[self.keys[key].provider.index()].name;
        Ok(format!("asking {provider} about key {name}"))
    }

    pub(super) fn probed(&mut self, probed: Probed) {
        let name = self.keys[probed.key].name.clone();
        let now = self.clock.now();
        match probed.answer {
            Ok(List { models, audience: Audience::Anybody }) => {
                let listed = pluralize(models, "model");
                let words = format!("key {name} is not proven: its provider lists its {listed} to anybody");
                self.say(EventLevel::Warn, words);
            }
            Ok(List { models, audience: Audience::Unknown }) => {
                let listed = pluralize(models, "model");
                let words = format!(
                    "key {name} is not proven: its provider lists {listed}, and did not say whether anybody sees them; \
                     try again"
                );
                self.say(EventLevel::Warn, words);
            }
            Ok(List { models, audience: Audience::KeyHolders }) => {
                let facts = self.scheduler.key_statuses(now);
                let dead = matches!(facts[probed.key].condition, Condition::Disabled { .. });
                let back = if dead && self.scheduler.switch_key(now.wall, &name, true).is_ok() {
                    self.wake_up();
                    self.forgetful = true;
                    "; it is on again"
                } else {
                    ""
                };
                self.say(EventLevel::Info, format!("key {name} is good: {} listed{back}", pluralize(models, "model")));
            }
            Err(verdict) => {
                let bad = verdict.outcome.is_key_error();
                let (level, found) =
                    if bad { (EventLevel::Alert, "is no good") } else { (EventLevel::Warn, "could not be examined") };
                self.say(level, format!("key {name} {found}, {}: {}", verdict.outcome, verdict.message));
            }
        }
    }
}
