//! From TOML tables to providers, models and keys.

use std::time::Duration;

use cascadeck::domain::{
    Api, BalanceWeights, CascadeOrder, JsonMode, KeyRole, Limits, Money, OnExhausted, Price, QuotaDay, Rates,
    RequiredTerms, SpillTo, Strategy, Thinking, TokenCounting, WhenLimited,
};

use crate::config::{ConfigFixture, secret_of};

#[test]
fn a_model_and_a_key_are_all_it_takes() {
    let config = ConfigFixture::with_keys_toml(
        r#"
        [[model]]
        name = "gemini-3.8-flash"
        provider = "gemini"
        [[key]]
        name = "alice"
        provider = "gemini"
        secret = "AQ.literal"
        "#,
    )
    .load();
    let provider = &config.providers[0];
    assert_eq!((provider.name.as_str(), provider.api), ("gemini", Api::Gemini));
    assert_eq!(provider.base_url, "https://generativelanguage.googleapis.com");
    let model = &config.models[0];
    let limits = Limits { token_counting: TokenCounting::Input, quota_day: QuotaDay::Pacific, ..Limits::default() };
    assert_eq!((&model.limits, model.vision, model.weight, model.price), (&limits, false, 1, None));
    let key = &config.keys[0];
    assert_eq!((key.project.as_str(), key.weight, key.role, &key.models), ("alice", 1, KeyRole::Primary, &None));
    assert_eq!(config.has_named_project, [false]);
    assert_eq!(secret_of(&config, "alice"), Some("AQ.literal"));
    assert_eq!(config.warnings, [""; 0]);
}

#[test]
fn every_setting_of_models_and_keys_is_read() {
    let config = ConfigFixture::with_keys_toml(
        r#"
        [[model]]
        name = "m"
        provider = "openai"
        rpm = 60
        tpm = 1_000
        itpm = 2_000
        otpm = 3_000
        rpd = 4_000
        tpd = 5_000
        counted = "input"
        day = "utc"
        burst = 6
        concurrency = 7
        vision = true
        context = 8_000
        max_output = 900
        weight = 10
        pool = "shared"
        usd_per_mtok = { input = 0.5, output = 2, cached_input = 0.05, cache_write = 0.6, cache_write_1h = 1, steps = [
            { above = 1_000, input = 1, output = 4, cached_input = 0.1, cache_write = 1.2, cache_write_1h = 2 },
        ] }
        usd_per_image = 0.001

        [[key]]
        name = "team"
        provider = "openai"
        secret = "sk-x"
        project = "lab"
        weight = 3
        role = "backup"
        models = ["m"]
        "#,
    )
    .load();
    let model = &config.models[0];
    assert_eq!(
        model.limits,
        Limits {
            rpm: Some(60),
            tpm: Some(1_000),
            token_counting: TokenCounting::Input,
            itpm: Some(2_000),
            otpm: Some(3_000),
            rpd: Some(4_000),
            tpd: Some(5_000),
            quota_day: QuotaDay::Utc,
            burst: Some(6),
            concurrency: Some(7),
        }
    );
    assert_eq!((model.vision, model.context, model.max_output, model.weight), (true, Some(8_000), Some(900), 10));
    let short = Rates {
        input: 500_000,
        cached_input: 50_000,
        cache_write: 600_000,
        cache_write_1h: 1_000_000,
        output: 2_000_000,
    };
    let long = Rates {
        input: 1_000_000,
        cached_input: 100_000,
        cache_write: 1_200_000,
        cache_write_1h: 2_000_000,
        output: 4_000_000,
    };
    let price = Price::new(short).with_step(1_000, long).map(|price| price.with_image(Money(1_000_000_000)));
    assert_eq!((model.pool.as_deref(), model.price), (Some("shared"), price));
    let key = &config.keys[0];
    assert_eq!((key.project.as_str(), key.weight, key.role), ("lab", 3, KeyRole::Backup));
    assert_eq!(key.models.as_deref(), Some(["m".to_owned()].as_slice()));
    assert_eq!(config.has_named_project, [true]);
}

#[test]
fn well_known_providers_come_with_address_day_and_counting() {
    let cases = [
        ("gemini", Api::Gemini, "https://generativelanguage.googleapis.com", QuotaDay::Pacific, TokenCounting::Input),
        ("openai", Api::OpenAi, "https://api.openai.com/v1", QuotaDay::Rolling, TokenCounting::Total),
        ("anthropic", Api::Anthropic, "https://api.anthropic.com", QuotaDay::Rolling, TokenCounting::Total),
        ("deepseek", Api::OpenAi, "https://api.deepseek.com", QuotaDay::Rolling, TokenCounting::Total),
        ("moonshot", Api::OpenAi, "https://api.moonshot.ai/v1", QuotaDay::Rolling, TokenCounting::Total),
        ("minimax", Api::OpenAi, "https://api.minimax.io/v1", QuotaDay::Rolling, TokenCounting::Total),
        ("openrouter", Api::OpenAi, "https://openrouter.ai/api/v1", QuotaDay::Utc, TokenCounting::Total),
        ("groq", Api::OpenAi, "https://api.groq.com/openai/v1", QuotaDay::Rolling, TokenCounting::Total),
        ("mistral", Api::OpenAi, "https://api.mistral.ai/v1", QuotaDay::Rolling, TokenCounting::Total),
        ("xai", Api::OpenAi, "https://api.x.ai/v1", QuotaDay::Rolling, TokenCounting::Total),
        ("together", Api::OpenAi, "https://api.together.ai/v1", QuotaDay::Rolling, TokenCounting::Total),
        ("ollama", Api::OpenAi, "http://127.0.0.1:11434/v1", QuotaDay::Rolling, TokenCounting::Total),
    ];
    for (name, api, base_url, day, counted) in cases {
        let config = ConfigFixture::with_keys_toml(&format!(
            "[[model]]\nname = 'm'\nprovider = '{name}'\n[[key]]\nname = 'k'\nprovider = '{name}'\nsecret = 's'\n"
        ))
        .load();
        let (provider, limits) = (&config.providers[0], &config.models[0].limits);
        assert_eq!((provider.api, provider.base_url.as_str()), (api, base_url), "{name}");
        assert_eq!((limits.quota_day, limits.token_counting), (day, counted), "{name}");
    }
}

#[test]
fn a_local_server_needs_no_key_and_costs_nothing() {
    let config = ConfigFixture::with_keys_toml("[[model]]\nname = 'qwen3'\nprovider = 'ollama'\n").load();
    assert_eq!((config.keys[0].name.as_str(), config.keys.len()), ("ollama", 1));
    assert_eq!(secret_of(&config, "ollama"), None);
    assert_eq!(config.models[0].price, Some(Price::FREE));
    assert!(config.models_with_unbounded_cost().is_empty());
}

#[test]
fn a_named_provider_changes_only_what_it_states() {
    let config = ConfigFixture::with_keys_toml(
        r#"
        [[provider]]
        name = "gemini"
        base_url = "http://127.0.0.1:8080/"
        headers = { X-Team = "captions", Authorization = "Bearer {key}" }
        day = "utc"

        [[model]]
        name = "m"
        provider = "gemini"
        "#,
    )
    .load();
    let provider = &config.providers[0];
    assert_eq!((provider.api, provider.base_url.as_str()), (Api::Gemini, "http://127.0.0.1:8080"));
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(provider.headers, [header("authorization", "Bearer {key}"), header("x-team", "captions")]);
    let limits = &config.models[0].limits;
    assert_eq!((limits.quota_day, limits.token_counting), (QuotaDay::Utc, TokenCounting::Input));
    assert_eq!(config.keys[0].name, "gemini", "near by, so that no key is needed");
}

#[test]
fn a_private_server_may_be_plain_http_when_it_says_so() {
    let config = ConfigFixture::with_keys_toml(
        r#"
        [[provider]]
        name = "gpu-box"
        api = "openai"
        base_url = "http://192.168.1.20:8000/v1"
        insecure = true

        [[model]]
        name = "m"
        provider = "gpu-box"
        "#,
    )
    .load();
    assert_eq!(config.providers[0].base_url, "http://192.168.1.20:8000/v1");
    assert_eq!(config.models[0].price, None, "a server of one's own is free only where that is known");
}

#[test]
fn every_setting_of_the_policy_is_read() {
    let policy = ConfigFixture::with_keys_toml(
        r#"
        [[model]]
        name = "m"
        provider = "ollama"
        [policy]
        order = "model_first"
        when_limited = "wait"
        spill = "same_model"
        spill_after = "1m30s"
        on_exhausted = "wait"
        in_flight = 3
        max_usd = 2.5
        backoff = ["1s", "250ms"]
        backoff_rest = "1h30m"
        max_hint = "2h"
        retry_delays = ["0s", "1s", "2s"]
        retries_per_model = 0
        max_errors_per_model = 4
        max_attempts = 5
        empty_retries = 0
        retry_truncated_factor = 4
        blocked_next_model = true
        refused_alike = 9
        breaker_after = 8
        breaker_open = "5s"
        breaker_max = "1d"
        billing_retry = "2h"
        connect_timeout = "1s"
        idle_timeout = "3s"
        total_timeout = "4s"
        drain_timeout = "0s"
        give_up_after = "0s"
        "#,
    )
    .load()
    .policy;
    let seconds = Duration::from_secs;
    assert_eq!((policy.order, policy.when_limited), (CascadeOrder::ModelFirst, WhenLimited::Wait));
    assert_eq!((policy.spill_to, policy.on_exhausted), (SpillTo::SameModel, OnExhausted::Wait));
    assert_eq!((policy.spill_after, policy.max_in_flight), (seconds(90), 3));
    assert_eq!(policy.max_usd, Money::from_usd(2.5));
    assert_eq!(policy.backoff, [seconds(1), Duration::from_millis(250)]);
    assert_eq!((policy.backoff_rest, policy.max_retry_after), (seconds(5_400), seconds(7_200)));
    assert_eq!(policy.retry_delays, [seconds(0), seconds(1), seconds(2)]);
    assert_eq!((policy.retries_per_model, policy.max_empty_retries), (0, 0));
    assert_eq!((policy.max_errors_per_model, policy.max_attempts), (Some(4), Some(5)));
    assert_eq!((policy.truncated_retry_factor, policy.next_model_when_blocked), (Some(4), true));
    assert_eq!((policy.max_identical_rejections, policy.breaker_threshold), (9, 8));
    assert_eq!(
        (policy.breaker_open_time, policy.breaker_max_open_time, policy.billing_retry_interval),
        (seconds(5), seconds(86_400), seconds(7_200))
    );
    assert_eq!((policy.connect_timeout, policy.idle_timeout), (seconds(1), seconds(3)));
    assert_eq!(
        (policy.total_timeout, policy.drain_timeout, policy.give_up_after),
        (seconds(4), seconds(0), seconds(0))
    );
}

#[test]
fn a_run_does_not_give_up_by_default_before_a_silent_request_does() {
    for (settings, give_up_after) in [
        ("", 900),
        ("idle_timeout = '10m'", 900),
        ("idle_timeout = '1h'", 3_600),
        ("idle_timeout = '1h'\ngive_up_after = '8s'", 8),
        ("idle_timeout = '1h'\ngive_up_after = '0s'", 0),
    ] {
        let model = "[[model]]\nname = 'm'\nprovider = 'ollama'\n[policy]\n";
        let policy = ConfigFixture::with_keys_toml(&format!("{model}{settings}\n")).load().policy;
        assert_eq!(policy.give_up_after, Duration::from_secs(give_up_after), "{settings}");
    }
}

#[test]
fn the_defaults_for_rows_are_read() {
    let base = "[[model]]\nname = 'm'\nprovider = 'ollama'\n[defaults]\n";
    let defaults = ConfigFixture::with_keys_toml(&format!(
        "{base}system = 'Be brief.'\ntemperature = 1\ntop_p = 0.5\nmax_output_tokens = 64\nstop = ['\\n\\n', 'END']\n\
         seed = -3\nthinking = 'low'\njson = true\n"
    ))
    .load()
    .defaults;
    assert_eq!(defaults.system.as_deref(), Some("Be brief."));
    let params = defaults.params;
    assert_eq!((params.temperature, params.top_p, params.max_output_tokens), (Some(1.0), Some(0.5), Some(64)));
    assert_eq!((params.stop.len(), params.seed), (2, Some(-3)));
    assert_eq!((params.thinking, params.json), (Some(Thinking::Level("low".to_owned())), Some(JsonMode::Object)));

    let schema = serde_json::json!({ "type": "object", "required": ["a"], "properties": { "a": { "minimum": 1 } } });
    let desk = ConfigFixture::with_keys_toml(&format!("{base}thinking = 512\njson = 'file:schema.json'\n"));
    let params = desk.with_file("schema.json", schema.to_string()).load().defaults.params;
    assert_eq!((params.thinking, params.json), (Some(Thinking::Budget(512)), Some(JsonMode::Schema(schema.clone()))));

    let table = "json = { type = 'object', required = ['a'], properties = { a = { minimum = 1 } } }\n";
    let params = ConfigFixture::with_keys_toml(&format!("{base}{table}")).load().defaults.params;
    assert_eq!(params.json, Some(JsonMode::Schema(schema)));
}

#[test]
fn harmless_mistakes_are_warnings_with_their_line() {
    let config = ConfigFixture::with_keys_toml(
        "[[model]]\nname = 'gemini-2.0-flash'\nprovider = 'gemini'\n\
         [[model]]\nname = 'gemini-2.5-pro'\nprovider = 'gemini'\n\
         [[model]]\nname = 'gpt-5.4-nano'\nprovider = 'openai'\n\
         [[key]]\nname = 'a'\nprovider = 'gemini'\nsecret = 's'\n\
         [[key]]\nname = 'idle'\nprovider = 'groq'\nsecret = 't'\n",
    )
    .load();
    assert_eq!(
        config.warnings,
        [
            "keys.toml:2: gemini-2.0-flash was shut down on 2026-06-01; use gemini-3.1-flash-lite or gemini-3.5-flash-lite",
            "keys.toml:5: gemini-2.5-pro retires on 2026-12-01; its requests are then answered, and billed, as another model; \
             use gemini-3.8-flash",
            "keys.toml:8: model `gpt-5.4-nano` is never used: no key of `openai` may use it",
            "keys.toml:15: key `idle` is never used: `groq` has no [[model]]",
        ]
    );
}

#[test]
fn a_cap_from_elsewhere_can_be_checked_against_the_models() {
    let config = ConfigFixture::with_keys_toml(
        "[[model]]\nname = 'bare'\nprovider = 'openai'\n\
         [[model]]\nname = 'open-ended'\nprovider = 'openai'\nusd_per_mtok = { input = 1, output = 1 }\n\
         [[model]]\nname = 'bounded'\nprovider = 'openai'\nmax_output = 9\nusd_per_mtok = { input = 1, output = 1 }\n\
         [[key]]\nname = 'a'\nprovider = 'openai'\nsecret = 's'\n",
    )
    .load();
    let names: Vec<&str> = config.models_with_unbounded_cost().iter().map(|&(name, _)| name).collect();
    assert_eq!(names, ["bare", "open-ended"]);
}

#[test]
fn strategies_and_rules_are_read_in_order() {
    let base = "[[model]]\nname = 'pro'\nprovider = 'ollama'\n[[model]]\nname = 'lite'\nprovider = 'ollama'\n";
    let policy = ConfigFixture::with_keys_toml(&format!(
        "{base}[[rule]]\nname = 'hard'\nwords_over = 500\ncode = true\nterms = ['tensor', ' qubit ']\nterms_at_least = 2\n\
         models = ['lite', 'pro']\nmax_usd = 0.5\n\
         [[rule]]\nname = 'seen'\nimages = true\ntier = 'gold'\nlatency_sensitive = false\n\
         field = {{ lang = 'de', level = 3, draft = true }}\nstrategy = 'least_recently_used'\n\
         [policy]\nstrategy = 'balanced'\nbalance = {{ price = 2, wait = 0 }}\nexplore = 8\nrotate_keys_daily = true\n"
    ))
    .load()
    .policy;
    assert_eq!(policy.strategy, Strategy::Balanced);
    assert_eq!(policy.balance_weights, BalanceWeights { quality: 1.0, price: 2.0, wait: 0.0 });
    assert_eq!((policy.explore_every, policy.rotate_keys_daily), (8, true));
    let [hard, seen] = &policy.rules[..] else { panic!("{:?}", policy.rules) };
    let terms = RequiredTerms { terms: vec!["tensor".to_owned(), "qubit".to_owned()], min_matches: 2 };
    assert_eq!(
        (hard.conditions.words_over, hard.conditions.code, hard.conditions.terms.clone()),
        (Some(500), Some(true), Some(terms))
    );
    assert_eq!(hard.models, Some(vec!["lite".to_owned(), "pro".to_owned()]));
    assert_eq!((hard.max_usd, hard.strategy), (Money::from_usd(0.5), None));
    assert_eq!(
        (seen.conditions.images, seen.conditions.tier.as_deref(), seen.conditions.latency_sensitive),
        (Some(true), Some("gold"), Some(false))
    );
    let fields: Vec<_> = seen.conditions.row_fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(fields, ["draft=true", "lang=de", "level=3"]);
    assert_eq!(seen.strategy, Some(Strategy::LeastRecentlyUsed));
}

#[test]
fn every_strategy_is_read_by_its_name() {
    for strategy in Strategy::ALL {
        let text = format!("[[model]]\nname = 'm'\nprovider = 'ollama'\n[policy]\nstrategy = '{}'\n", strategy.name());
        assert_eq!(ConfigFixture::with_keys_toml(&text).load().policy.strategy, strategy);
        assert_eq!(serde_json::to_value(strategy).unwrap(), strategy.name());
    }
}

#[test]
fn settings_are_read_under_their_former_names_too() {
    let today =
        ConfigFixture::with_keys_toml(&policy_file("backoff = ['2s', '3s']\nbackoff_rest = '7m'")).load().policy;
    let former = ConfigFixture::with_keys_toml(&policy_file("ladder = ['2s', '3s']\nladder_rest = '7m'")).load().policy;
    assert_eq!(today.backoff, [Duration::from_secs(2), Duration::from_secs(3)]);
    assert_eq!(today.backoff_rest, Duration::from_secs(7 * 60));
    assert_eq!((former.backoff, former.backoff_rest), (today.backoff, today.backoff_rest));
}

fn policy_file(settings: &str) -> String {
    format!(
        "[[provider]]\nname = 'p'\napi = 'openai'\nbase_url = 'http://localhost:1/v1'\n\
         [[model]]\nname = 'm'\nprovider = 'p'\n[[key]]\nname = 'k'\nprovider = 'p'\nsecret = 'sk-1234'\n[policy]\n{settings}\n"
    )
}

#[test]
fn unstated_prices_of_the_cache_are_the_highest_of_the_provider() {
    // Provider, and the prices of reads, writes and writes for an hour in percent of the input's.
    let cases = [
        ("anthropic", "", (10, 125, 200)),
        ("openai", "", (50, 125, 125)),
        ("gemini", "", (25, 100, 100)),
        ("deepseek", "", (10, 100, 100)),
        ("openrouter", "", (100, 125, 200)),
        ("groq", "", (100, 100, 100)),
        ("mine", "api = 'openai'\nbase_url = 'https://h.dev/v1'", (100, 100, 100)),
        ("mine", "api = 'anthropic'\nbase_url = 'https://h.dev'", (100, 125, 200)),
    ];
    for (name, settings, want) in cases {
        let provider =
            if settings.is_empty() { String::new() } else { format!("[[provider]]\nname = '{name}'\n{settings}\n") };
        let config = ConfigFixture::with_keys_toml(&format!(
            "{provider}[[model]]\nname = 'm'\nprovider = '{name}'\nusd_per_mtok = {{ input = 0.0001, output = 1 }}\n\
             [[key]]\nname = 'k'\nprovider = '{name}'\nsecret = 's'\n"
        ))
        .load();
        let rates = config.models[0].price.unwrap().base();
        assert_eq!(
            (rates.input, rates.cached_input, rates.cache_write, rates.cache_write_1h),
            (100, want.0, want.1, want.2),
            "{name}"
        );
    }
}
