//! Where a configuration is looked for, and starting without a file.

use cascadeck::{
    config::Origin,
    domain::{Price, QuotaDay, Rates, TokenCounting},
};

use crate::config::{ConfigFixture, secret_of};

const LOCAL_FILE: &str = "[[model]]\nname = 'from-here'\nprovider = 'ollama'\n";
const PERSONAL_FILE: &str = "[[model]]\nname = 'from-there'\nprovider = 'ollama'\n";

fn first_model(desk: &ConfigFixture, file: Option<&str>) -> String {
    desk.try_load_file(file).unwrap_or_else(|faults| panic!("{faults}")).models[0].name.clone()
}

#[test]
fn the_file_asked_for_wins_over_the_one_here_over_the_personal_one_over_the_environment() {
    let desk = ConfigFixture::empty().with_env("GEMINI_API_KEY", "k");
    assert_eq!(first_model(&desk, None), "gemini-3.8-flash");

    let home = desk.path().join("home").display().to_string();
    let desk = desk.with_env("HOME", &home).with_file("home/.config/cascadeck/keys.toml", PERSONAL_FILE);
    assert_eq!(first_model(&desk, None), "from-there");

    let desk = desk.with_file("keys.toml", LOCAL_FILE);
    assert_eq!(first_model(&desk, None), "from-here");

    let desk = desk.with_file("mine.toml", LOCAL_FILE.replace("here", "mine"));
    assert_eq!(first_model(&desk, Some("mine.toml")), "from-mine");
}

#[test]
fn the_personal_file_follows_xdg_config_home() {
    let desk = ConfigFixture::empty().with_file("xdg/cascadeck/keys.toml", PERSONAL_FILE);
    let xdg = desk.path().join("xdg").display().to_string();
    assert_eq!(first_model(&desk.with_env("XDG_CONFIG_HOME", &xdg), None), "from-there");
}

#[test]
fn a_file_asked_for_must_be_there_and_a_faulty_one_is_not_passed_over() {
    let desk = ConfigFixture::empty().with_env("GEMINI_API_KEY", "k");
    let missing = desk.try_load_file(Some("missing.toml")).unwrap_err().to_string();
    assert!(missing.starts_with("missing.toml: can't be read: no such file or directory\n"), "{missing}");
    let desk = desk.with_file("keys.toml", "");
    assert!(desk.load_errors().to_string().starts_with("keys.toml:1:1: there is no [[model]]"));
}

#[test]
fn a_list_of_keys_in_the_environment_is_enough() {
    let config =
        ConfigFixture::empty().with_env("GEMINI_API_KEYS", " k1, k2 ,,k1,k3 ").with_env("GEMINI_API_KEY", "k4").load();
    let names: Vec<&str> = config.keys.iter().map(|key| key.name.as_str()).collect();
    assert_eq!(names, ["gemini-1", "gemini-2", "gemini-3", "gemini-4"], "the same key twice is one key");
    assert_eq!((secret_of(&config, "gemini-2"), secret_of(&config, "gemini-4")), (Some("k2"), Some("k4")));
    let models: Vec<&str> = config.models.iter().map(|model| model.name.as_str()).collect();
    assert_eq!(models, ["gemini-3.8-flash", "gemini-3.6-flash", "gemini-3.5-flash-lite", "gemini-3.1-flash-lite"]);
    let lite = &config.models[2];
    assert_eq!((lite.limits.rpm, lite.limits.rpd, lite.limits.tpm), (Some(15), Some(500), Some(250_000)));
    assert_eq!((lite.limits.token_counting, lite.limits.quota_day), (TokenCounting::Input, QuotaDay::Pacific));
    let price = Price::new(Rates { cached_input: 75_000, ..Rates::from_usd_per_mtok(0.30, 2.50).unwrap() });
    assert_eq!((lite.max_output, lite.price), (Some(8_192), Some(price)), "cached input costs at most a quarter");
    assert!(config.models_with_unbounded_cost().is_empty(), "a budget works at once");
    let Origin::Environment(found) = &config.origin else { panic!("{:?}", config.origin) };
    assert_eq!((found[0].provider, found[0].key_count), ("gemini", 4));
    assert_eq!(found[0].variables, ["GEMINI_API_KEYS", "GEMINI_API_KEY"]);
    assert_eq!(config.has_named_project, [false; 4]);
}

#[test]
fn keys_of_every_hosted_provider_are_enough_and_documented() {
    let documented = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/environment.md")).unwrap();
    for (provider, vision) in [
        ("gemini", true),
        ("openai", true),
        ("anthropic", true),
        ("deepseek", true),
        ("moonshot", true),
        ("minimax", true),
        ("openrouter", true),
        ("groq", false),
        ("mistral", true),
        ("xai", true),
        ("together", true),
        ("fireworks", true),
        ("cerebras", false),
        ("deepinfra", true),
        ("nvidia", false),
    ] {
        let prefix = provider.to_uppercase();
        let desk = ConfigFixture::empty().with_env(&format!("{prefix}_API_KEYS"), "k1,k2");
        let config = desk.with_env(&format!("{prefix}_API_KEY"), "k3").load();
        assert_eq!((config.providers.len(), config.keys.len()), (1, 3), "{provider}");
        assert_eq!(config.providers[0].name, provider);
        assert!(config.providers[0].base_url.starts_with("https://"), "{provider}");
        assert_eq!(config.models.iter().any(|model| model.vision), vision, "{provider}");
        assert_eq!(config.models_with_unbounded_cost().is_empty(), provider != "nvidia", "{provider}");
        for model in &config.models {
            let row = |line: &&str| line.starts_with(&format!("| `{prefix}_API_KEYS`"));
            let line = documented.lines().find(row).unwrap_or_else(|| panic!("{provider} is not documented"));
            assert!(line.contains(&format!("`{}`", model.name)), "{} is not in {line}", model.name);
            let price = model.price.map_or("unknown".to_owned(), |price| {
                format!("{} / {}", price.base().input as f64 / 1e6, price.base().output as f64 / 1e6)
            });
            assert!(line.contains(&price), "{price} is not in {line}");
        }
    }
}

#[test]
fn keys_of_several_providers_are_not_used_until_one_is_chosen() {
    let desk = ConfigFixture::empty()
        .with_env("MISTRAL_API_KEY", "secret-of-mistral")
        .with_env("GEMINI_API_KEYS", "secret-one,secret-two");
    let faults = desk.load_errors().to_string();
    insta::assert_snapshot!(faults, @"
    the environment has keys of several providers, and no keys.toml says which to use:
      1. gemini: 2 keys in GEMINI_API_KEYS; models: gemini-3.8-flash ($0.75 in, $3.75 out), gemini-3.6-flash ($0.75 in, $3.75 out), gemini-3.5-flash-lite ($0.30 in, $2.50 out), gemini-3.1-flash-lite ($0.25 in, $1.50 out)
      2. mistral: 1 key in MISTRAL_API_KEY; models: mistral-small-2603 ($0.15 in, $0.60 out)
    Prices are for a million tokens.
    Nothing was sent. Say which may get prompts and cost money: --provider gemini, or for all of them, in this order, --provider gemini,mistral
    ");
    let choose = |names: &[&str]| desk.try_load_for(&names.iter().map(ToString::to_string).collect::<Vec<_>>());
    let names = |config: &cascadeck::config::Config| {
        config.keys.iter().map(|key| key.name.clone()).collect::<Vec<_>>().join(" ")
    };
    let config = choose(&["mistral"]).unwrap();
    assert_eq!(names(&config), "mistral-1");
    assert!(config.models.iter().all(|model| model.name.starts_with("mistral-")));
    assert_eq!(config.origin.to_string(), "the environment (MISTRAL_API_KEY)");
    assert_eq!(names(&choose(&["mistral", "gemini", "mistral"]).unwrap()), "mistral-1 gemini-1 gemini-2");

    let error = |names: &[&str]| choose(names).unwrap_err().to_string();
    assert_eq!(error(&["groq"]), "--provider groq: neither GROQ_API_KEYS nor GROQ_API_KEY is set");
    let unknown = error(&["minstral"]);
    assert!(unknown.contains("`minstral` (did you mean `mistral`?)") && unknown.contains("deepseek"), "{unknown}");
    assert!(!error(&["sk-0123456789abcdef01234567"]).contains("0123"), "a key in the wrong place is not shown");
}

#[test]
fn a_faulty_key_of_another_provider_does_not_stand_in_the_way_of_the_chosen_one() {
    let desk = ConfigFixture::empty().with_env("GROQ_API_KEY", "your-key-here").with_env("OPENAI_API_KEY", "o");
    let faults = desk.load_errors().to_string();
    assert!(faults.starts_with("GROQ_API_KEY: key number 1 "), "{faults}");
    assert!(faults.ends_with("To use only the keys in OPENAI_API_KEY: --provider openai"), "{faults}");
    assert_eq!(desk.try_load_for(&["openai".to_owned()]).unwrap().keys.len(), 1);
}

#[test]
fn a_file_is_not_overridden_by_a_provider_of_the_environment() {
    let desk = ConfigFixture::with_keys_toml(LOCAL_FILE)
        .with_env("GEMINI_API_KEY", "g")
        .with_env("MISTRAL_API_KEY", "m")
        .with_env("GROQ_API_KEY", "your-key-here");
    assert_eq!(first_model(&desk, None), "from-here", "other variables don't matter");
    let faults = desk.try_load_for(&["gemini".to_owned()]).unwrap_err().to_string();
    assert!(
        faults.starts_with("--provider chooses among the keys in the environment, but keys.toml is used"),
        "{faults}"
    );
}

#[test]
fn several_chosen_providers_follow_one_another() {
    let desk = ConfigFixture::empty().with_env("ANTHROPIC_API_KEY", "a").with_env("OPENAI_API_KEYS", "o1,o2");
    let config = desk.try_load_for(&["openai".to_owned(), "anthropic".to_owned()]).unwrap();
    let names: Vec<&str> = config.keys.iter().map(|key| key.name.as_str()).collect();
    assert_eq!(names, ["openai-1", "openai-2", "anthropic-1"]);
    for model in &config.models {
        assert_eq!((model.limits.rpm, model.limits.rpd), (None, None), "{}: paid limits are not guessed", model.name);
    }
    let provider_of = |index: usize| config.providers[config.keys[index].provider.index()].name.as_str();
    assert_eq!((provider_of(0), provider_of(2)), ("openai", "anthropic"));
}

#[test]
fn a_dotenv_stands_in_for_what_the_environment_lacks() {
    let desk = ConfigFixture::empty().with_file(".env", "GEMINI_API_KEYS=from-file\nGEMINI_API_KEY='o'\n");
    let config = desk.load();
    assert_eq!((secret_of(&config, "gemini-1"), secret_of(&config, "gemini-2")), (Some("from-file"), Some("o")));
    assert_eq!(config.origin.to_string(), "the environment (GEMINI_API_KEYS in .env, GEMINI_API_KEY in .env)");
    let config = desk.with_env("GEMINI_API_KEYS", "from-environment").load();
    assert_eq!(secret_of(&config, "gemini-1"), Some("from-environment"));
    assert!(std::env::var("GEMINI_API_KEYS").is_err(), "this process's own environment is left alone");
}

#[test]
fn a_faulty_key_in_the_environment_is_named_by_its_place_not_its_text() {
    let faults = ConfigFixture::empty().with_env("GEMINI_API_KEYS", "good,hunter2 hunter3").load_errors().to_string();
    assert!(faults.starts_with("GEMINI_API_KEYS: key number 2 has white space in it"), "{faults}");
    assert!(!faults.contains("hunter"), "{faults}");
}

#[test]
fn no_keys_anywhere_is_explained_with_the_three_ways_to_give_them() {
    let faults = ConfigFixture::empty()
        .with_env("HOME", "/home/someone")
        .with_env("OPENAI_API_KEY", "  ")
        .load_errors()
        .to_string();
    insta::assert_snapshot!(faults, @r#"
    no keys found: there is no keys.toml or /home/someone/.config/cascadeck/keys.toml, and none of GEMINI_API_KEYS, OPENAI_API_KEYS, ANTHROPIC_API_KEYS, DEEPSEEK_API_KEYS, MOONSHOT_API_KEYS, MINIMAX_API_KEYS, OPENROUTER_API_KEYS, GROQ_API_KEYS, MISTRAL_API_KEYS, XAI_API_KEYS, TOGETHER_API_KEYS, FIREWORKS_API_KEYS, CEREBRAS_API_KEYS, DEEPINFRA_API_KEYS, NVIDIA_API_KEYS (or the same with _API_KEY) is set.
    Give keys in one of three ways:
      1. in the environment:  export GEMINI_API_KEYS="key1,key2"
      2. in a file .env here: GEMINI_API_KEYS=key1,key2
      3. in ./keys.toml (or --keys FILE), which also sets models, limits and budget: start from keys.example.toml
    To try the program without a key, run `cascadeck demo`.
    "#);
}

#[test]
fn a_broken_dotenv_is_named_with_its_line_where_no_key_was_found() {
    let cases: [(&str, &[u8], &str); 9] = [
        ("a colon", b"# keys\nGEMINI_API_KEYS: abc\n", ".env:2: not a line of the form NAME=value"),
        ("a space", b"GEMINI_API_KEYS=abc def\n", ".env:1: not a line of the form NAME=value"),
        ("no name", b"A=1\n\nabc\n", ".env:3: not a line of the form NAME=value"),
        ("a dash", b"GEMINI-API-KEY=abc\n", ".env:1: not a line of the form NAME=value"),
        ("twice", b"a b\nA=1\na b\n", ".env:3: not a line of the form NAME=value"),
        ("a part of another line", b"GEMINI=abc\nabc\n", ".env:2: not a line of the form NAME=value"),
        (
            "an open quote",
            b"A=1\nB=\"open\nGEMINI_API_KEYS=abc\n",
            ".env:2: a quote is opened here and never closed; the rest of the file is ignored",
        ),
        ("Latin-1", b"A=1\n# Schl\xfcssel\nGEMINI_API_KEYS=abc\n", ".env:2: not UTF-8"),
        ("UTF-16", b"\xff\xfeG\0E\0M\0", ".env:1: not UTF-8 but UTF-16"),
    ];
    for (what, text, words) in cases {
        let faults = ConfigFixture::empty().with_file(".env", text).load_errors().to_string();
        let first = faults.lines().next().unwrap_or_default();
        assert!(first.contains("no keys found, and .env could not be read completely"), "{what}: {faults}");
        assert!(faults.contains(words), "{what}: {faults}");
        assert!(faults.find(words) < faults.find("Give keys in one of three ways"), "{what}: {faults}");
        assert!(!faults.contains("abc"), "{what}: {faults}");
    }
    // A valid .env causes no message.
    let faults = ConfigFixture::empty().with_file(".env", "A=1\n").load_errors().to_string();
    assert!(faults.starts_with("no keys found: there is no keys.toml"), "{faults}");
}
