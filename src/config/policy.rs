//! `[policy]`: how the run works. Settings override the defaults of the domain.

use std::time::Duration;

use super::{
    error::quote_unless_secret,
    models::LocatedModel,
    schema,
    toml_reader::{TomlField, TomlTable},
};
use crate::domain::{BalanceWeights, MAX_IN_FLIGHT, Money, Policy, RoutingRule, Strategy, WhenLimited};

/// Reads the policy. `rule_strategies` contains the strategies that rules set, with their byte offsets.
pub(super) fn read(
    root: &TomlTable<'_>,
    models: &[LocatedModel],
    rules: Vec<RoutingRule>,
    rule_strategies: Vec<(usize, Strategy)>,
) -> Policy {
    let defaults = Policy { rules, ..Policy::default() };
    let Some(table) = root.table("policy", &schema::POLICY) else { return defaults };
    let retry_count = |name| table.count(name, 0..=1_000);
    let idle_timeout = table.positive_duration("idle_timeout").unwrap_or(defaults.idle_timeout);
    let policy = Policy {
        strategy: table.choice("strategy").unwrap_or(defaults.strategy),
        order: table.choice("order").unwrap_or(defaults.order),
        rotate_keys_daily: table.flag("rotate_keys_daily").unwrap_or(defaults.rotate_keys_daily),
        balance_weights: read_balance(&table).unwrap_or(defaults.balance_weights),
        explore_every: table.count("explore", 2..=1_000_000).unwrap_or(defaults.explore_every),
        rules: defaults.rules,
        when_limited: table.choice("when_limited").unwrap_or(defaults.when_limited),
        spill_to: table.choice("spill").unwrap_or(defaults.spill_to),
        spill_after: table.duration("spill_after").unwrap_or(defaults.spill_after),
        on_exhausted: table.choice("on_exhausted").unwrap_or(defaults.on_exhausted),
        max_in_flight: table.count("in_flight", 1..=i64::from(MAX_IN_FLIGHT)).unwrap_or(defaults.max_in_flight),
        max_usd: read_budget(&table, "max_usd", models.iter()),
        max_usd_per_day: read_budget(&table, "max_usd_per_day", models.iter()),
        backoff: read_positive_durations(&table, "backoff").unwrap_or(defaults.backoff),
        backoff_rest: table.positive_duration("backoff_rest").unwrap_or(defaults.backoff_rest),
        max_retry_after: table.positive_duration("max_hint").unwrap_or(defaults.max_retry_after),
        retry_delays: read_durations(&table, "retry_delays").unwrap_or(defaults.retry_delays),
        retries_per_model: retry_count("retries_per_model").unwrap_or(defaults.retries_per_model),
        max_errors_per_model: table.count("max_errors_per_model", 1..=1_000),
        max_attempts: table.count("max_attempts", 1..=1_000),
        max_empty_retries: retry_count("empty_retries").unwrap_or(defaults.max_empty_retries),
        truncated_retry_factor: table.count("retry_truncated_factor", 2..=64).or(defaults.truncated_retry_factor),
        next_model_when_blocked: table.flag("blocked_next_model").unwrap_or(defaults.next_model_when_blocked),
        max_identical_rejections: table
            .count("refused_alike", 1..=1_000_000)
            .unwrap_or(defaults.max_identical_rejections),
        breaker_threshold: table.count("breaker_after", 1..=1_000_000).unwrap_or(defaults.breaker_threshold),
        breaker_open_time: table.positive_duration("breaker_open").unwrap_or(defaults.breaker_open_time),
        breaker_max_open_time: table.positive_duration("breaker_max").unwrap_or(defaults.breaker_max_open_time),
        billing_retry_interval: table.positive_duration("billing_retry").unwrap_or(defaults.billing_retry_interval),
        connect_timeout: table.positive_duration("connect_timeout").unwrap_or(defaults.connect_timeout),
        idle_timeout,
        total_timeout: table.positive_duration("total_timeout").unwrap_or(defaults.total_timeout),
        drain_timeout: table.duration("drain_timeout").unwrap_or(defaults.drain_timeout),
        // A request may be silent for `idle_timeout`. By default, an item isn't given up before its first request is.
        give_up_after: table.duration("give_up_after").unwrap_or(defaults.give_up_after.max(idle_timeout)),
    };
    if policy.breaker_open_time > policy.breaker_max_open_time {
        let offset =
            table.field("breaker_open").or(table.field("breaker_max")).map_or(table.offset, |field| field.offset);
        table.doc.add_error(
            offset,
            "breaker_open must not be longer than breaker_max: it is doubled at every failed probe, up to breaker_max",
        );
    }
    report_strategies_incompatible_with_wait(&table, &policy, rule_strategies);
    policy
}

/// With `when_limited = "wait"`, reports an error for each strategy other than the cascade: items then follow the
/// cascade's order, so another strategy would be ignored.
fn report_strategies_incompatible_with_wait(
    table: &TomlTable<'_>,
    policy: &Policy,
    mut strategies: Vec<(usize, Strategy)>,
) {
    if policy.when_limited != WhenLimited::Wait {
        return;
    }
    strategies.extend(table.field("strategy").map(|field| (field.offset, policy.strategy)));
    for (offset, strategy) in strategies.into_iter().filter(|(_, strategy)| !strategy.supports_wait()) {
        let message = format!(
            "strategy = \"{}\" can't be combined with when_limited = \"wait\", which always follows the cascade's \
             order; use when_limited = \"spill\" or strategy = \"cascade\"",
            strategy.name()
        );
        table.doc.add_error(offset, message);
    }
}

fn read_balance(policy: &TomlTable<'_>) -> Option<BalanceWeights> {
    let table = policy.table("balance", &schema::BALANCE)?;
    let defaults = BalanceWeights::default();
    let weight = |name, default_weight| table.number(name, 0.0..=1_000.0).unwrap_or(default_weight);
    let balance = BalanceWeights {
        quality: weight("quality", defaults.quality),
        price: weight("price", defaults.price),
        wait: weight("wait", defaults.wait),
    };
    if balance.quality + balance.price + balance.wait <= 0.0 {
        table.doc.add_error(table.offset, "balance: at least one of quality, price and wait must be greater than 0");
    }
    Some(balance)
}

fn read_durations(table: &TomlTable<'_>, name: &'static str) -> Option<Vec<Duration>> {
    let entries = table.field(name)?.list("durations")?;
    Some(entries.iter().filter_map(TomlField::duration).collect())
}

fn read_positive_durations(table: &TomlTable<'_>, name: &'static str) -> Option<Vec<Duration>> {
    let field = table.field(name)?;
    let mut durations = Vec::new();
    for entry in field.list("durations")? {
        let Some(duration) = entry.duration() else { continue };
        if duration.is_zero() {
            table.doc.add_error(entry.offset, format!("every step of {} must be longer than \"0s\"", field.name));
        }
        durations.push(duration);
    }
    Some(durations)
}

/// Reads a budget in dollars. For every model that it covers, the highest possible cost of a request must be known.
pub(super) fn read_budget<'m>(
    table: &TomlTable<'_>,
    name: &'static str,
    models: impl Iterator<Item = &'m LocatedModel>,
) -> Option<Money> {
    let field = table.field(name)?;
    let usd = field.number(0.0..=10_000_000.0)?;
    if usd <= 0.0 {
        table.doc.add_error(field.offset, format!("{name} must be more than 0; leave it out for no cap"));
        return None;
    }
    report_unbounded_costs(table, name, &field, models);
    Money::from_usd(usd)
}

/// Reports an error for each model for which a budget can't be guaranteed, since a request's cost has no upper bound.
pub(super) fn report_unbounded_costs<'m>(
    table: &TomlTable<'_>,
    name: &str,
    budget_field: &TomlField<'_>,
    models: impl Iterator<Item = &'m LocatedModel>,
) {
    for located in models {
        if let Some(reason) = located.model.unbounded_cost_reason() {
            let line = table.doc.line_number(located.name_offset);
            let model = quote_unless_secret(&located.model.name);
            let message = format!("{name} is a hard cap, but model {model} (line {line}) {reason}");
            table.doc.add_error(budget_field.offset, message);
        }
    }
}
