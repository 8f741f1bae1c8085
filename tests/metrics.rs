//! The text of the metrics: what a snapshot becomes, and that the documentation, the dashboard and the alert rules name
//! metrics that exist.

#![allow(clippy::float_cmp, reason = "the values are whole numbers")]

use std::{collections::BTreeSet, fs, path::Path, sync::Arc, time::Duration};

use cascadeck::{
    domain::{
        CostByKind, CountedAttempt, FinalState, KeyRole, LimitDimension, LimitSource, MetricCounts, Money, Outcome,
        RouteId, RouteLabels, Snapshot, Usage, WallTime,
        bottleneck::{Bottleneck, BottleneckShare},
        snapshot::{
            Cause, CauseSource, Condition, CooldownView, Gauge, KeyView, MetricsView, PoolView, RunState, Spend,
            Throughput, Totals, WaitingItems,
        },
    },
    metrics::{TextFormat, render},
};

use crate::harness::open_metrics::OpenMetrics;

const NOON: WallTime = WallTime::from_unix_seconds(1_795_262_400);

fn after(seconds: u64) -> WallTime {
    NOON + Duration::from_secs(seconds)
}

fn cause(outcome: Outcome) -> Cause {
    let message = "the provider's words".to_owned();
    Cause { outcome, source: CauseSource::Provider, message, since: NOON, status: None }
}

fn key(name: &str, health: u8, condition: Condition) -> KeyView {
    KeyView {
        name: name.to_owned(),
        provider: "gemini".to_owned(),
        project: "lab".to_owned(),
        role: KeyRole::Primary,
        health,
        ok: 1,
        failed: 0,
        in_flight: 1,
        condition,
        usage: Usage::default(),
        cost: Money::ZERO,
        cost_by_kind: CostByKind::default(),
        last_error: Some("a last error".to_owned()),
    }
}

fn route(key: &str) -> RouteLabels {
    RouteLabels { provider: "gemini".to_owned(), model: "flash".to_owned(), key: key.to_owned() }
}

fn attempt(status: Option<u16>, outcome: Outcome, ms: u64) -> CountedAttempt {
    let usage = Usage {
        input_tokens: 100,
        output_tokens: 20,
        thinking_tokens: 3,
        cached_input_tokens: 40,
        cache_write_tokens: 10,
        cache_write_1h_tokens: 5,
    };
    let usage = if outcome.is_answered() { usage } else { Usage::default() };
    CountedAttempt { status, outcome, usage, cost: Money(2_000_000), latency: Duration::from_millis(ms) }
}

fn counts(routes: [RouteLabels; 2]) -> MetricCounts {
    let mut counts = MetricCounts::new(routes.into_iter());
    counts.count_attempt(0, &attempt(Some(200), Outcome::Ok, 800));
    counts.count_attempt(0, &attempt(Some(200), Outcome::Truncated, 1_200));
    counts.count_attempt(0, &attempt(Some(429), Outcome::RateLimitedMinute, 50));
    counts.count_attempt(1, &attempt(None, Outcome::Timeout, 60_000));
    counts.count_attempt(1, &attempt(None, Outcome::ClientTrouble, 1));
    counts.count_requeue(RouteId(0), Some(RouteId(1)), Outcome::RateLimitedMinute);
    counts.count_requeue(RouteId(1), None, Outcome::Timeout);
    counts.count_ends(FinalState::Done, Outcome::Ok, 1);
    counts.count_ends(FinalState::Done, Outcome::Truncated, 1);
    counts.count_ends(FinalState::Failed, Outcome::ContentBlocked, 1);
    counts.record_commit(Duration::from_millis(4));
    counts
}

fn small_run() -> Snapshot {
    let exhausted = Condition::Exhausted { until: after(3_600), cause: cause(Outcome::QuotaExhaustedDay) };
    let gauge = |used, limit, source| Gauge { used, limit: Some(limit), source: Some(source) };
    Snapshot {
        elapsed: Duration::from_millis(90_500),
        totals: Totals { total: 20, waiting: 15, in_flight: 2, done: 2, failed: 1, truncated: 1, ..Totals::default() },
        max_in_flight: 16,
        spend: Spend {
            cost: Money(8_000_000),
            reserved: Money(4_000_000),
            at_risk: Money(1_000_000),
            budget: Some(Money(100_000_000)),
            ..Spend::default()
        },
        throughput: Throughput { items_per_second: 0.5, finish_at: Some(after(600)) },
        bottlenecks: vec![
            BottleneckShare { bottleneck: Bottleneck::RequestsPerMinute, share: 0.75 },
            BottleneckShare { bottleneck: Bottleneck::Sending, share: 0.25 },
        ],
        keys: vec![key("alice", 95, Condition::Ready), key("bob", 20, exhausted)],
        cooldowns: vec![CooldownView {
            subject: "flash@lab".to_owned(),
            started_at: NOON,
            until: after(3_600),
            cause: cause(Outcome::QuotaExhaustedDay),
        }],
        metrics: MetricsView {
            counts: Arc::new(counts([route("alice"), route("bob")])),
            pools: vec![PoolView {
                provider: "gemini".to_owned(),
                name: "flash@lab".to_owned(),
                quotas: vec![
                    (LimitDimension::RequestsPerMinute, gauge(4, 5, LimitSource::Configured)),
                    (LimitDimension::RequestsPerDay, gauge(21, 20, LimitSource::Provider)),
                ],
            }],
            waiting: WaitingItems { held_back: 3, retry_delay: 1, bottleneck: Some(Bottleneck::RequestsPerMinute) },
        },
        ..Snapshot::empty("photos", NOON, 1.0)
    }
}

fn render_at(snapshot: Snapshot, now: WallTime) -> String {
    render(Arc::new(snapshot), now, TextFormat::OpenMetrics)
}

#[test]
fn a_snapshot_has_one_text() {
    let text = render_at(small_run(), NOON);
    insta::assert_snapshot!("small_run", text.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
    OpenMetrics::parse(&text);
    for secret in ["the provider's words", "a last error"] {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[test]
fn an_empty_run_has_metrics_too() {
    let parsed = OpenMetrics::parse(&render_at(Snapshot::empty("r", NOON, 1.0), NOON));
    assert_eq!(parsed.sum("cascadeck_build_info", &[]), 1.0);
    assert_eq!(parsed.sum("cascadeck_run_state", &[]), 1.0);
    assert_eq!(parsed.sum("cascadeck_run_state", &[("state", "running")]), 1.0);
}

#[test]
fn every_state_of_the_run_and_of_a_key_is_counted_once() {
    let reason = || "x".to_owned();
    let states = [
        RunState::Running,
        RunState::Waiting { reason: reason(), until: None },
        RunState::Pausing,
        RunState::Paused,
        RunState::NeedsOperator { reason: reason() },
        RunState::Draining,
        RunState::Stopped { reason: reason() },
        RunState::Finished,
    ];
    for state in states {
        let name = state.name();
        let parsed = OpenMetrics::parse(&render_at(Snapshot { state, ..small_run() }, NOON));
        assert_eq!(parsed.sum("cascadeck_run_state", &[]), 1.0, "{name}");
        assert_eq!(parsed.sum("cascadeck_run_state", &[("state", name)]), 1.0, "{name}");
        assert_eq!(parsed.sum("cascadeck_items_waiting", &[]), 15.0, "{name}");
    }
    let limited = |limit: &str| Condition::Limited { limit: limit.to_owned(), until: None };
    let conditions = [
        (Condition::Ready, "ready", 1.0),
        (limited("RPM"), "limited", 1.0),
        (limited("budget reached"), "budget_reached", 0.0),
        (Condition::CoolingDown { until: NOON, cause: cause(Outcome::Overloaded) }, "cooldown", 0.0),
        (Condition::Exhausted { until: NOON, cause: cause(Outcome::QuotaExhaustedDay) }, "exhausted", 0.0),
        (Condition::CircuitOpen { until: NOON, cause: cause(Outcome::ServerError) }, "circuit_open", 0.0),
        (Condition::Disabled { since: NOON, cause: cause(Outcome::InvalidKey) }, "disabled", 0.0),
        (Condition::SwitchedOff { since: NOON }, "switched_off", 0.0),
    ];
    for (condition, name, available) in conditions {
        let keys = vec![key("alice", 100, condition)];
        let parsed = OpenMetrics::parse(&render_at(Snapshot { keys, ..small_run() }, NOON));
        assert_eq!(parsed.sum("cascadeck_keys", &[]), 1.0, "{name}");
        assert_eq!(parsed.sum("cascadeck_keys", &[("state", name)]), 1.0, "{name}");
        assert_eq!(parsed.sum("cascadeck_key_state", &[("state", name)]), 1.0, "{name}");
        assert_eq!(parsed.sum("cascadeck_available_keys", &[("provider", "gemini")]), available, "{name}");
    }
}

#[test]
fn the_source_of_a_cooldown_is_a_label() {
    let sources =
        [(CauseSource::Provider, "provider"), (CauseSource::Measured, "measured"), (CauseSource::Backoff, "backoff")];
    for (source, name) in sources {
        let mut run = small_run();
        run.cooldowns[0].cause.source = source;
        let parsed = OpenMetrics::parse(&render_at(run, NOON));
        assert_eq!(parsed.sum("cascadeck_cooldown_left_seconds", &[("source", name)]), 3_600.0, "{name}");
    }
}

#[test]
fn unlimited_quotas_are_absent() {
    let mut run = small_run();
    let unlimited = Gauge { used: 7, limit: None, source: None };
    run.metrics.pools[0].quotas = vec![(LimitDimension::Concurrency, unlimited)];
    let parsed = OpenMetrics::parse(&render_at(run, NOON));
    assert!(!parsed.samples.iter().any(|sample| sample.name.starts_with("cascadeck_quota_")));
}

#[test]
fn remaining_times_count_from_now_and_end_at_zero() {
    for (now, left) in [(NOON, 3_600.0), (after(600), 3_000.0), (after(9_999), 0.0)] {
        let parsed = OpenMetrics::parse(&render_at(small_run(), now));
        assert_eq!(parsed.sum("cascadeck_cooldown_left_seconds", &[("subject", "flash@lab")]), left);
    }
    let over = Snapshot { state: RunState::Finished, ..small_run() };
    assert!(!render_at(over, NOON).contains("\ncascadeck_eta_seconds"), "a run that is over has no end to wait for");
}

/// A run in which everything that has a name has this one.
fn hostile_run(name: &str) -> Snapshot {
    let mut run = small_run();
    name.clone_into(&mut run.run);
    name.clone_into(&mut run.cooldowns[0].subject);
    run.keys.truncate(1);
    (run.keys[0].provider, run.keys[0].name) = (name.to_owned(), name.to_owned());
    (run.metrics.pools[0].provider, run.metrics.pools[0].name) = (name.to_owned(), name.to_owned());
    let route =
        |key: &str| RouteLabels { provider: name.to_owned(), model: name.to_owned(), key: format!("{name}{key}") };
    run.metrics.counts = Arc::new(counts([route(""), route("2")]));
    run
}

#[test]
fn hostile_names_stay_inside_their_label() {
    let types = OpenMetrics::parse(&render_at(small_run(), NOON)).types;
    let names = [
        "a\"} 1\nx{y=\"\\",
        "\\",
        "\"",
        "\r\n# EOF\n",
        "\0\t\u{7f}",
        "\u{1b}[2J",
        "\u{85}\u{9b}2J",
        "\u{202e}\u{2028}",
    ];
    for name in names {
        let text = render_at(hostile_run(name), NOON);
        let parsed = OpenMetrics::parse(&text);
        assert_eq!(parsed.types, types, "{name:?}");
        assert_eq!(parsed.sum("cascadeck_requests_total", &[]), 4.0, "{name:?}");
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{name:?}: nothing that a terminal acts on");
    }
    let parsed = OpenMetrics::parse(&render_at(hostile_run("a\"\\n"), NOON));
    assert_eq!(parsed.sum("cascadeck_run_info", &[("run", "a\"\\n")]), 1.0, "the value is the name itself");
}

#[test]
fn samples_with_the_same_labels_are_one() {
    let mut counts = counts([route("alice"), route("alice")]);
    counts.count_attempt(1, &attempt(Some(200), Outcome::Ok, 100));
    let mut run = small_run();
    run.cooldowns.push(CooldownView { until: after(7_200), ..run.cooldowns[0].clone() });
    run.metrics.pools.push(run.metrics.pools[0].clone());
    run.metrics.counts = Arc::new(counts);
    let parsed = OpenMetrics::parse(&render_at(run, NOON));
    assert_eq!(parsed.sum("cascadeck_requests_total", &[("outcome", "ok")]), 2.0);
    assert_eq!(parsed.sum("cascadeck_cooldown_left_seconds", &[]), 7_200.0);
}

#[test]
fn plain_text_has_the_same_samples() {
    for run in [small_run(), hostile_run("a\"} 1\nx{y=\"\\")] {
        let text = render(Arc::new(run.clone()), NOON, TextFormat::Prometheus);
        assert!(text.contains("# TYPE cascadeck_requests_total counter\n"), "{text}");
        assert!(!text.contains("# EOF") && !text.contains("# UNIT"), "{text}");
        // The formats write the bounds of buckets differently.
        let is_sample = |line: &&str| !line.starts_with('#') && !line.contains("le=\"");
        let open_metrics = render_at(run, NOON);
        let want: BTreeSet<&str> = open_metrics.lines().filter(is_sample).collect();
        assert_eq!(text.lines().filter(is_sample).collect::<BTreeSet<_>>(), want);
    }
}

/// The names that a query can use.
fn sample_names() -> BTreeSet<String> {
    OpenMetrics::parse(&render_at(small_run(), NOON)).samples.into_iter().map(|sample| sample.name).collect()
}

/// All words of a text that begin with the prefix of the metrics.
fn mentioned_names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("cascadeck_")).map(str::to_owned).collect()
}

#[test]
fn every_metric_is_documented_and_nothing_else_is_named() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names = sample_names();
    let documented = mentioned_names(&fs::read_to_string(root.join("docs/metrics.md")).unwrap());
    let family = |name: &String| ["_bucket", "_count", "_sum"].iter().fold(name.clone(), |it, end| it.replace(end, ""));
    let missing: Vec<&String> = names.iter().filter(|name| !documented.contains(&family(name))).collect();
    assert_eq!(missing, [""; 0], "not in docs/metrics.md");
    for file in ["docs/metrics.md", "assets/grafana/dashboard.json", "assets/grafana/alerts.yml"] {
        let text = fs::read_to_string(root.join(file)).unwrap();
        let families: BTreeSet<String> = names.iter().map(family).collect();
        let unknown: Vec<String> = mentioned_names(&text)
            .into_iter()
            .filter(|name| !names.contains(name) && !families.contains(name))
            .collect();
        assert_eq!(unknown, [""; 0], "{file} names metrics that don't exist");
        assert!(mentioned_names(&text).len() > 5, "{file}");
    }
    let dashboard = fs::read_to_string(root.join("assets/grafana/dashboard.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() > 10);
}
