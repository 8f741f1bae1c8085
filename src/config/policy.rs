//! `[policy]`: how the run is conducted, over the defaults of the domain.

use std::time::Duration;

use super::{
    models::Placed,
    schema,
    sheet::{Field, Table},
};
use crate::domain::{
    BalanceWeights, CascadeOrder, MAX_IN_FLIGHT, Money, OnExhausted, Policy, RoutingRule, SpillTo, Strategy,
    WhenLimited,
};

const ORDERS: [(&str, CascadeOrder); 2] =
    [("key_first", CascadeOrder::KeyFirst), ("model_first", CascadeOrder::ModelFirst)];
const WHEN_LIMITED: [(&str, WhenLimited); 2] = [("spill", WhenLimited::Spill), ("wait", WhenLimited::Wait)];
const SPILL: [(&str, SpillTo); 2] = [("any", SpillTo::Any), ("same_model", SpillTo::SameModel)];
const ON_EXHAUSTED: [(&str, OnExhausted); 2] = [("stop", OnExhausted::Stop), ("wait", OnExhausted::Wait)];

/// `strategies_at` says where rules ask for strategies of their own.
pub(super) fn read(
    root: &Table<'_>,
    models: &[Placed],
    rules: Vec<RoutingRule>,
    strategies_at: Vec<(usize, Strategy)>,
) -> Policy {
    let normal = Policy { rules, ..Policy::default() };
    let Some(table) = root.table("policy", &schema::POLICY) else { return normal };
    let tries = |name| table.count(name, 0..=1_000);
    let policy = Policy {
        strategy: table.word("strategy", &strategies()).unwrap_or(normal.strategy),
        order: table.word("order", &ORDERS).unwrap_or(normal.order),
        rotate_keys_daily: table.flag("rotate_keys_daily").unwrap_or(normal.rotate_keys_daily),
        balance_weights: balance(&table).unwrap_or(normal.balance_weights),
        explore_every: table.count("explore", 2..=1_000_000).unwrap_or(normal.explore_every),
        rules: normal.rules,
        when_limited: table.word("when_limited", &WHEN_LIMITED).unwrap_or(normal.when_limited),
        spill_to: table.word("spill", &SPILL).unwrap_or(normal.spill_to),
        spill_after: table.span("spill_after").unwrap_or(normal.spill_after),
        on_exhausted: table.word("on_exhausted", &ON_EXHAUSTED).unwrap_or(normal.on_exhausted),
        max_in_flight: table.count("in_flight", 1..=i64::from(MAX_IN_FLIGHT)).unwrap_or(normal.max_in_flight),
        max_usd: cap(&table, "max_usd", models.iter()),
        max_usd_per_day: cap(&table, "max_usd_per_day", models.iter()),
        backoff: spans(&table, "ladder", true).unwrap_or(normal.backoff),
        backoff_rest: table.positive_span("ladder_rest").unwrap_or(normal.backoff_rest),
        max_retry_after: table.positive_span("max_hint").unwrap_or(normal.max_retry_after),
        retry_delays: spans(&table, "retry_delays", false).unwrap_or(normal.retry_delays),
        retries_per_model: tries("retries_per_model").unwrap_or(normal.retries_per_model),
        max_empty_retries: tries("empty_retries").unwrap_or(normal.max_empty_retries),
        truncated_retry_factor: table.count("retry_truncated_factor", 2..=64).or(normal.truncated_retry_factor),
        next_model_when_blocked: table.flag("blocked_next_model").unwrap_or(normal.next_model_when_blocked),
        max_identical_rejections: table
            .count("refused_alike", 1..=1_000_000)
            .unwrap_or(normal.max_identical_rejections),
        breaker_threshold: table.count("breaker_after", 1..=1_000_000).unwrap_or(normal.breaker_threshold),
        breaker_open_time: table.positive_span("breaker_open").unwrap_or(normal.breaker_open_time),
        breaker_max_open_time: table.positive_span("breaker_max").unwrap_or(normal.breaker_max_open_time),
        billing_retry_interval: table.positive_span("billing_retry").unwrap_or(normal.billing_retry_interval),
        connect_timeout: table.positive_span("connect_timeout").unwrap_or(normal.connect_timeout),
        idle_timeout: table.positive_span("idle_timeout").unwrap_or(normal.idle_timeout),
        total_timeout: table.positive_span("total_timeout").unwrap_or(normal.total_timeout),
        drain_timeout: table.span("drain_timeout").unwrap_or(normal.drain_timeout),
        give_up_after: table.span("give_up_after").unwrap_or(normal.give_up_after),
    };
    if policy.breaker_open_time > policy.breaker_max_open_time {
        let at = table.field("breaker_open").or(table.field("breaker_max")).map_or(table.at, |field| field.at);
        table.sheet.fault(at, "breaker_open is longer than breaker_max, which it doubles up to");
    }
    refuse_conflict(&table, &policy, strategies_at);
    policy
}

/// The strict pipeline walks the cascade's order: another strategy beside it could only be ignored.
fn refuse_conflict(table: &Table<'_>, policy: &Policy, mut strategies: Vec<(usize, Strategy)>) {
    if policy.when_limited != WhenLimited::Wait {
        return;
    }
    strategies.extend(table.field("strategy").map(|field| (field.at, policy.strategy)));
    for (at, strategy) in strategies.into_iter().filter(|(_, strategy)| !strategy.supports_wait()) {
        let message = format!(
            "strategy = \"{}\" does not go with when_limited = \"wait\", the strict pipeline over the cascade's order; \
             take when_limited = \"spill\" or strategy = \"cascade\"",
            strategy.name()
        );
        table.sheet.fault(at, message);
    }
}

/// Every strategy by the word that stands for it.
pub(super) fn strategies() -> [(&'static str, Strategy); Strategy::ALL.len()] {
    Strategy::ALL.map(|strategy| (strategy.name(), strategy))
}

fn balance(policy: &Table<'_>) -> Option<BalanceWeights> {
    let table = policy.table("balance", &schema::BALANCE)?;
    let normal = BalanceWeights::default();
    let side = |name, normal| table.number(name, 0.0..=1_000.0).unwrap_or(normal);
    let balance = BalanceWeights {
        quality: side("quality", normal.quality),
        price: side("price", normal.price),
        wait: side("wait", normal.wait),
    };
    if balance.quality + balance.price + balance.wait <= 0.0 {
        table.sheet.fault(table.at, "balance weighs nothing: at least one of quality, price and wait must be above 0");
    }
    Some(balance)
}

fn spans(table: &Table<'_>, name: &'static str, positive: bool) -> Option<Vec<Duration>> {
    let entries = table.field(name)?.list("durations")?;
    let mut spans = Vec::new();
    for entry in entries {
        let Some(span) = entry.span() else { continue };
        if positive && span.is_zero() {
            table.sheet.fault(entry.at, format!("every step of {name} must be longer than \"0s\""));
        }
        spans.push(span);
    }
    Some(spans)
}

/// A hard cap needs a finite worst case of every model that it covers.
pub(super) fn cap<'m>(
    table: &Table<'_>,
    name: &'static str,
    models: impl Iterator<Item = &'m Placed>,
) -> Option<Money> {
    let field = table.field(name)?;
    let usd = field.number(0.0..=10_000_000.0)?;
    if usd <= 0.0 {
        table.sheet.fault(field.at, format!("{name} must be more than 0; leave it out for no cap"));
        return None;
    }
    hold_to_cap(table, name, &field, models);
    Money::from_usd(usd)
}

/// Faults every model for which a cap could not be kept.
pub(super) fn hold_to_cap<'m>(
    table: &Table<'_>,
    name: &str,
    cap: &Field<'_>,
    models: impl Iterator<Item = &'m Placed>,
) {
    for placed in models {
        if let Some(why) = placed.model.unbounded_cost_reason() {
            let line = table.sheet.line(placed.at);
            let message = format!("{name} is a hard cap, but model {} (line {line}) {why}", placed.model.name);
            table.sheet.fault(cap.at, message);
        }
    }
}
