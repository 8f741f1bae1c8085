//! Fixed snapshots and items: what the screens are judged by.

use std::{sync::Arc, time::Duration};

use cascadeck::domain::{
    Api, AttemptRow, CascadeOrder, Day, Event, EventKind, FailureGroup, Forecast, ItemDetail, ItemRow, ItemState,
    Money, OnExhausted, Outcome, Role, Snapshot, Strategy, Usage, Wall, WhenLimited,
    event::Level,
    failure::pattern,
    forecast::{BeforeReset, Bind, Constraint, RunsOut, Saving},
    holding::{Hold, HoldShare},
    snapshot::{
        Cause, Condition, CooldownView, Gauge, KeyView, ModelView, Pace, Place, RouteView, RunState, Source, Spend,
        Totals,
    },
};

/// 2026-11-21 14:08:52 UTC.
pub const NOW: Wall = Wall(1_795_270_132_000_000);

pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn usd(amount: f64) -> Money {
    Money::from_usd(amount).unwrap()
}

fn cause(outcome: Outcome, source: Source, words: &str, ago: u64) -> Cause {
    Cause { outcome, source, words: words.to_owned(), since: NOW - seconds(ago) }
}

const MIDNIGHT_PACIFIC: u64 = 17 * 3_600 + 51 * 60 + 8;

fn key(name: &str, project: &str, health: u8, ok: u64, failed: u64, in_flight: u32, condition: Condition) -> KeyView {
    KeyView {
        name: name.to_owned(),
        provider: "gemini".to_owned(),
        project: project.to_owned(),
        role: Role::Primary,
        health,
        ok,
        failed,
        in_flight,
        condition,
        usage: Usage { input_tokens: ok * 420, output_tokens: ok * 45, thinking_tokens: 0 },
        cost: usd(ok as f64 * 0.000_25),
        last_error: (failed > 0).then(|| "Resource has been exhausted (e.g. check quota).".to_owned()),
    }
}

#[derive(Clone, Copy)]
struct Quota(Gauge, Gauge, Gauge);

fn gauge(used: u64, limit: u64) -> Gauge {
    Gauge { used, limit: Some(limit), provenance: None }
}

fn model(name: &str, quota: Quota, ok: u64, failed: u64, p50: u64, p95: u64) -> ModelView {
    ModelView {
        name: name.to_owned(),
        provider: "gemini".to_owned(),
        api: Api::Gemini,
        vision: true,
        on: true,
        rpm: quota.0,
        tpm: quota.1,
        rpd: quota.2,
        day: Day::Pacific,
        day_resets_at: Some(NOW + seconds(MIDNIGHT_PACIFIC)),
        in_flight: 3,
        ok,
        failed,
        mean_ms: Some(p50 + 100),
        p50_ms: Some(p50),
        p95_ms: Some(p95),
        usage: Usage { input_tokens: ok * 420, output_tokens: ok * 45, thinking_tokens: ok * 10 },
        cost: usd(ok as f64 * 0.000_25),
    }
}

fn event(number: u64, ago: u64, kind: EventKind) -> Arc<Event> {
    Arc::new(Event { number, at: NOW - seconds(ago), kind })
}

/// What is expected of the rest of the storm.
fn forecast() -> Forecast {
    Forecast {
        at: NOW,
        items: 1_786,
        finish: Some(NOW + seconds(24 * 60 + 36)),
        earliest: Some(NOW + seconds(22 * 60)),
        latest: Some(NOW + seconds(31 * 60)),
        stops: None,
        binds: vec![
            Bind {
                what: Constraint::RequestsPerMinute,
                pool: Some("gemini-3.8-flash@vision-lab".to_owned()),
                share: 0.62,
            },
            Bind { what: Constraint::Cooldown, pool: None, share: 0.21 },
        ],
        runs_out: Some(RunsOut {
            pool: "gemini-3.8-flash@vision-lab".to_owned(),
            at: NOW + seconds(62 * 60),
            returns: Some(NOW + seconds(MIDNIGHT_PACIFIC)),
        }),
        before_reset: Some(BeforeReset { at: NOW + seconds(MIDNIGHT_PACIFIC), items: 2_100 }),
        savings: vec![Saving {
            like: "alice".to_owned(),
            finish: Some(NOW + seconds(15 * 60)),
            saves: Some(seconds(9 * 60 + 36)),
        }],
        input_tokens: 750_120,
        output_tokens: 80_370,
        cost: usd(0.46),
        unpriced: false,
    }
}

fn holding() -> Vec<HoldShare> {
    let held = |what, share| HoldShare { what, share };
    vec![
        held(Hold::RequestsPerMinute, 0.55),
        held(Hold::Cooldown, 0.25),
        held(Hold::Sending, 0.15),
        held(Hold::Day, 0.05),
    ]
}

/// A run in a storm: one key each that is ready, cooling, exhausted, disabled, off, full and broken.
pub fn storm() -> Snapshot {
    let cooling = || Condition::Cooling {
        until: NOW + seconds(37),
        cause: cause(
            Outcome::RateLimitedMinute,
            Source::Stated,
            "You exceeded your current quota, please check your plan and billing details. Please retry in 37.2s.",
            1,
        ),
    };
    let exhausted = || Condition::Exhausted {
        until: NOW + seconds(MIDNIGHT_PACIFIC),
        cause: cause(Outcome::QuotaExhaustedDay, Source::Stated, "Quota exceeded for metric: requests per day", 3),
    };
    let keys = vec![
        key("alice", "vision-lab", 100, 812, 3, 6, Condition::Ready),
        key("bob", "spring", 65, 640, 21, 4, cooling()),
        key("carol", "archive", 20, 250, 9, 0, exhausted()),
        key(
            "dave",
            "dave",
            0,
            0,
            1,
            0,
            Condition::Disabled {
                since: NOW - seconds(12),
                cause: cause(
                    Outcome::InvalidKey,
                    Source::Stated,
                    "API key not valid. Please pass a valid API key.",
                    12,
                ),
            },
        ),
        key("erin", "erin", 100, 12, 0, 0, Condition::Off { since: NOW - seconds(50) }),
        key(
            "frank",
            "frank",
            90,
            1_204,
            40,
            2,
            Condition::Full { what: "requests/min".to_owned(), until: Some(NOW + seconds(8)) },
        ),
        key(
            "grace-of-the-long-name",
            "grace",
            35,
            289,
            61,
            0,
            Condition::Broken {
                until: NOW + seconds(29),
                cause: cause(Outcome::ServerError, Source::Guessed, "internal error", 31),
            },
        ),
    ];
    let models = vec![
        model(
            "gemini-3.8-flash",
            Quota(gauge(17, 20), gauge(121_000, 500_000), gauge(431, 500)),
            1_402,
            17,
            900,
            2_100,
        ),
        model(
            "gemini-3.5-flash-lite",
            Quota(gauge(6, 30), gauge(18_000, 500_000), gauge(390, 2_000)),
            1_204,
            5,
            500,
            1_200,
        ),
        model(
            "gemini-2.5-flash",
            Quota(gauge(20, 20), gauge(480_000, 500_000), gauge(250, 250)),
            601,
            80,
            1_100,
            31_000,
        ),
        ModelView {
            on: false,
            day_resets_at: None,
            in_flight: 0,
            p50_ms: None,
            p95_ms: None,
            ..model("local-llava", Quota(Gauge::default(), Gauge::default(), Gauge::default()), 0, 0, 0, 0)
        },
    ];
    let mut routes = Vec::new();
    for key in &keys {
        for model in &models[..3] {
            routes.push(RouteView {
                key: key.name.clone(),
                model: model.name.clone(),
                on: !(key.name == "frank" && model.name == "gemini-2.5-flash"),
                condition: key.condition.clone(),
                rpm: gauge(3, 20),
                rpd: gauge(200, 500),
                in_flight: u32::from(key.name == "alice"),
                ok: key.ok / 3,
                failed: key.failed / 3,
                holding: Vec::new(),
            });
        }
    }
    let cooldown = |what: &str, from: u64, until: u64, cause: Cause| CooldownView {
        what: what.to_owned(),
        from: NOW - seconds(from),
        until: NOW + seconds(until),
        cause,
    };
    let cooldowns = vec![
        cooldown("carol", 3, MIDNIGHT_PACIFIC, cause(Outcome::QuotaExhaustedDay, Source::Stated, "per day", 3)),
        cooldown(
            "gemini-3.8-flash@spring",
            1,
            37,
            cause(Outcome::RateLimitedMinute, Source::Stated, "Please retry in 37.2s.", 1),
        ),
        cooldown("gemini-2.5-flash@grace", 31, 29, cause(Outcome::ServerError, Source::Guessed, "internal error", 31)),
    ];
    let route = |model: &str, key: &str| format!("{model}@{key}");
    let events = vec![
        event(1, 3_000, EventKind::Run { level: Level::Info, words: "5,000 items, 7 keys, 4 models".to_owned() }),
        event(2, 50, EventKind::Operator { words: "erin switched off".to_owned() }),
        event(
            3,
            31,
            EventKind::Fallback {
                seq: 3_190,
                item: "3190".to_owned(),
                from: route("gemini-2.5-flash", "grace-of-the-long-name"),
                to: None,
                outcome: Outcome::ServerError,
                status: Some(503),
                wait: Some(seconds(2)),
                words: "The model is overloaded. Please try again later.".to_owned(),
            },
        ),
        event(
            4,
            12,
            EventKind::Disabled {
                what: "dave".to_owned(),
                outcome: Outcome::InvalidKey,
                words: "API key not valid. Please pass a valid API key.".to_owned(),
            },
        ),
        event(
            5,
            9,
            EventKind::ItemFailed {
                seq: 117,
                item: "0117".to_owned(),
                route: Some(route("gemini-3.8-flash", "alice")),
                outcome: Outcome::ContentBlocked,
                words: "blockReason: SAFETY \u{1b}[31m\u{202e}".to_owned(),
            },
        ),
        event(6, 5, EventKind::Recovered { what: route("gemini-3.5-flash-lite", "bob"), words: String::new() }),
        event(
            7,
            3,
            EventKind::Cooldown {
                what: "carol".to_owned(),
                outcome: Outcome::QuotaExhaustedDay,
                wait: Some(seconds(MIDNIGHT_PACIFIC)),
                words: "250 of 250".to_owned(),
            },
        ),
        event(
            8,
            1,
            EventKind::Fallback {
                seq: 3_213,
                item: "3213".to_owned(),
                from: route("gemini-3.8-flash", "bob"),
                to: Some(route("gemini-3.8-flash", "alice")),
                outcome: Outcome::RateLimitedMinute,
                status: Some(429),
                wait: Some(seconds(37)),
                words: "You exceeded your current quota".to_owned(),
            },
        ),
    ];
    Snapshot {
        run: "captions-spring".to_owned(),
        state: RunState::Running,
        at: NOW,
        elapsed: seconds(42 * 60 + 17),
        speed: 1.0,
        strategy: Strategy::Cascade,
        order: CascadeOrder::KeyFirst,
        when_limited: WhenLimited::Spill,
        on_exhausted: OnExhausted::Stop,
        totals: Totals {
            total: 5_000,
            waiting: 1_776,
            in_flight: 10,
            done: 3_207,
            failed: 7,
            truncated: 2,
            ingesting: false,
            not_in_input: 0,
            attempts: 3_342,
            rate_limited: 96,
        },
        in_flight_cap: 16,
        spend: Spend {
            usage: Usage { input_tokens: 1_346_940, output_tokens: 144_315, thinking_tokens: 32_070 },
            cost: usd(0.84),
            reserved: usd(0.012),
            at_risk: usd(0.003),
            budget: None,
        },
        pace: Pace { items_per_second: 1.21, finish_at: Some(NOW + seconds(24 * 60 + 36)) },
        forecast: Some(forecast()),
        holding: holding(),
        place: Some(Place {
            key: "alice".to_owned(),
            key_number: 1,
            keys: 7,
            model: "gemini-3.8-flash".to_owned(),
            model_number: 1,
            models: 4,
            retry: 0,
            retries: 5,
        }),
        keys,
        models,
        routes,
        cooldowns,
        events,
    }
}

/// Everything is out until tomorrow, and the run waits for it.
pub fn tomorrow() -> Snapshot {
    let mut snapshot = storm();
    let until = NOW + seconds(MIDNIGHT_PACIFIC);
    snapshot.state =
        RunState::Waiting { why: "the day's quota of every route is spent".to_owned(), until: Some(until) };
    snapshot.on_exhausted = OnExhausted::Wait;
    snapshot.totals.in_flight = 0;
    snapshot.totals.waiting = 1_786;
    let finish = until + seconds(40 * 60);
    snapshot.pace = Pace { items_per_second: 0.0, finish_at: Some(finish) };
    snapshot.holding = vec![HoldShare { what: Hold::Day, share: 1.0 }];
    snapshot.forecast = Some(Forecast {
        finish: Some(finish),
        earliest: Some(finish - seconds(5 * 60)),
        latest: Some(finish + seconds(30 * 60)),
        binds: vec![Bind { what: Constraint::Day, pool: None, share: 0.97 }],
        runs_out: None,
        before_reset: Some(BeforeReset { at: until, items: 0 }),
        ..forecast()
    });
    for key in &mut snapshot.keys {
        key.in_flight = 0;
        key.condition = Condition::Exhausted {
            until,
            cause: cause(Outcome::QuotaExhaustedDay, Source::Stated, "Quota exceeded for metric", 60),
        };
    }
    for route in &mut snapshot.routes {
        (route.in_flight, route.condition) = (0, snapshot.keys[0].condition.clone());
    }
    snapshot
}

/// All goes well.
pub fn smooth() -> Snapshot {
    let mut snapshot = storm();
    for key in &mut snapshot.keys {
        (key.condition, key.health, key.failed, key.last_error) = (Condition::Ready, 100, 0, None);
    }
    for route in &mut snapshot.routes {
        (route.condition, route.on, route.failed) = (Condition::Ready, true, 0);
    }
    for model in &mut snapshot.models {
        (model.on, model.failed) = (true, 0);
    }
    snapshot.cooldowns.clear();
    snapshot.totals.failed = 0;
    snapshot.totals.done = 3_214;
    snapshot.totals.rate_limited = 0;
    snapshot.events.truncate(1);
    snapshot.holding = vec![HoldShare { what: Hold::Sending, share: 1.0 }];
    snapshot
}

/// All goes well but for one key, whose secret is wrong.
pub fn dead_key() -> Snapshot {
    let mut snapshot = smooth();
    let (dead, event) = (storm().keys[3].clone(), Arc::clone(&storm().events[3]));
    snapshot.keys[3] = dead;
    snapshot.events.push(event);
    for route in snapshot.routes.iter_mut().filter(|route| route.key == "dave") {
        route.condition = snapshot.keys[3].condition.clone();
    }
    snapshot
}

/// The provider is down: every breaker is open.
pub fn outage() -> Snapshot {
    let mut snapshot = smooth();
    let until = NOW + seconds(29);
    let words = "The service is currently unavailable.";
    let broken = Condition::Broken { until, cause: cause(Outcome::ServerError, Source::Guessed, words, 31) };
    snapshot.state = RunState::Waiting { why: "every route failed too often in a row".to_owned(), until: Some(until) };
    snapshot.totals.in_flight = 0;
    snapshot.pace = Pace { items_per_second: 0.0, finish_at: snapshot.pace.finish_at };
    snapshot.holding =
        vec![HoldShare { what: Hold::Breaker, share: 0.9 }, HoldShare { what: Hold::Sending, share: 0.1 }];
    snapshot.place = None;
    for key in &mut snapshot.keys {
        (key.condition, key.health, key.in_flight) = (broken.clone(), 20, 0);
    }
    for route in &mut snapshot.routes {
        (route.condition, route.in_flight) = (broken.clone(), 0);
    }
    for (number, key) in snapshot.keys.iter().enumerate() {
        let what = format!("gemini-3.8-flash@{}", key.name);
        let cause = cause(Outcome::ServerError, Source::Guessed, words, 31);
        snapshot.cooldowns.push(CooldownView { what: what.clone(), from: NOW - seconds(31), until, cause });
        snapshot.events.push(event(
            2 + number as u64,
            31,
            EventKind::Fallback {
                seq: 3_215 + number as u64,
                item: (3_215 + number).to_string(),
                from: what,
                to: None,
                outcome: Outcome::ServerError,
                status: Some(503),
                wait: Some(seconds(2)),
                words: words.to_owned(),
            },
        ));
    }
    snapshot
}

/// The end of a good run.
pub fn finished() -> Snapshot {
    let mut snapshot = storm();
    snapshot.state = RunState::Finished;
    snapshot.totals =
        Totals { total: 5_000, done: 4_993, failed: 7, attempts: 5_160, rate_limited: 140, ..Totals::default() };
    snapshot.pace = Pace::default();
    snapshot.forecast = None;
    snapshot.place = None;
    snapshot.spend.reserved = Money::ZERO;
    snapshot.cooldowns.clear();
    for key in &mut snapshot.keys {
        key.in_flight = 0;
    }
    for route in &mut snapshot.routes {
        route.in_flight = 0;
    }
    snapshot
}

/// The first moment, before anything was sent.
pub fn empty() -> Snapshot {
    let mut snapshot = storm();
    snapshot.totals = Totals { total: 120, waiting: 120, ingesting: true, ..Totals::default() };
    snapshot.spend = Spend::default();
    snapshot.forecast = None;
    snapshot.holding.clear();
    snapshot.pace = Pace::default();
    snapshot.place = None;
    snapshot.keys.clear();
    snapshot.models.clear();
    snapshot.routes.clear();
    snapshot.cooldowns.clear();
    snapshot.events.clear();
    snapshot.elapsed = Duration::ZERO;
    snapshot
}

pub fn failed_items() -> Vec<ItemRow> {
    let row = |seq: u64, attempts: u32, outcome: Outcome, words: &str| ItemRow {
        seq,
        id: format!("{seq:04}"),
        state: ItemState::Failed,
        attempts,
        outcome: Some(outcome),
        route: Some("gemini-3.8-flash@alice".to_owned()),
        words: words.to_owned(),
    };
    vec![
        row(117, 1, Outcome::ContentBlocked, "blockReason: SAFETY"),
        row(342, 5, Outcome::ServerError, "internal error"),
        row(788, 0, Outcome::UnreadableInput, "img_0788.webp: not a picture"),
        row(901, 3, Outcome::EmptyOutput, ""),
        row(1_200, 1, Outcome::BadRequest, "日本語のファイル名.png は読めません: この画像は処理できません"),
        row(2_044, 2, Outcome::Timeout, "no byte for 120s \u{1b}]0;owned\u{7}"),
        row(3_001, 1, Outcome::ContentBlocked, "blockReason: PROHIBITED_CONTENT"),
    ]
}

/// Whether an item's id or error holds `text`, whatever its case.
pub fn holds(row: &ItemRow, text: &str) -> bool {
    let text = text.to_lowercase();
    row.id.to_lowercase().contains(&text) || row.words.to_lowercase().contains(&text)
}

/// Failed items by what they failed of, as the run's database groups them.
pub fn group(rows: &[ItemRow]) -> Vec<FailureGroup> {
    let mut groups: Vec<FailureGroup> = Vec::new();
    for row in rows {
        let model = (row.attempts > 0).then(|| "gemini-3.8-flash".to_owned());
        let (outcome, pattern) = (row.outcome, pattern(&row.words));
        let same =
            |group: &&mut FailureGroup| (group.outcome, &group.model, &group.pattern) == (outcome, &model, &pattern);
        match groups.iter_mut().find(same) {
            Some(group) => group.count += 1,
            None => groups.push(FailureGroup { outcome, model, pattern, count: 1, seq: row.seq, id: row.id.clone() }),
        }
    }
    groups
}

pub fn failures() -> Vec<FailureGroup> {
    group(&failed_items())
}

/// An item that needed three attempts and failed all the same.
pub fn failed_item() -> ItemDetail {
    let attempt = |number: u32, key: &str, outcome: Outcome, status: Option<u16>, message: &str| AttemptRow {
        number,
        key: key.to_owned(),
        model: "gemini-3.8-flash".to_owned(),
        sent_at: NOW - seconds(400 - u64::from(number) * 60),
        latency_ms: 812 * u64::from(number),
        outcome,
        status,
        message: message.to_owned(),
        usage: Usage::default(),
        cost: Money::ZERO,
    };
    ItemDetail {
        row: failed_items()[1].clone(),
        line: 342,
        system: Some("You describe pictures in one sentence.".to_owned()),
        prompt: "Describe this picture.\n\nName every animal, and say where in the picture it is; don't guess at what \
                 cannot be seen."
            .to_owned(),
        pictures: vec!["pictures/spring/img_0342.png".to_owned()],
        output: None,
        finish_reason: None,
        model_version: None,
        usage: Usage { input_tokens: 1_290, output_tokens: 0, thinking_tokens: 0 },
        cost: usd(0.000_97),
        attempts: vec![
            attempt(
                1,
                "bob",
                Outcome::RateLimitedMinute,
                Some(429),
                "You exceeded your current quota, please check your plan and billing details. For more information on \
                 this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits. Please retry in 37.2s.",
            ),
            attempt(2, "alice", Outcome::Timeout, None, ""),
            attempt(3, "alice", Outcome::ServerError, Some(500), "An internal error has occurred.\n\x1b[31mred"),
        ],
        rule: Some("pictures: first model with vision".to_owned()),
    }
}

/// An item that was answered.
pub fn done_item() -> ItemDetail {
    let mut item = failed_item();
    (item.row.seq, item.row.id, item.row.state) = (7, "0007".to_owned(), ItemState::Done);
    "Two herons stand at the left bank.".clone_into(&mut item.row.words);
    item.row.outcome = Some(Outcome::Ok);
    item.output =
        Some("Two herons stand at the left bank. A fox, half hidden, watches them from the reeds.".to_owned());
    item.finish_reason = Some("stop".to_owned());
    item.model_version = Some("gemini-3.8-flash-001".to_owned());
    item.usage = Usage { input_tokens: 1_290, output_tokens: 22, thinking_tokens: 140 };
    item.attempts.truncate(1);
    item
}
