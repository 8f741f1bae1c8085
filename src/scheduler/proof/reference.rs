//! An independent check of what may be sent: every dispatch has to pass it.
//!
//! It shares no code with the scheduler and is as simple as possible: lists of sent requests, searched from end to end.
//! Unlike the scheduler it knows when the servers really counted each request. So it counts everything that may still
//! be in a window when the new request arrives at the earliest.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use super::server::day_number;
use crate::{
    domain::{AttemptId, AttemptResult, Limits, Model, Money, MonoTime, Now, Outcome, QuotaDay, Usage, WallTime},
    scheduler::PlannedAttempt,
};

const MINUTE: Duration = Duration::from_secs(60);
const ROLLING: Duration = Duration::from_secs(86_400);

#[derive(Debug)]
struct SentRecord {
    attempt: AttemptId,
    estimate: u64,
    /// When the server counted it, and the tokens.
    counted_at: Option<(Now, u64)>,
    is_completed: bool,
}

/// Requests of one (project, model).
#[derive(Debug, Default)]
struct PoolBook {
    records: Vec<SentRecord>,
    /// The provider stated a wait until then.
    blocked_until: Option<MonoTime>,
    day_exhausted_until: Option<WallTime>,
}

#[derive(Debug)]
pub struct Reference {
    /// The configured limits, by model.
    limits: Vec<Limits>,
    models: Vec<Model>,
    /// By key.
    projects: Vec<String>,
    /// Shortest time from sending to arrival.
    min_request_delay: Duration,
    pools: BTreeMap<(String, usize), PoolBook>,
    pub keys_off: HashSet<usize>,
    pub models_off: HashSet<usize>,
    pub routes_off: HashSet<(usize, usize)>,
    disabled_keys: HashSet<usize>,
    pub is_paused: bool,
    pub max_in_flight: usize,
    pub budget: Option<Money>,
    pub max_retry_after: Duration,
    in_flight: HashMap<AttemptId, Money>,
    spent: Money,
    at_risk: Money,
    /// Configured limits are the enforced ones, so nothing may be refused.
    pub limits_are_exact: bool,
}

impl Reference {
    pub fn new(models: &[Model], projects: Vec<String>, min_request_delay: Duration, limits_are_exact: bool) -> Self {
        Self {
            limits: models.iter().map(|model| model.limits.clone()).collect(),
            models: models.to_vec(),
            projects,
            min_request_delay,
            pools: BTreeMap::new(),
            keys_off: HashSet::new(),
            models_off: HashSet::new(),
            routes_off: HashSet::new(),
            disabled_keys: HashSet::new(),
            is_paused: false,
            max_in_flight: usize::MAX,
            budget: None,
            max_retry_after: Duration::from_secs(3_600),
            in_flight: HashMap::new(),
            spent: Money::ZERO,
            at_risk: Money::ZERO,
            limits_are_exact,
        }
    }

    fn pool(&mut self, key: usize, model: usize) -> &mut PoolBook {
        self.pools.entry((self.projects[key].clone(), model)).or_default()
    }

    /// Checks a request that is about to be sent.
    ///
    /// # Panics
    /// If it must not be sent.
    pub fn check_dispatch(&mut self, now: Now, dispatch: &PlannedAttempt) {
        let (key, model) = (dispatch.key.index(), dispatch.model.index());
        assert!(!self.is_paused, "sent while paused");
        assert!(!self.keys_off.contains(&key), "sent on key {key}, which is switched off");
        assert!(!self.models_off.contains(&model), "sent to model {model}, which is switched off");
        assert!(!self.routes_off.contains(&(key, model)), "sent on route {key}/{model}, which is switched off");
        assert!(!self.disabled_keys.contains(&key), "sent on key {key}, which is dead");
        assert!(self.in_flight.len() < self.max_in_flight, "{} already in flight", self.in_flight.len());
        self.in_flight.insert(dispatch.attempt, dispatch.max_cost);
        let reserved: Money = self.in_flight.values().fold(Money::ZERO, |sum, each| sum + *each);
        if let Some(budget) = self.budget {
            let committed = self.spent + reserved + self.at_risk;
            assert!(committed <= budget, "{committed} committed of {budget}");
        }
        self.check_windows(now, key, model, dispatch.estimated_input_tokens);
        let record = SentRecord {
            attempt: dispatch.attempt,
            estimate: dispatch.estimated_input_tokens,
            counted_at: None,
            is_completed: false,
        };
        self.pool(key, model).records.push(record);
    }

    fn check_windows(&mut self, now: Now, key: usize, model: usize, estimate: u64) {
        let limits = self.limits[model].clone();
        let arrives = now.mono + self.min_request_delay;
        let today = day_number(limits.quota_day, now.wall);
        let book = self.pool(key, model);
        if let Some(told) = book.blocked_until {
            assert!(now.mono >= told, "the provider said to stay away for {:?} more", told.since(now.mono));
        }
        if let Some(spent) = book.day_exhausted_until {
            assert!(now.wall >= spent, "the provider said that the day is spent until {spent}");
        }
        let rolling = limits.quota_day == QuotaDay::Rolling;
        book.records.retain(|record| match record.counted_at {
            None => !record.is_completed,
            Some((at, _)) => {
                let recent = at.mono + MINUTE > now.mono;
                let this_day =
                    if rolling { at.wall + ROLLING > now.wall } else { day_number(limits.quota_day, at.wall) == today };
                recent || this_day || !record.is_completed
            }
        });
        let (mut minute, mut tokens, mut day, mut open) = (1, estimate, 1, 1);
        for record in &book.records {
            open += u32::from(!record.is_completed);
            match record.counted_at {
                // Not counted yet; it may be at any time.
                None => (minute, tokens, day) = (minute + 1, tokens + record.estimate, day + 1),
                Some((at, used)) => {
                    if at.mono + MINUTE > arrives {
                        (minute, tokens) = (minute + 1, tokens + used);
                    }
                    let same = if rolling {
                        at.wall + ROLLING > now.wall
                    } else {
                        day_number(limits.quota_day, at.wall) == today
                    };
                    day += u32::from(same);
                }
            }
        }
        let within = |count: u64, limit: Option<u64>, what: &str| {
            assert!(
                limit.is_none_or(|limit| count <= limit),
                "{count} {what} of {limit:?} on key {key}, model {model}"
            );
        };
        within(minute, limits.rpm.map(u64::from), "requests a minute");
        within(u64::from(day), limits.rpd.map(u64::from), "requests a day");
        within(u64::from(open), limits.concurrency.map(u64::from), "requests at once");
        within(tokens, limits.tpm, "tokens a minute");
    }

    /// The server counted a request.
    pub fn on_counted(&mut self, now: Now, dispatch: &PlannedAttempt, tokens: u64) {
        let book = self.pool(dispatch.key.index(), dispatch.model.index());
        let record = book.records.iter_mut().find(|record| record.attempt == dispatch.attempt);
        record.expect("it was sent").counted_at = Some((now, tokens));
    }

    /// The attempt was answered, refused, interrupted or never sent.
    pub fn on_completed(&mut self, now: Now, dispatch: &PlannedAttempt, verdict: &AttemptResult) {
        let reserved = self.in_flight.remove(&dispatch.attempt).expect("settled once");
        let (key, model) = (dispatch.key.index(), dispatch.model.index());
        if verdict.status.is_none() && verdict.outcome != Outcome::ClientTrouble {
            self.at_risk += reserved;
        }
        let billed = matches!(verdict.outcome, Outcome::MalformedResponse | Outcome::Ok | Outcome::Truncated);
        if billed && verdict.status.is_some() && verdict.usage == Usage::default() {
            self.at_risk += reserved;
        }
        let price = self.models[model].price;
        self.spent += price.map_or(Money::ZERO, |price| price.cost(verdict.usage, 0).total());
        let (day, max_hint) = (self.limits[model].quota_day, self.max_retry_after);
        let book = self.pool(key, model);
        let record = book.records.iter_mut().find(|record| record.attempt == dispatch.attempt).expect("it was sent");
        record.is_completed = true;
        // A refused request doesn't count; its stated wait does.
        match verdict.outcome {
            Outcome::RateLimitedMinute | Outcome::TokensLimitedMinute => {
                let hint = verdict.retry_after.map(|hint| now.mono + hint.delay.min(max_hint));
                book.blocked_until = book.blocked_until.max(hint);
            }
            Outcome::QuotaExhaustedDay => {
                let ends = (1..=26 * 60)
                    .map(|minutes| WallTime(now.wall.0 - now.wall.0.rem_euclid(60_000_000) + minutes * 60_000_000))
                    .find(|at| day_number(day, *at) != day_number(day, now.wall));
                book.day_exhausted_until = book.day_exhausted_until.max(ends);
            }
            Outcome::InvalidKey => drop(self.disabled_keys.insert(key)),
            _ => {}
        }
    }

    /// The attempt was cancelled before it was sent.
    pub fn on_cancelled(&mut self, dispatch: &PlannedAttempt) {
        self.in_flight.remove(&dispatch.attempt).expect("it was to be sent");
        let book = self.pool(dispatch.key.index(), dispatch.model.index());
        book.records.retain(|record| record.attempt != dispatch.attempt);
    }

    /// The operator cleared the cooldowns of a key.
    pub fn on_cooldowns_cleared(&mut self, key: usize) {
        let project = self.projects[key].clone();
        for ((owner, _), book) in &mut self.pools {
            if *owner == project {
                (book.blocked_until, book.day_exhausted_until) = (None, None);
            }
        }
    }

    pub fn on_key_enabled(&mut self, key: usize) {
        self.disabled_keys.remove(&key);
    }

    /// Money spent and at risk.
    pub fn spent_and_at_risk(&self) -> Money {
        self.spent + self.at_risk
    }
}
