//! Notices providers that accept requests and do not answer them, before the requests time out.

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
        }
        silence.in_flight += 1;
    }

    /// Handles the end of an attempt, whose response arrived at `responded_at`, before its checks. A timeout, and what
    /// ends on this machine, is no answer.
    pub fn on_end(&mut self, provider: ProviderId, now: MonoTime, responded_at: MonoTime, outcome: Outcome) {
        let silence = &mut self.providers[provider.index()];
        silence.in_flight = silence.in_flight.saturating_sub(1);
        silence.last_end = now;
        if !outcome.is_local() && outcome != Outcome::Timeout {
            (silence.since, silence.is_reported) = (silence.since.max(responded_at), false);
        }
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

    /// A message for people, with the provider's name.
    pub fn message(&self, provider: ProviderId, name: &str, now: MonoTime) -> String {
        let ProviderSilence { in_flight, since, .. } = self.providers[provider.index()];
        let seconds = now.since(since).as_secs() / SHOWN_STEP_SECS * SHOWN_STEP_SECS;
        let lasts = format_duration(Duration::from_secs(seconds));
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
        (0..31).for_each(|_| watch.on_end(P, at(400), at(400), Outcome::Timeout));
        assert_eq!(watch.longest(), None, "nothing is in flight");
        watch.on_sent(P, at(410));
        assert!(watch.is_silent(P) && !is_found(&mut watch, 500));
        watch.on_end(P, at(500), at(500), Outcome::ServerError);
        assert!(!watch.is_silent(P));
        watch.on_sent(P, at(600));
        assert!(!is_found(&mut watch, 630) && is_found(&mut watch, 631), "a second silence");
        watch.on_end(P, at(900), at(900), Outcome::Timeout);
        watch.on_sent(P, at(8_000));
        assert!(!watch.is_silent(P) && !is_found(&mut watch, 8_030), "the time without requests is no silence");
    }

    #[test]
    fn an_answer_that_is_being_checked_is_no_silence() {
        let mut watch = SilenceWatch::new(1);
        watch.on_sent(P, at(0));
        assert_eq!(watch.take_new(at(100), |_| 1, |_| normal_silence(None)), None);
        watch.on_end(P, at(100), at(1), Outcome::Ok);
        watch.on_sent(P, at(100));
        assert!(!is_found(&mut watch, 130) && is_found(&mut watch, 131), "it lasts since the request");
    }

    #[test]
    fn an_answer_ends_the_silence_of_the_requests_that_are_still_in_flight() {
        let mut watch = SilenceWatch::new(1);
        (0..2).for_each(|_| watch.on_sent(P, at(0)));
        watch.on_end(P, at(20), at(20), Outcome::Ok);
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
