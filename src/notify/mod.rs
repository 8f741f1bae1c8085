//! Tells people who are away how a run fares: messages to webhooks when it ends, stops or needs attention.
//!
//! What deserves a message is decided in [`crate::domain::news`], over the snapshots that every front end sees. Here,
//! one [`courier`] a webhook keeps an [`outbox`], puts its content into a [`message`], and brings it by [`post`].
//! Nothing of it can hold the engine up, and no trouble with it changes how a run ends.
//!
//! ```text
//! snapshots ──> Watch ──> Outbox ──> Message ──> Post ──> somebody's telephone
//! ```

mod courier;
mod message;
mod outbox;
mod post;

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use tokio::{
    sync::mpsc,
    task::{JoinHandle, JoinSet},
};

use self::{
    courier::Courier,
    message::Message,
    post::{Post, Verdict},
};
use crate::{
    config::{Occasion, Webhook},
    engine::EngineHandle,
};

/// How long the end of a process waits for the last messages.
pub const LAST_WAIT: Duration = Duration::from_secs(5);

/// Complaints kept until somebody reads them; the log has every one.
const COMPLAINTS: usize = 16;

/// The webhooks of a run under way.
#[derive(Debug)]
pub struct Notices {
    couriers: Vec<(String, JoinHandle<()>)>,
    complaints: mpsc::Receiver<String>,
}

impl Notices {
    /// Follows the run of `handle` until it is over. Events up to `told` were told by earlier processes; `interrupted`
    /// says whether a signal asked for the end.
    pub fn start(webhooks: Vec<Webhook>, handle: &EngineHandle, told: u64, interrupted: &Arc<AtomicBool>) -> Self {
        let (sender, complaints) = mpsc::channel(COMPLAINTS);
        let host = host();
        let mut couriers = Vec::new();
        for webhook in webhooks {
            let name = webhook.name.clone();
            match Courier::new(webhook, host.clone(), told, Arc::clone(interrupted), sender.clone()) {
                Ok(courier) => couriers.push((name, tokio::spawn(courier.run(handle.snapshots.clone())))),
                Err(why) => {
                    tracing::warn!("webhook {name} is told nothing: {why}");
                    let _ = sender.try_send(format!("webhook {name} is told nothing: {why}"));
                }
            }
        }
        Self { couriers, complaints }
    }

    /// The next trouble with a webhook, in a sentence. Waits for ever where there is none.
    pub async fn complaint(&mut self) -> String {
        match self.complaints.recv().await {
            Some(complaint) => complaint,
            None => std::future::pending().await,
        }
    }

    /// The run is over: waits for the last messages, at most [`LAST_WAIT`], and gives back what there is to complain of.
    pub async fn finish(mut self) -> Vec<String> {
        let deadline = Instant::now() + LAST_WAIT;
        let mut late = Vec::new();
        for (name, courier) in &mut self.couriers {
            let name = name.as_str();
            match tokio::time::timeout_at(deadline.into(), &mut *courier).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => late.push(format!("webhook {name} was not told how the run ended: {error}")),
                Err(_) => {
                    courier.abort();
                    late.push(format!(
                        "webhook {name} has not taken the last message within {}s, and is not waited for. Mend its url \
                         in keys.toml, and try it with: cascadeck check --webhooks",
                        LAST_WAIT.as_secs()
                    ));
                }
            }
        }
        for complaint in &late {
            tracing::warn!("{complaint}");
        }
        self.complaints.close();
        let mut complaints = Vec::new();
        while let Ok(complaint) = self.complaints.try_recv() {
            complaints.push(complaint);
        }
        complaints.extend(late);
        complaints
    }
}

/// Tells `webhooks` that a run could not begin, and waits at most [`LAST_WAIT`] for them: what there is to complain of.
pub async fn did_not_begin(webhooks: Vec<Webhook>, run: &str, why: &str) -> Vec<String> {
    let mut telling = JoinSet::new();
    for webhook in webhooks.into_iter().filter(|webhook| webhook.on.contains(&Occasion::Stopped)) {
        let message = Message::did_not_begin(run, why, &webhook.name, crate::clock::system_time(), host());
        telling.spawn(async move {
            let words = match tokio::time::timeout(LAST_WAIT, deliver(&webhook, &message)).await {
                Ok(Ok(())) => return None,
                Ok(Err(words)) => words,
                Err(_) => format!("has not taken the message within {}s", LAST_WAIT.as_secs()),
            };
            Some(format!(
                "webhook {} {words}; it was not told that the run did not begin. Mend its url in keys.toml, and try it \
                 with: cascadeck check --webhooks",
                webhook.name
            ))
        });
    }
    telling.join_all().await.into_iter().flatten().collect()
}

/// Sends `webhook` a message that says it is a test.
///
/// # Errors
/// Why it was not delivered, in words that follow the webhook's name.
pub async fn test(webhook: &Webhook) -> Result<(), String> {
    deliver(webhook, &Message::test(&webhook.name, crate::clock::system_time(), host())).await
}

/// Brings a message that stands alone, with a second try where the first may have met a passing trouble.
async fn deliver(webhook: &Webhook, message: &Message) -> Result<(), String> {
    const PAUSE: Duration = Duration::from_secs(1);
    let post = Post::new(webhook)?;
    let mut tried = post.send(message.body(webhook.format)).await;
    if let Verdict::Again { after, .. } = tried
        && after.is_none_or(|after| after <= LAST_WAIT)
    {
        tokio::time::sleep(after.unwrap_or(PAUSE)).await;
        tried = post.send(message.body(webhook.format)).await;
    }
    match tried {
        Verdict::Delivered => Ok(()),
        Verdict::Again { words, .. } | Verdict::Refused { words } => Err(words),
    }
}

/// What this machine calls itself.
fn host() -> Option<String> {
    nix::unistd::gethostname().ok()?.into_string().ok()
}
