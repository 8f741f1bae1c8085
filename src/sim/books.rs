//! The public account of what was served and refused, as `GET /sim/books` prints it: the second opinion that tests hold
//! against the program's own record.

use std::{collections::BTreeMap, fmt::Write};

use serde::{Deserialize, Serialize};

use super::{
    faults::{Fault, Quirk},
    quota::Limit,
};

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Books {
    pub profile: String,
    /// The simulator's own time since it started.
    pub running_s: f64,
    pub total: Tally,
    /// Model lists and token counts, which use no quota.
    pub other_requests: u64,
    pub keys: Vec<KeyBooks>,
    /// One per project and model that was asked for at least once.
    pub pools: Vec<PoolBooks>,
    pub prompts: Prompts,
}

/// Every request for an answer is in exactly one of `ok`, `refused`, `faults`, `rejected`, `abandoned` and `in_flight`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Tally {
    pub requests: u64,
    /// Answers handed to the connection whole.
    pub ok: u64,
    /// By the limit that stood longest in the way.
    pub refused: BTreeMap<Limit, u64>,
    pub faults: BTreeMap<Fault, u64>,
    /// Before any limit was looked at: `invalid_key`, `suspended`, `not_found`, `bad_request` and so on.
    pub rejected: BTreeMap<String, u64>,
    /// The client went away before its answer was ready.
    pub abandoned: u64,
    pub in_flight: u64,
    pub quirks: BTreeMap<Quirk, u64>,
    /// Of the `ok` ones.
    pub input_tokens: u64,
    pub output_tokens: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct KeyBooks {
    pub name: String,
    pub provider: String,
    pub project: String,
    pub tally: Tally,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PoolBooks {
    pub provider: String,
    pub project: String,
    pub model: String,
    /// The limits in force.
    pub limits: BTreeMap<Limit, u64>,
    pub peaks: Peaks,
    /// Admitted requests by the provider's date.
    pub days: BTreeMap<String, DayUse>,
    pub tally: Tally,
}

/// The most that was ever admitted at one time, measured like the limits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Peaks {
    pub minute_requests: u64,
    /// Refused requests too: how hard the client knocked.
    pub minute_arrivals: u64,
    pub minute_tokens: u64,
    pub minute_input_tokens: u64,
    pub minute_output_tokens: u64,
    /// With what was used elsewhere that day.
    pub day_requests: u64,
    pub day_tokens: u64,
    pub in_flight: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DayUse {
    pub requests: u64,
    pub tokens: u64,
}

/// How often each distinct prompt was answered with `ok`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Prompts {
    pub distinct: u64,
    pub answered_more_than_once: u64,
    /// Answers to prompts that came after the books were full.
    pub untracked: u64,
    /// By the prompt's hash, in hexadecimal.
    pub by_hash: BTreeMap<String, PromptBooks>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PromptBooks {
    /// From a marker in the prompt: `[item 42]`.
    pub item: Option<String>,
    pub ok: u64,
}

impl Tally {
    /// Whether every request is accounted for exactly once.
    pub fn adds_up(&self) -> bool {
        let sum = |map: &mut dyn Iterator<Item = &u64>| map.sum::<u64>();
        let refused = sum(&mut self.refused.values());
        let faults = sum(&mut self.faults.values());
        let rejected = sum(&mut self.rejected.values());
        self.requests == self.ok + refused + faults + rejected + self.abandoned + self.in_flight
    }
}

impl DayUse {
    pub(super) fn add(&mut self, tokens: u64) {
        self.requests += 1;
        self.tokens += tokens;
    }
}

impl Peaks {
    pub(super) fn raise(&mut self, seen: &Self) {
        let pairs = [
            (&mut self.minute_requests, seen.minute_requests),
            (&mut self.minute_arrivals, seen.minute_arrivals),
            (&mut self.minute_tokens, seen.minute_tokens),
            (&mut self.minute_input_tokens, seen.minute_input_tokens),
            (&mut self.minute_output_tokens, seen.minute_output_tokens),
            (&mut self.day_requests, seen.day_requests),
            (&mut self.day_tokens, seen.day_tokens),
            (&mut self.in_flight, seen.in_flight),
        ];
        for (peak, seen) in pairs {
            *peak = (*peak).max(seen);
        }
    }

    const fn of(&self, limit: Limit) -> u64 {
        match limit {
            Limit::Rpm | Limit::Burst => self.minute_requests,
            Limit::Tpm => self.minute_tokens,
            Limit::Itpm => self.minute_input_tokens,
            Limit::Otpm => self.minute_output_tokens,
            Limit::Rpd => self.day_requests,
            Limit::Tpd => self.day_tokens,
            Limit::Concurrency => self.in_flight,
        }
    }
}

impl Books {
    pub fn pool(&self, project: &str, model: &str) -> Option<&PoolBooks> {
        self.pools.iter().find(|pool| pool.project == project && pool.model == model)
    }

    pub fn key(&self, name: &str) -> Option<&KeyBooks> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// Every limit that was broken by admitted requests, in words. Empty, or the simulator has a fault.
    pub fn exceeded(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for pool in &self.pools {
            // A burst is a shape of the minute, and its peak can't tell.
            for (limit, of) in pool.limits.iter().filter(|(limit, _)| **limit != Limit::Burst) {
                let peak = pool.peaks.of(*limit);
                if peak > *of {
                    broken.push(format!("{} {}: {peak} of {of} by {limit:?}", pool.project, pool.model));
                }
            }
        }
        broken
    }

    /// What does not add up, in words. Empty, or the simulator has a fault.
    pub fn discrepancies(&self) -> Vec<String> {
        let tallies = [("all", &self.total)].into_iter();
        let keys = self.keys.iter().map(|key| (key.name.as_str(), &key.tally));
        let pools = self.pools.iter().map(|pool| (pool.model.as_str(), &pool.tally));
        let mut wrong: Vec<String> = tallies
            .chain(keys)
            .chain(pools)
            .filter(|(_, tally)| !tally.adds_up())
            .map(|(whose, tally)| format!("{whose}: {tally:?}"))
            .collect();
        let by_key: u64 = self.keys.iter().map(|key| key.tally.ok).sum();
        let by_pool: u64 = self.pools.iter().map(|pool| pool.tally.ok).sum();
        let by_prompt: u64 = self.prompts.by_hash.values().map(|prompt| prompt.ok).sum();
        for (whose, ok) in [("keys", by_key), ("pools", by_pool), ("prompts", by_prompt + self.prompts.untracked)] {
            if ok != self.total.ok {
                wrong.push(format!("{ok} answers by {whose}, {} in all", self.total.ok));
            }
        }
        wrong
    }

    /// A few lines for people.
    pub fn summary(&self) -> String {
        let Tally { requests, ok, refused, faults, rejected, abandoned, .. } = &self.total;
        let sum = |counts: &mut dyn Iterator<Item = &u64>| counts.sum::<u64>();
        let mut text = format!(
            "{requests} requests in {:.0} s: {ok} answered, {} refused by limits, {} faults, {} rejected, {abandoned} abandoned",
            self.running_s,
            sum(&mut refused.values()),
            sum(&mut faults.values()),
            sum(&mut rejected.values()),
        );
        for pool in self.pools.iter().filter(|pool| pool.tally.requests > 0) {
            let _ = write!(
                text,
                "\n  {:<14} {:<24} {:>6} answered, at most {} a minute and {} a day",
                pool.project, pool.model, pool.tally.ok, pool.peaks.minute_requests, pool.peaks.day_requests,
            );
        }
        text
    }
}
