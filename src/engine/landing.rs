//! A verdict's consequences: for the item, for the record, for the counts and for the log.

use std::{sync::Arc, time::Duration};

use super::{
    captions::Caption,
    core::{Engine, Flying, Then},
    flight::Landed,
};
use crate::{
    domain::{
        Answer, AttemptId, AttemptResult, EventKind, FinalState, Money, Now, Outcome, OutcomeAction, ResultError,
        ResultLine, RouteId, Seq, Usage, WallTime,
    },
    scheduler::{AttemptEffects, Disposition, LocalRejection},
    store::{LocalVerdict, Op, Settled, Unreadable},
};

/// What is counted once an outcome is on disk.
#[derive(Debug)]
pub(super) struct Account {
    /// `None` for items that ended without a request.
    pub attempt: Option<Counted>,
    pub ended: Option<Ended>,
    pub caption: Option<Caption>,
}

#[derive(Debug)]
pub(super) struct Counted {
    pub route: RouteId,
    pub outcome: Outcome,
    pub usage: Usage,
    pub cost: Money,
    pub at_risk: Money,
    pub latency: Duration,
    pub words: String,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub state: FinalState,
    pub truncated: bool,
}

impl Engine {
    pub(super) fn landed(&mut self, landed: Landed) {
        let now = self.clock.now();
        if let Some(flying) = self.flights.remove(&landed.attempt) {
            self.settle(now, &flying, landed.verdict, landed.latency);
        }
    }

    /// The attempt was broken off by us: it may have been billed.
    pub(super) fn lost(&mut self, now: Now, attempt: AttemptId) {
        let Some(flying) = self.flights.remove(&attempt) else { return };
        let verdict = AttemptResult {
            outcome: Outcome::Lost,
            action: OutcomeAction::Retry,
            status: None,
            retry_after: None,
            message: "broken off before it answered".to_owned(),
            rule: "stopped".to_owned(),
            answer: None,
            usage: Usage::default(),
            stated_limit: None,
            limit_is_zero: false,
            response_meta: crate::domain::ResponseMeta::default(),
            exceeds_context: false,
            picture_refused: false,
        };
        let latency = now.wall.since(flying.sent_at);
        self.settle(now, &flying, verdict, latency);
    }

    fn settle(&mut self, now: Now, flying: &Flying, verdict: AttemptResult, latency: Duration) {
        let attempt = flying.dispatch.attempt;
        let provider = &self.providers[self.keys[flying.dispatch.key.index()].provider.index()];
        self.contact.note(self.flights.len(), &provider.name, &verdict);
        let Some(settlement) = self.scheduler.complete(now, attempt, &verdict) else { return };
        let ended = match settlement.disposition {
            Disposition::Done { is_truncated } => Some(Ended { state: FinalState::Done, truncated: is_truncated }),
            Disposition::Failed => Some(Ended { state: FinalState::Failed, truncated: false }),
            Disposition::Requeued { .. } => None,
        };
        self.tell(flying, &settlement, &verdict);
        let verdict_was_of_the_day = verdict.outcome == Outcome::QuotaExhaustedDay;
        let target = self.intake.spec(settlement.seq).and_then(|spec| spec.caption_path.clone());
        let caption = match (&settlement.disposition, target, &verdict.answer) {
            (Disposition::Done { .. }, Some(target), Some(answer)) => Some(Caption {
                item: settlement.seq,
                target,
                text: answer.text.clone(),
                previous: self.owed.previous_answer(settlement.seq),
            }),
            _ => None,
        };
        if let Some(caption) = &caption {
            self.owed.owes(caption.item);
        }
        let last = if let Some(ended) = ended {
            self.result_line(now, flying, &settlement, &verdict, ended, latency)
        } else {
            self.first_sent.entry(settlement.seq).or_insert(flying.sent_at);
            None
        };
        self.journal.record(Op::Settle(Box::new(Settled {
            attempt,
            settled_at: now.wall,
            outcome: verdict.outcome,
            status: verdict.status,
            latency_ms: latency.as_millis() as u64,
            message: if ended.is_some_and(|ended| ended.state == FinalState::Done) {
                String::new()
            } else {
                verdict.message.clone()
            },
            usage: verdict.usage,
            cost: settlement.cost,
            at_risk: settlement.at_risk,
            last,
        })));
        self.settling += 1;
        self.journal.then(Then::Account(Box::new(Account {
            caption,
            attempt: Some(Counted {
                route: settlement.route,
                outcome: verdict.outcome,
                usage: verdict.usage,
                cost: settlement.cost,
                at_risk: settlement.at_risk,
                latency,
                words: verdict.message,
            }),
            ended,
        })));
        if !settlement.events.is_empty() {
            self.forgetful = true;
        }
        if verdict_was_of_the_day {
            self.tell_spent(now, settlement.route);
        }
        for event in settlement.events {
            self.event(event);
        }
    }

    /// The item's own line in the log: where it goes now, or that it failed.
    fn tell(&mut self, flying: &Flying, settlement: &AttemptEffects, verdict: &AttemptResult) {
        let item = |engine: &Self| engine.intake.spec(settlement.seq).map_or_else(String::new, |spec| spec.id.clone());
        let kind = match &settlement.disposition {
            Disposition::Done { .. } => return,
            Disposition::Failed => EventKind::ItemFailed {
                seq: settlement.seq.0,
                item_id: item(self),
                // What never left this machine failed nowhere else.
                route: (!verdict.outcome.is_local()).then(|| self.scheduler.route_name(settlement.route)),
                outcome: verdict.outcome,
                message: verdict.message.clone(),
            },
            Disposition::Requeued { delay, next_route } => EventKind::Fallback {
                seq: settlement.seq.0,
                item_id: item(self),
                from: self.scheduler.route_name(flying.dispatch.route),
                to: next_route.map(|route| self.scheduler.route_name(route)),
                outcome: verdict.outcome,
                status: verdict.status,
                wait: *delay,
                message: verdict.message.clone(),
            },
        };
        self.event(kind);
    }

    fn result_line(
        &mut self,
        now: Now,
        flying: &Flying,
        settlement: &AttemptEffects,
        verdict: &AttemptResult,
        ended: Ended,
        latency: Duration,
    ) -> Option<ResultLine> {
        let spec = self.intake.forget(settlement.seq)?;
        let started = self.first_sent.remove(&settlement.seq).unwrap_or(flying.sent_at);
        let (key, model) = self.scheduler.route_indices(settlement.route);
        let provider = &self.providers[self.models[model].provider.index()];
        let answer = verdict.answer.clone().filter(|_| ended.state == FinalState::Done);
        let Answer { text, finish_reason, model_version } = answer.unwrap_or_default();
        let done = ended.state == FinalState::Done;
        // What failed here without leaving was no request to anybody.
        let left = !verdict.outcome.is_local();
        let attempts = settlement.attempts - u32::from(!left);
        Some(ResultLine {
            id: spec.id.clone(),
            status: ended.state,
            output: done.then_some(text),
            error: (!done).then(|| ResultError {
                outcome: verdict.outcome,
                status: verdict.status,
                message: verdict.message.clone(),
            }),
            finish_reason,
            key: left.then(|| self.keys[key].name.clone()),
            provider: left.then(|| provider.name.clone()),
            model: left.then(|| self.models[model].name.clone()),
            model_version,
            usage: verdict.usage,
            cost_usd: settlement.cost.as_usd(),
            latency_ms: latency.as_millis() as u64,
            attempts,
            started_at: (attempts > 0).then(|| started.rfc3339()),
            finished_at: now.wall.rfc3339(),
            request_hash: spec.request_hash.clone(),
        })
    }

    /// An item that ends without being sent.
    pub(super) fn refuse(&mut self, now: Now, refusal: &LocalRejection) {
        if let Some(spec) = self.intake.forget(refusal.seq) {
            self.fail_here(now, &spec.id, &spec.request_hash, refusal);
        }
    }

    fn fail_here(&mut self, now: Now, id: &str, hash: &str, refusal: &LocalRejection) {
        self.event(EventKind::ItemFailed {
            seq: refusal.seq.0,
            item_id: id.to_owned(),
            route: None,
            outcome: refusal.outcome,
            message: refusal.message.clone(),
        });
        let line = refused_line(id, hash, refusal, now.wall, self.first_sent.remove(&refusal.seq));
        self.journal.record(Op::Verdict(Box::new(LocalVerdict {
            seq: Seq(refusal.seq.0),
            outcome: refusal.outcome,
            line,
        })));
        self.settling += 1;
        self.journal.then(Then::Account(Box::new(Account {
            attempt: None,
            caption: None,
            ended: Some(Ended { state: FinalState::Failed, truncated: false }),
        })));
    }

    /// An item whose body in the record is damaged can't be sent, now or ever.
    pub(super) fn give_up(&mut self, now: Now, item: Unreadable) {
        let Unreadable { seq, id, attempts, why } = item;
        let refusal = LocalRejection { seq, outcome: Outcome::UnreadableInput, message: why, attempts };
        self.fail_here(now, &id, "", &refusal);
    }

    /// The outcome is on disk: now it counts.
    pub(super) fn account(&mut self, account: Account) {
        self.settling -= 1;
        if let Some(caption) = account.caption {
            self.captions.spawn(caption.save(
                self.existing,
                Arc::clone(&self.caption_threads),
                self.complaints.clone(),
            ));
        }
        if let Some(counted) = &account.attempt {
            let (key, model) = self.scheduler.route_indices(counted.route);
            let (outcome, latency) = (counted.outcome, counted.latency);
            for tally in [&mut self.key_tallies[key], &mut self.model_tallies[model]] {
                tally.count(outcome, counted.usage, counted.cost, latency);
            }
            let (ok, failed) = &mut self.route_counts[counted.route.index()];
            if outcome.is_answered() {
                *ok += 1;
            } else if !outcome.is_unattributed() {
                *failed += 1;
                self.key_tallies[key].last_error = Some(format!("{outcome}: {}", counted.words));
            }
            let usage = &mut self.spend.usage;
            usage.input_tokens += counted.usage.input_tokens;
            usage.output_tokens += counted.usage.output_tokens;
            usage.thinking_tokens += counted.usage.thinking_tokens;
            self.spend.cost += counted.cost;
            self.spend.at_risk += counted.at_risk;
            self.totals.rate_limited += u64::from(outcome.is_rate_limited());
            self.totals.attempts -= u64::from(outcome.is_local()).min(self.totals.attempts);
        }
        if let Some(ended) = account.ended {
            self.throughput.ended(self.clock.now().mono);
            match ended.state {
                FinalState::Done => self.totals.done += 1,
                FinalState::Failed => self.totals.failed += 1,
            }
            self.totals.truncated += u64::from(ended.truncated);
        }
    }
}

fn refused_line(
    id: &str,
    hash: &str,
    refusal: &LocalRejection,
    now: WallTime,
    started: Option<WallTime>,
) -> ResultLine {
    ResultLine {
        id: id.to_owned(),
        status: FinalState::Failed,
        output: None,
        error: Some(ResultError { outcome: refusal.outcome, status: None, message: refusal.message.clone() }),
        finish_reason: None,
        key: None,
        provider: None,
        model: None,
        model_version: None,
        usage: Usage::default(),
        cost_usd: 0.0,
        latency_ms: 0,
        attempts: refusal.attempts,
        started_at: started.map(WallTime::rfc3339),
        finished_at: now.rfc3339(),
        request_hash: hash.to_owned(),
    }
}
