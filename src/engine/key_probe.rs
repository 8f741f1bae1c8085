//! Checks a key for the operator: asks its provider for the list of models, which costs nothing.

use std::{sync::Arc, time::Duration};

use super::event_loop::Engine;
use crate::{
    domain::{AttemptResult, EventLevel, pluralize, snapshot::Condition},
    provider::ModelListAccess,
};

const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// The result of a key check.
#[derive(Debug)]
pub(super) struct ProbeResult {
    key: usize,
    response: Result<ModelList, AttemptResult>,
}

#[derive(Debug)]
struct ModelList {
    model_count: u64,
    /// Whether the provider lists its models without a key too. The list proves the key only if it does not.
    access: ModelListAccess,
}

impl Engine {
    /// Starts the check of a key; the result is reported as an event.
    pub(super) fn probe_key(&self, name: &str) -> Result<String, String> {
        let key = self.keys.iter().position(|key| key.name == name);
        let key = key.ok_or_else(|| format!("there is no key called {name}"))?;
        let (client, endpoint, probe_tx) =
            (self.client.clone(), Arc::clone(&self.endpoints[key]), self.probe_tx.clone());
        tokio::spawn(async move {
            let response = match client.list_models(&endpoint, PROBE_TIMEOUT).await {
                Ok(models) => {
                    // An endpoint without a key has nothing to prove.
                    let access = if endpoint.has_key() {
                        client.check_model_list_access(&endpoint, PROBE_TIMEOUT).await
                    } else {
                        ModelListAccess::KeyRequired
                    };
                    Ok(ModelList { model_count: models.len() as u64, access })
                }
                Err(result) => Err(result),
            };
            // The send fails only if the engine has ended.
            let _ = probe_tx.send(ProbeResult { key, response }).await;
        });
        let provider = &self.providers[self.keys[key].provider.index()].name;
        Ok(format!("asking {provider} about key {name}"))
    }

    pub(super) fn on_probe_result(&mut self, probe: ProbeResult) {
        let name = self.keys[probe.key].name.clone();
        let now = self.clock.now();
        match probe.response {
            Ok(ModelList { model_count, access: ModelListAccess::Public }) => {
                let listed = pluralize(model_count, "model");
                let message = format!("key {name} not verified: its provider lists its {listed} without a key");
                self.log(EventLevel::Warn, message);
            }
            Ok(ModelList { model_count, access: ModelListAccess::Unknown }) => {
                let listed = pluralize(model_count, "model");
                let message = format!(
                    "key {name} not verified: its provider lists {listed}, but it is unknown whether that requires a \
                     key; try again"
                );
                self.log(EventLevel::Warn, message);
            }
            Ok(ModelList { model_count, access: ModelListAccess::KeyRequired }) => {
                let status = self.scheduler.key_statuses(now);
                let is_disabled = matches!(status[probe.key].condition, Condition::Disabled { .. });
                let suffix = if is_disabled && self.scheduler.switch_key(now.wall, &name, true).is_ok() {
                    self.leave_idle();
                    self.state_dirty = true;
                    "; enabled again"
                } else {
                    ""
                };
                self.log(
                    EventLevel::Info,
                    format!("key {name} accepted: {} listed{suffix}", pluralize(model_count, "model")),
                );
            }
            Err(result) => {
                let is_key_error = result.outcome.is_key_error();
                let (level, verdict) = if is_key_error {
                    (EventLevel::Alert, "rejected")
                } else {
                    (EventLevel::Warn, "could not be tested")
                };
                self.log(level, format!("key {name} {verdict}: {}: {}", result.outcome, result.message));
            }
        }
    }
}
