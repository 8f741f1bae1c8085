//! Finding a limit that nobody states: additive increase, multiplicative decrease, per pool and per minute.
//!
//! A refusal tells more than "too much": what the provider admitted in the minute before it *is* the limit, if the window
//! slides and nobody else draws on it. So the first refusal sets the limit to that count, and what is looked for afterwards
//! is only whether the provider would let more through: one step up after some hundreds of admitted requests, twice the
//! step each time that it holds, and twice the patience each time that it doesn't. Constant limits cost a refusal now and
//! then; a limit that was lowered for a while is found again within minutes.
//!
//! Server errors and timeouts never come here: they say nothing about quota.

use std::{collections::VecDeque, time::Duration};

use crate::domain::MonoTime;

use super::window::MINUTE;

/// Admitted requests are remembered for this long by the time they were sent; answers may take a while.
const MEMORY: Duration = Duration::from_secs(180);

/// Requests sent within this share an entry.
const GRAIN: Duration = Duration::from_millis(100);

/// Admitted requests at the limit before one step more is tried; small limits need fewer.
const SETTLED: u64 = 400;

/// From fewer admitted requests than this nothing is concluded: the server may count in slices of a second.
const TELLING: u64 = 5;

/// Between leaving here and being counted there, at most.
const UNDER_WAY: Duration = Duration::from_secs(2);

/// Longest patience, as a multiple of the first.
const MOST_PATIENT: u64 = 16;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Course {
    /// At what a refusal has shown.
    Settled,
    /// One or more steps above it, to see whether that holds.
    Climbing { from: u64 },
    /// The refusal said little: find out soon.
    Unsure,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    sent: MonoTime,
    requests: u64,
    amount: u64,
}

/// One amount per minute (requests or tokens), as the provider lets it through.
#[derive(Clone, Debug)]
pub struct Learner {
    limit: Option<u64>,
    admitted: VecDeque<Entry>,
    course: Course,
    /// Requests admitted since the limit last changed.
    since: u64,
    step: u64,
    patience: u64,
    /// The minute before the refusal that set the limit: what was in flight then and is admitted later belongs to it.
    shown_by: Option<(MonoTime, MonoTime)>,
}

impl Default for Learner {
    fn default() -> Self {
        Self {
            limit: None,
            admitted: VecDeque::new(),
            course: Course::Settled,
            since: 0,
            step: 1,
            patience: 1,
            shown_by: None,
        }
    }
}

impl Learner {
    pub const fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// Takes up what an earlier process had found.
    pub const fn restore(&mut self, limit: u64) {
        self.limit = Some(limit);
    }

    /// Requests and amount that were sent after `from` and admitted.
    fn since(&self, from: MonoTime) -> (u64, u64) {
        let recent = self.admitted.iter().rev().take_while(|entry| entry.sent > from);
        recent.fold((0, 0), |(requests, amount), entry| (requests + entry.requests, amount + entry.amount))
    }

    /// The provider let through a request sent at `sent`. `known` is what configuration or provider say.
    pub fn admit(&mut self, now: MonoTime, sent: MonoTime, amount: u64, known: Option<u64>) {
        self.note(sent, amount);
        while self.admitted.front().is_some_and(|entry| entry.sent + MEMORY < now) {
            self.admitted.pop_front();
        }
        let Some(limit) = self.limit else { return };
        if self.shown_by.is_some_and(|(from, to)| sent > from && sent <= to) {
            self.set(limit + amount, known);
            return;
        }
        self.since += 1;
        let (requests, used) = self.since(minute_before(now));
        let needed = match self.course {
            Course::Settled => SETTLED.min(40 * requests.max(1)) * self.patience,
            Course::Climbing { .. } | Course::Unsure => requests.max(4),
        };
        // More is only asked for where what there is gets used.
        if self.since < needed || used * 5 < limit * 4 {
            return;
        }
        self.step = match self.course {
            Course::Climbing { from } if used <= from && self.since < needed * 4 => return,
            Course::Climbing { .. } => (self.step * 2).min(limit.div_ceil(2)),
            Course::Settled => (limit / 64).max(1),
            Course::Unsure => limit.max(1),
        };
        self.course = Course::Climbing { from: limit };
        self.shown_by = None;
        self.set(limit + self.step, known);
    }

    /// The provider refused a request sent at `sent`, and it was the first of its episode.
    pub fn refuse(&mut self, now: MonoTime, sent: MonoTime, known: Option<u64>) {
        let from = minute_before(sent);
        let (requests, amount) = self.since(from);
        if requests == 0 {
            // Nothing got through at all: that is a cooldown's business, not a rate.
            return;
        }
        self.shown_by = None;
        let in_force = self.limit.into_iter().chain(known).min();
        let limit = match (in_force, self.course) {
            (None, _) if requests < TELLING => {
                self.course = Course::Unsure;
                amount.saturating_mul(TELLING) / requests
            }
            (None, _) => {
                self.course = Course::Settled;
                self.shown_by = Some((from, now));
                amount
            }
            (Some(limit), Course::Climbing { from }) if self.limit.is_some() => {
                self.course = Course::Settled;
                self.patience = (self.patience * 2).min(MOST_PATIENT);
                amount.min(limit.saturating_sub(1)).max(from)
            }
            (Some(limit), _) => {
                // Somebody said more, or it was more until now: a little while, perhaps.
                self.course = if known.is_some() { Course::Unsure } else { Course::Settled };
                self.patience = 1;
                amount.clamp(limit.div_ceil(2), limit.saturating_sub(1).max(limit.div_ceil(2)))
            }
        };
        self.set(limit.max(1), known);
    }

    /// Whether a request was admitted that becomes a minute old `after` from `at`, give or take what it was under way.
    pub fn opens(&self, at: MonoTime, after: Duration) -> bool {
        let (from, to) = (minute_before(at), minute_before(at + after + UNDER_WAY));
        self.admitted.iter().any(|entry| entry.sent + UNDER_WAY >= from && entry.sent <= to)
    }

    fn set(&mut self, limit: u64, known: Option<u64>) {
        // What somebody states already needs no learning.
        self.limit = Some(limit).filter(|limit| known.is_none_or(|known| *limit < known));
        self.since = 0;
    }

    fn note(&mut self, sent: MonoTime, amount: u64) {
        // Answers come in another order than requests went out, but not by much.
        let at = self.admitted.iter().rev().take_while(|entry| entry.sent > sent).count();
        let place = self.admitted.len() - at;
        if let Some(entry) = place.checked_sub(1).and_then(|before| self.admitted.get_mut(before))
            && sent.since(entry.sent) < GRAIN
        {
            entry.requests += 1;
            entry.amount += amount;
            return;
        }
        self.admitted.insert(place, Entry { sent, requests: 1, amount });
    }
}

const fn minute_before(at: MonoTime) -> MonoTime {
    MonoTime(at.0.saturating_sub(MINUTE.as_micros() as u64))
}

/// Requests in flight on a pool of which nothing is known: few to begin with, more with every success, so that the first
/// refusal meets few. Grows by a sixteenth per answer, or e-fold in half a minute where answers are slow.
#[derive(Clone, Copy, Debug)]
pub struct SlowStart(f64);

impl Default for SlowStart {
    fn default() -> Self {
        Self(2.0)
    }
}

impl SlowStart {
    pub const fn most(self) -> u32 {
        self.0 as u32
    }

    pub fn answered(&mut self, latency: Duration) {
        self.0 = (self.0 + (latency.as_secs_f64() / 30.0).clamp(1.0 / 16.0, 1.0)).min(1e6);
    }
}

/// Requests in flight that a provider lets run at once, where its refusals are about that.
#[derive(Clone, Copy, Debug, Default)]
pub struct InFlight {
    limit: Option<u64>,
    since: u64,
    patience: u64,
}

impl InFlight {
    pub const fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// Refused while `others` were in flight.
    pub fn refuse(&mut self, others: u64) {
        self.limit = Some(others.max(1).min(self.limit.map_or(u64::MAX, |limit| (limit - 1).max(1))));
        self.since = 0;
        self.patience = (self.patience * 2).clamp(1, MOST_PATIENT);
    }

    /// Answered while `others` were in flight.
    pub fn admit(&mut self, others: u64) {
        if let Some(limit) = self.limit.filter(|limit| others + 1 >= *limit) {
            self.since += 1;
            if self.since >= 64 * self.patience {
                self.limit = Some(limit + 1);
                self.since = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> MonoTime {
        MonoTime(seconds * 1_000_000)
    }

    /// A minute in which `admitted` requests get through, one after the other, and one more is refused.
    fn learned(admitted: u64) -> Learner {
        let mut learner = Learner::default();
        for index in 0..admitted {
            learner.admit(at(index + 2), at(index + 1), 1, None);
        }
        learner.refuse(at(admitted + 2), at(admitted + 1), None);
        learner
    }

    /// At its limit for so many minutes.
    fn busy(learner: &mut Learner, from: u64, minutes: u64, known: Option<u64>) -> u64 {
        for minute in 0..minutes {
            let each = learner.limit().or(known).unwrap_or(1);
            for index in 0..each {
                let sent = MonoTime((from + minute * 60) * 1_000_000 + index * 60_000_000 / each);
                learner.admit(sent + Duration::from_millis(500), sent, 1, known);
            }
        }
        from + minutes * 60
    }

    #[test]
    fn the_first_refusal_shows_the_limit() {
        assert_eq!(learned(15).limit(), Some(15));
    }

    #[test]
    fn what_was_in_flight_at_the_refusal_and_is_admitted_counts_too() {
        let mut learner = learned(15);
        learner.admit(at(17), at(14), 1, None);
        assert_eq!(learner.limit(), Some(16));
    }

    #[test]
    fn a_refusal_with_nothing_admitted_teaches_nothing() {
        let mut learner = Learner::default();
        learner.refuse(at(1), at(0), None);
        assert_eq!(learner.limit(), None);
    }

    #[test]
    fn a_step_that_is_refused_is_taken_back_and_tried_less_often() {
        let mut learner = learned(20);
        let mut steps = Vec::new();
        let mut now = 100;
        for minute in 0..200 {
            now = busy(&mut learner, now, 1, None);
            if learner.limit() > Some(20) {
                steps.push(minute);
                learner.refuse(at(now + 1), at(now), None);
                assert_eq!(learner.limit(), Some(20));
            }
        }
        let gaps: Vec<u64> = steps.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(steps[0] >= 19 && gaps.is_sorted() && gaps[0] >= 39, "{steps:?}");
    }

    #[test]
    fn a_limit_that_rises_is_followed_ever_faster() {
        let mut learner = learned(10);
        let mut now = busy(&mut learner, 100, 40, None);
        let mut minutes = 0;
        while learner.limit() < Some(200) {
            now = busy(&mut learner, now, 1, None);
            minutes += 1;
        }
        assert!(minutes < 15, "{minutes} minutes from 10 to 200");
    }

    #[test]
    fn a_limit_that_falls_is_followed_by_half_at_most() {
        let mut learner = learned(40);
        learner.refuse(at(200), at(199), None);
        assert_eq!(learner.limit(), Some(40), "nothing was admitted in that minute");
        learner.admit(at(300), at(299), 1, None);
        learner.refuse(at(301), at(300), None);
        assert_eq!(learner.limit(), Some(20));
    }

    #[test]
    fn below_what_is_configured_it_finds_its_way_back_and_is_forgotten_there() {
        let mut learner = Learner::default();
        busy(&mut learner, 0, 1, Some(60));
        learner.refuse(at(61), at(60), Some(60));
        assert_eq!(learner.limit(), Some(59));
        learner.admit(at(170), at(169), 1, Some(60));
        learner.refuse(at(170), at(170), Some(60));
        assert_eq!(learner.limit(), Some(30));
        busy(&mut learner, 300, 4, Some(60));
        assert_eq!(learner.limit(), None);
    }

    #[test]
    fn requests_in_flight_are_learned_from_refusals_about_them() {
        let mut in_flight = InFlight::default();
        in_flight.refuse(3);
        assert_eq!(in_flight.limit(), Some(3));
        for _ in 0..64 {
            in_flight.admit(2);
        }
        assert_eq!(in_flight.limit(), Some(4));
        in_flight.refuse(3);
        assert_eq!(in_flight.limit(), Some(3));
    }
}
