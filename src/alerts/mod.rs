//! Sends messages to webhooks when a run ends, stops or needs attention.
//!
//! [`crate::domain::alert`] decides from the snapshots what deserves a message. In this module each webhook has one
//! [`worker`]: it collects alerts in an [`outbox`], makes a [`message`] of them and sends it with a [`client`]. None of
//! this can delay the engine, and no failure of a webhook changes how a run ends.
//!
//! ```text
//! snapshots ──> AlertTracker ──> Outbox ──> WebhookMessage ──> WebhookClient ──> the webhook's server
//! ```

mod client;
mod message;
mod outbox;
mod worker;

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use tokio::{
    sync::mpsc,
    task::{JoinHandle, JoinSet},
};

pub use self::{client::WebhookError, worker::SHUTDOWN_TIMEOUT};
use self::{
    client::{Delivery, WebhookClient},
    message::WebhookMessage,
    worker::WebhookWorker,
};
use crate::{
    config::{AlertKind, Webhook},
    engine::EngineHandle,
};

/// Maximum number of warnings kept until they are read. The log has all of them.
const MAX_QUEUED_WARNINGS: usize = 16;

/// The webhook workers of a run, and their warnings for the operator.
#[derive(Debug)]
pub struct WebhookSender {
    workers: Vec<(String, JoinHandle<()>)>,
    warnings: mpsc::Receiver<String>,
}

impl WebhookSender {
    /// Starts one worker for each webhook, which follows the run of `handle` until it is over. Events up to
    /// `last_known_event` are not sent, because earlier processes have sent them. `is_interrupted` is set when a signal
    /// asks the run to stop.
    pub fn start(
        webhooks: Vec<Webhook>,
        handle: &EngineHandle,
        last_known_event: u64,
        is_interrupted: &Arc<AtomicBool>,
    ) -> Self {
        let (warning_sender, warnings) = mpsc::channel(MAX_QUEUED_WARNINGS);
        let host = host_name();
        let mut workers = Vec::new();
        for webhook in webhooks {
            let name = webhook.name.clone();
            match WebhookWorker::new(
                webhook,
                host.clone(),
                last_known_event,
                Arc::clone(is_interrupted),
                warning_sender.clone(),
            ) {
                Ok(worker) => workers.push((name, tokio::spawn(worker.run(handle.snapshots.clone())))),
                Err(error) => {
                    tracing::warn!("webhook {name} {error}");
                    let _ = warning_sender.try_send(format!("webhook {name} {error}"));
                }
            }
        }
        Self { workers, warnings }
    }

    /// Waits for the next warning about a webhook, a sentence. Never returns if no more can come.
    pub async fn next_warning(&mut self) -> String {
        match self.warnings.recv().await {
            Some(warning) => warning,
            None => std::future::pending().await,
        }
    }

    /// Waits for the last messages after the run's end, at most [`SHUTDOWN_TIMEOUT`]. Returns the remaining warnings.
    pub async fn finish(mut self) -> Vec<String> {
        let deadline = Instant::now() + SHUTDOWN_TIMEOUT;
        let mut late_warnings = Vec::new();
        for (name, worker) in &mut self.workers {
            let name = name.as_str();
            match tokio::time::timeout_at(deadline.into(), &mut *worker).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    late_warnings.push(format!("the last message was not delivered to webhook {name}: {error}"));
                }
                Err(_) => {
                    worker.abort();
                    late_warnings.push(format!(
                        "webhook {name} did not accept the last message within {}s, so it may be lost. Check its url in \
                         keys.toml, and test it with: cascadeck check --webhooks",
                        SHUTDOWN_TIMEOUT.as_secs()
                    ));
                }
            }
        }
        for warning in &late_warnings {
            tracing::warn!("{warning}");
        }
        self.warnings.close();
        let mut warnings = Vec::new();
        while let Ok(warning) = self.warnings.try_recv() {
            warnings.push(warning);
        }
        warnings.extend(late_warnings);
        warnings
    }
}

/// Sends a message that a run could not start to those `webhooks` that want the kind `stopped`. Waits for them at most
/// [`SHUTDOWN_TIMEOUT`]. Returns a warning for each that did not take the message.
pub async fn send_start_failure(webhooks: Vec<Webhook>, run: &str, reason: &str) -> Vec<String> {
    let mut sends = JoinSet::new();
    for webhook in webhooks.into_iter().filter(|webhook| webhook.alert_kinds.contains(&AlertKind::Stopped)) {
        let message =
            WebhookMessage::start_failure(run, reason, &webhook.name, crate::clock::system_time(), host_name());
        sends.spawn(async move {
            let reason = match tokio::time::timeout(SHUTDOWN_TIMEOUT, deliver(&webhook, &message)).await {
                Ok(Ok(())) => return None,
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("did not accept the message within {}s", SHUTDOWN_TIMEOUT.as_secs()),
            };
            Some(format!(
                "webhook {} {reason}; the message that the run could not start was not delivered. Check its url in \
                 keys.toml, and test it with: cascadeck check --webhooks",
                webhook.name
            ))
        });
    }
    sends.join_all().await.into_iter().flatten().collect()
}

/// Sends `webhook` a message that says it is a test.
///
/// # Errors
/// If it was not delivered.
pub async fn send_test(webhook: &Webhook) -> Result<(), WebhookError> {
    deliver(webhook, &WebhookMessage::test(&webhook.name, crate::clock::system_time(), host_name())).await
}

/// Sends a single message. After a failure that may be temporary it tries once more, unless the server asks for a wait
/// longer than [`SHUTDOWN_TIMEOUT`].
async fn deliver(webhook: &Webhook, message: &WebhookMessage) -> Result<(), WebhookError> {
    const PAUSE: Duration = Duration::from_secs(1);
    let client = WebhookClient::new(webhook)?;
    let mut delivery = client.send(message.body(webhook.format)).await;
    if let Delivery::Retry { retry_after, .. } = delivery
        && retry_after.is_none_or(|after| after <= SHUTDOWN_TIMEOUT)
    {
        tokio::time::sleep(retry_after.unwrap_or(PAUSE)).await;
        delivery = client.send(message.body(webhook.format)).await;
    }
    match delivery {
        Delivery::Delivered => Ok(()),
        Delivery::Retry { reason, .. } | Delivery::Rejected { reason } => Err(WebhookError::NotDelivered(reason)),
    }
}

/// This machine's host name.
fn host_name() -> Option<String> {
    nix::unistd::gethostname().ok()?.into_string().ok()
}
