//! Collects the alerts that one webhook has not received yet, so that a burst of events becomes one message.
//!
//! The size is bounded: the outbox keeps the texts of some events and counts the others, and it keeps only the last
//! stall and the final alert.

use std::time::{Duration, Instant};

use crate::{
    config::AlertKind,
    domain::{Alert, sanitize},
};

/// Time that the first event waits for others, because events with the same cause follow each other closely.
const GATHER_DELAY: Duration = Duration::from_secs(2);

/// Minimum time between two messages of the kind `attention`.
const ATTENTION_INTERVAL: Duration = Duration::from_secs(30);

/// Maximum number of events whose text is kept.
const MAX_EVENTS_SHOWN: usize = 5;

/// Maximum number of characters of an event's text.
const MAX_EVENT_CHARS: usize = 160;

/// The content of one message.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct PendingMessage {
    pub ending: Option<Alert>,
    pub stall: Option<Alert>,
    /// Distinct texts of events, sanitized and shortened, oldest first.
    pub events: Vec<String>,
    /// Number of further events. Repetitions of these are counted too.
    pub more_events: u64,
}

#[derive(Debug)]
pub(super) struct Outbox {
    alert_kinds: Vec<AlertKind>,
    pending: PendingMessage,
    /// When the oldest pending alert of the kind `attention` came in.
    pending_since: Option<Instant>,
    /// When a message of the kind `attention` was last delivered or given up.
    last_attention_at: Option<Instant>,
}

impl PendingMessage {
    pub const fn has_attention_alert(&self) -> bool {
        self.stall.is_some() || !self.events.is_empty()
    }

    fn is_empty(&self) -> bool {
        self.ending.is_none() && !self.has_attention_alert()
    }

    fn add_event(&mut self, message: String, count: u64) {
        if self.events.contains(&message) {
            // A repetition of an event adds nothing.
        } else if self.events.len() < MAX_EVENTS_SHOWN {
            self.events.push(message);
        } else {
            self.more_events += count;
        }
    }
}

impl Outbox {
    pub const fn new(alert_kinds: Vec<AlertKind>) -> Self {
        let pending = PendingMessage { ending: None, stall: None, events: Vec::new(), more_events: 0 };
        Self { alert_kinds, pending, pending_since: None, last_attention_at: None }
    }

    pub fn add(&mut self, now: Instant, alert: Alert) {
        let kind = match &alert {
            Alert::Finished { .. } => AlertKind::Finished,
            Alert::Stopped { .. } => AlertKind::Stopped,
            Alert::Event { .. } | Alert::KeysLeft { .. } | Alert::Stalled { .. } | Alert::Resumed => {
                AlertKind::Attention
            }
        };
        if alert.is_final() {
            // A stall is not worth a message once the run is over.
            self.pending.stall = None;
        }
        if !self.alert_kinds.contains(&kind) {
            return;
        }
        match alert {
            Alert::Finished { .. } | Alert::Stopped { .. } => self.pending.ending = Some(alert),
            Alert::Event { message } | Alert::KeysLeft { message } => {
                self.pending.add_event(shorten(&message, MAX_EVENT_CHARS), 1);
            }
            // The stall was not sent yet, so neither it nor its end is sent.
            Alert::Resumed if self.pending.stall.take().is_some() => {}
            Alert::Stalled { .. } | Alert::Resumed => self.pending.stall = Some(alert),
        }
        self.update_pending_since(now);
    }

    /// Puts an undelivered message back. Newer alerts are added to it and take precedence.
    pub fn put_back(&mut self, now: Instant, message: PendingMessage) {
        let newer = std::mem::replace(&mut self.pending, message);
        self.pending.ending = newer.ending.or(self.pending.ending.take());
        self.pending.stall = match (newer.stall, self.pending.stall.take()) {
            (Some(Alert::Resumed), Some(Alert::Stalled { .. })) => None,
            (newer, older) => newer.or(older),
        };
        if self.pending.ending.is_some() {
            self.pending.stall = None;
        }
        self.pending.more_events += newer.more_events;
        for event in newer.events {
            self.pending.add_event(event, 1);
        }
        self.update_pending_since(now);
    }

    fn update_pending_since(&mut self, now: Instant) {
        self.pending_since = self.pending.has_attention_alert().then(|| self.pending_since.unwrap_or(now));
    }

    /// When the next message is due; `None` if nothing is pending. A final alert is due at once.
    pub fn due_at(&self, now: Instant) -> Option<Instant> {
        if self.pending.ending.is_some() {
            return Some(now);
        }
        let since = self.pending_since?;
        Some((since + GATHER_DELAY).max(self.last_attention_at.map_or(since, |last| last + ATTENTION_INTERVAL)))
    }

    /// Takes the pending message if it is due, or in any case if `is_forced`.
    pub fn take(&mut self, now: Instant, is_forced: bool) -> Option<PendingMessage> {
        if self.pending.is_empty() || !(is_forced || self.due_at(now).is_some_and(|due| due <= now)) {
            return None;
        }
        self.pending_since = None;
        Some(std::mem::take(&mut self.pending))
    }

    /// Called when `message` was delivered or given up.
    pub fn on_done(&mut self, now: Instant, message: &PendingMessage) {
        if message.has_attention_alert() {
            self.last_attention_at = Some(now);
        }
    }
}

/// Makes `text` one line without control characters, with at most `max_chars` characters.
pub(super) fn shorten(text: &str, max_chars: usize) -> String {
    let sanitized = sanitize(text);
    match sanitized.char_indices().nth(max_chars) {
        None => sanitized.into_owned(),
        Some(_) => sanitized.chars().take(max_chars - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event_alert(message: &str) -> Alert {
        Alert::Event { message: message.to_owned() }
    }

    fn stopped() -> Alert {
        Alert::Stopped { reason: "no route is left".to_owned() }
    }

    fn stall_alert() -> Alert {
        Alert::Stalled { reason: "every route is cooling down".to_owned(), until: None }
    }

    fn outbox() -> Outbox {
        Outbox::new(AlertKind::ALL.to_vec())
    }

    #[test]
    fn a_burst_of_events_is_one_message_and_the_next_one_waits() {
        let (mut outbox, start) = (outbox(), Instant::now());
        for number in 0..1_000 {
            outbox.add(start, event_alert(&format!("key {number} is off")));
            outbox.add(start, event_alert(&format!("key {number} is off")));
        }
        assert_eq!(outbox.due_at(start), Some(start + GATHER_DELAY));
        assert_eq!(outbox.take(start, false), None, "others may follow at once");
        let message = outbox.take(start + GATHER_DELAY, false).unwrap();
        assert_eq!(
            (message.events.len(), message.more_events),
            (MAX_EVENTS_SHOWN, 2 * (1_000 - MAX_EVENTS_SHOWN as u64))
        );
        outbox.on_done(start + GATHER_DELAY, &message);
        outbox.add(start + GATHER_DELAY, event_alert("another"));
        assert_eq!(outbox.due_at(start), Some(start + GATHER_DELAY + ATTENTION_INTERVAL));
        assert_eq!(outbox.take(start + ATTENTION_INTERVAL, false), None);
        assert_eq!(outbox.take(start + GATHER_DELAY + ATTENTION_INTERVAL, false).unwrap().events, ["another"]);
        assert_eq!(outbox.due_at(start), None);
    }

    #[test]
    fn the_final_alert_is_due_at_once_with_earlier_events_and_without_the_stall() {
        let (mut outbox, now) = (outbox(), Instant::now());
        outbox.add(now, event_alert("dave is off"));
        outbox.add(now, stall_alert());
        outbox.add(now, stopped());
        let message = outbox.take(now, false).unwrap();
        assert_eq!((message.ending, message.stall), (Some(stopped()), None));
        assert_eq!(message.events, ["dave is off"]);
    }

    #[test]
    fn a_stall_that_ended_unsent_is_not_sent() {
        let (mut outbox, now) = (outbox(), Instant::now());
        outbox.add(now, stall_alert());
        outbox.add(now, Alert::Resumed);
        assert_eq!(outbox.due_at(now), None, "the stall was never sent");
        outbox.add(now, Alert::Resumed);
        assert_eq!(outbox.take(now, true).unwrap().stall, Some(Alert::Resumed));
    }

    #[test]
    fn an_undelivered_message_is_merged_with_newer_alerts() {
        let (mut outbox, now) = (outbox(), Instant::now());
        outbox.add(now, event_alert("first"));
        outbox.add(now, stall_alert());
        let message = outbox.take(now, true).unwrap();
        outbox.add(now, event_alert("second"));
        outbox.add(now, Alert::Resumed);
        outbox.put_back(now, message);
        let message = outbox.take(now, true).unwrap();
        assert_eq!((message.events.as_slice(), message.stall.as_ref()), (&["first".into(), "second".into()][..], None));
        outbox.add(now, stopped());
        outbox.put_back(now, PendingMessage { stall: Some(stall_alert()), ..message });
        let message = outbox.take(now, false).unwrap();
        assert_eq!((message.ending, message.stall), (Some(stopped()), None));
    }

    #[test]
    fn a_webhook_gets_only_its_configured_kinds() {
        let now = Instant::now();
        for (kind, wanted) in [(AlertKind::Finished, 0), (AlertKind::Stopped, 1), (AlertKind::Attention, 1)] {
            let mut outbox = Outbox::new(vec![kind]);
            for alert in [event_alert("dave is off"), stall_alert(), stopped()] {
                outbox.add(now, alert);
            }
            let message = outbox.take(now, true).unwrap_or_default();
            assert_eq!(usize::from(message.ending.is_some()) + message.events.len(), wanted, "{kind:?}");
        }
    }

    #[test]
    fn an_event_message_is_one_short_line() {
        let line = shorten(&format!("\u{1b}[31m{}", "é".repeat(200)), MAX_EVENT_CHARS);
        assert_eq!(line.chars().count(), MAX_EVENT_CHARS);
        assert!(line.starts_with("␛[31mé") && line.ends_with('…'));
    }
}
