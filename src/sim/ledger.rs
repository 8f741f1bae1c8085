//! Everything that changes while the simulator runs, behind one lock that is held for microseconds and never over an
//! await: the pools, the tallies, the dice. Only drawing up the books takes longer.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::{
    books::{Books, KeyBooks, PoolBooks, PromptBooks, Prompts, Tally},
    faults::{Fault, Faults, Quirk},
    layout::{Layout, Seat},
    profile::Latency,
    quota::{Limit, Pool, Refusal, Standing},
    window::Tokens,
    wire::{Advice, Rejection},
};
use crate::domain::{Api, Limits, Now};

/// Distinct prompts remembered; about 50 MB.
const PROMPTS_KEPT: usize = 500_000;
/// A hint that sent real pools to sleep for 18 days.
const ABSURD_WAIT: Duration = Duration::from_hours(18 * 24);

/// Where a request is booked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub seat: Seat,
    pub model: usize,
}

/// What becomes of a request that nothing but limits and luck can stop.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Ruling {
    pub verdict: Verdict,
    pub latency: Duration,
    pub standing: Standing,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Verdict {
    Refused { refusal: Refusal, advice: Advice },
    Fault { fault: Fault, counted: bool },
    Answer { slowly: bool },
}

/// What a ruling takes into account beside the pools.
pub(super) struct Circumstances<'a> {
    pub now: Now,
    pub api: Api,
    pub cost: Tokens,
    /// An outage that covers the request, or what its prompt asks for.
    pub outage: Option<Fault>,
    pub wished: Option<Fault>,
    pub faults: &'a Faults,
    pub latency: Latency,
}

/// An answer that went out.
pub(super) struct Served {
    pub tokens: Tokens,
    pub prompt: u64,
    pub item: Option<String>,
}

#[derive(Debug)]
pub(super) struct Ledger {
    /// Project by project, all models.
    pools: Vec<Pool>,
    models: usize,
    pool_tallies: Vec<Tally>,
    key_tallies: Vec<Tally>,
    total: Tally,
    other_requests: u64,
    prompts: HashMap<u64, PromptBooks>,
    untracked_prompts: u64,
    dice: fastrand::Rng,
    serial: u64,
}

impl Ledger {
    pub fn new(layout: &Layout, began: Now) -> Self {
        let profile = &layout.profile;
        let mut pools = Vec::new();
        for (_, project) in &layout.projects {
            for model in &profile.models {
                let used = profile.used.iter().filter(|used| used.project == *project && used.model == model.name);
                let used = used.map(|used| used.requests).sum();
                pools.push(Pool::new(profile.limits(model), profile.refusals_count, began, used));
            }
        }
        Self {
            models: profile.models.len(),
            pool_tallies: vec![Tally::default(); pools.len()],
            pools,
            key_tallies: vec![Tally::default(); profile.keys.len()],
            total: Tally::default(),
            other_requests: 0,
            prompts: HashMap::new(),
            untracked_prompts: 0,
            dice: fastrand::Rng::with_seed(profile.seed),
            serial: 0,
        }
    }

    pub fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub fn note_other(&mut self) {
        self.other_requests += 1;
    }

    pub fn reject(&mut self, seat: Option<Seat>, model: Option<usize>, why: &Rejection) {
        let book = |tally: &mut Tally| {
            tally.requests += 1;
            *tally.rejected.entry(why.name().to_owned()).or_default() += 1;
        };
        book(&mut self.total);
        if let Some(seat) = seat {
            book(&mut self.key_tallies[seat.key]);
            if let Some(model) = model {
                book(&mut self.pool_tallies[seat.project * self.models + model]);
            }
        }
    }

    pub fn rule(&mut self, place: Place, about: &Circumstances<'_>) -> Ruling {
        let verdict = self.verdict(place, about);
        let latency = self.draw_latency(about.latency);
        self.book(place, |tally| {
            tally.requests += 1;
            match &verdict {
                Verdict::Refused { refusal, .. } => *tally.refused.entry(refusal.longest().limit).or_default() += 1,
                Verdict::Fault { fault, .. } => *tally.faults.entry(*fault).or_default() += 1,
                Verdict::Answer { slowly } => {
                    tally.in_flight += 1;
                    if *slowly {
                        *tally.quirks.entry(Quirk::SlowBody).or_default() += 1;
                    }
                }
            }
        });
        Ruling { verdict, latency, standing: self.pool(place).standing(about.now.mono) }
    }

    fn verdict(&mut self, place: Place, about: &Circumstances<'_>) -> Verdict {
        // What is down doesn't count.
        if let Some(fault) = about.outage {
            return Verdict::Fault { fault, counted: false };
        }
        if let Err(refusal) = self.pool(place).admit(about.now, about.cost) {
            let advice = self.draw_advice(place, &refusal, about);
            return Verdict::Refused { refusal, advice };
        }
        let lot = self.dice.f64();
        match about.wished.or_else(|| about.faults.draw(lot)) {
            Some(fault) => Verdict::Fault { fault, counted: true },
            None => Verdict::Answer { slowly: self.dice.f64() < about.faults.slow_body },
        }
    }

    fn draw_advice(&mut self, place: Place, refusal: &Refusal, about: &Circumstances<'_>) -> Advice {
        let longest = refusal.longest();
        if self.dice.f64() < about.faults.lying_retry {
            self.book(place, |tally| *tally.quirks.entry(Quirk::LyingRetry).or_default() += 1);
            return Advice { wait: if self.dice.bool() { ABSURD_WAIT } else { longest.wait / 10 } };
        }
        // Gemini's hint on a daily quota is some seconds, whatever the hour.
        if about.api == Api::Gemini && matches!(longest.limit, Limit::Rpd | Limit::Tpd) {
            return Advice { wait: Duration::from_millis(self.dice.u64(5_000..60_000)) };
        }
        // Rounded up, or a client that does as it is told comes a moment too early.
        Advice { wait: Duration::from_millis(longest.wait.as_micros().div_ceil(1_000) as u64) }
    }

    fn draw_latency(&mut self, Latency { median_ms, spread }: Latency) -> Duration {
        let median = Duration::from_millis(median_ms);
        if median.is_zero() || spread == 0.0 {
            return median;
        }
        // Box and Muller's way from two even draws to a normal one.
        let (radius, angle) = (self.dice.f64().max(f64::MIN_POSITIVE), self.dice.f64());
        let normal = (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos();
        median.mul_f64((spread * normal).exp().clamp(0.25, 6.0))
    }

    /// The answer went out whole.
    pub fn served(&mut self, place: Place, served: &Served) {
        self.pool(place).release();
        self.book(place, |tally| {
            tally.in_flight -= 1;
            tally.ok += 1;
            tally.input_tokens += served.tokens.input;
            tally.output_tokens += served.tokens.output;
        });
        if self.prompts.len() >= PROMPTS_KEPT && !self.prompts.contains_key(&served.prompt) {
            self.untracked_prompts += 1;
            return;
        }
        let prompt = self.prompts.entry(served.prompt).or_default();
        prompt.ok += 1;
        if prompt.item.is_none() {
            prompt.item.clone_from(&served.item);
        }
    }

    /// The client left before its answer was ready.
    pub fn abandoned(&mut self, place: Place) {
        self.pool(place).release();
        self.book(place, |tally| {
            tally.in_flight -= 1;
            tally.abandoned += 1;
        });
    }

    /// A fault that had been counted is over.
    pub fn fault_over(&mut self, place: Place) {
        self.pool(place).release();
    }

    pub fn books(&self, layout: &Layout, running: Duration) -> Books {
        let profile = &layout.profile;
        let keys = profile.keys.iter().zip(&self.key_tallies).map(|(key, tally)| KeyBooks {
            name: key.name.clone(),
            provider: key.provider.clone(),
            project: key.project.clone(),
            tally: tally.clone(),
        });
        let pools = self.pools.iter().zip(&self.pool_tallies).enumerate();
        let pools = pools.filter(|(_, (_, tally))| tally.requests > 0).map(|(index, (pool, tally))| PoolBooks {
            provider: profile.models[index % self.models].provider.clone(),
            project: layout.projects[index / self.models].1.clone(),
            model: profile.models[index % self.models].name.clone(),
            limits: in_force(pool.limits()),
            peaks: pool.peaks,
            days: pool.days.iter().map(|(date, day)| (date.to_string(), *day)).collect(),
            tally: tally.clone(),
        });
        Books {
            profile: profile.name.clone(),
            running_s: running.as_secs_f64(),
            total: self.total.clone(),
            other_requests: self.other_requests,
            keys: keys.collect(),
            pools: pools.collect(),
            prompts: Prompts {
                distinct: self.prompts.len() as u64,
                answered_more_than_once: self.prompts.values().filter(|prompt| prompt.ok > 1).count() as u64,
                untracked: self.untracked_prompts,
                by_hash: self.prompts.iter().map(|(hash, prompt)| (format!("{hash:016x}"), prompt.clone())).collect(),
            },
        }
    }

    fn pool(&mut self, place: Place) -> &mut Pool {
        &mut self.pools[place.seat.project * self.models + place.model]
    }

    fn book(&mut self, place: Place, entry: impl Fn(&mut Tally)) {
        entry(&mut self.total);
        entry(&mut self.key_tallies[place.seat.key]);
        entry(&mut self.pool_tallies[place.seat.project * self.models + place.model]);
    }
}

fn in_force(limits: &Limits) -> BTreeMap<Limit, u64> {
    let Limits { rpm, tpm, itpm, otpm, rpd, tpd, burst, concurrency, .. } = *limits;
    let stated = [
        (Limit::Rpm, rpm.map(u64::from)),
        (Limit::Burst, burst.map(u64::from)),
        (Limit::Tpm, tpm),
        (Limit::Itpm, itpm),
        (Limit::Otpm, otpm),
        (Limit::Rpd, rpd.map(u64::from)),
        (Limit::Tpd, tpd),
        (Limit::Concurrency, concurrency.map(u64::from)),
    ];
    stated.into_iter().filter_map(|(limit, of)| Some((limit, of?))).collect()
}
