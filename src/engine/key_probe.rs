//! Checks a key for the operator: asks its provider for the list of models, which costs nothing.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::messages::{ModelList, ProbeResult};
use crate::{
    domain::{AttemptResult, EventLevel, pluralize},
    provider::{Client, Endpoint, ModelListAccess},
};

const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// Starts the check of a key. The result is sent to `probe_tx`.
pub(super) fn start_probe(key: usize, client: Client, endpoint: Arc<Endpoint>, probe_tx: mpsc::Sender<ProbeResult>) {
    tokio::spawn(async move {
        let response = list_models(&client, &endpoint).await;
        // The send fails only if the engine has ended.
        let _ = probe_tx.send(ProbeResult { key, response }).await;
    });
}

async fn list_models(client: &Client, endpoint: &Endpoint) -> Result<ModelList, AttemptResult> {
    let models = client.list_models(endpoint, PROBE_TIMEOUT).await?;
    // An endpoint without a key has nothing to prove.
    let access = if endpoint.has_key() {
        client.check_model_list_access(endpoint, PROBE_TIMEOUT).await
    } else {
        ModelListAccess::KeyRequired
    };
    Ok(ModelList { model_count: models.len() as u64, access })
}

/// The result of a key's check, as an event's level and message. `was_enabled` says that the key had been disabled
/// and is enabled again.
pub(super) fn describe_probe(
    name: &str,
    response: &Result<ModelList, AttemptResult>,
    was_enabled: bool,
) -> (EventLevel, String) {
    match response {
        Ok(ModelList { model_count, access }) => {
            let listed = pluralize(*model_count, "model");
            match access {
                ModelListAccess::Public => {
                    let message = format!("key {name} not verified: its provider lists its {listed} without a key");
                    (EventLevel::Warn, message)
                }
                ModelListAccess::Unknown => {
                    let message = format!(
                        "key {name} not verified: its provider lists {listed}, but it is unknown whether that \
                         requires a key; try again"
                    );
                    (EventLevel::Warn, message)
                }
                ModelListAccess::KeyRequired => {
                    let suffix = if was_enabled { "; enabled again" } else { "" };
                    (EventLevel::Info, format!("key {name} accepted: {listed} listed{suffix}"))
                }
            }
        }
        Err(result) => {
            let (level, verdict) = if result.outcome.is_key_error() {
                (EventLevel::Alert, "rejected")
            } else {
                (EventLevel::Warn, "could not be tested")
            };
            (level, format!("key {name} {verdict}: {}: {}", result.outcome, result.message))
        }
    }
}

impl ProbeResult {
    /// Whether the key was accepted, as the list of its models proves.
    pub const fn proves_key(&self) -> bool {
        matches!(self.response, Ok(ModelList { access: ModelListAccess::KeyRequired, .. }))
    }
}
