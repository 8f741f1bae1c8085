//! What one webhook has yet to be told, put together so that a storm of alarms is one message.
//!
//! Bounded whatever happens: some alarms in their own words, the others counted, the last standstill, the last ending.

use std::time::{Duration, Instant};

use crate::{
    config::Occasion,
    domain::{Alert, sanitize},
};

/// Alarms of the same moment come close together; the first waits this long for the others.
const GATHER: Duration = Duration::from_secs(2);

/// Between two messages that want attention.
const PAUSE: Duration = Duration::from_secs(30);

/// Alarms told in their own words.
const SHOWN: usize = 5;

/// Characters of an alarm that are told.
const WIDEST: usize = 160;

/// What one message tells.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Parcel {
    pub ending: Option<Alert>,
    pub standing: Option<Alert>,
    /// Distinct ones, neutralised and shortened, the first to come in front.
    pub alarms: Vec<String>,
    /// Alarms beyond those.
    pub more: u64,
}

#[derive(Debug)]
pub(super) struct Outbox {
    on: Vec<Occasion>,
    pending: Parcel,
    /// When the oldest of what wants attention came in.
    since: Option<Instant>,
    /// When a message that wants attention was last dealt with.
    told: Option<Instant>,
}

impl Parcel {
    pub const fn wants_attention(&self) -> bool {
        self.standing.is_some() || !self.alarms.is_empty()
    }

    fn is_empty(&self) -> bool {
        self.ending.is_none() && !self.wants_attention()
    }

    fn alarm(&mut self, words: String, number: u64) {
        if self.alarms.contains(&words) {
            // The same again adds nothing to what is told.
        } else if self.alarms.len() < SHOWN {
            self.alarms.push(words);
        } else {
            self.more += number;
        }
    }
}

impl Outbox {
    pub const fn new(on: Vec<Occasion>) -> Self {
        let pending = Parcel { ending: None, standing: None, alarms: Vec::new(), more: 0 };
        Self { on, pending, since: None, told: None }
    }

    pub fn put(&mut self, now: Instant, news: Alert) {
        let occasion = match &news {
            Alert::Finished { .. } => Occasion::Finished,
            Alert::Stopped { .. } => Occasion::Stopped,
            Alert::Event { .. } | Alert::Stalled { .. } | Alert::Resumed => Occasion::Attention,
        };
        if news.is_final() {
            // How it stood before is no news any more.
            self.pending.standing = None;
        }
        if !self.on.contains(&occasion) {
            return;
        }
        match news {
            Alert::Finished { .. } | Alert::Stopped { .. } => self.pending.ending = Some(news),
            Alert::Event { message } => self.pending.alarm(shortened(&message, WIDEST), 1),
            // Nobody has heard that it stood still.
            Alert::Resumed if self.pending.standing.take().is_some() => {}
            Alert::Stalled { .. } | Alert::Resumed => self.pending.standing = Some(news),
        }
        self.note(now);
    }

    /// What could not be delivered: told again with what has come since, which it doesn't overrule.
    pub fn put_back(&mut self, now: Instant, parcel: Parcel) {
        let newer = std::mem::replace(&mut self.pending, parcel);
        self.pending.ending = newer.ending.or(self.pending.ending.take());
        self.pending.standing = match (newer.standing, self.pending.standing.take()) {
            (Some(Alert::Resumed), Some(Alert::Stalled { .. })) => None,
            (newer, older) => newer.or(older),
        };
        if self.pending.ending.is_some() {
            self.pending.standing = None;
        }
        self.pending.more += newer.more;
        for words in newer.alarms {
            self.pending.alarm(words, 1);
        }
        self.note(now);
    }

    fn note(&mut self, now: Instant) {
        self.since = self.pending.wants_attention().then(|| self.since.unwrap_or(now));
    }

    /// When there is something to send; an ending never waits.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        if self.pending.ending.is_some() {
            return Some(now);
        }
        let since = self.since?;
        Some((since + GATHER).max(self.told.map_or(since, |told| told + PAUSE)))
    }

    /// What is due; `at_once` also what is not.
    pub fn take(&mut self, now: Instant, at_once: bool) -> Option<Parcel> {
        if self.pending.is_empty() || !(at_once || self.due(now).is_some_and(|due| due <= now)) {
            return None;
        }
        self.since = None;
        Some(std::mem::take(&mut self.pending))
    }

    /// `parcel` is done with: delivered, or given up.
    pub fn settled(&mut self, now: Instant, parcel: &Parcel) {
        if parcel.wants_attention() {
            self.told = Some(now);
        }
    }
}

/// One line for a reader far away, without what would act on a screen there, cut to `most` characters.
pub(super) fn shortened(words: &str, most: usize) -> String {
    let words = sanitize(words);
    match words.char_indices().nth(most) {
        None => words.into_owned(),
        Some(_) => words.chars().take(most - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alarm(words: &str) -> Alert {
        Alert::Event { message: words.to_owned() }
    }

    fn stopped() -> Alert {
        Alert::Stopped { reason: "no route is left".to_owned() }
    }

    fn standstill() -> Alert {
        Alert::Stalled { reason: "every route is out".to_owned(), until: None }
    }

    fn outbox() -> Outbox {
        Outbox::new(Occasion::ALL.to_vec())
    }

    #[test]
    fn a_storm_of_alarms_is_one_message_and_the_next_waits() {
        let (mut outbox, start) = (outbox(), Instant::now());
        for number in 0..1_000 {
            outbox.put(start, alarm(&format!("key {number} is off")));
            outbox.put(start, alarm(&format!("key {number} is off")));
        }
        assert_eq!(outbox.due(start), Some(start + GATHER));
        assert_eq!(outbox.take(start, false), None, "others may follow at once");
        let parcel = outbox.take(start + GATHER, false).unwrap();
        assert_eq!((parcel.alarms.len(), parcel.more), (SHOWN, 2 * (1_000 - SHOWN as u64)));
        outbox.settled(start + GATHER, &parcel);
        outbox.put(start + GATHER, alarm("another"));
        assert_eq!(outbox.due(start), Some(start + GATHER + PAUSE));
        assert_eq!(outbox.take(start + PAUSE, false), None);
        assert_eq!(outbox.take(start + GATHER + PAUSE, false).unwrap().alarms, ["another"]);
        assert_eq!(outbox.due(start), None);
    }

    #[test]
    fn an_ending_goes_at_once_with_the_alarms_before_it_and_without_the_standstill() {
        let (mut outbox, now) = (outbox(), Instant::now());
        outbox.put(now, alarm("dave is off"));
        outbox.put(now, standstill());
        outbox.put(now, stopped());
        let parcel = outbox.take(now, false).unwrap();
        assert_eq!((parcel.ending, parcel.standing), (Some(stopped()), None));
        assert_eq!(parcel.alarms, ["dave is off"]);
    }

    #[test]
    fn only_the_last_state_is_told() {
        let (mut outbox, now) = (outbox(), Instant::now());
        outbox.put(now, standstill());
        outbox.put(now, Alert::Resumed);
        assert_eq!(outbox.due(now), None, "nobody had heard of it");
        outbox.put(now, Alert::Resumed);
        assert_eq!(outbox.take(now, true).unwrap().standing, Some(Alert::Resumed));
    }

    #[test]
    fn what_could_not_be_delivered_is_told_with_what_came_since() {
        let (mut outbox, now) = (outbox(), Instant::now());
        outbox.put(now, alarm("first"));
        outbox.put(now, standstill());
        let parcel = outbox.take(now, true).unwrap();
        outbox.put(now, alarm("second"));
        outbox.put(now, Alert::Resumed);
        outbox.put_back(now, parcel);
        let parcel = outbox.take(now, true).unwrap();
        assert_eq!(
            (parcel.alarms.as_slice(), parcel.standing.as_ref()),
            (&["first".into(), "second".into()][..], None)
        );
        outbox.put(now, stopped());
        outbox.put_back(now, Parcel { standing: Some(standstill()), ..parcel });
        let parcel = outbox.take(now, false).unwrap();
        assert_eq!((parcel.ending, parcel.standing), (Some(stopped()), None));
    }

    #[test]
    fn a_webhook_hears_only_what_it_wants_to() {
        let now = Instant::now();
        for (on, wanted) in [(Occasion::Finished, 0), (Occasion::Stopped, 1), (Occasion::Attention, 1)] {
            let mut outbox = Outbox::new(vec![on]);
            for news in [alarm("dave is off"), standstill(), stopped()] {
                outbox.put(now, news);
            }
            let parcel = outbox.take(now, true).unwrap_or_default();
            assert_eq!(usize::from(parcel.ending.is_some()) + parcel.alarms.len(), wanted, "{on:?}");
        }
    }

    #[test]
    fn words_from_outside_are_one_short_line() {
        let words = shortened(&format!("\u{1b}[31m{}", "é".repeat(200)), WIDEST);
        assert_eq!(words.chars().count(), WIDEST);
        assert!(words.starts_with("␛[31mé") && words.ends_with('…'));
    }
}
