//! Tells people who are away how a run fares: messages to webhooks when it ends, stops or needs attention.
//!
//! What deserves a message is decided in [`crate::domain::news`], over the snapshots that every front end sees. Here,
//! one [`courier`] a webhook keeps an [`outbox`], puts its content into a [`message`], and brings it by [`post`].
//! Nothing of it can hold the engine up, and no trouble with it changes how a run ends.
//!
//! ```text
//! snapshots ──> Watch ──> Outbox ──> Message ──> Post ──> somebody's telephone
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

use self::{
    client::{Delivery, WebhookClient},
    message::WebhookMessage,
    worker::WebhookWorker,
};
use crate::{
    config::{AlertKind, Webhook},
    engine::EngineHandle,
};

/// How long the end of a process waits for the last messages.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Complaints kept until somebody reads them; the log has every one.
const WARNING_CAPACITY: usize = 16;

/// The webhooks of a run under way.
#[derive(Debug)]
pub struct WebhookSender {
    workers: Vec<(String, JoinHandle<()>)>,
    warnings: mpsc::Receiver<String>,
}

impl WebhookSender {
    /// Follows the run of `handle` until it is over. Events up to `told` were told by earlier processes; `interrupted`
    /// says whether a signal asked for the end.
    pub fn start(
        webhooks: Vec<Webhook>,
        handle: &EngineHandle,
        last_known_event: u64,
        is_interrupted: &Arc<AtomicBool>,
    ) -> Self {
        let (sender, warnings) = mpsc::channel(WARNING_CAPACITY);
        let host = host_name();
        let mut workers = Vec::new();
        for webhook in webhooks {
            let name = webhook.name.clone();
            match WebhookWorker::new(
                webhook,
                host.clone(),
                last_known_event,
                Arc::clone(is_interrupted),
                sender.clone(),
            ) {
                Ok(courier) => workers.push((name, tokio::spawn(courier.run(handle.snapshots.clone())))),
                Err(reason) => {
                    tracing::warn!("webhook {name} is told nothing: {reason}");
                    let _ = sender.try_send(format!("webhook {name} is told nothing: {reason}"));
                }
            }
        }
        Self { workers, warnings }
    }

    /// The next trouble with a webhook, in a sentence. Waits for ever where there is none.
    pub async fn next_warning(&mut self) -> String {
        match self.warnings.recv().await {
            Some(complaint) => complaint,
            None => std::future::pending().await,
        }
    }

    /// The run is over: waits for the last messages, at most [`LAST_WAIT`], and gives back what there is to complain of.
    pub async fn finish(mut self) -> Vec<String> {
        let deadline = Instant::now() + SHUTDOWN_TIMEOUT;
        let mut late_warnings = Vec::new();
        for (name, courier) in &mut self.workers {
            let name = name.as_str();
            match tokio::time::timeout_at(deadline.into(), &mut *courier).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => late_warnings.push(format!("webhook {name} was not told how the run ended: {error}")),
                Err(_) => {
                    courier.abort();
                    late_warnings.push(format!(
                        "webhook {name} has not taken the last message within {}s, and is not waited for. Mend its url \
                         in keys.toml, and try it with: cascadeck check --webhooks",
                        SHUTDOWN_TIMEOUT.as_secs()
                    ));
                }
            }
        }
        for complaint in &late_warnings {
            tracing::warn!("{complaint}");
        }
        self.warnings.close();
        let mut warnings = Vec::new();
        while let Ok(complaint) = self.warnings.try_recv() {
            warnings.push(complaint);
        }
        warnings.extend(late_warnings);
        warnings
    }
}

/// Tells `webhooks` that a run could not begin, and waits at most [`LAST_WAIT`] for them: what there is to complain of.
pub async fn send_start_failure(webhooks: Vec<Webhook>, run: &str, reason: &str) -> Vec<String> {
    let mut sends = JoinSet::new();
    for webhook in webhooks.into_iter().filter(|webhook| webhook.alert_kinds.contains(&AlertKind::Stopped)) {
        let message =
            WebhookMessage::start_failure(run, reason, &webhook.name, crate::clock::system_time(), host_name());
        sends.spawn(async move {
            let reason = match tokio::time::timeout(SHUTDOWN_TIMEOUT, deliver(&webhook, &message)).await {
                Ok(Ok(())) => return None,
                Ok(Err(words)) => words,
                Err(_) => format!("has not taken the message within {}s", SHUTDOWN_TIMEOUT.as_secs()),
            };
            Some(format!(
                "webhook {} {reason}; it was not told that the run did not begin. Mend its url in keys.toml, and try it \
                 with: cascadeck check --webhooks",
                webhook.name
            ))
        });
    }
    sends.join_all().await.into_iter().flatten().collect()
}

/// Sends `webhook` a message that says it is a test.
///
/// # Errors
/// Why it was not delivered, in words that follow the webhook's name.
pub async fn test(webhook: &Webhook) -> Result<(), String> {
    deliver(webhook, &WebhookMessage::test(&webhook.name, crate::clock::system_time(), host_name())).await
}

/// Brings a message that stands alone, with a second try where the first may have met a passing trouble.
async fn deliver(webhook: &Webhook, message: &WebhookMessage) -> Result<(), String> {
    const PAUSE: Duration = Duration::from_secs(1);
    let post = WebhookClient::new(webhook)?;
    let mut delivery = post.send(message.body(webhook.format)).await;
    if let Delivery::Retry { retry_after: after, .. } = delivery
        && after.is_none_or(|after| after <= SHUTDOWN_TIMEOUT)
    {
        tokio::time::sleep(after.unwrap_or(PAUSE)).await;
        delivery = post.send(message.body(webhook.format)).await;
    }
    match delivery {
        Delivery::Delivered => Ok(()),
        Delivery::Retry { reason: words, .. } | Delivery::Rejected { reason: words } => Err(words),
    }
}

/// What this machine calls itself.
fn host_name() -> Option<String> {
    nix::unistd::gethostname().ok()?.into_string().ok()
}
