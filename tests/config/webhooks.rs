//! `[[webhook]]`: its settings, its error messages, and that addresses are protected like keys.

use cascadeck::config::{AlertKind, WebhookFormat};
use secrecy::ExposeSecret as _;

use crate::config::ConfigFixture;

/// A valid model and key; the text that follows begins on line 9.
const VALID_START: &str = "\
[[model]]
name = 'lite'
provider = 'gemini'
[[key]]
name = 'alice'
provider = 'gemini'
secret = 'env:ALICE'

";

fn with_webhook_text(text: &str) -> ConfigFixture {
    ConfigFixture::with_keys_toml(&format!("{VALID_START}{text}")).with_env("ALICE", "AQ.alice")
}

#[test]
fn a_webhook_needs_a_name_and_an_address_and_the_rest_has_defaults() {
    let text = "[[webhook]]\nname = 'team'\nurl = 'env:HOOK'\n\
                [[webhook]]\nname = 'phone'\nurl = 'file:phone'\non = ['stopped', 'finished', 'stopped']\nformat = 'text'\n\
                [[webhook]]\nname = 'own'\nurl = 'env:OWN'\ninsecure = true\n";
    let desk = with_webhook_text(text)
        .with_env("HOOK", "https://discord.com/api/webhooks/1/swordfish")
        .with_file("phone", "https://push.example/topic\n")
        .with_env("OWN", "http://192.168.1.20:8065/hooks/swordfish");
    let config = desk.load();
    assert_eq!(config.warnings, [""; 0]);
    let read: Vec<_> = config
        .webhooks
        .iter()
        .map(|hook| (hook.name.as_str(), hook.url.expose_secret(), hook.format, hook.alert_kinds.clone()))
        .collect();
    let all = AlertKind::ALL.to_vec();
    assert_eq!(
        read,
        [
            ("team", "https://discord.com/api/webhooks/1/swordfish", WebhookFormat::Discord, all.clone()),
            ("phone", "https://push.example/topic", WebhookFormat::Text, vec![AlertKind::Finished, AlertKind::Stopped]),
            ("own", "http://192.168.1.20:8065/hooks/swordfish", WebhookFormat::Json, all),
        ]
    );
}

#[test]
fn errors_in_webhooks() {
    const URL: &str = "url = 'https://hooks.example/x'";
    let cases = [
        ("name = 'team'".to_owned(), "9:1: url is missing from this [[webhook]]"),
        (URL.to_owned(), "9:1: name is missing from this [[webhook]]"),
        (
            format!("name = 'a b'\n{URL}"),
            "10:8: a webhook's name must be a single word of visible characters, not `a b`",
        ),
        (format!("name = 'team'\n{URL}\nevents = []"), "12:1: `events` is not a setting of [[webhook]]"),
        (
            format!("name = 'team'\n{URL}\nformt = 'json'"),
            "12:1: `formt` is not a setting of [[webhook]] (did you mean `format`?)",
        ),
        (
            format!("name = 'team'\n{URL}\nformat = 'Slack'"),
            "12:10: format must be json, slack, discord, teams or text, not `Slack` (did you mean `slack`?)",
        ),
        (
            format!("name = 'team'\n{URL}\non = ['finished', 'atention']"),
            "12:19: on must be finished, stopped or attention, not `atention` (did you mean `attention`?)",
        ),
        (
            format!("name = 'team'\n{URL}\non = 'finished'"),
            "12:6: on must be a list of alerts, like [...], not a string",
        ),
        (format!("name = 'team'\n{URL}\non = []"), "12:6: on is an empty list; leave it out for the default"),
        (
            "name = 'team'\nurl = 7".to_owned(),
            "11:7: url must be a string in quotes: \"env:NAME\", \"file:PATH\" or the address itself, not a whole number",
        ),
        (
            "name = 'team'\nurl = 'env:NOWHERE'".to_owned(),
            "11:7: the variable `NOWHERE` is not set, neither in the environment nor in a .env file; export NOWHERE=… first",
        ),
        (
            "name = 'team'\nurl = 'hooks.example/x'".to_owned(),
            "11:7: url is not a valid address; it must begin with https://",
        ),
        ("name = 'team'\nurl = 'ftp://hooks.example/x'".to_owned(), "11:7: url must begin with https://"),
        (
            "name = 'team'\nurl = 'http://hooks.example/x'\ninsecure = true".to_owned(),
            "11:7: url: plain http would send messages, and the address itself, unencrypted over the internet; use https",
        ),
        (
            "name = 'team'\nurl = 'http://10.0.0.4/x'".to_owned(),
            "11:7: url: plain http would send messages, and the address itself, unencrypted over that network; use https, \
             or set insecure = true if the network is your own",
        ),
        (
            "name = 'team'\nurl = 'http://0.0.0.0:8080/x'".to_owned(),
            "11:7: url: this is an address to listen on, not to connect to; use http://127.0.0.1",
        ),
        (
            format!("name = 'team'\n{URL}\n[[webhook]]\nname = 'team'\nurl = 'https://hooks.example/y'"),
            "13:8: a webhook named `team` is already defined on line 10; webhook names must be unique",
        ),
        (
            format!("name = 'team'\n{URL}\n[[webhook]]\nname = 'other'\n{URL}"),
            "14:7: webhook `team` has the same address; list it only once",
        ),
    ];
    for (text, want) in cases {
        let found: Vec<String> = with_webhook_text(&format!("[[webhook]]\n{text}\n"))
            .load_errors()
            .0
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(found, [format!("keys.toml:{want}")], "\n{text}");
    }
    let single = with_webhook_text("[webhook]\nname = 'team'\n").load_errors().to_string();
    assert!(single.contains("keys.toml:9:1: write [[webhook]] in double brackets"), "{single}");
    let plural = with_webhook_text("[[webhooks]]\nname = 'team'\n").load_errors().to_string();
    assert!(plural.contains("`webhooks` is not a setting of the file (did you mean `webhook`?)"), "{plural}");
}

#[test]
fn an_address_is_kept_like_a_key() {
    let desk = with_webhook_text("[[webhook]]\nname = 'team'\nurl = 'https://hooks.example/swordfish'\n")
        .with_mode("keys.toml", 0o644);
    let config = desk.load();
    assert!(config.warnings[0].contains("keys.toml contains secrets"), "{:?}", config.warnings);
    assert!(!format!("{config:?}").contains("swordfish"));
    for url in ["hooks.example/swordfish", "http://hooks.example/swordfish", "https://hooks.example/sword fish"] {
        let faults = with_webhook_text(&format!("[[webhook]]\nname = 'team'\nurl = '{url}'\n")).load_errors();
        let shown = format!("{faults} {faults:?}");
        assert!(!shown.contains("sword") && !shown.contains("hooks.example"), "{shown}");
    }
}
