//! The world that a seed makes: its fleet, its policy, its providers and their faults.

use std::time::Duration;

use super::{
    fixtures::wall,
    server::{RetryAfterStyle, SimulatedServer},
};
use crate::domain::{
    Api, CascadeOrder, Key, KeyRole, Limits, Model, Money, OnExhausted, Policy, Price, Provider, ProviderId, QuotaDay,
    RoutingRule, SpendLimits, SpillTo, Strategy, TokenCounting, WallTime, WhenLimited,
};

/// How the enforced limits relate to the configured ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LimitKnowledge {
    /// The configured limits are enforced, so no request may be refused.
    Exact,
    /// No limits are configured.
    Unknown,
    /// The configured limits are higher than the enforced ones.
    TooHigh,
    /// The enforced limits change during the run.
    Changing,
}

/// An outage of one provider.
#[derive(Clone, Copy, Debug)]
pub struct PlannedOutage {
    pub provider: usize,
    /// Seconds from the start.
    pub from: u64,
    pub until: u64,
    /// 0: 503; 1: timeout; 2: unreachable; 3: 429 without a quota reason.
    pub kind: u8,
}

#[derive(Debug)]
pub struct WorldPlan {
    pub providers: Vec<Provider>,
    pub models: Vec<Model>,
    pub enforced: Vec<Limits>,
    pub keys: Vec<Key>,
    pub policy: Policy,
    pub knowledge: LimitKnowledge,
    pub start: WallTime,
    pub items: u64,
    /// Probability of a fault per request.
    pub fault_rate: f64,
    pub outages: Vec<PlannedOutage>,
    /// Percentage of items that always fail.
    pub poison_percent: u64,
    pub retry_after_style: RetryAfterStyle,
    pub states_limits: bool,
    pub states_server_time: bool,
    pub latency_range: (Duration, Duration),
}

fn random_limits(random: &mut fastrand::Rng) -> Limits {
    let some = |random: &mut fastrand::Rng, one_in: u8| random.u8(0..one_in) == 0;
    Limits {
        rpm: Some(random.u32(1..40)),
        rpd: some(random, 2).then(|| random.u32(5..120)),
        tpm: some(random, 3).then(|| random.u64(2_000..20_000)),
        token_counting: TokenCounting::Input,
        quota_day: [QuotaDay::Pacific, QuotaDay::Utc, QuotaDay::Rolling][random.usize(0..3)],
        burst: some(random, 3).then(|| random.u32(1..5)),
        concurrency: some(random, 4).then(|| random.u32(1..6)),
        ..Limits::default()
    }
}

/// A day cap in one of eight cases, large enough for any single item.
fn random_day_cap(random: &mut fastrand::Rng) -> SpendLimits {
    let dollars = 0.05 + random.f64() * 0.2;
    SpendLimits { max_usd: None, max_usd_per_day: Money::from_usd(dollars).filter(|_| random.u8(0..8) == 0) }
}

impl WorldPlan {
    pub fn new(random: &mut fastrand::Rng) -> Self {
        use LimitKnowledge::{Changing, Exact, TooHigh, Unknown};
        let knowledge = [Exact, Exact, Exact, Exact, Unknown, TooHigh, Changing][random.usize(0..7)];
        let providers: Vec<Provider> = (0..random.usize(1..3))
            .map(|index| {
                Provider::new(["gemini", "openai"][index], [Api::Gemini, Api::OpenAi][index], "http://127.0.0.1:1")
            })
            .collect();
        let enforced: Vec<Limits> = (0..random.usize(1..4)).map(|_| random_limits(random)).collect();
        let models = enforced.iter().enumerate().map(|(index, enforced)| {
            let limits = match knowledge {
                Exact | Changing => enforced.clone(),
                Unknown => {
                    Limits { token_counting: TokenCounting::Input, quota_day: enforced.quota_day, ..Limits::default() }
                }
                TooHigh => Limits {
                    rpm: enforced.rpm.map(|rpm| rpm * random.u32(1..4)),
                    rpd: enforced.rpd.map(|rpd| rpd * 2),
                    ..enforced.clone()
                },
            };
            Model {
                name: format!("m{index}"),
                provider: ProviderId(random.u32(0..providers.len() as u32)),
                limits,
                vision: random.bool(),
                context: None,
                max_output: Some(random.u32(100..2_000)),
                weight: random.u32(1..4),
                pool: None,
                price: {
                    let factor = [1.0, 0.5, 0.25][random.usize(0..3)];
                    Price::from_usd_per_mtok(factor, 2.0 * factor)
                },
                extra_body: serde_json::Map::new(),
                max_tokens_field: None,
            }
        });
        let models: Vec<Model> = models.collect();
        let projects = random.usize(1..4);
        let keys: Vec<Key> = (0..random.usize(1..5))
            .map(|index| Key {
                name: format!("k{index}"),
                provider: ProviderId(if index == 0 {
                    models[0].provider.0
                } else {
                    random.u32(0..providers.len() as u32)
                }),
                project: format!("p{}", index % projects),
                weight: random.u32(1..4),
                role: if random.u8(0..5) == 0 { KeyRole::Backup } else { KeyRole::Primary },
                models: None,
                spend_limits: random_day_cap(random),
            })
            .collect();
        let spill_to = if random.u8(0..4) == 0 { SpillTo::SameModel } else { SpillTo::Any };
        let when_limited = if random.u8(0..4) == 0 { WhenLimited::Wait } else { WhenLimited::Spill };
        let strategy = |random: &mut fastrand::Rng| match when_limited {
            WhenLimited::Wait => Strategy::Cascade,
            WhenLimited::Spill => Strategy::ALL[random.usize(0..Strategy::ALL.len())],
        };
        let rule = RoutingRule {
            name: "ruled".to_owned(),
            models: random.bool().then(|| vec![models[models.len() - 1].name.clone(), "m0".to_owned()]),
            strategy: random.bool().then(|| strategy(random)),
            ..RoutingRule::default()
        };
        let policy = Policy {
            max_in_flight: random.u32(1..40),
            strategy: strategy(random),
            rules: vec![rule],
            rotate_keys_daily: random.u8(0..4) == 0,
            max_usd_per_day: random_day_cap(random).max_usd_per_day,
            order: CascadeOrder::ALL[random.usize(0..2)],
            when_limited,
            spill_to,
            spill_after: Duration::from_secs(if random.u8(0..4) == 0 { random.u64(1..30) } else { 0 }),
            on_exhausted: OnExhausted::Wait,
            max_usd: (random.u8(0..6) == 0).then(|| Money::from_usd(0.2).expect("an amount")),
            next_model_when_blocked: random.bool(),
            truncated_retry_factor: random.bool().then_some(2),
            max_identical_rejections: 5,
            ..Policy::default()
        };
        // Near a daylight-saving change, at a random hour.
        let day = ["2026-10-30T00:00:00Z", "2026-03-06T00:00:00Z"][random.usize(0..2)];
        let faulty = random.bool();
        let outages = (0..random.usize(0..3))
            .map(|_| {
                let from = random.u64(0..7_200);
                let provider = random.usize(0..providers.len());
                PlannedOutage { provider, from, until: from + random.u64(1..3_600), kind: random.u8(0..4) }
            })
            .collect();
        let fast = Duration::from_millis(random.u64(20..800));
        Self {
            keys,
            enforced,
            models,
            policy,
            knowledge,
            start: wall(day) + Duration::from_secs(random.u64(0..3 * 86_400)),
            items: random.u64(1..160),
            fault_rate: if faulty { random.f64() * 0.3 } else { 0.0 },
            outages,
            poison_percent: if random.u8(0..4) == 0 { 5 } else { 0 },
            retry_after_style: [
                RetryAfterStyle::Honest,
                RetryAfterStyle::Honest,
                RetryAfterStyle::None,
                RetryAfterStyle::Fixed(Duration::from_millis([100, 1_000, 2_000, 5_000, 10_000][random.usize(0..5)])),
                RetryAfterStyle::Absurd,
            ][random.usize(0..5)],
            states_limits: random.u8(0..3) == 0,
            states_server_time: random.u8(0..3) == 0,
            latency_range: (fast, fast + Duration::from_millis(random.u64(0..6_000))),
            providers,
        }
    }

    /// A server for one (project, model).
    pub fn server(&self, model: usize) -> SimulatedServer {
        let mut server = SimulatedServer::new(self.enforced[model].clone());
        (server.retry_after_style, server.states_limits, server.states_server_time) =
            (self.retry_after_style, self.states_limits, self.states_server_time);
        server
    }
}
