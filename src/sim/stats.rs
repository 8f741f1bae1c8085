//! Statistics of what was served and rejected, printed by `GET /sim/books`. Tests compare them with the program's own
//! record.

use std::{collections::BTreeMap, fmt::Write};

use serde::{Deserialize, Serialize};

use super::{
    faults::{InjectedFault, Quirk},
    usage::{DayUsage, PeakUsage, SimLimit},
};

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct ServerStats {
    pub profile: String,
    /// Seconds of simulated time since the start.
    pub running_s: f64,
    pub total: RequestCounts,
    /// Requests for model lists and token counts, which use no quota.
    pub other_requests: u64,
    pub keys: Vec<KeyStats>,
    /// One entry per project and model that was requested at least once.
    pub pools: Vec<PoolStats>,
    pub prompts: PromptTotals,
}

/// Request counts. Every request for an answer is in exactly one of `ok`, `refused`, `faults`, `rejected`, `abandoned`
/// and `in_flight`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RequestCounts {
    pub requests: u64,
    /// Answers that were completely passed to the connection.
    pub ok: u64,
    /// Requests refused by limits. Each is counted for the limit with the longest wait.
    pub refused: BTreeMap<SimLimit, u64>,
    pub faults: BTreeMap<InjectedFault, u64>,
    /// Requests rejected before any limit was checked: `invalid_key`, `suspended`, `not_found`, `bad_request` and so
    /// on.
    pub rejected: BTreeMap<String, u64>,
    /// Requests whose client disconnected before the answer was ready.
    pub abandoned: u64,
    pub in_flight: u64,
    pub quirks: BTreeMap<Quirk, u64>,
    /// Input tokens of the `ok` requests.
    pub input_tokens: u64,
    pub output_tokens: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct KeyStats {
    pub name: String,
    pub provider: String,
    pub project: String,
    #[serde(rename = "tally")]
    pub counts: RequestCounts,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PoolStats {
    pub provider: String,
    pub project: String,
    pub model: String,
    /// The limits in force.
    pub limits: BTreeMap<SimLimit, u64>,
    pub peaks: PeakUsage,
    /// Admitted requests by the provider's date.
    pub days: BTreeMap<String, DayUsage>,
    #[serde(rename = "tally")]
    pub counts: RequestCounts,
}

/// How often each distinct prompt was answered with `ok`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PromptTotals {
    pub distinct: u64,
    pub answered_more_than_once: u64,
    /// Answers to prompts that arrived after the table was full.
    pub untracked: u64,
    /// Statistics by the prompt's hash in hexadecimal.
    pub by_hash: BTreeMap<String, PromptStats>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PromptStats {
    /// The item id from a marker in the prompt: `[item 42]`.
    pub item: Option<String>,
    pub ok: u64,
}

impl RequestCounts {
    /// Whether every request is counted exactly once.
    pub fn is_consistent(&self) -> bool {
        let sum = |map: &mut dyn Iterator<Item = &u64>| map.sum::<u64>();
        let refused = sum(&mut self.refused.values());
        let faults = sum(&mut self.faults.values());
        let rejected = sum(&mut self.rejected.values());
        self.requests == self.ok + refused + faults + rejected + self.abandoned + self.in_flight
    }
}

impl ServerStats {
    pub fn pool(&self, project: &str, model: &str) -> Option<&PoolStats> {
        self.pools.iter().find(|pool| pool.project == project && pool.model == model)
    }

    pub fn key(&self, name: &str) -> Option<&KeyStats> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// Descriptions of all limits that admitted requests exceeded. If there are any, the simulator has a bug.
    pub fn exceeded_limits(&self) -> Vec<String> {
        let mut exceeded = Vec::new();
        for pool in &self.pools {
            // A burst limits the spacing of requests, which the peak of a minute does not show.
            for (limit, allowed) in pool.limits.iter().filter(|(limit, _)| **limit != SimLimit::Burst) {
                let peak = pool.peaks.peak(*limit);
                if peak > *allowed {
                    exceeded.push(format!("{} {}: {peak} of {allowed} by {limit:?}", pool.project, pool.model));
                }
            }
        }
        exceeded
    }

    /// Descriptions of counts that don't add up. If there are any, the simulator has a bug.
    pub fn discrepancies(&self) -> Vec<String> {
        let totals = [("all", &self.total)].into_iter();
        let keys = self.keys.iter().map(|key| (key.name.as_str(), &key.counts));
        let pools = self.pools.iter().map(|pool| (pool.model.as_str(), &pool.counts));
        let mut discrepancies: Vec<String> = totals
            .chain(keys)
            .chain(pools)
            .filter(|(_, counts)| !counts.is_consistent())
            .map(|(owner, counts)| format!("{owner}: {counts:?}"))
            .collect();
        let by_key: u64 = self.keys.iter().map(|key| key.counts.ok).sum();
        let by_pool: u64 = self.pools.iter().map(|pool| pool.counts.ok).sum();
        let by_prompt: u64 = self.prompts.by_hash.values().map(|prompt| prompt.ok).sum();
        for (grouping, ok) in [("keys", by_key), ("pools", by_pool), ("prompts", by_prompt + self.prompts.untracked)] {
            if ok != self.total.ok {
                discrepancies.push(format!("{ok} answers by {grouping}, {} in total", self.total.ok));
            }
        }
        discrepancies
    }

    /// A few lines for people.
    pub fn summary(&self) -> String {
        let RequestCounts { requests, ok, refused, faults, rejected, abandoned, .. } = &self.total;
        let sum = |counts: &mut dyn Iterator<Item = &u64>| counts.sum::<u64>();
        let mut text = format!(
            "{requests} requests in {:.0} s: {ok} answered, {} refused by limits, {} faults, {} rejected, {abandoned} abandoned",
            self.running_s,
            sum(&mut refused.values()),
            sum(&mut faults.values()),
            sum(&mut rejected.values()),
        );
        for pool in self.pools.iter().filter(|pool| pool.counts.requests > 0) {
            let _ = write!(
                text,
                "\n  {:<14} {:<24} {:>6} answered, at most {} a minute and {} a day",
                pool.project, pool.model, pool.counts.ok, pool.peaks.minute_requests, pool.peaks.day_requests,
            );
        }
        text
    }
}
