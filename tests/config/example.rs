//! keys.example.toml documents the format, so it is tested against the code.

use cascadeck::{
    config::{AlertKind, Defaults, InputLimits, WebhookFormat, schema},
    domain::{Policy, Strategy, UnknownModelPolicy},
};

use crate::config::ConfigFixture;

const EXAMPLE: &str = include_str!("../../keys.example.toml");

fn with_example_env(text: &str) -> ConfigFixture {
    ConfigFixture::with_keys_toml(text)
        .with_env("GEMINI_KEY_ALICE", "AQ.alice")
        .with_env("OPENAI_API_KEY", "sk-team")
        .with_env("CASCADECK_WEBHOOK", "https://hooks.example/services/T0")
}

/// The example with every commented-out setting and table enabled.
fn uncomment_all_settings() -> String {
    let is_setting = |line: &str| {
        let name = line.split(" = ").next().unwrap_or_default();
        line.starts_with("[[") || (line.contains(" = ") && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
    };
    EXAMPLE
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|rest| is_setting(rest)).unwrap_or(line))
        .fold(String::new(), |text, line| text + line + "\n")
}

#[test]
fn the_example_is_valid_as_it_stands() {
    let config = with_example_env(EXAMPLE).load();
    assert_eq!(config.warnings, [""; 0]);
    let models: Vec<&str> = config.models.iter().map(|model| model.name.as_str()).collect();
    assert_eq!(models, ["gemini-3.8-flash", "gemini-3.5-flash-lite", "gpt-5.4-nano"]);
    assert!(config.models_with_unbounded_cost().is_empty());
}

#[test]
fn the_example_states_the_true_defaults() {
    let config = with_example_env(EXAMPLE).load();
    assert_eq!(config.policy, Policy::default());
    assert_eq!(config.unknown_model, None);
    assert_eq!(config.defaults, Defaults::default());
    assert_eq!(config.input_limits, InputLimits::default());
}

#[test]
fn every_commented_setting_of_the_example_is_valid_too() {
    let text = uncomment_all_settings();
    let config = with_example_env(&text).load();
    assert_eq!(config.unknown_model, Some(UnknownModelPolicy::Refuse));
    assert!(config.policy.max_usd.is_some());
    assert!(config.defaults.params.json.is_some());
    let checks: Vec<&str> = config.checks.all().iter().map(|check| check.name.as_str()).collect();
    assert_eq!(checks, ["shape", "sentence", "own"]);
    let rules: Vec<&str> = config.policy.rules.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(rules, ["hard", "everything-else"]);
    assert!(config.policy.rules[0].conditions.row_fields.contains_key("language"));
    assert_eq!(config.models[1].limits.burst, Some(5));
    assert!(config.providers.iter().any(|provider| provider.name == "gpu-box"));
    assert_eq!(config.metrics.listen.as_ref().map(ToString::to_string).as_deref(), Some("127.0.0.1:9464"));
    assert_eq!((config.metrics.hosts.len(), config.metrics.linger.as_secs()), (1, 30));
    assert_eq!(config.webhooks.len(), 1);
    assert_eq!(
        (config.webhooks[0].format, config.webhooks[0].alert_kinds.len()),
        (WebhookFormat::Slack, AlertKind::ALL.len())
    );
}

#[test]
fn the_example_names_every_setting() {
    let text = uncomment_all_settings();
    for schema in schema::ALL {
        for field in schema.fields {
            let found = text.lines().any(|line| {
                line.starts_with(&format!("{field} = "))
                    || line.contains(&format!(" {field} = "))
                    || [format!("[{field}]"), format!("[[{field}]]")].contains(&line.to_owned())
            });
            assert!(found, "{field} of {} is not in keys.example.toml", schema.label);
        }
    }
}

#[test]
fn the_example_names_every_value_of_every_enumerated_setting() {
    let others = [
        "gemini",
        "openai",
        "anthropic",
        "pacific",
        "utc",
        "rolling",
        "input",
        "total",
        "primary",
        "backup",
        "key_first",
        "model_first",
        "spill",
        "wait",
        "any",
        "same_model",
        "refuse",
        "stop",
        "minimal",
        "low",
        "medium",
        "high",
    ];
    let others = others
        .into_iter()
        .chain(WebhookFormat::ALL.map(WebhookFormat::name))
        .chain(AlertKind::ALL.map(AlertKind::name));
    for word in Strategy::ALL.map(Strategy::name).into_iter().chain(others) {
        assert!(EXAMPLE.contains(&format!("\"{word}\"")), "\"{word}\" is not in keys.example.toml");
    }
}
