//! Notices providers that accept requests and do not answer them, before the requests time out, and says which of these
//! requests are to be given up.
//!
//! Requests that a provider has lost hold their room until they time out. While a silent provider responds to its
//! health check, one of them after another is given up, so that a new request shows whether the provider answers: a
//! trial. Once a request that was sent during the silence is answered, those that were sent before it are given up.

use std::time::Duration;

use crate::domain::{MonoTime, Outcome, ProviderId, event::format_duration, pluralize};

/// Silence up to this many times the usual latency is normal.
const LATENCY_FACTOR: u32 = 3;
/// Silence up to this is normal, however fast the usual answers are.
const MIN_SILENCE: Duration = Duration::from_secs(10);
/// Silence up to this is normal for a model whose usual latency is not known.
const DEFAULT_SILENCE: Duration = Duration::from_secs(30);
/// The silence that is shown is rounded down to a multiple of this, so that its text does not change all the time.
const SHOWN_STEP_SECS: u64 = 10;
/// The same for silences of at least a minute.
const LONG_SHOWN_STEP_SECS: u64 = 60;
/// A trial comes after a silence of at least this length.
const MIN_TRIAL_WAIT: Duration = Duration::from_secs(30);
/// The same if only one request is in flight, which may just take longer than others.
const MIN_TRIAL_WAIT_OF_ONE: Duration = Duration::from_secs(120);
/// How long requests of before a silence may still be answered after a newer one was.
const REVIVAL_GRACE: Duration = Duration::from_secs(10);

/// How long each provider with requests in flight has not answered.
#[derive(Debug)]
pub(super) struct SilenceWatch {
    providers: Vec<ProviderSilence>,
}

#[derive(Clone, Debug, Default)]
struct ProviderSilence {
    in_flight: u64,
    /// When it answered last, or when a request was sent while none was in flight, if that was later. Requests that
    /// follow a reported silence without a pause continue it.
    since: MonoTime,
    /// When the last attempt ended.
    last_end: MonoTime,
    /// It has been silent for longer than normal, which was reported; and it has not answered since.
    is_reported: bool,
    /// How long after `since` the next trial is due; `None` before the first one is planned.
    trial_wait: Option<Duration>,
    revival: Option<Revival>,
}

/// A provider answers again after a silence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Revival {
    /// When the request was sent whose answer ended the silence.
    answered_sent_at: MonoTime,
    /// When the requests that were sent before are given up.
    give_up_at: MonoTime,
}

/// The end of a silence that was reported.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SilenceEnd {
    pub lasted: Duration,
    /// Requests of before the silence are given up soon.
    pub gives_up_older: bool,
}

/// The attempt that has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct EndedRequest {
    pub provider: ProviderId,
    pub sent_at: MonoTime,
    /// When the response arrived, before its checks.
    pub responded_at: MonoTime,
    pub outcome: Outcome,
}

impl SilenceWatch {
    pub fn new(provider_count: usize) -> Self {
        Self { providers: vec![ProviderSilence::default(); provider_count] }
    }

    pub fn on_sent(&mut self, provider: ProviderId, now: MonoTime) {
        let silence = &mut self.providers[provider.index()];
        let continues = silence.is_reported && now.since(silence.last_end) < DEFAULT_SILENCE;
        if silence.in_flight == 0 && !continues {
            (silence.since, silence.is_reported) = (now, false);
            (silence.trial_wait, silence.revival) = (None, None);
        }
        silence.in_flight += 1;
    }

    /// Handles the end of an attempt. A timeout, a request that was given up, and what ends on this machine is no
    /// answer. Returns the end of a silence that was reported.
    pub fn on_end(&mut self, now: MonoTime, ended: EndedRequest) -> Option<SilenceEnd> {
        let EndedRequest { provider, sent_at, responded_at, outcome } = ended;
        let silence = &mut self.providers[provider.index()];
        silence.in_flight = silence.in_flight.saturating_sub(1);
        silence.last_end = now;
        if outcome.is_local() || matches!(outcome, Outcome::Timeout | Outcome::Lost) {
            return None;
        }
        let (began_at, was_reported) = (silence.since, silence.is_reported);
        (silence.since, silence.is_reported) = (silence.since.max(responded_at), false);
        silence.trial_wait = None;
        // A refusal says nothing about the requests that the provider has accepted.
        let is_newer = sent_at > began_at && outcome.is_processed() && silence.in_flight > 0;
        if silence.revival.is_none() && was_reported && is_newer {
            silence.revival = Some(Revival { answered_sent_at: sent_at, give_up_at: now + REVIVAL_GRACE });
        }
        let gives_up_older = silence.revival.is_some();
        was_reported.then(|| SilenceEnd { lasted: responded_at.since(began_at), gives_up_older })
    }

    /// The next silent provider that is to be tried with a new request, for which an older one is given up. The wait
    /// until its next trial is doubled. `may_answer` says whether it responds to its health check, as far as that is
    /// known; `normal_silence` is its normal silence.
    pub fn take_trial(
        &mut self,
        now: MonoTime,
        may_answer: impl Fn(ProviderId) -> bool,
        normal_silence: impl Fn(ProviderId) -> Duration,
    ) -> Option<ProviderId> {
        for (index, silence) in self.providers.iter_mut().enumerate().filter(|(_, silence)| silence.is_silent()) {
            let provider = ProviderId(index as u32);
            let wait = *silence.trial_wait.get_or_insert_with(|| {
                let minimum = if silence.in_flight > 1 { MIN_TRIAL_WAIT } else { MIN_TRIAL_WAIT_OF_ONE };
                normal_silence(provider).saturating_mul(2).max(minimum)
            });
            if now.since(silence.since) >= wait && may_answer(provider) {
                // A trial that a health check made due has no wait of its own.
                silence.trial_wait = Some(now.since(silence.since) + wait.max(MIN_TRIAL_WAIT));
                return Some(provider);
            }
        }
        None
    }

    /// Makes the next trial of a silent provider due, after it has responded to a health check again.
    pub fn make_trial_due(&mut self, provider: ProviderId) {
        let silence = &mut self.providers[provider.index()];
        if silence.is_silent() {
            silence.trial_wait = Some(Duration::ZERO);
        }
    }

    /// The next provider whose older requests are to be given up, and when the one was sent whose answer ended its silence.
    pub fn take_revived(&mut self, now: MonoTime) -> Option<(ProviderId, MonoTime)> {
        let is_due = |silence: &ProviderSilence| silence.revival.is_some_and(|revival| revival.give_up_at <= now);
        let index = self.providers.iter().position(is_due)?;
        let revival = self.providers[index].revival.take()?;
        Some((ProviderId(index as u32), revival.answered_sent_at))
    }

    /// The next provider that has become silent: none of its requests in flight was answered for longer than normal.
    /// Each silence is returned once. `being_checked` is the number of a provider's answers that have arrived and are
    /// being checked. `normal_silence` is asked only about providers that may be silent.
    pub fn take_new(
        &mut self,
        now: MonoTime,
        being_checked: impl Fn(ProviderId) -> u64,
        normal_silence: impl Fn(ProviderId) -> Duration,
    ) -> Option<ProviderId> {
        let is_new = |(index, silence): &(usize, &ProviderSilence)| {
            let lasts = now.since(silence.since);
            let may_be_silent = silence.in_flight > 0 && !silence.is_reported && lasts > MIN_SILENCE;
            let provider = ProviderId(*index as u32);
            may_be_silent && lasts > normal_silence(provider) && silence.in_flight > being_checked(provider)
        };
        let (index, _) = self.providers.iter().enumerate().find(is_new)?;
        self.providers[index].is_reported = true;
        Some(ProviderId(index as u32))
    }

    pub fn is_silent(&self, provider: ProviderId) -> bool {
        self.providers[provider.index()].is_silent()
    }

    /// The provider that has been silent for longest.
    pub fn longest(&self) -> Option<ProviderId> {
        let silent = self.providers.iter().enumerate().filter(|(_, silence)| silence.is_silent());
        silent.min_by_key(|(_, silence)| silence.since).map(|(index, _)| ProviderId(index as u32))
    }

    /// How long a provider has been silent.
    pub fn lasts(&self, provider: ProviderId, now: MonoTime) -> Duration {
        now.since(self.providers[provider.index()].since)
    }

    /// A message for people, with the provider's name.
    pub fn message(&self, provider: ProviderId, name: &str, now: MonoTime) -> String {
        let in_flight = self.providers[provider.index()].in_flight;
        let seconds = self.lasts(provider, now).as_secs();
        let step = if seconds < LONG_SHOWN_STEP_SECS { SHOWN_STEP_SECS } else { LONG_SHOWN_STEP_SECS };
        let lasts = format_duration(Duration::from_secs(seconds / step * step));
        format!("no answer from {name} for {lasts} ({} in flight)", pluralize(in_flight, "request"))
    }
}

impl ProviderSilence {
    const fn is_silent(&self) -> bool {
        self.is_reported && self.in_flight > 0
    }
}

/// How long silence is normal at a model, by the 95th percentile of its latency in milliseconds.
pub(super) fn normal_silence(p95_ms: Option<u64>) -> Duration {
    p95_ms.map_or(DEFAULT_SILENCE, |ms| Duration::from_millis(ms).saturating_mul(LATENCY_FACTOR))
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: ProviderId = ProviderId(0);

    fn at(seconds: u64) -> MonoTime {
        MonoTime::default() + Duration::from_secs(seconds)
    }

    /// Whether a silence is newly found at this second, if the latency is unknown.
    fn is_found(watch: &mut SilenceWatch, seconds: u64) -> bool {
        watch.take_new(at(seconds), |_| 0, |_| normal_silence(None)).is_some()
    }

    /// Ends a request that was sent at one second, at another one.
    fn end(watch: &mut SilenceWatch, sent: u64, now: u64, outcome: Outcome) -> Option<SilenceEnd> {
        watch.on_end(at(now), EndedRequest { provider: P, sent_at: at(sent), responded_at: at(now), outcome })
    }

    #[test]
    fn requests_of_before_a_silence_are_given_up_once_a_newer_one_is_answered() {
        let mut watch = SilenceWatch::new(1);
        (0..4).for_each(|_| watch.on_sent(P, at(0)));
        assert!(is_found(&mut watch, 31));
        let trial = |watch: &mut SilenceWatch, second, responds| {
            watch.take_trial(at(second), |_| responds, |_| Duration::from_secs(20)).is_some()
        };
        assert!(!trial(&mut watch, 39, true) && !trial(&mut watch, 40, false) && trial(&mut watch, 40, true));
        // The request that was given up is no answer, and its successor is the trial.
        assert_eq!(end(&mut watch, 0, 40, Outcome::Lost), None);
        watch.on_sent(P, at(41));
        assert!(!trial(&mut watch, 79, true) && trial(&mut watch, 80, true), "the wait is doubled");
        assert!(!trial(&mut watch, 159, true));
        watch.make_trial_due(P);
        assert!(trial(&mut watch, 159, true), "its health check responds again");
        assert!(!trial(&mut watch, 160, true), "one trial at a time");
        let ended = end(&mut watch, 41, 162, Outcome::Ok).unwrap();
        assert_eq!(ended, SilenceEnd { lasted: Duration::from_secs(162), gives_up_older: true });
        assert_eq!(watch.take_revived(at(171)), None, "they may still be answered");
        assert_eq!(watch.take_revived(at(172)), Some((P, at(41))));
        assert_eq!(watch.take_revived(at(172)), None);
    }

    #[test]
    fn later_answers_give_up_no_request_that_was_sent_after_the_silence() {
        for outcome in [Outcome::Ok, Outcome::RateLimitedMinute] {
            let mut watch = SilenceWatch::new(1);
            (0..4).for_each(|_| watch.on_sent(P, at(0)));
            assert!(is_found(&mut watch, 31));
            (0..2).for_each(|_| watch.on_sent(P, at(35)));
            assert!(end(&mut watch, 35, 40, Outcome::Ok).unwrap().gives_up_older);
            (0..2).for_each(|_| watch.on_sent(P, at(44)));
            assert_eq!(end(&mut watch, 44, 46, outcome), None);
            assert_eq!(watch.take_revived(at(50)), Some((P, at(35))), "{outcome}");
        }
    }

    #[test]
    fn a_new_silence_keeps_nothing_of_the_last_one() {
        let mut watch = SilenceWatch::new(1);
        let trial = |watch: &mut SilenceWatch, second| {
            watch.take_trial(at(second), |_| true, |_| Duration::from_secs(20)).is_some()
        };
        (0..2).for_each(|_| watch.on_sent(P, at(0)));
        assert!(is_found(&mut watch, 31) && trial(&mut watch, 40) && trial(&mut watch, 80));
        (0..2).for_each(|_| assert_eq!(end(&mut watch, 0, 300, Outcome::Timeout), None));
        (0..2).for_each(|_| watch.on_sent(P, at(1_000)));
        assert!(is_found(&mut watch, 1_031));
        assert!(!trial(&mut watch, 1_039) && trial(&mut watch, 1_040), "its first trial");
        watch.on_sent(P, at(1_041));
        assert!(end(&mut watch, 1_041, 1_042, Outcome::Ok).unwrap().gives_up_older);
        (0..2).for_each(|_| assert_eq!(end(&mut watch, 1_000, 1_043, Outcome::Timeout), None));
        watch.on_sent(P, at(1_044));
        assert_eq!(watch.take_revived(at(1_100)), None, "all requests of before the silence have ended");
    }

    #[test]
    fn an_answer_to_an_old_request_or_a_refusal_gives_nothing_up() {
        for (sent, outcome) in [(0, Outcome::Ok), (35, Outcome::RateLimitedMinute)] {
            let mut watch = SilenceWatch::new(1);
            (0..4).for_each(|_| watch.on_sent(P, at(0)));
            assert!(is_found(&mut watch, 31));
            let ended = end(&mut watch, sent, 40, outcome).unwrap();
            assert!(!ended.gives_up_older, "{outcome}");
            assert_eq!(watch.take_revived(at(1_000)), None, "{outcome}");
        }
    }

    #[test]
    fn a_single_request_may_take_longer() {
        let mut watch = SilenceWatch::new(1);
        watch.on_sent(P, at(0));
        assert!(is_found(&mut watch, 31));
        let mut trial = |second| watch.take_trial(at(second), |_| true, |_| MIN_SILENCE).is_some();
        assert!(!trial(119) && trial(120));
    }

    #[test]
    fn a_silence_is_found_once_however_many_requests_are_sent_in_it() {
        let mut watch = SilenceWatch::new(1);
        assert!(!is_found(&mut watch, 100), "nothing is in flight");
        for second in 100..=130 {
            watch.on_sent(P, at(second));
            assert!(!is_found(&mut watch, second));
        }
        assert!(is_found(&mut watch, 131) && watch.is_silent(P));
        assert!(!is_found(&mut watch, 132));
        assert_eq!(watch.longest(), Some(P));
        assert_eq!(watch.message(P, "gemini", at(131)), "no answer from gemini for 30s (31 requests in flight)");
        // A timeout is no answer, so the silence goes on.
        assert!((0..31).all(|_| end(&mut watch, 100, 400, Outcome::Timeout).is_none()));
        assert_eq!(watch.longest(), None, "nothing is in flight");
        watch.on_sent(P, at(410));
        assert!(watch.is_silent(P) && !is_found(&mut watch, 500));
        assert!(end(&mut watch, 410, 500, Outcome::ServerError).is_some());
        assert!(!watch.is_silent(P));
        watch.on_sent(P, at(600));
        assert!(!is_found(&mut watch, 630) && is_found(&mut watch, 631), "a second silence");
        end(&mut watch, 600, 900, Outcome::Timeout);
        watch.on_sent(P, at(8_000));
        assert!(!watch.is_silent(P) && !is_found(&mut watch, 8_030), "the time without requests is no silence");
    }

    #[test]
    fn an_answer_that_is_being_checked_is_no_silence() {
        let mut watch = SilenceWatch::new(1);
        watch.on_sent(P, at(0));
        assert_eq!(watch.take_new(at(100), |_| 1, |_| normal_silence(None)), None);
        watch.on_end(at(100), EndedRequest { provider: P, sent_at: at(0), responded_at: at(1), outcome: Outcome::Ok });
        watch.on_sent(P, at(100));
        assert!(!is_found(&mut watch, 130) && is_found(&mut watch, 131), "it lasts since the request");
    }

    #[test]
    fn an_answer_ends_the_silence_of_the_requests_that_are_still_in_flight() {
        let mut watch = SilenceWatch::new(1);
        (0..2).for_each(|_| watch.on_sent(P, at(0)));
        end(&mut watch, 0, 20, Outcome::Ok);
        assert!(!is_found(&mut watch, 50) && is_found(&mut watch, 51));
    }

    #[test]
    fn normal_silence_follows_the_latency() {
        let mut watch = SilenceWatch::new(1);
        watch.on_sent(P, at(0));
        let mut is_found = |second, p95_ms| watch.take_new(at(second), |_| 0, |_| normal_silence(p95_ms)).is_some();
        assert!(!is_found(10, Some(100)) && !is_found(180, Some(60_000)), "within the normal");
        assert!(is_found(11, Some(100)));
    }
}
