//! Completes attempts: applies the result to the item and records it, then updates the counts and the log.

use std::{sync::Arc, time::Duration};

use super::{
    event_loop::Engine,
    item_table::SentAttempt,
    messages::{AfterCommit, AttemptDone, AttemptStats, CommittedEffects, ItemEnd},
    silence::{EndedRequest, SilenceEnd},
};
use crate::{
    domain::{
        Answer, AnswerParts, AttemptId, AttemptResult, CostByKindUsd, EventKind, EventLevel, FinalState, ItemSpec,
        MonoTime, Now, Outcome, OutcomeAction, ProviderId, ResultError, ResultLine, Seq, Usage, WallTime,
        event::format_duration, is_unchecked, pluralize,
    },
    scheduler::{AttemptEffects, Disposition, LocalRejection},
    store::{CompletedAttempt, LocalEnd, Op, UnreadableItem},
};

impl Engine {
    pub(super) fn on_attempt_done(&mut self, done: AttemptDone) {
        let now = self.clock.now();
        if let Some(sent) = self.items.take_sent(done.seq, done.attempt) {
            self.complete(now, &sent, done.result, done.latency, done.check_time);
        }
    }

    /// Aborts an attempt and queues its item again, with `message` as the reason; the request may have been billed.
    /// False if the attempt has ended.
    pub(super) fn abort_attempt(&mut self, now: Now, attempt: AttemptId, seq: Seq, message: &str) -> bool {
        let Some(sent) = self.items.take_sent(seq, attempt) else { return false };
        sent.abort_handle.abort();
        let result = AttemptResult::without_response(Outcome::Lost, OutcomeAction::Retry, message, "stopped");
        let latency = now.wall.since(sent.sent_at.wall);
        self.complete(now, &sent, result, latency, Duration::ZERO);
        true
    }

    /// Aborts the requests in flight; each may have been billed.
    pub(super) fn abort_in_flight(&mut self, now: Now) {
        for (attempt, seq) in self.items.in_flight() {
            self.abort_attempt(now, attempt, seq, "aborted before a response arrived");
        }
    }

    /// Gives up the oldest request to a silent provider, so that its item is asked again. The new request shows whether
    /// the provider answers.
    pub(super) fn try_silent_provider(&mut self, now: Now, provider: ProviderId) {
        let Some((attempt, seq, sent_at)) = self.lost_requests(provider).next() else { return };
        let name = &self.providers[provider.index()].name;
        let silence = format_duration(whole_seconds(self.silence.lasts(provider, now.mono)));
        let lasts = format_duration(whole_seconds(now.mono.since(sent_at)));
        let responds = match self.health_checks.responds(provider) {
            Some(true) => ", but responds to its health check",
            _ => "",
        };
        let id = self.items.spec(seq).map_or_else(String::new, |spec| spec.id.clone());
        let message = format!(
            "{name} has not answered for {silence}{responds}: the oldest request (#{id}, {lasts}) is given up, possibly \
             billed, and asked again as a trial"
        );
        self.give_up_request(now, attempt, seq);
        self.log(EventLevel::Warn, message);
    }

    /// Gives up the requests to a provider that it did not answer, although it answered one that was sent later, at
    /// `answered_sent_at`.
    pub(super) fn give_up_lost_requests(&mut self, now: Now, provider: ProviderId, answered_sent_at: MonoTime) {
        let lost: Vec<_> =
            self.lost_requests(provider).take_while(|(_, _, sent_at)| *sent_at < answered_sent_at).collect();
        if lost.is_empty() {
            return;
        }
        let requests = pluralize(lost.len() as u64, "request");
        for (attempt, seq, _) in lost {
            self.give_up_request(now, attempt, seq);
        }
        let name = &self.providers[provider.index()].name;
        let message = format!(
            "{requests} to {name} from before its silence given up without an answer, possibly billed, and asked again"
        );
        self.log(EventLevel::Warn, message);
    }

    /// The requests in flight to a provider that it may have lost, with the times when they were sent; the oldest
    /// first. None of a key whose answers are being checked, since theirs may be among them.
    fn lost_requests(&self, provider: ProviderId) -> impl Iterator<Item = (AttemptId, Seq, MonoTime)> + use<> {
        let may_be_lost = |sent: &&SentAttempt| {
            let key = sent.planned.key.index();
            self.keys[key].provider == provider
                && self.attempts.being_checked(key) == 0
                && self.items.may_give_up(sent.planned.seq)
        };
        let sent = self.items.sent().filter(may_be_lost);
        let mut lost: Vec<_> = sent.map(|sent| (sent.sent_at.mono, sent.planned.attempt, sent.planned.seq)).collect();
        lost.sort_unstable();
        lost.into_iter().map(|(sent_at, attempt, seq)| (attempt, seq, sent_at))
    }

    fn give_up_request(&mut self, now: Now, attempt: AttemptId, seq: Seq) {
        self.items.count_given_up(seq);
        self.abort_attempt(now, attempt, seq, "given up, since the provider was silent");
    }

    /// Reports that a silent provider answers again.
    fn report_silence_end(&mut self, provider: ProviderId, end: SilenceEnd) {
        let lasted = format_duration(whole_seconds(end.lasted));
        let older = if end.gives_up_older { "; older requests without an answer are asked again soon" } else { "" };
        let message = format!("it answers again after {lasted} without an answer{older}");
        self.emit_event(EventKind::Recovered { subject: self.providers[provider.index()].name.clone(), message });
    }

    fn complete(
        &mut self,
        now: Now,
        sent: &SentAttempt,
        mut result: AttemptResult,
        latency: Duration,
        check_time: Duration,
    ) {
        let attempt = sent.planned.attempt;
        let provider = self.keys[sent.planned.key.index()].provider;
        let responded_at = now.mono.before(check_time);
        let ended = EndedRequest { provider, sent_at: sent.sent_at.mono, responded_at, outcome: result.outcome };
        if let Some(silence_end) = self.silence.on_end(now.mono, ended) {
            self.report_silence_end(provider, silence_end);
        }
        let provider_id = provider;
        let provider = &self.providers[provider_id.index()];
        self.provider_contact.record(self.items.in_flight_count(), &provider.name, &result);
        let Some(effects) = self.scheduler.complete_after_check(now, attempt, &result, check_time) else { return };
        let outcome = result.outcome;
        let ended = match effects.disposition {
            Disposition::Done { is_truncated } => Some(ItemEnd { state: FinalState::Done, outcome, is_truncated }),
            Disposition::Failed => Some(ItemEnd { state: FinalState::Failed, outcome, is_truncated: false }),
            Disposition::Requeued { .. } => None,
        };
        self.report_disposition(sent, &effects, &result);
        let is_day_exhausted = result.outcome == Outcome::QuotaExhaustedDay;
        let is_failure = result.outcome.is_provider_error() || result.outcome == Outcome::ClientTrouble;
        let fault = is_failure
            .then(|| result.status.map_or(result.outcome.name().to_owned(), |status| format!("HTTP {status}")));
        let outage_events = self.update_outage_log(now, provider_id, fault);
        let target = self.items.spec(effects.seq).and_then(|spec| spec.caption_path.clone());
        let caption = match (&effects.disposition, target, &result.answer) {
            (Disposition::Done { .. }, Some(target), Some(answer)) if !answer.text.is_empty() => {
                Some(self.captions.prepare(effects.seq, target, &answer.text))
            }
            _ => None,
        };
        let result_line = if let Some(ended) = ended {
            self.result_line(now, sent, &effects, &mut result, ended, latency)
        } else {
            self.items.set_first_sent(effects.seq, sent.sent_at.wall);
            if let Some(failed) = &result.failed_check {
                self.items.set_explanation(effects.seq, failed.explanation.clone());
            }
            None
        };
        let is_done = ended.is_some_and(|ended| ended.state == FinalState::Done);
        let completed = CompletedAttempt {
            attempt,
            completed_at: Some(now.wall),
            outcome: result.outcome,
            status: result.status,
            latency_ms: latency.as_millis() as u64,
            message: if is_done { String::new() } else { result.message.clone() },
            usage: result.usage,
            cost: effects.cost,
            cost_by_kind: effects.cost_by_kind,
            at_risk: effects.at_risk,
            final_line: result_line,
        };
        let stats = AttemptStats {
            route: effects.route,
            outcome,
            status: result.status,
            is_unchecked: is_unchecked(outcome, &result.message),
            usage: result.usage,
            cost: effects.cost,
            cost_by_kind: effects.cost_by_kind,
            at_risk: effects.at_risk,
            latency,
            check_time,
            message: result.message,
        };
        let committed = CommittedEffects { stats: Some(stats), item_end: ended, caption };
        self.uncommitted += 1;
        self.journal.submit(Op::CompleteAttempt(Box::new(completed)), AfterCommit::CountEffects(Box::new(committed)));
        if !effects.events.is_empty() {
            self.state_saver.mark_dirty();
        }
        if is_day_exhausted {
            let pool = self.scheduler.pool_of(effects.route);
            if let Some(until) = self.scheduler.exhausted_until(now, pool) {
                self.leases.set_exhausted(pool, Some(until));
            }
        }
        for event in effects.events {
            let is_grouped = matches!(&event, EventKind::Cooldown { outcome, .. }
                if self.outage_log.is_grouped(provider_id, *outcome));
            if !is_grouped {
                self.emit_event(event);
            }
        }
        for event in outage_events {
            self.emit_event(event);
        }
    }

    /// Groups the events of a provider whose requests all fail. Returns those of the group.
    pub(super) fn update_outage_log(
        &mut self,
        now: Now,
        provider: ProviderId,
        fault: Option<String>,
    ) -> Vec<EventKind> {
        let failed_in_a_row = self.scheduler.failed_in_a_row(provider);
        if !self.outage_log.is_concerned(provider, failed_in_a_row) {
            return Vec::new();
        }
        let name = self.providers[provider.index()].name.clone();
        let outage = self.scheduler.outages(now).into_iter().find(|outage| outage.provider == name);
        self.outage_log.update(now, provider, &name, failed_in_a_row, fault, outage)
    }

    /// Logs and counts what becomes of the item: its next attempt, or that it failed.
    fn report_disposition(&mut self, sent: &SentAttempt, effects: &AttemptEffects, result: &AttemptResult) {
        let item_id = |engine: &Self| engine.items.spec(effects.seq).map_or_else(String::new, |spec| spec.id.clone());
        let kind = match &effects.disposition {
            Disposition::Done { .. } => return,
            Disposition::Failed => EventKind::ItemFailed {
                seq: effects.seq.0,
                item_id: item_id(self),
                // An item whose request was never sent has no route to name.
                route: (!result.outcome.is_local()).then(|| self.scheduler.route_name(effects.route)),
                outcome: result.outcome,
                message: result.message.clone(),
            },
            // The item ends as given up.
            Disposition::Requeued { .. } if self.items.is_given_up(effects.seq) => return,
            Disposition::Requeued { delay, next_route } => {
                self.stats.count_requeue(sent.planned.route, *next_route, result.outcome);
                if self.outage_log.is_grouped(self.keys[sent.planned.key.index()].provider, result.outcome) {
                    return;
                }
                EventKind::Fallback {
                    seq: effects.seq.0,
                    item_id: item_id(self),
                    from: self.scheduler.route_name(sent.planned.route),
                    to: next_route.map(|route| self.scheduler.route_name(route)),
                    outcome: result.outcome,
                    status: result.status,
                    wait: *delay,
                    message: result.message.clone(),
                }
            }
        };
        self.emit_event(kind);
    }

    /// Builds the line of the results file for the item that ends with this result. The answer moves out of `result`.
    fn result_line(
        &mut self,
        now: Now,
        sent: &SentAttempt,
        effects: &AttemptEffects,
        result: &mut AttemptResult,
        ended: ItemEnd,
        latency: Duration,
    ) -> Option<ResultLine> {
        let (spec, first_sent_at) = self.items.remove(effects.seq)?;
        // The attempt's task has ended, so nothing else refers to the item, and nothing is cloned.
        let ItemSpec { id, request_hash, .. } = Arc::unwrap_or_clone(spec);
        let started = first_sent_at.unwrap_or(sent.sent_at.wall);
        let (key, model) = self.scheduler.route_indices(effects.route);
        let provider = &self.providers[self.models[model].provider.index()];
        let is_done = ended.state == FinalState::Done;
        // An answer that failed a check is kept: people may find it good enough.
        let answer = result.answer.take().filter(|_| is_done || result.failed_check.is_some());
        let is_kept = is_done || answer.is_some();
        let Answer { text, finish_reason, model_version, parts } = answer.unwrap_or_default();
        let parts = parts.map(|parts| *parts).unwrap_or_default();
        // An attempt that failed locally sent no request, so the line names no key or model and does not count it.
        let was_sent = !result.outcome.is_local();
        let attempts = effects.attempts - u32::from(!was_sent);
        Some(ResultLine {
            id,
            status: ended.state,
            // An answer may consist of calls of tools, or of an embedding.
            output: (is_kept && (parts.is_empty() || !text.is_empty())).then_some(text),
            error: (!is_done).then(|| ResultError {
                outcome: result.outcome,
                status: result.status,
                message: result.message.clone(),
                check: result.failed_check.as_ref().map(|failed| failed.name.clone()),
            }),
            finish_reason,
            key: was_sent.then(|| self.keys[key].name.clone()),
            provider: was_sent.then(|| provider.name.clone()),
            model: was_sent.then(|| self.models[model].name.clone()),
            model_version,
            usage: result.usage,
            cost_usd: effects.cost.as_usd(),
            cost_by_kind_usd: Some(effects.cost_by_kind.into()),
            latency_ms: latency.as_millis() as u64,
            attempts,
            started_at: (attempts > 0).then(|| started.rfc3339()),
            finished_at: now.wall.rfc3339(),
            request_hash,
            parts,
        })
    }

    /// Ends an item that is rejected without being sent.
    pub(super) fn on_rejected(&mut self, now: Now, rejection: &LocalRejection) {
        let is_given_up = self.items.is_given_up(rejection.seq);
        if let Some((spec, first_sent_at)) = self.items.remove(rejection.seq) {
            let mut rejection = rejection.clone();
            if is_given_up {
                rejection = LocalRejection::given_up(rejection.seq, rejection.attempts);
            }
            if rejection.outcome == Outcome::NoRoute
                && let Some(reason) = self.intake.unsupported_reason(&spec.request)
            {
                rejection.message = format!("{}; {reason}", rejection.message);
            }
            self.fail_locally(now, &spec.id, &spec.request_hash, &rejection, first_sent_at);
        }
    }

    fn fail_locally(
        &mut self,
        now: Now,
        id: &str,
        hash: &str,
        rejection: &LocalRejection,
        first_sent_at: Option<WallTime>,
    ) {
        // The operator's own event stands for all items that were given up.
        if rejection.outcome != Outcome::GivenUp {
            self.emit_event(EventKind::ItemFailed {
                seq: rejection.seq.0,
                item_id: id.to_owned(),
                route: None,
                outcome: rejection.outcome,
                message: rejection.message.clone(),
            });
        }
        let line = local_result_line(id, hash, rejection, now.wall, first_sent_at);
        let committed = CommittedEffects {
            stats: None,
            caption: None,
            item_end: Some(ItemEnd { state: FinalState::Failed, outcome: rejection.outcome, is_truncated: false }),
        };
        self.uncommitted += 1;
        self.journal.submit(
            Op::EndLocally(Box::new(LocalEnd { seq: rejection.seq, outcome: rejection.outcome, line })),
            AfterCommit::CountEffects(Box::new(committed)),
        );
    }

    /// Fails an item whose row in the record is damaged, so that it can never be sent.
    pub(super) fn fail_unreadable(&mut self, now: Now, item: UnreadableItem) {
        let UnreadableItem { seq, id, completed_attempts, reason } = item;
        let rejection =
            LocalRejection { seq, outcome: Outcome::UnreadableInput, message: reason, attempts: completed_attempts };
        self.fail_locally(now, &id, "", &rejection, None);
    }

    /// Counts what is on disk now (an attempt, the end of an item, or both), and starts to write its caption.
    pub(super) fn on_committed(&mut self, committed: CommittedEffects) {
        self.uncommitted -= 1;
        if let Some(caption) = committed.caption {
            self.captions.write(caption);
        }
        if let Some(stats) = &committed.stats {
            let (key, model) = self.scheduler.route_indices(stats.route);
            self.stats.count_attempt(self.clock.now().wall, key, model, stats);
        }
        if let Some(ended) = committed.item_end {
            self.stats.count_end(self.clock.now().mono, ended);
        }
    }
}

const fn whole_seconds(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs())
}

fn local_result_line(
    id: &str,
    hash: &str,
    rejection: &LocalRejection,
    now: WallTime,
    started: Option<WallTime>,
) -> ResultLine {
    ResultLine {
        id: id.to_owned(),
        status: FinalState::Failed,
        output: None,
        error: Some(ResultError {
            outcome: rejection.outcome,
            status: None,
            message: rejection.message.clone(),
            check: None,
        }),
        finish_reason: None,
        key: None,
        provider: None,
        model: None,
        model_version: None,
        usage: Usage::default(),
        cost_usd: 0.0,
        cost_by_kind_usd: Some(CostByKindUsd::default()),
        latency_ms: 0,
        attempts: rejection.attempts,
        started_at: started.map(WallTime::rfc3339),
        finished_at: now.rfc3339(),
        request_hash: hash.to_owned(),
        parts: AnswerParts::default(),
    }
}
