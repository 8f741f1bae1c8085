//! All metrics, and how each follows from a snapshot. `docs/metrics.md` describes them.

use std::{collections::BTreeMap, fmt};

use super::family_writer::{
    Family, FamilyWriter,
    MetricUnit::{Ratio, Seconds, Usd},
};
use crate::domain::{
    CountedStatus, FinalState, Snapshot, Usage, WallTime,
    metric_counts::RouteCounts,
    snapshot::{CauseSource, Condition, RunState},
};

const RUN_STATES: [&str; 8] = ["running", "waiting", "pausing", "paused", "held", "draining", "stopped", "finished"];

/// The values of [`condition_label`].
const KEY_STATES: [&str; 8] =
    ["ready", "limited", "cooldown", "exhausted", "circuit_open", "disabled", "switched_off", "budget_reached"];

/// The label for something that is counted without its own name, because there are too many.
const OTHER: &str = "other";

const fn family(name: &'static str, help: &'static str) -> Family {
    Family { name, unit: None, help }
}

const fn in_seconds(name: &'static str, help: &'static str) -> Family {
    Family { name, unit: Some(Seconds), help }
}

const fn in_usd(name: &'static str, help: &'static str) -> Family {
    Family { name, unit: Some(Usd), help }
}

const fn as_ratio(name: &'static str, help: &'static str) -> Family {
    Family { name, unit: Some(Ratio), help }
}

pub(super) fn write_all(writer: &mut FamilyWriter<'_>, snapshot: &Snapshot, now: WallTime) -> fmt::Result {
    write_run(writer, snapshot, now)?;
    write_items(writer, snapshot)?;
    write_attempts(writer, snapshot)?;
    write_usage(writer, snapshot)?;
    write_money(writer, snapshot)?;
    write_keys(writer, snapshot)?;
    write_cooldowns(writer, snapshot, now)?;
    write_quotas(writer, snapshot)
}

fn write_run(writer: &mut FamilyWriter<'_>, snapshot: &Snapshot, now: WallTime) -> fmt::Result {
    writer.gauge(
        family("cascadeck_build_info", "Always 1; the version of the program."),
        ["version"],
        [([env!("CARGO_PKG_VERSION")], 1_u64)],
    )?;
    writer.gauge(
        family("cascadeck_run_info", "Always 1; the name and the strategy of the run."),
        ["run", "strategy"],
        [([snapshot.run.as_str(), snapshot.strategy.name()], 1_u64)],
    )?;
    let state = snapshot.state.name();
    writer.gauge(
        family("cascadeck_run_state", "1 for the state of the run, 0 for all other states."),
        ["state"],
        RUN_STATES.map(|name| ([name], u64::from(name == state))),
    )?;
    writer.counter(
        in_seconds("cascadeck_run_active", "How long processes have worked on the run."),
        [],
        [([], snapshot.elapsed.as_secs_f64())],
    )?;
    writer.gauge(
        family("cascadeck_input_reading", "1 while the input is being read and the number of items still grows."),
        [],
        [([], u64::from(snapshot.totals.ingesting))],
    )?;
    let finish = snapshot.throughput.finish_at.filter(|_| !snapshot.state.is_over());
    writer.gauge(
        in_seconds("cascadeck_eta", "Time until the run is finished, by the forecast; absent if it can't be told."),
        [],
        finish.map(|at| ([], at.since(now).as_secs_f64())),
    )?;
    writer.gauge(
        as_ratio("cascadeck_bottleneck", "Share of the last five minutes in which this limited the run."),
        ["reason"],
        snapshot.bottlenecks.iter().map(|it| ([it.bottleneck.name()], it.share)),
    )?;
    writer.histogram(
        in_seconds("cascadeck_commit_duration", "Real time of commits to the run's database, by this process."),
        [],
        [([], snapshot.metrics.counts.commits())],
    )
}

fn write_items(writer: &mut FamilyWriter<'_>, snapshot: &Snapshot) -> fmt::Result {
    let totals = &snapshot.totals;
    writer.gauge(
        family("cascadeck_items", "Items by their state; all of them together are the items read so far."),
        ["state"],
        [
            (["waiting"], totals.waiting),
            (["in_flight"], totals.in_flight),
            (["done"], totals.done),
            (["failed"], totals.failed),
        ],
    )?;
    writer.gauge(
        family("cascadeck_items_truncated", "Done items whose answer was cut off at a token limit."),
        [],
        [([], totals.truncated)],
    )?;
    writer.counter(
        family(
            "cascadeck_items_ended",
            "Ends of items by state and outcome; a replayed item that ends again counts again.",
        ),
        ["state", "outcome"],
        snapshot
            .metrics
            .counts
            .ends()
            .map(|(state, outcome, items)| ([final_state_name(state), outcome.name()], items)),
    )?;
    writer.gauge(
        family("cascadeck_items_waiting", "Waiting items by what they wait for."),
        ["reason"],
        waiting_by_reason(snapshot).into_iter().map(|(reason, items)| ([reason], items)),
    )
}

/// The waiting items by reason. They add up to the number of waiting items.
fn waiting_by_reason(snapshot: &Snapshot) -> Vec<(&'static str, u64)> {
    let (waiting, reasons) = (snapshot.totals.waiting, snapshot.metrics.waiting);
    if snapshot.state.is_over() {
        return vec![("run_ended", waiting)];
    }
    let held_back = reasons.held_back.min(waiting);
    let retry_delay = reasons.retry_delay.min(waiting - held_back);
    let others = waiting - held_back - retry_delay;
    let bottleneck = match snapshot.state {
        RunState::Paused | RunState::Pausing => "paused",
        RunState::Draining => "draining",
        _ => reasons.bottleneck.map_or("starting", |bottleneck| bottleneck.name()),
    };
    let counts = [("held_back", held_back), ("retry_delay", retry_delay), (bottleneck, others)];
    // If all others are in a retry delay too, they share the reason.
    let mut by_reason: BTreeMap<&'static str, u64> = BTreeMap::new();
    for (reason, items) in counts {
        *by_reason.entry(reason).or_default() += items;
    }
    by_reason.into_iter().collect()
}

const fn final_state_name(state: FinalState) -> &'static str {
    match state {
        FinalState::Done => "done",
        FinalState::Failed => "failed",
    }
}

fn write_attempts(writer: &mut FamilyWriter<'_>, snapshot: &Snapshot) -> fmt::Result {
    let counts = &snapshot.metrics.counts;
    let requests: Vec<(&RouteCounts, String, &'static str, u64)> = counts
        .routes()
        .flat_map(|route| route.attempts().map(move |attempts| (route, attempts)))
        .filter(|(_, (_, outcome, _))| !outcome.is_local())
        .map(|(route, (status, outcome, count))| (route, status_label(status), outcome.name(), count))
        .collect();
    writer.counter(
        family("cascadeck_requests", "Requests sent whose outcome is known; the status is none if no response came."),
        ["provider", "model", "key", "status", "outcome"],
        requests.iter().map(|(route, status, outcome, count)| {
            let labels = route.labels();
            ([&labels.provider, &labels.model, &labels.key, status, *outcome], *count)
        }),
    )?;
    writer.counter(
        family("cascadeck_attempts", "Completed attempts by outcome, those included for which nothing was sent."),
        ["outcome"],
        counts.routes().flat_map(RouteCounts::attempts).map(|(_, outcome, count)| ([outcome.name()], count)),
    )?;
    let fallbacks: Vec<([String; 2], &'static str, u64)> = counts
        .fallbacks()
        .map(|(routes, reason, count)| {
            let names = routes.map_or_else(
                || [OTHER.to_owned(), OTHER.to_owned()],
                |(from, to)| [from, to].map(|route| format!("{}@{}", route.model, route.key)),
            );
            (names, reason.name(), count)
        })
        .collect();
    writer.counter(
        family("cascadeck_fallbacks", "Failed attempts of this process after which the item went to another route."),
        ["from", "to", "reason"],
        fallbacks.iter().map(|([from, to], reason, count)| ([from.as_str(), to.as_str(), *reason], *count)),
    )?;
    writer.counter(
        family(
            "cascadeck_retries",
            "Failed attempts of this process after which the item waited, or stayed on its route.",
        ),
        ["reason"],
        counts.retries().map(|(reason, count)| ([reason.name()], count)),
    )?;
    writer.histogram(
        in_seconds("cascadeck_request_duration", "Latency of answered requests."),
        ["provider", "model"],
        counts.latencies().map(|it| ([it.provider.as_str(), it.model.as_str()], &it.histogram)),
    )?;
    writer.gauge(
        family("cascadeck_requests_in_flight", "Requests in flight."),
        ["provider", "key"],
        snapshot.keys.iter().map(|key| ([key.provider.as_str(), key.name.as_str()], key.in_flight)),
    )?;
    writer.gauge(
        family("cascadeck_requests_in_flight_limit", "The run's limit on requests in flight."),
        [],
        [([], snapshot.max_in_flight)],
    )
}

fn status_label(status: CountedStatus) -> String {
    match status {
        CountedStatus::None => "none".to_owned(),
        CountedStatus::Code(code) => code.to_string(),
        CountedStatus::Other => OTHER.to_owned(),
    }
}

fn write_usage(writer: &mut FamilyWriter<'_>, snapshot: &Snapshot) -> fmt::Result {
    let routes = || snapshot.metrics.counts.routes();
    writer.counter(
        family("cascadeck_tokens", "Tokens by kind, as the providers counted them; thinking is not part of output."),
        ["provider", "model", "key", "kind"],
        routes().flat_map(|route| {
            let labels = route.labels();
            let kinds = tokens_by_kind(route.usage());
            kinds.map(|(kind, tokens)| ([labels.provider.as_str(), &labels.model, &labels.key, kind], tokens))
        }),
    )?;
    writer.counter(
        in_usd("cascadeck_cost", "Cost of all answers."),
        ["provider", "model", "key"],
        routes().map(|route| {
            let labels = route.labels();
            ([labels.provider.as_str(), &labels.model, &labels.key], route.cost().as_usd())
        }),
    )
}

/// The kinds don't overlap: cached input and cache writes are not part of `input` here.
fn tokens_by_kind(usage: Usage) -> [(&'static str, u64); 6] {
    let Usage {
        input_tokens,
        output_tokens,
        thinking_tokens,
        cached_input_tokens,
        cache_write_tokens,
        cache_write_1h_tokens,
    } = usage;
    let cached = cached_input_tokens.saturating_add(cache_write_tokens).saturating_add(cache_write_1h_tokens);
    [
        ("input", input_tokens.saturating_sub(cached)),
        ("cached_input", cached_input_tokens),
        ("cache_write", cache_write_tokens),
        ("cache_write_1h", cache_write_1h_tokens),
        ("output", output_tokens),
        ("thinking", thinking_tokens),
    ]
}

fn write_money(writer: &mut FamilyWriter<'_>, snapshot: &Snapshot) -> fmt::Result {
    let spend = &snapshot.spend;
    writer.gauge(
        in_usd("cascadeck_reserved", "Worst-case cost of the requests in flight."),
        [],
        [([], spend.reserved.as_usd())],
    )?;
    writer.gauge(
        in_usd(
            "cascadeck_at_risk",
            "Worst-case cost of attempts that ended without an answer and may have been billed.",
        ),
        [],
        [([], spend.at_risk.as_usd())],
    )?;
    writer.gauge(
        in_usd("cascadeck_budget", "The run's budget; absent if there is none."),
        [],
        spend.budget.map(|budget| ([], budget.as_usd())),
    )?;
    let left = |budget: crate::domain::Money| {
        budget.saturating_sub(spend.cost).saturating_sub(spend.at_risk).saturating_sub(spend.reserved)
    };
    writer.gauge(
        in_usd("cascadeck_budget_left", "The budget less cost, at risk and reserved; absent if there is no budget."),
        [],
        spend.budget.map(|budget| ([], left(budget).as_usd())),
    )
}

fn write_keys(writer: &mut FamilyWriter<'_>, snapshot: &Snapshot) -> fmt::Result {
    let keys = &snapshot.keys;
    let mut available: BTreeMap<&str, u64> = BTreeMap::new();
    let mut by_state: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for key in keys {
        *available.entry(&key.provider).or_default() += u64::from(is_available(&key.condition));
        let key_state = condition_label(&key.condition);
        for state in KEY_STATES {
            let is_this = state == key_state;
            *by_state.entry((&key.provider, state)).or_default() += u64::from(is_this);
        }
    }
    writer.gauge(
        family("cascadeck_available_keys", "Keys that can be used now, or that wait for a minute's limit only."),
        ["provider"],
        available.into_iter().map(|(provider, count)| ([provider], count)),
    )?;
    writer.gauge(
        family("cascadeck_keys", "Keys by their state."),
        ["provider", "state"],
        by_state.into_iter().map(|((provider, state), count)| ([provider, state], count)),
    )?;
    writer.gauge(
        family("cascadeck_key_state", "Always 1; the state of each key."),
        ["provider", "key", "state"],
        keys.iter().map(|key| ([key.provider.as_str(), &key.name, condition_label(&key.condition)], 1_u64)),
    )?;
    writer.gauge(
        as_ratio("cascadeck_key_health", "Health of each key, from 0 to 1."),
        ["provider", "key"],
        keys.iter().map(|key| ([key.provider.as_str(), &key.name], f64::from(key.health) / 100.0)),
    )
}

fn condition_label(condition: &Condition) -> &'static str {
    match condition {
        Condition::Ready => "ready",
        Condition::Limited { .. } if condition.is_budget_reached() => "budget_reached",
        Condition::Limited { .. } => "limited",
        Condition::CoolingDown { .. } => "cooldown",
        Condition::Exhausted { .. } => "exhausted",
        Condition::CircuitOpen { .. } => "circuit_open",
        Condition::Disabled { .. } => "disabled",
        Condition::SwitchedOff { .. } => "switched_off",
    }
}

fn is_available(condition: &Condition) -> bool {
    match condition {
        Condition::Ready => true,
        Condition::Limited { .. } => !condition.is_budget_reached(),
        Condition::CoolingDown { .. }
        | Condition::Exhausted { .. }
        | Condition::CircuitOpen { .. }
        | Condition::Disabled { .. }
        | Condition::SwitchedOff { .. } => false,
    }
}

fn write_cooldowns(writer: &mut FamilyWriter<'_>, snapshot: &Snapshot, now: WallTime) -> fmt::Result {
    writer.gauge(
        in_seconds("cascadeck_cooldown_left", "Time until a cooldown or an open circuit breaker ends."),
        ["subject", "reason", "source"],
        // They are sorted by their end, so that of several with the same labels the longest one counts.
        snapshot.cooldowns.iter().map(|cooldown| {
            let cause = &cooldown.cause;
            let labels = [cooldown.subject.as_str(), cause.outcome.name(), source_label(cause.source)];
            (labels, cooldown.until.since(now).as_secs_f64())
        }),
    )
}

const fn source_label(source: CauseSource) -> &'static str {
    match source {
        CauseSource::Provider => "provider",
        CauseSource::Measured => "measured",
        CauseSource::Backoff => "backoff",
    }
}

/// One limit of a quota pool, and what is used of it.
struct LimitedQuota<'s> {
    /// Provider, pool and limit.
    labels: [&'s str; 3],
    source: &'static str,
    limit: u64,
    used: u64,
}

fn limited_quotas(snapshot: &Snapshot) -> Vec<LimitedQuota<'_>> {
    let quotas = snapshot.metrics.pools.iter().flat_map(|pool| pool.quotas.iter().map(move |quota| (pool, quota)));
    quotas
        .filter_map(|(pool, (dimension, gauge))| {
            Some(LimitedQuota {
                labels: [&pool.provider, &pool.name, dimension.name()],
                source: gauge.source.map_or("", |source| source.name()),
                limit: gauge.limit?,
                used: gauge.used,
            })
        })
        .collect()
}

fn write_quotas(writer: &mut FamilyWriter<'_>, snapshot: &Snapshot) -> fmt::Result {
    let quotas = limited_quotas(snapshot);
    writer.gauge(
        family("cascadeck_quota_limit", "The limit of a quota pool, and where it comes from."),
        ["provider", "pool", "limit", "source"],
        quotas.iter().map(|quota| {
            let [provider, pool, limit] = quota.labels;
            ([provider, pool, limit, quota.source], quota.limit)
        }),
    )?;
    writer.gauge(
        family("cascadeck_quota_used", "What is used of a limited quota now."),
        ["provider", "pool", "limit"],
        quotas.iter().map(|quota| (quota.labels, quota.used)),
    )?;
    writer.gauge(
        family("cascadeck_quota_left", "What is left of a limited quota now."),
        ["provider", "pool", "limit"],
        quotas.iter().map(|quota| (quota.labels, quota.limit.saturating_sub(quota.used))),
    )
}
