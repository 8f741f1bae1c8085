//! Completes attempts: applies the result to the item and records it, then updates the counts and the log.

use std::{sync::Arc, time::Duration};

use super::{
    attempt::AttemptDone,
    caption_writer::Caption,
    event_loop::{AfterCommit, Engine, SentAttempt},
};
use crate::{
    domain::{
        Answer, AttemptId, AttemptResult, EventKind, FinalState, Money, Now, Outcome, OutcomeAction, ResultError,
        ResultLine, RouteId, Seq, Usage, WallTime,
    },
    scheduler::{AttemptEffects, Disposition, LocalRejection},
    store::{CompletedAttempt, LocalEnd, Op, UnreadableItem},
};

/// The numbers of an ended attempt or item, counted once the outcome is on disk, and the caption to write then.
#[derive(Debug)]
pub(super) struct CommittedAttempt {
    /// `None` for items that ended without a request.
    pub stats: Option<AttemptStats>,
    pub item_end: Option<ItemEnd>,
    pub caption: Option<Caption>,
}

#[derive(Debug)]
pub(super) struct AttemptStats {
    pub route: RouteId,
    pub outcome: Outcome,
    pub usage: Usage,
    pub cost: Money,
    pub at_risk: Money,
    pub latency: Duration,
    pub message: String,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct ItemEnd {
    pub state: FinalState,
    pub is_truncated: bool,
}

impl Engine {
    pub(super) fn on_attempt_done(&mut self, done: AttemptDone) {
        let now = self.clock.now();
        if let Some(sent) = self.in_flight.remove(&done.attempt) {
            self.complete(now, &sent, done.result, done.latency);
        }
    }

    /// Completes an attempt that the engine aborted; it may have been billed.
    pub(super) fn on_attempt_aborted(&mut self, now: Now, attempt: AttemptId) {
        let Some(sent) = self.in_flight.remove(&attempt) else { return };
        let result = AttemptResult {
            outcome: Outcome::Lost,
            action: OutcomeAction::Retry,
            status: None,
            retry_after: None,
            message: "aborted before a response arrived".to_owned(),
            rule: "stopped".to_owned(),
            answer: None,
            usage: Usage::default(),
            stated_limit: None,
            limit_is_zero: false,
            response_meta: crate::domain::ResponseMeta::default(),
            exceeds_context: false,
            picture_refused: false,
        };
        let latency = now.wall.since(sent.sent_at);
        self.complete(now, &sent, result, latency);
    }

    fn complete(&mut self, now: Now, sent: &SentAttempt, result: AttemptResult, latency: Duration) {
        let attempt = sent.planned.attempt;
        let provider = &self.providers[self.keys[sent.planned.key.index()].provider.index()];
        self.provider_contact.record(self.in_flight.len(), &provider.name, &result);
        let Some(effects) = self.scheduler.complete(now, attempt, &result) else { return };
        let ended = match effects.disposition {
            Disposition::Done { is_truncated } => Some(ItemEnd { state: FinalState::Done, is_truncated }),
            Disposition::Failed => Some(ItemEnd { state: FinalState::Failed, is_truncated: false }),
            Disposition::Requeued { .. } => None,
        };
        self.log_disposition(sent, &effects, &result);
        let is_day_exhausted = result.outcome == Outcome::QuotaExhaustedDay;
        let target = self.intake.spec(effects.seq).and_then(|spec| spec.caption_path.clone());
        let caption = match (&effects.disposition, target, &result.answer) {
            (Disposition::Done { .. }, Some(target), Some(answer)) => Some(Caption {
                seq: effects.seq,
                path: target,
                text: answer.text.clone(),
                previous_text: self.pending_captions.previous_answer(effects.seq),
            }),
            _ => None,
        };
        if let Some(caption) = &caption {
            self.pending_captions.add(caption.seq);
        }
        let result_line = if let Some(ended) = ended {
            self.result_line(now, sent, &effects, &result, ended, latency)
        } else {
            self.first_sent_at.entry(effects.seq).or_insert(sent.sent_at);
            None
        };
        self.journal.record(Op::CompleteAttempt(Box::new(CompletedAttempt {
            attempt,
            completed_at: now.wall,
            outcome: result.outcome,
            status: result.status,
            latency_ms: latency.as_millis() as u64,
            message: if ended.is_some_and(|ended| ended.state == FinalState::Done) {
                String::new()
            } else {
                result.message.clone()
            },
            usage: result.usage,
            cost: effects.cost,
            at_risk: effects.at_risk,
            final_line: result_line,
        })));
        self.uncommitted += 1;
        self.journal.add_effect(AfterCommit::CountAttempt(Box::new(CommittedAttempt {
            caption,
            stats: Some(AttemptStats {
                route: effects.route,
                outcome: result.outcome,
                usage: result.usage,
                cost: effects.cost,
                at_risk: effects.at_risk,
                latency,
                message: result.message,
            }),
            item_end: ended,
        })));
        if !effects.events.is_empty() {
            self.state_dirty = true;
        }
        if is_day_exhausted {
            self.share_exhausted(now, effects.route);
        }
        for event in effects.events {
            self.emit_event(event);
        }
    }

    /// Logs what becomes of the item: its next route, or that it failed.
    fn log_disposition(&mut self, sent: &SentAttempt, effects: &AttemptEffects, result: &AttemptResult) {
        let item = |engine: &Self| engine.intake.spec(effects.seq).map_or_else(String::new, |spec| spec.id.clone());
        let kind = match &effects.disposition {
            Disposition::Done { .. } => return,
            Disposition::Failed => EventKind::ItemFailed {
                seq: effects.seq.0,
                item_id: item(self),
                // An item whose request was never sent has no route to name.
                route: (!result.outcome.is_local()).then(|| self.scheduler.route_name(effects.route)),
                outcome: result.outcome,
                message: result.message.clone(),
            },
            Disposition::Requeued { delay, next_route } => EventKind::Fallback {
                seq: effects.seq.0,
                item_id: item(self),
                from: self.scheduler.route_name(sent.planned.route),
                to: next_route.map(|route| self.scheduler.route_name(route)),
                outcome: result.outcome,
                status: result.status,
                wait: *delay,
                message: result.message.clone(),
            },
        };
        self.emit_event(kind);
    }

    fn result_line(
        &mut self,
        now: Now,
        sent: &SentAttempt,
        effects: &AttemptEffects,
        result: &AttemptResult,
        ended: ItemEnd,
        latency: Duration,
    ) -> Option<ResultLine> {
        let spec = self.intake.remove(effects.seq)?;
        let started = self.first_sent_at.remove(&effects.seq).unwrap_or(sent.sent_at);
        let (key, model) = self.scheduler.route_indices(effects.route);
        let provider = &self.providers[self.models[model].provider.index()];
        let answer = result.answer.clone().filter(|_| ended.state == FinalState::Done);
        let Answer { text, finish_reason, model_version } = answer.unwrap_or_default();
        let is_done = ended.state == FinalState::Done;
        // An attempt that failed locally sent no request, so the line names no key or model and does not count it.
        let was_sent = !result.outcome.is_local();
        let attempts = effects.attempts - u32::from(!was_sent);
        Some(ResultLine {
            id: spec.id.clone(),
            status: ended.state,
            output: is_done.then_some(text),
            error: (!is_done).then(|| ResultError {
                outcome: result.outcome,
                status: result.status,
                message: result.message.clone(),
            }),
            finish_reason,
            key: was_sent.then(|| self.keys[key].name.clone()),
            provider: was_sent.then(|| provider.name.clone()),
            model: was_sent.then(|| self.models[model].name.clone()),
            model_version,
            usage: result.usage,
            cost_usd: effects.cost.as_usd(),
            latency_ms: latency.as_millis() as u64,
            attempts,
            started_at: (attempts > 0).then(|| started.rfc3339()),
            finished_at: now.wall.rfc3339(),
            request_hash: spec.request_hash.clone(),
        })
    }

    /// Ends an item that is rejected without being sent.
    pub(super) fn on_rejected(&mut self, now: Now, rejection: &LocalRejection) {
        if let Some(spec) = self.intake.remove(rejection.seq) {
            self.fail_locally(now, &spec.id, &spec.request_hash, rejection);
        }
    }

    fn fail_locally(&mut self, now: Now, id: &str, hash: &str, rejection: &LocalRejection) {
        self.emit_event(EventKind::ItemFailed {
            seq: rejection.seq.0,
            item_id: id.to_owned(),
            route: None,
            outcome: rejection.outcome,
            message: rejection.message.clone(),
        });
        let line = local_result_line(id, hash, rejection, now.wall, self.first_sent_at.remove(&rejection.seq));
        self.journal.record(Op::EndLocally(Box::new(LocalEnd {
            seq: Seq(rejection.seq.0),
            outcome: rejection.outcome,
            line,
        })));
        self.uncommitted += 1;
        self.journal.add_effect(AfterCommit::CountAttempt(Box::new(CommittedAttempt {
            stats: None,
            caption: None,
            item_end: Some(ItemEnd { state: FinalState::Failed, is_truncated: false }),
        })));
    }

    /// Fails an item whose record is damaged and can never be sent.
    pub(super) fn fail_unreadable(&mut self, now: Now, item: UnreadableItem) {
        let UnreadableItem { seq, id, completed_attempts, reason } = item;
        let rejection =
            LocalRejection { seq, outcome: Outcome::UnreadableInput, message: reason, attempts: completed_attempts };
        self.fail_locally(now, &id, "", &rejection);
    }

    /// Counts an attempt whose outcome is on disk, and starts to write its caption.
    pub(super) fn on_committed(&mut self, committed: CommittedAttempt) {
        self.uncommitted -= 1;
        if let Some(caption) = committed.caption {
            self.caption_tasks.spawn(caption.save(
                self.existing_captions,
                Arc::clone(&self.caption_threads),
                self.fault_tx.clone(),
            ));
        }
        if let Some(stats) = &committed.stats {
            let (key, model) = self.scheduler.route_indices(stats.route);
            let (outcome, latency) = (stats.outcome, stats.latency);
            for counts in [&mut self.key_counts[key], &mut self.model_counts[model]] {
                counts.count(outcome, stats.usage, stats.cost, latency);
            }
            let (ok, failed) = &mut self.route_counts[stats.route.index()];
            if outcome.is_answered() {
                *ok += 1;
            } else if !outcome.is_unattributed() {
                *failed += 1;
                self.key_counts[key].last_error = Some(format!("{outcome}: {}", stats.message));
            }
            let usage = &mut self.spend.usage;
            usage.input_tokens += stats.usage.input_tokens;
            usage.output_tokens += stats.usage.output_tokens;
            usage.thinking_tokens += stats.usage.thinking_tokens;
            self.spend.cost += stats.cost;
            self.spend.at_risk += stats.at_risk;
            self.totals.rate_limited += u64::from(outcome.is_rate_limited());
            // Every attempt was counted when its task started. One that sent nothing is taken off again.
            self.totals.attempts -= u64::from(outcome.is_local()).min(self.totals.attempts);
        }
        if let Some(ended) = committed.item_end {
            self.throughput.record(self.clock.now().mono);
            match ended.state {
                FinalState::Done => self.totals.done += 1,
                FinalState::Failed => self.totals.failed += 1,
            }
            self.totals.truncated += u64::from(ended.is_truncated);
        }
    }
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
        error: Some(ResultError { outcome: rejection.outcome, status: None, message: rejection.message.clone() }),
        finish_reason: None,
        key: None,
        provider: None,
        model: None,
        model_version: None,
        usage: Usage::default(),
        cost_usd: 0.0,
        latency_ms: 0,
        attempts: rejection.attempts,
        started_at: started.map(WallTime::rfc3339),
        finished_at: now.rfc3339(),
        request_hash: hash.to_owned(),
    }
}
