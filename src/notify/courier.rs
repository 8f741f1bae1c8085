//! One webhook's task: watches the run, keeps what is to be told, brings it, tries again.
//!
//! It only ever reads snapshots: however slow its server is, the engine doesn't notice.

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
    LAST_WAIT,
    message::Message,
    outbox::{Outbox, Parcel},
    post::{Post, Verdict},
};
use crate::{
    config::Webhook,
    domain::{Alert, AlertTracker, Snapshot},
};

/// Pauses before a message is tried again, where the server asks for none.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(5), Duration::from_secs(15)];

pub(super) struct Courier {
    webhook: Webhook,
    host: Option<String>,
    post: Arc<Post>,
    watch: AlertTracker,
    outbox: Outbox,
    /// A signal asked for the end.
    interrupted: Arc<AtomicBool>,
    /// For the operator.
    complaints: mpsc::Sender<String>,
    /// Attempts that failed since the last success, or since a message was given up.
    failures: usize,
    /// Nothing is sent before; `stated` where the server asked for it.
    pause: Option<Pause>,
    /// Since when nothing new can come.
    closed: Option<Instant>,
    /// Trouble has been told to the operator, and nothing was delivered since.
    complained: bool,
}

#[derive(Clone, Copy)]
struct Pause {
    until: Instant,
    stated: bool,
}

/// A message on its way.
struct Sending {
    parcel: Parcel,
    event: &'static str,
    answer: Pin<Box<dyn Future<Output = Verdict> + Send>>,
}

impl Courier {
    pub fn new(
        webhook: Webhook,
        host: Option<String>,
        told: u64,
        interrupted: Arc<AtomicBool>,
        complaints: mpsc::Sender<String>,
    ) -> Result<Self, String> {
        Ok(Self {
            post: Arc::new(Post::new(&webhook)?),
            outbox: Outbox::new(webhook.on.clone()),
            webhook,
            host,
            watch: AlertTracker::after_event(told),
            interrupted,
            complaints,
            failures: 0,
            pause: None,
            closed: None,
            complained: false,
        })
    }

    /// Until the run is over and everything is delivered or given up.
    pub async fn run(mut self, mut snapshots: watch::Receiver<Arc<Snapshot>>) {
        let mut snapshot = Arc::clone(&snapshots.borrow_and_update());
        self.look(&snapshot);
        let mut sending: Option<Sending> = None;
        loop {
            let now = Instant::now();
            if sending.is_none() && self.pause.is_none_or(|pause| pause.until <= now) {
                self.pause = None;
                sending = self.outbox.take(now, self.closed.is_some()).map(|parcel| self.send(parcel, &snapshot));
            }
            if sending.is_none() && self.closed.is_some() && self.pause.is_none() {
                return;
            }
            let wake = match (&sending, self.pause) {
                (Some(_), _) => None,
                (None, Some(pause)) => Some(pause.until),
                (None, None) => self.outbox.due(now),
            };
            tokio::select! {
                changed = snapshots.changed(), if self.closed.is_none() => {
                    snapshot = Arc::clone(&snapshots.borrow_and_update());
                    self.look(&snapshot);
                    if changed.is_err() {
                        self.close(&snapshot);
                    }
                }
                verdict = answer(sending.as_mut()) => {
                    if let Some(sent) = sending.take() {
                        self.judge(sent, verdict);
                    }
                }
                () = sleep_until(wake) => {}
            }
        }
    }

    fn look(&mut self, snapshot: &Snapshot) {
        for news in self.watch.new_alerts(snapshot) {
            self.hear(news);
        }
    }

    fn hear(&mut self, news: Alert) {
        let now = Instant::now();
        let news = match news {
            Alert::Stopped { .. } if self.interrupted.load(Ordering::Relaxed) => {
                Alert::Stopped { reason: "interrupted by a signal".to_owned() }
            }
            other => other,
        };
        if news.is_final() {
            self.hurry(now);
        }
        self.outbox.put(now, news);
    }

    /// The last word is worth another try at once, unless the server itself has asked for a pause.
    fn hurry(&mut self, now: Instant) {
        self.failures = 0;
        if let Some(pause) = &mut self.pause
            && !pause.stated
        {
            pause.until = now;
        }
    }

    /// Nobody publishes snapshots any more.
    fn close(&mut self, last: &Snapshot) {
        if !last.state.is_over() {
            self.hear(Alert::Stopped { reason: "the run ended unexpectedly; its log says why".to_owned() });
        }
        let now = Instant::now();
        self.hurry(now);
        self.closed = Some(now);
    }

    fn send(&self, parcel: Parcel, snapshot: &Snapshot) -> Sending {
        let message = Message::new(&parcel, snapshot, &self.webhook.name, self.host.clone());
        let (post, body) = (Arc::clone(&self.post), message.body(self.webhook.format));
        Sending { parcel, event: message.event, answer: Box::pin(async move { post.send(body).await }) }
    }

    fn judge(&mut self, sent: Sending, verdict: Verdict) {
        let now = Instant::now();
        let name = &self.webhook.name;
        match verdict {
            Verdict::Delivered => {
                tracing::info!("webhook {name}: told it that the run {}", what(sent.event));
                self.outbox.settled(now, &sent.parcel);
                (self.failures, self.complained) = (0, false);
            }
            Verdict::Again { words, after } => {
                let pause = after.or(PAUSES.get(self.failures).copied());
                let until = pause.map(|pause| now + pause).filter(|until| self.still_matters(*until));
                match until.filter(|_| self.failures < PAUSES.len()) {
                    Some(until) => {
                        tracing::info!("webhook {name} {words}; its message is tried again");
                        self.failures += 1;
                        self.pause = Some(Pause { until, stated: after.is_some() });
                        self.outbox.put_back(now, sent.parcel);
                    }
                    None => self.give_up(now, &sent, &words),
                }
            }
            Verdict::Refused { words } => self.give_up(now, &sent, &words),
        }
    }

    /// Whether anybody will be there at `then` to try again.
    fn still_matters(&self, then: Instant) -> bool {
        self.closed.is_none_or(|closed| then < closed + LAST_WAIT)
    }

    fn give_up(&mut self, now: Instant, sent: &Sending, words: &str) {
        let name = &self.webhook.name;
        let what = what(sent.event);
        tracing::warn!("webhook {name} {words}; it is not told that the run {what}");
        self.outbox.settled(now, &sent.parcel);
        self.failures = 0;
        if !std::mem::replace(&mut self.complained, true) || sent.parcel.ending.is_some() {
            let complaint = format!(
                "webhook {name} {words}; it was not told that the run {what}. Mend its url in keys.toml, and try it \
                 with: cascadeck check --webhooks"
            );
            // Where nobody listens the log has it.
            let _ = self.complaints.try_send(complaint);
        }
    }
}

/// What a message of that kind says of the run.
fn what(event: &str) -> &'static str {
    match event {
        "finished" => "is finished",
        "stopped" => "stopped",
        "resumed" => "goes on",
        _ => "needs attention",
    }
}

async fn answer(sending: Option<&mut Sending>) -> Verdict {
    match sending {
        Some(sending) => sending.answer.as_mut().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}
