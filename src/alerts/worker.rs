//! The task of one webhook: follows the run, collects alerts, sends messages and retries.
//!
//! It only reads snapshots, so a slow server does not slow the engine.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, watch};

use super::{
    client::{Delivery, WebhookClient, WebhookError},
    message::WebhookMessage,
    outbox::{Outbox, PendingMessage},
};
use crate::{
    config::Webhook,
    domain::{Alert, AlertTracker, Snapshot},
};

/// Maximum time that the process waits at its end for the last messages.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Delays before a message is retried, if the server states none.
const RETRY_DELAYS: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(5), Duration::from_secs(15)];

pub(super) struct WebhookWorker {
    webhook: Webhook,
    host: Option<String>,
    client: Arc<WebhookClient>,
    tracker: AlertTracker,
    outbox: Outbox,
    /// Set once a signal has asked the run to stop.
    is_interrupted: Arc<AtomicBool>,
    /// Warnings for the operator.
    warning_sender: mpsc::Sender<String>,
    /// Failed attempts since the last success, or since a message was given up.
    failed_attempts: usize,
    /// The current wait before a retry. Nothing is sent until it ends.
    pause: Option<RetryPause>,
    /// When the engine stopped publishing snapshots; `None` before that.
    closed_at: Option<Instant>,
    /// True if the operator was warned and nothing was delivered since.
    has_warned: bool,
}

#[derive(Clone, Copy)]
struct RetryPause {
    until: Instant,
    /// True if the server stated the wait.
    is_stated: bool,
}

/// A message that is being sent.
struct SendInProgress {
    message: PendingMessage,
    event: &'static str,
    delivery: Pin<Box<dyn Future<Output = Delivery> + Send>>,
}

impl WebhookWorker {
    /// # Errors
    /// If the HTTP client can't be set up.
    pub fn new(
        webhook: Webhook,
        host: Option<String>,
        last_known_event: u64,
        is_interrupted: Arc<AtomicBool>,
        warning_sender: mpsc::Sender<String>,
    ) -> Result<Self, WebhookError> {
        Ok(Self {
            client: Arc::new(WebhookClient::new(&webhook)?),
            outbox: Outbox::new(webhook.alert_kinds.clone()),
            webhook,
            host,
            tracker: AlertTracker::after_event(last_known_event),
            is_interrupted,
            warning_sender,
            failed_attempts: 0,
            pause: None,
            closed_at: None,
            has_warned: false,
        })
    }

    /// Runs until the run is over and every message is delivered or given up.
    pub async fn run(mut self, mut snapshots: watch::Receiver<Arc<Snapshot>>) {
        let mut snapshot = Arc::clone(&snapshots.borrow_and_update());
        self.check_snapshot(&snapshot);
        let mut sending: Option<SendInProgress> = None;
        loop {
            let now = Instant::now();
            if sending.is_none() && self.pause.is_none_or(|pause| pause.until <= now) {
                self.pause = None;
                sending = self.outbox.take(now, self.closed_at.is_some()).map(|message| self.send(message, &snapshot));
            }
            if sending.is_none() && self.closed_at.is_some() && self.pause.is_none() {
                return;
            }
            let wake = match (&sending, self.pause) {
                (Some(_), _) => None,
                (None, Some(pause)) => Some(pause.until),
                (None, None) => self.outbox.due_at(now),
            };
            tokio::select! {
                changed = snapshots.changed(), if self.closed_at.is_none() => {
                    snapshot = Arc::clone(&snapshots.borrow_and_update());
                    self.check_snapshot(&snapshot);
                    if changed.is_err() {
                        self.close(&snapshot);
                    }
                }
                delivery = wait_for_delivery(sending.as_mut()) => {
                    if let Some(sent) = sending.take() {
                        self.on_delivery(sent, delivery);
                    }
                }
                () = sleep_until(wake) => {}
            }
        }
    }

    fn check_snapshot(&mut self, snapshot: &Snapshot) {
        for alert in self.tracker.new_alerts(snapshot) {
            self.add_alert(alert);
        }
    }

    fn add_alert(&mut self, alert: Alert) {
        let now = Instant::now();
        let reported_alert = match alert {
            Alert::Stopped { .. } if self.is_interrupted.load(Ordering::Relaxed) => {
                Alert::Stopped { reason: "interrupted by a signal".to_owned() }
            }
            other => other,
        };
        if reported_alert.is_final() {
            self.retry_now(now);
        }
        self.outbox.add(now, reported_alert);
    }

    /// Ends the wait before a retry, so that the final alert is sent at once, unless the server itself has stated the
    /// wait. Resets the count of failed attempts.
    fn retry_now(&mut self, now: Instant) {
        self.failed_attempts = 0;
        if let Some(pause) = &mut self.pause
            && !pause.is_stated
        {
            pause.until = now;
        }
    }

    /// Called when the engine has stopped publishing snapshots.
    fn close(&mut self, last: &Snapshot) {
        if !last.state.is_over() {
            self.add_alert(Alert::Stopped { reason: "the run ended unexpectedly; see its log".to_owned() });
        }
        let now = Instant::now();
        self.retry_now(now);
        self.closed_at = Some(now);
    }

    fn send(&self, pending: PendingMessage, snapshot: &Snapshot) -> SendInProgress {
        let message = WebhookMessage::new(&pending, snapshot, &self.webhook.name, self.host.clone());
        let (client, body) = (Arc::clone(&self.client), message.body(self.webhook.format));
        SendInProgress {
            message: pending,
            event: message.event,
            delivery: Box::pin(async move { client.send(body).await }),
        }
    }

    fn on_delivery(&mut self, sent: SendInProgress, delivery: Delivery) {
        let now = Instant::now();
        let name = &self.webhook.name;
        match delivery {
            Delivery::Delivered => {
                tracing::info!("webhook {name}: delivered the message that the run {}", describe_event(sent.event));
                self.outbox.on_done(now, &sent.message);
                (self.failed_attempts, self.has_warned) = (0, false);
            }
            Delivery::Retry { reason, retry_after } => {
                let pause = retry_after.or(RETRY_DELAYS.get(self.failed_attempts).copied());
                let until = pause.map(|pause| now + pause).filter(|until| self.is_before_deadline(*until));
                match until.filter(|_| self.failed_attempts < RETRY_DELAYS.len()) {
                    Some(until) => {
                        tracing::info!("webhook {name} {reason}; the message will be sent again");
                        self.failed_attempts += 1;
                        self.pause = Some(RetryPause { until, is_stated: retry_after.is_some() });
                        self.outbox.put_back(now, sent.message);
                    }
                    None => self.give_up(now, &sent, &reason),
                }
            }
            Delivery::Rejected { reason } => self.give_up(now, &sent, &reason),
        }
    }

    /// True if the process still waits for this webhook at `then`.
    fn is_before_deadline(&self, then: Instant) -> bool {
        self.closed_at.is_none_or(|closed| then < closed + SHUTDOWN_TIMEOUT)
    }

    fn give_up(&mut self, now: Instant, sent: &SendInProgress, reason: &str) {
        let name = &self.webhook.name;
        let event = describe_event(sent.event);
        tracing::warn!("webhook {name} {reason}; the message that the run {event} was not delivered");
        self.outbox.on_done(now, &sent.message);
        self.failed_attempts = 0;
        if !std::mem::replace(&mut self.has_warned, true) || sent.message.ending.is_some() {
            let warning = format!(
                "webhook {name} {reason}; the message that the run {event} was not delivered. Check its url in \
                 keys.toml, and test it with: cascadeck check --webhooks"
            );
            // If the channel is full or closed, the warning is still in the log.
            let _ = self.warning_sender.try_send(warning);
        }
    }
}

/// Describes a message's event as a phrase about the run.
fn describe_event(event: &str) -> &'static str {
    match event {
        "finished" => "is finished",
        "stopped" => "stopped",
        "resumed" => "has resumed",
        _ => "needs attention",
    }
}

async fn wait_for_delivery(sending: Option<&mut SendInProgress>) -> Delivery {
    match sending {
        Some(sending) => sending.delivery.as_mut().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}
