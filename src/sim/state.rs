//! All state that changes while the simulator runs: pools, counts and the random generator. It is behind one lock,
//! which is never held over an await. It is held for microseconds, or longer while statistics are built.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::{
    faults::{FaultRates, InjectedFault, Quirk},
    pool::{LimitGauges, LimitRefusal, SimPool},
    profile::LatencyProfile,
    profile_index::{KeyRef, ProfileIndex},
    sliding_window::SimTokens,
    stats::{KeyStats, PoolStats, PromptStats, PromptTotals, RequestCounts, ServerStats},
    usage::SimLimit,
    wire::{Rejection, RetryAdvice},
};
use crate::domain::{Api, Limits, Now};

/// Maximum number of distinct prompts that are remembered, in about 50 MB.
const MAX_TRACKED_PROMPTS: usize = 500_000;
/// A false wait that a refusal may state. A real provider has stated a wait of 18 days.
const ABSURD_RETRY_WAIT: Duration = Duration::from_hours(18 * 24);

/// The key and model that a request is counted for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SimRoute {
    pub key: KeyRef,
    pub model: usize,
}

/// Decision on a valid request. Limits, outages and injected faults can still prevent its answer.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct SimDecision {
    pub outcome: SimOutcome,
    pub latency: Duration,
    pub gauges: LimitGauges,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) enum SimOutcome {
    Refused { refusal: LimitRefusal, retry_advice: RetryAdvice },
    Fault { fault: InjectedFault, is_counted: bool },
    Answer { is_slow: bool },
}

/// The input of a decision, apart from the state.
pub(super) struct RequestContext<'a> {
    pub now: Now,
    pub api: Api,
    pub tokens: SimTokens,
    /// The fault of an outage that affects the request.
    pub outage: Option<InjectedFault>,
    /// The fault that the prompt asks for.
    pub requested_fault: Option<InjectedFault>,
    pub fault_rates: &'a FaultRates,
    pub latency: LatencyProfile,
}

/// An answer that was sent.
pub(super) struct ServedAnswer {
    pub tokens: SimTokens,
    pub prompt_hash: u64,
    pub item_id: Option<String>,
}

#[derive(Debug)]
pub(super) struct SimState {
    /// One pool per project and model, ordered by project.
    pools: Vec<SimPool>,
    model_count: usize,
    pool_counts: Vec<RequestCounts>,
    key_counts: Vec<RequestCounts>,
    total: RequestCounts,
    other_requests: u64,
    prompts: HashMap<u64, PromptStats>,
    untracked_prompts: u64,
    rng: fastrand::Rng,
    last_serial: u64,
}

impl SimState {
    pub fn new(profile_index: &ProfileIndex, started_at: Now) -> Self {
        let profile = &profile_index.profile;
        let mut pools = Vec::new();
        for (_, project) in &profile_index.projects {
            for model in &profile.models {
                let used = profile.used.iter().filter(|used| used.project == *project && used.model == model.name);
                let used = used.map(|used| used.requests).sum();
                pools.push(SimPool::new(profile.limits(model), profile.refusals_count, started_at, used));
            }
        }
        Self {
            model_count: profile.models.len(),
            pool_counts: vec![RequestCounts::default(); pools.len()],
            pools,
            key_counts: vec![RequestCounts::default(); profile.keys.len()],
            total: RequestCounts::default(),
            other_requests: 0,
            prompts: HashMap::new(),
            untracked_prompts: 0,
            rng: fastrand::Rng::with_seed(profile.seed),
            last_serial: 0,
        }
    }

    pub fn next_serial(&mut self) -> u64 {
        self.last_serial += 1;
        self.last_serial
    }

    pub fn count_other(&mut self) {
        self.other_requests += 1;
    }

    pub fn count_rejection(&mut self, key: Option<KeyRef>, model: Option<usize>, rejection: &Rejection) {
        let add = |counts: &mut RequestCounts| {
            counts.requests += 1;
            *counts.rejected.entry(rejection.name().to_owned()).or_default() += 1;
        };
        add(&mut self.total);
        if let Some(key) = key {
            add(&mut self.key_counts[key.key]);
            if let Some(model) = model {
                add(&mut self.pool_counts[key.project * self.model_count + model]);
            }
        }
    }

    pub fn decide(&mut self, route: SimRoute, context: &RequestContext<'_>) -> SimDecision {
        let outcome = self.decide_outcome(route, context);
        let latency = self.sample_latency(context.latency);
        self.update_counts(route, |counts| {
            counts.requests += 1;
            match &outcome {
                SimOutcome::Refused { refusal, .. } => {
                    *counts.refused.entry(refusal.longest_wait().limit).or_default() += 1;
                }
                SimOutcome::Fault { fault, .. } => *counts.faults.entry(*fault).or_default() += 1,
                SimOutcome::Answer { is_slow } => {
                    counts.in_flight += 1;
                    if *is_slow {
                        *counts.quirks.entry(Quirk::SlowBody).or_default() += 1;
                    }
                }
            }
        });
        SimDecision { outcome, latency, gauges: self.pool(route).gauges(context.now.mono) }
    }

    fn decide_outcome(&mut self, route: SimRoute, context: &RequestContext<'_>) -> SimOutcome {
        // During an outage, no request counts against the limits.
        if let Some(fault) = context.outage {
            return SimOutcome::Fault { fault, is_counted: false };
        }
        if let Err(refusal) = self.pool(route).admit(context.now, context.tokens) {
            let retry_advice = self.choose_retry_advice(route, &refusal, context);
            return SimOutcome::Refused { refusal, retry_advice };
        }
        let draw = self.rng.f64();
        match context.requested_fault.or_else(|| context.fault_rates.sample(draw)) {
            Some(fault) => SimOutcome::Fault { fault, is_counted: true },
            None => SimOutcome::Answer { is_slow: self.rng.f64() < context.fault_rates.slow_body },
        }
    }

    fn choose_retry_advice(
        &mut self,
        route: SimRoute,
        refusal: &LimitRefusal,
        context: &RequestContext<'_>,
    ) -> RetryAdvice {
        let longest = refusal.longest_wait();
        if self.rng.f64() < context.fault_rates.lying_retry {
            self.update_counts(route, |counts| *counts.quirks.entry(Quirk::LyingRetry).or_default() += 1);
            return RetryAdvice { wait: if self.rng.bool() { ABSURD_RETRY_WAIT } else { longest.wait / 10 } };
        }
        // For a daily quota Gemini states a wait of some seconds, however far the reset is.
        if context.api == Api::Gemini && matches!(longest.limit, SimLimit::Rpd | SimLimit::Tpd) {
            return RetryAdvice { wait: Duration::from_millis(self.rng.u64(5_000..60_000)) };
        }
        // Rounded up, so that a client that waits exactly this long is not too early.
        let millis = u64::try_from(longest.wait.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX);
        RetryAdvice { wait: Duration::from_millis(millis) }
    }

    fn sample_latency(&mut self, LatencyProfile { median_ms, spread }: LatencyProfile) -> Duration {
        let median = Duration::from_millis(median_ms);
        if median.is_zero() || spread == 0.0 {
            return median;
        }
        // Box-Muller transform: makes a normally distributed value of two uniform ones.
        let (radius, angle) = (self.rng.f64().max(f64::MIN_POSITIVE), self.rng.f64());
        let normal = (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos();
        median.mul_f64((spread * normal).exp().clamp(0.25, 6.0))
    }

    /// Counts an answer that was sent completely.
    pub fn complete(&mut self, route: SimRoute, answer: &ServedAnswer) {
        self.pool(route).release();
        self.update_counts(route, |counts| {
            counts.in_flight -= 1;
            counts.ok += 1;
            counts.input_tokens += answer.tokens.input;
            counts.output_tokens += answer.tokens.output;
        });
        if self.prompts.len() >= MAX_TRACKED_PROMPTS && !self.prompts.contains_key(&answer.prompt_hash) {
            self.untracked_prompts += 1;
            return;
        }
        let prompt = self.prompts.entry(answer.prompt_hash).or_default();
        prompt.ok += 1;
        if prompt.item.is_none() {
            prompt.item.clone_from(&answer.item_id);
        }
    }

    /// Counts a request whose client disconnected before its answer was ready.
    pub fn abandon(&mut self, route: SimRoute) {
        self.pool(route).release();
        self.update_counts(route, |counts| {
            counts.in_flight -= 1;
            counts.abandoned += 1;
        });
    }

    /// Releases the concurrency slot of a request that was admitted and got a fault.
    pub fn end_fault(&mut self, route: SimRoute) {
        self.pool(route).release();
    }

    pub fn stats(&self, profile_index: &ProfileIndex, uptime: Duration) -> ServerStats {
        let profile = &profile_index.profile;
        let keys = profile.keys.iter().zip(&self.key_counts).map(|(key, counts)| KeyStats {
            name: key.name.clone(),
            provider: key.provider.clone(),
            project: key.project.clone(),
            counts: counts.clone(),
        });
        let pools = self.pools.iter().zip(&self.pool_counts).enumerate();
        let pools = pools.filter(|(_, (_, counts))| counts.requests > 0).map(|(index, (pool, counts))| PoolStats {
            provider: profile.models[index % self.model_count].provider.clone(),
            project: profile_index.projects[index / self.model_count].1.clone(),
            model: profile.models[index % self.model_count].name.clone(),
            limits: enforced_limits(pool.limits()),
            peaks: pool.peaks,
            days: pool.days.iter().map(|(date, day)| (date.to_string(), *day)).collect(),
            counts: counts.clone(),
        });
        ServerStats {
            profile: profile.name.clone(),
            running_s: uptime.as_secs_f64(),
            total: self.total.clone(),
            other_requests: self.other_requests,
            keys: keys.collect(),
            pools: pools.collect(),
            prompts: PromptTotals {
                distinct: self.prompts.len() as u64,
                answered_more_than_once: self.prompts.values().filter(|prompt| prompt.ok > 1).count() as u64,
                untracked: self.untracked_prompts,
                by_hash: self.prompts.iter().map(|(hash, prompt)| (format!("{hash:016x}"), prompt.clone())).collect(),
            },
        }
    }

    fn pool(&mut self, route: SimRoute) -> &mut SimPool {
        &mut self.pools[route.key.project * self.model_count + route.model]
    }

    fn update_counts(&mut self, route: SimRoute, update: impl Fn(&mut RequestCounts)) {
        update(&mut self.total);
        update(&mut self.key_counts[route.key.key]);
        update(&mut self.pool_counts[route.key.project * self.model_count + route.model]);
    }
}

fn enforced_limits(limits: &Limits) -> BTreeMap<SimLimit, u64> {
    let Limits { rpm, tpm, itpm, otpm, rpd, tpd, burst, concurrency, .. } = *limits;
    let stated = [
        (SimLimit::Rpm, rpm.map(u64::from)),
        (SimLimit::Burst, burst.map(u64::from)),
        (SimLimit::Tpm, tpm),
        (SimLimit::Itpm, itpm),
        (SimLimit::Otpm, otpm),
        (SimLimit::Rpd, rpd.map(u64::from)),
        (SimLimit::Tpd, tpd),
        (SimLimit::Concurrency, concurrency.map(u64::from)),
    ];
    stated.into_iter().filter_map(|(limit, value)| Some((limit, value?))).collect()
}
