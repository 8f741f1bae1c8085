//! Where secrets are read from, and that no message or debug output shows them.

use crate::config::{ConfigFixture, secret_of};

const MODEL: &str = "[[model]]\nname = 'm'\nprovider = 'gemini'\n";

fn with_secret(secret: &str) -> ConfigFixture {
    ConfigFixture::with_keys_toml(&format!("{MODEL}[[key]]\nname = 'alice'\nprovider = 'gemini'\nsecret = {secret}\n"))
}

#[test]
fn a_secret_comes_from_a_variable_a_dotenv_a_file_or_the_text_itself() {
    let cases = [
        ("'env:ALICE'", with_secret("'env:ALICE'").with_env("ALICE", "s3cret")),
        ("'env:ALICE' in .env", with_secret("'env:ALICE'").with_file(".env", "ALICE=s3cret\n")),
        ("'file:keys/alice'", with_secret("'file:keys/alice'").with_file("keys/alice", "\n s3cret\n")),
        ("'s3cret'", with_secret("'s3cret'")),
    ];
    for (what, desk) in cases {
        let config = desk.load();
        assert_eq!(secret_of(&config, "alice"), Some("s3cret"), "{what}");
        assert_eq!(config.warnings, [""; 0], "{what}");
    }
}

#[test]
fn a_secret_file_is_looked_for_beside_keys_toml_or_at_home() {
    let keys = format!(
        "{MODEL}[[key]]\nname = 'a'\nprovider = 'gemini'\nsecret = 'file:one'\n\
         [[key]]\nname = 'b'\nprovider = 'gemini'\nsecret = 'file:~/two'\n"
    );
    let desk =
        ConfigFixture::empty().with_file("conf/keys.toml", keys).with_file("conf/one", "1").with_file("home/two", "2");
    let home = desk.path().join("home").display().to_string();
    let config = desk.with_env("HOME", &home).try_load_file(Some("conf/keys.toml")).unwrap();
    assert_eq!((secret_of(&config, "a"), secret_of(&config, "b")), (Some("1"), Some("2")));
}

#[test]
fn what_others_may_read_is_warned_of_only_where_it_holds_secrets() {
    let cases = [
        ("a literal", with_secret("'s3cret'").with_mode("keys.toml", 0o644), Some(("keys.toml", "644"))),
        ("a file", with_secret("'file:k'").with_file("k", "s3cret").with_mode("k", 0o640), Some(("k", "640"))),
        (
            "a .env",
            with_secret("'env:A'").with_file(".env", "A=s3cret").with_mode(".env", 0o604),
            Some((".env", "604")),
        ),
        ("only references", with_secret("'env:A'").with_env("A", "s3cret").with_mode("keys.toml", 0o644), None),
        (
            "a file, seen from outside",
            with_secret("'file:k'").with_file("k", "s3cret").with_mode("keys.toml", 0o644),
            None,
        ),
    ];
    for (what, desk, warned) in cases {
        let warnings = desk.load().warnings;
        let Some((file, mode)) = warned else {
            assert_eq!(warnings, [""; 0], "{what}");
            continue;
        };
        assert_eq!(warnings.len(), 1, "{what}: {warnings:?}");
        assert!(
            warnings[0].ends_with(&format!("(mode {mode}): run chmod 600 {}", desk.path().join(file).display())),
            "{what}: {warnings:?}"
        );
    }
}

#[test]
fn no_secret_is_ever_shown() {
    let secret = "AQ.hunter2hunter2hunter2";
    let desk = with_secret(&format!("'{secret}'"));
    let shown = format!("{:?} {:#?}", desk.load(), desk.load());
    assert!(!shown.contains("hunter2"), "{shown}");

    let key = |rest: &str| ConfigFixture::with_keys_toml(&format!("{MODEL}[[key]]\n{rest}\n"));
    let invalid_configs = [
        ("in place of the alias", key(&format!("name = '{secret}'\nprovider = 'gemini'\nsecret = 's'"))),
        ("in place of the provider", key(&format!("name = 'a'\nprovider = '{secret}'\nsecret = 's'"))),
        ("in place of the role", key(&format!("name = 'a'\nprovider = 'gemini'\nsecret = 's'\nrole = '{secret}'"))),
        ("in place of a name", key(&format!("name = 'a'\nprovider = 'gemini'\n'{secret}' = 's'"))),
        ("behind env:", key(&format!("name = 'a'\nprovider = 'gemini'\nsecret = 'env:{secret}'"))),
        ("behind env:, as a valid name", key("name = 'a'\nprovider = 'gemini'\nsecret = 'env:AIzahunter2hunter2'")),
        ("behind file:", key(&format!("name = 'a'\nprovider = 'gemini'\nsecret = 'file:{secret}'"))),
        ("with a space", key(&format!("name = 'a'\nprovider = 'gemini'\nsecret = '{secret} {secret}'"))),
        ("in a list", key(&format!("name = 'a'\nprovider = 'gemini'\nsecret = ['{secret}']"))),
        ("without quotes", key(&format!("name = 'a'\nprovider = 'gemini'\nsecret = {secret}"))),
        ("with half the quotes", key(&format!("name = 'a'\nprovider = 'gemini'\nsecret = \"{secret}\n"))),
        ("twice on a line", key(&format!("name = 'a' secret = '{secret}'"))),
        (
            "twice",
            key(&format!(
                "name = 'a'\nprovider = 'gemini'\nsecret = '{secret}'\n[[key]]\nname = 'b'\nprovider = 'gemini'\nsecret = '{secret}'"
            )),
        ),
        (
            "in an address",
            ConfigFixture::with_keys_toml(&format!(
                "[[provider]]\nname = 'gemini'\nbase_url = 'https://x.example/?key={secret}'"
            )),
        ),
        (
            "as a host",
            ConfigFixture::with_keys_toml("[[provider]]\nname = 'p'\nbase_url = 'http://AIzahunter2hunter2/v1'"),
        ),
        (
            "as a model's name beside a budget",
            ConfigFixture::with_keys_toml(&format!(
                "[policy]\nmax_usd = 1\n[[model]]\nname = '{secret}'\nprovider = 'gemini'\n"
            )),
        ),
        ("as a schema", ConfigFixture::with_keys_toml("[defaults]\njson = 'file:AIzahunter2hunter2'")),
        (
            "as a webhook's variable",
            ConfigFixture::with_keys_toml("[[webhook]]\nname = 'w'\nurl = 'env:AIzahunter2hunter2'"),
        ),
        (
            "in a header",
            ConfigFixture::with_keys_toml(&format!(
                "[[provider]]\nname = 'gemini'\nheaders = {{ Authorization = 'Bearer {secret}' }}"
            )),
        ),
        ("in a file", with_secret("'file:k'").with_file("k", format!("{secret}\n{secret}"))),
        ("in a variable", with_secret("'env:K'").with_env("K", &format!("{secret} {secret}"))),
        ("in a .env", with_secret("'env:K'").with_file(".env", format!("K={secret} {secret}\n"))),
    ];
    for (what, desk) in invalid_configs {
        let faults = desk.load_errors();
        for shown in [faults.to_string(), format!("{faults:?}")] {
            assert!(!shown.contains("hunter2"), "{what}: {shown}");
        }
    }
}

/// A text in place of a key, and a part of the message that says how to fix it.
const PLACEHOLDERS: [(&str, &str); 32] = [
    ("$OPENAI_API_KEY", "\"env:OPENAI_API_KEY\""),
    ("${OPENAI_API_KEY}", "\"env:OPENAI_API_KEY\""),
    ("$env:OPENAI_API_KEY", "\"env:OPENAI_API_KEY\""),
    ("$(OPENAI_API_KEY)", "\"env:OPENAI_API_KEY\""),
    ("%OPENAI_API_KEY%", "\"env:OPENAI_API_KEY\""),
    ("{{ OPENAI_API_KEY }}", "\"env:OPENAI_API_KEY\""),
    ("process.env.OPENAI_API_KEY", "\"env:OPENAI_API_KEY\""),
    ("env.OPENAI_API_KEY", "\"env:OPENAI_API_KEY\""),
    ("ENV.OPENAI_API_KEY", "\"env:OPENAI_API_KEY\""),
    ("your_openai_key", "\"env:NAME\""),
    ("YOUR-GEMINI-KEY", "\"env:NAME\""),
    ("sk-your-own-secret-here", "\"env:NAME\""),
    ("<your-openai-api-key>", "\"env:NAME\""),
    ("yourOpenaiToken", "\"env:NAME\""),
    ("YOUR_API_KEY", "\"env:NAME\""),
    ("insert-your-api-key", "\"env:NAME\""),
    ("YOUR_API_KEY_GOES_HERE", "\"env:NAME\""),
    ("your-api-key-here", "\"env:NAME\""),
    ("<your key>", "\"env:NAME\""),
    ("<API_KEY>", "\"env:NAME\""),
    ("[your key]", "\"env:NAME\""),
    ("sk-your-key", "\"env:NAME\""),
    ("sk-...", "\"env:NAME\""),
    ("sk-proj-…", "\"env:NAME\""),
    ("...", "\"env:NAME\""),
    ("xxx", "\"env:NAME\""),
    ("sk-XXXXXXXXXXXXXXXX", "\"env:NAME\""),
    ("AIzaXXXXXXXXXXXXXXX", "\"env:NAME\""),
    ("sk-ant-****", "\"env:NAME\""),
    ("changeme", "\"env:NAME\""),
    ("CHANGE-ME", "\"env:NAME\""),
    ("replace_me", "\"env:NAME\""),
];

#[test]
fn a_placeholder_is_no_secret_wherever_it_comes_from() {
    for (text, suggestion) in PLACEHOLDERS {
        let literal = with_secret(&format!("'{text}'")).load_errors().to_string();
        assert!(literal.contains("keys.toml:7:10: the secret"), "{text}: {literal}");
        assert!(literal.contains("placeholder") || literal.contains("the name of a variable"), "{text}: {literal}");
        assert!(literal.contains(suggestion), "{text}: {literal}");
        let elsewhere = [
            ("a variable", with_secret("'env:K'").with_env("K", text), "the variable `K` "),
            ("a .env", with_secret("'env:K'").with_file(".env", format!("K='{text}'\n")), "the variable `K` "),
            ("a file", with_secret("'file:k'").with_file("k", format!("{text}\n")), "the secret file `k` "),
            (
                "no file at all",
                ConfigFixture::empty().with_env("OPENAI_API_KEY", text),
                "OPENAI_API_KEY: key number 1 ",
            ),
        ];
        for (what, desk, place) in elsewhere {
            let faults = desk.load_errors().to_string();
            assert!(faults.contains(place) && faults.contains("the key itself"), "{text} in {what}: {faults}");
        }
    }
}

#[test]
fn a_variable_name_without_env_prefix_is_reported() {
    for (text, name) in [
        ("OPENAI_API_KEY", "OPENAI_API_KEY"),
        ("GEMINI_KEY_ALICE", "GEMINI_KEY_ALICE"),
        ("ENV:OPENAI_API_KEY", "OPENAI_API_KEY"),
        ("Env:ALICE", "ALICE"),
    ] {
        let faults = with_secret(&format!("'{text}'")).load_errors().to_string();
        let words = format!("the secret is the name of a variable, `{text}`, not a key: write \"env:{name}\"");
        assert!(faults.contains(&words), "{faults}");
        // A secret that really looks like this can be given through a variable.
        let config = with_secret("'env:K'").with_env("K", text).load();
        assert_eq!(secret_of(&config, "alice"), Some(text));
    }
}

#[test]
fn what_a_placeholder_may_hide_is_not_shown() {
    for text in [
        "$AIzaSyA0123456789abcdefhunter2",
        "<sk-hunter2hunter2hunter2>",
        "${sk-hunter2-0123456789}",
        "{AQ.hunter2hunter2hunter2}",
        "$hunter2",
        "sk-hunter2...hunter2",
        "yourkeyhunter2hunter2hunter2",
        "\"sk-hunter2\"",
        "hunter2 hunter3",
        "hunter2\nhunter3",
    ] {
        let faults = with_secret("'env:K'").with_env("K", text).load_errors();
        let shown = format!("{faults} {faults:?}");
        assert!(!shown.contains("hunter"), "{text:?}: {shown}");
    }
}

#[test]
fn keys_that_only_look_odd_are_taken() {
    // Local servers accept any key, and some document one.
    for secret in [
        "ollama",
        "lm-studio",
        "EMPTY",
        "none",
        "dummy",
        "not-needed",
        "sk-no-key-required",
        "test",
        "1",
        "sk-proj-xXx9_Zaxxxb-0",
        "AQ.Ab8-_~=+/",
        "hf_xxAbxx01",
        "a.b..c",
        "0123456789abcdef",
        "SECRET0123",
        "gsk_$x%y&z",
        "your-server",
        "keep-your-key-safe",
        "your-key-is-safe-here-with-me",
        "this-is-not-your-token",
        "yours_key",
        "sk-key-your",
        "your7Q2bkey",
        "env.local",
        "env.Ab8-",
    ] {
        let config = with_secret(&format!("'{secret}'")).load();
        assert_eq!(secret_of(&config, "alice"), Some(secret));
    }
}
