//! Every configuration error, with its line and message, and all of them at once.

use crate::config::ConfigFixture;

/// A valid model and key; the text of a case follows and begins on line 9.
const VALID_START: &str = "\
[[model]]
name = 'lite'
provider = 'gemini'
[[key]]
name = 'alice'
provider = 'gemini'
secret = 's'

";
const MODEL_TABLE: &str = "[[model]]\nname = 'm'\nprovider = 'gemini'\n";
const KEY_WITHOUT_SECRET: &str = "[[key]]\nname = 'bob'\nprovider = 'gemini'\n";
const KEY_TABLE: &str = "[[key]]\nname = 'bob'\nprovider = 'gemini'\nsecret = 't'\n";
const PROVIDER_TABLE: &str = "[[provider]]\nname = 'gemini'\n";
const POLICY_TABLE: &str = "[policy]\n";
const DEFAULTS_TABLE: &str = "[defaults]\n";

#[track_caller]
fn assert_errors(desk: &ConfigFixture, want: &[&str]) {
    let found: Vec<String> = desk.load_errors().0.iter().map(ToString::to_string).collect();
    assert_eq!(found, want);
}

/// Compares the error of each text after [`VALID_START`] with the expected one, without `keys.toml:`.
#[track_caller]
fn assert_one_error_each(cases: &[(&str, &str, &str)]) {
    for (before, text, want) in cases {
        let whole = format!("{VALID_START}{before}{text}");
        let found: Vec<String> =
            ConfigFixture::with_keys_toml(&whole).load_errors().0.iter().map(ToString::to_string).collect();
        assert_eq!(found, [format!("keys.toml:{want}")], "\n{before}{text}");
    }
}

#[test]
fn errors_in_metrics() {
    const METRICS_TABLE: &str = "[metrics]\n";
    assert_one_error_each(&[
        (
            METRICS_TABLE,
            "listen = '0.0.0.0'",
            "10:10: listen: expected a port of this machine, like 9464, or an address in full, like 0.0.0.0:9464 or \
             [::]:9464, not `0.0.0.0`",
        ),
        (METRICS_TABLE, "listen = 9464", "10:10: listen must be a string in quotes, not a whole number"),
        (
            METRICS_TABLE,
            "linger = 'long'",
            "10:10: linger: `long`: a duration is written like \"250ms\", \"10s\", \"2m\", \"1h30m\" or \"1d\"",
        ),
        (METRICS_TABLE, "hosts = []", "10:9: hosts is an empty list; leave it out for the default"),
    ]);
}

#[test]
fn errors_in_models() {
    assert_one_error_each(&[
        (MODEL_TABLE, "rpm = 0", "12:7: rpm must be at least 1, not 0; leave it out for no limit"),
        (MODEL_TABLE, "tpd = -5", "12:7: tpd must be at least 1, not -5; leave it out for no limit"),
        (
            MODEL_TABLE,
            "rpm = 99999999999999999999",
            "12:7: rpm must be at most 1000000000, not 99999999999999999999; leave it out for no limit",
        ),
        (MODEL_TABLE, "rpd = '20'", "12:7: rpd must be a whole number, not a string"),
        (MODEL_TABLE, "rpd = 20.5", "12:7: rpd must be a whole number, not a number with a fraction"),
        (MODEL_TABLE, "rmp = 5", "12:1: `rmp` is not a setting of [[model]] (did you mean `rpm`?)"),
        (MODEL_TABLE, "visoin = true", "12:1: `visoin` is not a setting of [[model]] (did you mean `vision`?)"),
        (MODEL_TABLE, "vision = 'yes'", "12:10: vision must be true or false, not a string"),
        (
            MODEL_TABLE,
            "day = 'Pacific'",
            "12:7: day must be pacific, utc or rolling, not `Pacific` (did you mean `pacific`?)",
        ),
        (MODEL_TABLE, "counted = 'output'", "12:11: counted must be input or total, not `output`"),
        (MODEL_TABLE, "burst = 5", "12:9: burst limits how much of rpm may be sent at once, but rpm is not set"),
        (MODEL_TABLE, "rpm = 4\nburst = 5", "13:9: burst = 5 must not be larger than rpm = 4"),
        (MODEL_TABLE, "weight = 0", "12:10: weight must be at least 1, not 0"),
        (MODEL_TABLE, "pool = ''", "12:8: pool is empty"),
        (MODEL_TABLE, "context = 10\nmax_output = 11", "9:1: max_output = 11 must not be larger than context = 10"),
        (MODEL_TABLE, "usd_per_mtok = { input = -1, output = 2 }", "12:26: input must be from 0 to 100000, not -1"),
        (MODEL_TABLE, "usd_per_mtok = { input = nan, output = 2 }", "12:26: input must be from 0 to 100000, not nan"),
        (MODEL_TABLE, "usd_per_mtok = { input = 1 }", "12:16: output is missing from this usd_per_mtok"),
        (MODEL_TABLE, "usd_per_mtok = 1", "12:16: usd_per_mtok must be a table, not a whole number"),
        (MODEL_TABLE, "usd_per_image = 1", "12:17: usd_per_image adds to usd_per_mtok, which is not set"),
        (
            MODEL_TABLE,
            "usd_per_mtok = { input = 1, output = 2, steps = [{ input = 1, output = 2 }] }",
            "12:50: above is missing from this step of usd_per_mtok",
        ),
        (
            MODEL_TABLE,
            "usd_per_mtok = { input = 1, output = 2, steps = [{ above = 9, input = 1, output = 2 }, { above = 5, input = 1, output = 2 }] }",
            "12:88: steps must be in ascending order of `above`, and at most 4",
        ),
        ("", "[[model]]\nname = 'm'\n", "9:1: provider is missing from this [[model]]"),
        ("", "[[model]]\nprovider = 'gemini'\n", "9:1: name is missing from this [[model]]"),
        ("", "[[model]]\nname = ' '\nprovider = 'gemini'", "10:8: name is empty"),
        (
            "",
            "[[model]]\nname = 'a b'\nprovider = 'gemini'",
            "10:8: a model's name must be a single word of visible characters, not `a b`",
        ),
        (
            "",
            "[[model]]\nname = \"a\\u202eb\"\nprovider = 'gemini'",
            "10:8: a model's name must be a single word of visible characters, not `a<U+202E>b`",
        ),
        (
            "",
            "[[model]]\nname = 'lite'\nprovider = 'gemini'",
            "10:8: model `lite` of provider `gemini` is already defined on line 2",
        ),
        (
            "",
            "[[model]]\nname = 'm'\nprovider = 'openruoter'",
            "11:12: there is no provider `openruoter` (did you mean `openrouter`?); declare it with [[provider]] (name, api and base_url)",
        ),
    ]);
}

#[test]
fn errors_in_keys() {
    assert_one_error_each(&[
        (KEY_WITHOUT_SECRET, "", "9:1: secret is missing from this [[key]]"),
        ("", "[[key]]\nprovider = 'gemini'\nsecret = 't'", "9:1: name is missing from this [[key]]"),
        ("", "[[key]]\nname = 'bob'\nsecret = 't'", "9:1: provider is missing from this [[key]]"),
        (
            "",
            "[[key]]\nname = 'bob'\nprovider = 'nobody'\nsecret = 't'",
            "11:12: there is no provider `nobody`; declare it with [[provider]] (name, api and base_url)",
        ),
        (
            "",
            "[[key]]\nname = 'alice'\nprovider = 'gemini'\nsecret = 't'",
            "10:8: a key named `alice` is already defined on line 5; key names must be unique",
        ),
        (KEY_WITHOUT_SECRET, "secret = 's'", "12:10: key `alice` has the same secret; list it only once"),
        (KEY_WITHOUT_SECRET, "secret = ''", "12:10: the secret is empty"),
        (KEY_WITHOUT_SECRET, "secret = 'a b'", "12:10: the secret has white space in it; a key is a single word"),
        (KEY_WITHOUT_SECRET, "secret = \"a\\n\"", "12:10: the secret has a line break in it; a key is a single word"),
        (
            KEY_WITHOUT_SECRET,
            "secret = 7",
            "12:10: secret must be a string in quotes: \"env:NAME\", \"file:PATH\" or the secret itself, not a whole number",
        ),
        (
            KEY_WITHOUT_SECRET,
            "secret = 'env:NOWHERE'",
            "12:10: the variable `NOWHERE` is not set, neither in the environment nor in a .env file; export NOWHERE=… first",
        ),
        (
            KEY_WITHOUT_SECRET,
            "secret = 'env:NO-NAME'",
            "12:10: env: must be followed by the name of a variable, as in \"env:GEMINI_KEY\", not `NO-NAME`",
        ),
        (
            KEY_WITHOUT_SECRET,
            "secret = 'file:gone'",
            "12:10: the secret file `gone` (relative to this file) can't be read: no such file or directory",
        ),
        (
            "",
            "[[key]]\nname = 'b@b'\nprovider = 'gemini'\nsecret = 't'",
            "10:8: a key's name may not contain @, since routes are written model@key",
        ),
        (
            KEY_TABLE,
            "max_usd = 5",
            "13:11: max_usd is a hard cap, but model `lite` (line 2) has no price: set usd_per_mtok",
        ),
        (KEY_TABLE, "role = 'secondary'", "13:8: role must be primary or backup, not `secondary`"),
        (KEY_TABLE, "weight = 1.5", "13:10: weight must be a whole number, not a number with a fraction"),
        (
            KEY_TABLE,
            "project = 'a b'",
            "13:11: a project's name must be a single word of visible characters, not `a b`",
        ),
        (KEY_TABLE, "models = []", "13:10: models is an empty list; leave it out for the default"),
        (KEY_TABLE, "models = 'lite'", "13:10: models must be a list of model names, like [...], not a string"),
        (
            KEY_TABLE,
            "models = ['lite', 'lit']",
            "13:19: models: this provider has no model `lit` (did you mean `lite`?); use lite",
        ),
    ]);
}

#[test]
fn errors_in_secrets_from_files_and_variables() {
    let keys = |secret: &str| {
        ConfigFixture::with_keys_toml(&format!(
            "{VALID_START}[[key]]\nname = 'bob'\nprovider = 'gemini'\nsecret = '{secret}'\n"
        ))
    };
    let cases = [
        (keys("file:k").with_file("k", " \n"), "the secret file `k` is empty"),
        (keys("file:k").with_file("k", "a b"), "the secret file `k` has white space in it; a key is a single word"),
        (keys("file:k").with_file("k", [0xff, 0xfe]), "the secret file `k` (relative to this file) is not a text file"),
        (
            keys("file:k").with_file("k", "x".repeat(70_000)),
            "the secret file `k` (relative to this file) can't be read: it is larger than the limit of 64 KiB; is it the right \
             file?",
        ),
        (
            keys("file:k").with_file("k/inner", "x"),
            "the secret file `k` (relative to this file) can't be read: is a directory",
        ),
        (
            keys("env:K").with_file(".env", "# keys\nK=a b\n"),
            "the variable `K` is not set, neither in the environment nor in a .env file; export K=… first \
             ({desk}/.env:2: not a line of the form NAME=value, so it is ignored; a value that contains spaces or quotes \
             must be quoted)",
        ),
        (keys("file:"), "file: must be followed by a path, as in \"file:keys/alice\""),
        (keys("env:K").with_env("K", "a b"), "the variable `K` has white space in it; a key is a single word"),
    ];
    for (desk, want) in cases {
        let want = want.replace("{desk}", &desk.path().display().to_string());
        assert_errors(&desk, &[&format!("keys.toml:12:10: {want}")]);
    }
}

#[test]
fn errors_in_providers() {
    let open = "[[provider]]\nname = 'box'\napi = 'openai'\n";
    assert_one_error_each(&[
        ("", "[[provider]]\nbase_url = 'https://x.example'", "9:1: name is missing from this [[provider]]"),
        (open, "", "9:1: base_url is missing from this [[provider]]"),
        (
            "",
            "[[provider]]\nname = 'box'\nbase_url = 'https://x.example'",
            "9:1: `box` is not a well-known provider, so it needs an api: gemini, openai or anthropic",
        ),
        (
            "",
            "[[provider]]\nname = 'box'\napi = 'openapi'\nbase_url = 'https://x.example'",
            "11:7: api must be gemini, openai or anthropic, not `openapi` (did you mean `openai`?)",
        ),
        (
            open,
            "base_url = 'http://example.com/v1'",
            "12:12: base_url: plain http would send keys unencrypted over the internet to example.com; use https",
        ),
        (
            open,
            "base_url = 'http://8.8.8.8/v1'\ninsecure = true",
            "12:12: base_url: plain http would send keys unencrypted over the internet to 8.8.8.8; use https",
        ),
        (
            open,
            "base_url = 'http://10.0.0.1/v1'",
            "12:12: base_url: plain http would send keys unencrypted to 10.0.0.1; use https, or set insecure = true if that network is your own",
        ),
        (
            open,
            "base_url = 'x.example/v1'",
            "12:12: base_url must be an address like https://api.example.com/v1, not `x.example/v1`",
        ),
        (
            open,
            "base_url = 'https://x.example/v1/chat/completions'",
            "12:12: base_url: leave out /chat/completions; it is added to every request",
        ),
        (PROVIDER_TABLE, "[[provider]]\nname = 'gemini'", "12:8: provider `gemini` is already defined on line 10"),
        (PROVIDER_TABLE, "headers = { a = 1 }", "11:17: header `a`: its value must be a string in quotes"),
        (PROVIDER_TABLE, "headers = { 'a b' = 'x' }", "11:13: header `a b`: this is not a valid header name"),
        (
            PROVIDER_TABLE,
            "headers = { authorization = 'x' }",
            "11:13: header `authorization`: credentials belong in the secret of a [[key]], which is kept out of logs; write {key} in their place, as in \"Bearer {key}\"",
        ),
    ]);
}

#[test]
fn errors_in_rules() {
    let rule = "[[rule]]\nname = 'r'\n";
    assert_one_error_each(&[
        ("", "[[rule]]\ncode = true", "9:1: name is missing from this [[rule]]"),
        ("", "[rule]\nname = 'r'", "9:1: write [[rule]] in double brackets, since there may be several"),
        (
            "",
            "[[rule]]\nname = 'two words'",
            "10:8: a rule's name must be a single word of visible characters, not `two words`",
        ),
        (rule, "word_over = 5", "11:1: `word_over` is not a setting of [[rule]] (did you mean `words_over`?)"),
        (rule, "words_over = -1", "11:14: words_over must be at least 0, not -1"),
        (rule, "code = 'yes'", "11:8: code must be true or false, not a string"),
        (rule, "terms = []", "11:9: terms is an empty list; leave it out for the default"),
        (rule, "terms = ['a', ' ']", "11:15: terms is empty"),
        (rule, "terms = ['a']\nterms_at_least = 2", "12:18: terms_at_least = 2 can't be met: there are 1 terms"),
        (
            rule,
            "terms_at_least = 2",
            "11:18: terms_at_least sets how many of terms an item must mention, but terms is not set",
        ),
        (rule, "field = 'de'", "11:9: field must be a table of the row's fields, like { lang = \"de\" }, not a string"),
        (rule, "field = {}", "11:9: field is empty; leave it out for no condition"),
        (
            rule,
            "field = { lang = [] }",
            "11:18: field `lang`: the value must be a string, a whole number, true or false",
        ),
        (rule, "models = ['lit']", "11:11: models: there is no [[model]] named `lit` (did you mean `lite`?); use lite"),
        (rule, "models = ['lite', 'lite']", "11:19: models: `lite` is listed twice"),
        (rule, "max_usd = 0", "11:11: max_usd must be more than 0; leave it out for no limit"),
        (rule, "max_usd = 1", "11:11: max_usd is a hard cap, but model `lite` (line 2) has no price: set usd_per_mtok"),
        (rule, "code = true\n[[rule]]\nname = 'r'", "13:8: a rule named `r` is already defined on line 10"),
        (
            rule,
            "[[rule]]\nname = 's'",
            "11:1: this rule can never apply: rule `r` on line 10 matches every item, and the first match applies",
        ),
        (
            rule,
            "strategy = 'weighted'\n[policy]\nwhen_limited = 'wait'",
            "11:12: strategy = \"weighted\" can't be combined with when_limited = \"wait\", which always follows the \
             cascade's order; use when_limited = \"spill\" or strategy = \"cascade\"",
        ),
    ]);
}

#[test]
fn errors_in_policy_and_defaults() {
    assert_one_error_each(&[
        (
            POLICY_TABLE,
            "strategy = 'fasttest'",
            "10:12: strategy must be cascade, round_robin, weighted, primary_backup, health, least_recently_used, \
             fastest, cheapest or balanced, not `fasttest` (did you mean `fastest`?)",
        ),
        (
            "[policy]\nwhen_limited = 'wait'\n",
            "strategy = 'fastest'",
            "11:12: strategy = \"fastest\" can't be combined with when_limited = \"wait\", which always follows the \
             cascade's order; use when_limited = \"spill\" or strategy = \"cascade\"",
        ),
        (POLICY_TABLE, "explore = 1", "10:11: explore must be at least 2, not 1"),
        (POLICY_TABLE, "balance = { cost = 1 }", "10:13: `cost` is not a setting of balance"),
        (
            POLICY_TABLE,
            "balance = { quality = 0, price = 0, wait = 0 }",
            "10:11: balance: at least one of quality, price and wait must be greater than 0",
        ),
        (
            POLICY_TABLE,
            "order = 'keyfirst'",
            "10:9: order must be key_first or model_first, not `keyfirst` (did you mean `key_first`?)",
        ),
        (POLICY_TABLE, "on_exhausted = true", "10:16: on_exhausted must be a string, stop or wait, not true or false"),
        (POLICY_TABLE, "in_flight = 0", "10:13: in_flight must be at least 1, not 0"),
        (
            POLICY_TABLE,
            "backoff_rest = 10",
            "10:16: backoff_rest must be a duration in quotes, like \"10s\", not a whole number",
        ),
        (
            POLICY_TABLE,
            "max_hint = '10'",
            "10:12: max_hint: `10`: a duration is written like \"250ms\", \"10s\", \"2m\", \"1h30m\" or \"1d\"",
        ),
        (POLICY_TABLE, "idle_timeout = '0s'", "10:16: idle_timeout must be longer than \"0s\""),
        (POLICY_TABLE, "backoff = ['5s', '0s']", "10:18: every step of backoff must be longer than \"0s\""),
        // The names of earlier versions are read too, and errors name what stands in the file.
        (POLICY_TABLE, "ladder = ['5s', '0s']", "10:17: every step of ladder must be longer than \"0s\""),
        (POLICY_TABLE, "ladder_rest = '0s'", "10:15: ladder_rest must be longer than \"0s\""),
        (
            POLICY_TABLE,
            "backoff = ['5s']\nladder = ['5s']",
            "11:1: ladder is the former name of backoff, which is set too; leave one out",
        ),
        (POLICY_TABLE, "retry_delays = []", "10:16: retry_delays is an empty list; leave it out for the default"),
        (
            POLICY_TABLE,
            "breaker_open = '1h'",
            "10:16: breaker_open must not be longer than breaker_max: it is doubled at every failed probe, up to breaker_max",
        ),
        (POLICY_TABLE, "max_usd = 0", "10:11: max_usd must be more than 0; leave it out for no cap"),
        (POLICY_TABLE, "max_usd = -1", "10:11: max_usd must be from 0 to 10000000, not -1"),
        (
            POLICY_TABLE,
            "max_usd = 5",
            "10:11: max_usd is a hard cap, but model `lite` (line 2) has no price: set usd_per_mtok",
        ),
        (
            POLICY_TABLE,
            "max_usd_per_day = 5",
            "10:19: max_usd_per_day is a hard cap, but model `lite` (line 2) has no price: set usd_per_mtok",
        ),
        (POLICY_TABLE, "max_usd_per_day = 0", "10:19: max_usd_per_day must be more than 0; leave it out for no cap"),
        (DEFAULTS_TABLE, "temperature = 3", "10:15: temperature must be from 0 to 2, not 3"),
        (
            DEFAULTS_TABLE,
            "temprature = 1",
            "10:1: `temprature` is not a setting of [defaults] (did you mean `temperature`?)",
        ),
        (DEFAULTS_TABLE, "stop = ['']", "10:9: a stop sequence is empty"),
        (
            DEFAULTS_TABLE,
            "thinking = 'hard'",
            "10:12: thinking must be \"minimal\", \"low\", \"medium\", \"high\", or a number of tokens",
        ),
        (
            DEFAULTS_TABLE,
            "json = 'yes'",
            "10:8: json must be true, false, \"file:SCHEMA.json\", or a schema as a table, not a string",
        ),
    ]);
}

#[test]
fn errors_in_the_file_as_a_whole() {
    let cases = [
        ("", "1:1: there is no [[model]]: list the models to use, best first, each with name and provider"),
        ("[model]\nname = 'm'\n", "1:1: write [[model]] in double brackets, since there may be several"),
        ("model = ['m']\n", "1:10: [[model]] must be a table"),
        (
            MODEL_TABLE,
            "1:1: there is no [[key]]: give each key a name, a provider and a secret, like secret = \"env:GEMINI_KEY\"",
        ),
        (
            "[[model]]\nname = 'm'\nprovider = 'openai'\n[[key]]\nname = 'bob'\nprovider = 'gemini'\nsecret = 't'\n",
            "1:1: no key can be used with any model: a key and a model must name the same provider",
        ),
    ];
    for (text, want) in cases {
        assert_errors(&ConfigFixture::with_keys_toml(text), &[&format!("keys.toml:{want}")]);
    }
    assert_errors(
        &ConfigFixture::empty().with_file("keys.toml", b"# fine\nx = '\xff'"),
        &["keys.toml:2:6: this is not UTF-8 text; save the file as UTF-8"],
    );
}

#[test]
fn invalid_toml_is_reported_with_line_and_column() {
    let text = format!("{VALID_START}[policy]\nin_flight 5\n\n[[key]\nname = 'x'\nname = 'y'\n");
    let faults = ConfigFixture::with_keys_toml(&text).load_errors();
    let lines: Vec<usize> = faults.0.iter().filter_map(|fault| fault.position).map(|position| position.line).collect();
    assert_eq!(lines, [10, 12], "{faults}");
    assert!(faults.0.iter().all(|fault| fault.message.starts_with("this is not TOML: ")), "{faults}");
}

#[test]
fn all_errors_are_reported_at_once_in_file_order() {
    let text = "\
[[model]]
name = 'a'
provider = 'gemni'
rpm = 0
colour = 'blue'
usd_per_mtok = { input = -1, output = 'free' }

[[model]]
name = 'b'
day = 'lunar'

[[key]]
name = 'alice'
provider = 'gemini'
secret = 'env:ALICE'
role = 'chief'

[[key]]
name = 'alice'
provider = 'gemini'
secret = 'file:missing'

[policy]
in_flight = 'many'
ladder = ['5s', 'soon', 7]
max_usd = 1

[defualts]
seed = 1
";
    let shown = ConfigFixture::with_keys_toml(text).load_errors().to_string();
    insta::assert_snapshot!(shown, @r#"
    keys.toml:3:12: there is no provider `gemni` (did you mean `gemini`?); declare it with [[provider]] (name, api and base_url)
    keys.toml:4:7: rpm must be at least 1, not 0; leave it out for no limit
    keys.toml:5:1: `colour` is not a setting of [[model]]
    keys.toml:6:26: input must be from 0 to 100000, not -1
    keys.toml:6:39: output must be a number, not a string
    keys.toml:8:1: provider is missing from this [[model]]
    keys.toml:10:7: day must be pacific, utc or rolling, not `lunar`
    keys.toml:15:10: the variable `ALICE` is not set, neither in the environment nor in a .env file; export ALICE=… first
    keys.toml:16:8: role must be primary or backup, not `chief`
    keys.toml:19:8: a key named `alice` is already defined on line 13; key names must be unique
    keys.toml:21:10: the secret file `missing` (relative to this file) can't be read: no such file or directory
    keys.toml:24:13: in_flight must be a whole number, not a string
    keys.toml:25:17: ladder: `soon`: a duration is written like "250ms", "10s", "2m", "1h30m" or "1d"
    keys.toml:25:25: ladder must be a duration in quotes, like "10s", not a whole number
    keys.toml:28:2: `defualts` is not a setting of the file (did you mean `defaults`?)
    Nothing was sent. Correct keys.toml and run the same command again; keys.example.toml explains every setting.
    "#);
}

#[test]
fn at_most_forty_errors_are_listed() {
    let text = "nonsense = 1\n".replace("nonsense", "[[model]]\nnonsense").repeat(100);
    let shown = ConfigFixture::with_keys_toml(&text).load_errors().to_string();
    assert_eq!(shown.lines().count(), 42, "{shown}");
    assert!(shown.contains("\n… and 260 more\n"), "{shown}");
}

const CHECK_TABLE: &str = "[[check]]\nname = 'c'\n";

#[test]
fn errors_in_checks() {
    assert_one_error_each(&[
        ("", "[[check]]\njson = true", "9:1: name is missing from this [[check]]"),
        (
            CHECK_TABLE,
            "",
            "9:1: this check tests nothing; set json, schema, regex, min_words, max_words, not_contains or command",
        ),
        (
            CHECK_TABLE,
            "json = false",
            "9:1: this check tests nothing; set json, schema, regex, min_words, max_words, not_contains or command",
        ),
        (
            CHECK_TABLE,
            "jason = true\njson = true",
            "11:1: `jason` is not a setting of [[check]] (did you mean `json`?)",
        ),
        (CHECK_TABLE, "json = 'yes'", "11:8: json must be true or false, not a string"),
        (CHECK_TABLE, "regex = 'a(b'", "11:9: regex: unclosed group"),
        (CHECK_TABLE, "min_words = 5\nmax_words = 4", "12:13: max_words = 4 is less than min_words = 5"),
        (CHECK_TABLE, "not_contains = []", "11:16: not_contains is an empty list; leave it out for the default"),
        (CHECK_TABLE, "json = true\nretries = -1", "12:11: retries must be at least 0, not -1"),
        (CHECK_TABLE, "json = true\nexplain = 1", "12:11: explain must be true or false, not a whole number"),
        (CHECK_TABLE, "json = true\ntimeout = '1s'", "12:11: timeout is the time limit of command, which is not set"),
        (
            CHECK_TABLE,
            "command = ['./missing', 'x']",
            "11:11: command: there is no program `./missing` that can be run",
        ),
        (
            CHECK_TABLE,
            "command = 'sh'",
            "11:11: command must be a list of the program and its arguments, like [...], not a string",
        ),
        (
            CHECK_TABLE,
            "schema = 'own'",
            "11:10: schema must be \"request\", \"file:SCHEMA.json\", or a schema as a table, not a string",
        ),
        (
            CHECK_TABLE,
            "schema = { type = 'strin' }",
            "11:10: schema: it can't be used: \"strin\" is not valid under any of the schemas listed in the 'anyOf' keyword",
        ),
        (CHECK_TABLE, "json = true\nrules = ['long']", "12:10: rules: there is no [[rule]] named `long`"),
        (
            CHECK_TABLE,
            "json = true\nrules = ['log']\n[[rule]]\nname = 'long'",
            "12:10: rules: there is no [[rule]] named `log` (did you mean `long`?); use long",
        ),
        (
            CHECK_TABLE,
            "json = true\nper_row = true\nrules = ['long']\n[[rule]]\nname = 'long'",
            "13:9: rules and per_row are both set; leave one out",
        ),
        (
            "[[check]]\nname = 'a'\njson = true\n",
            "[[check]]\nname = 'a'\njson = true",
            "13:8: a check named `a` is already defined",
        ),
        (
            "",
            "[[check]]\nname = 'a,b'\njson = true",
            "10:8: a check's name must not contain a comma, since rows separate names with commas",
        ),
        (
            "[[check]]\nname = 'c'\nschema = 'request'\n",
            "[defaults]\njson = { '$ref' = 'https://example.org/s.json' }",
            "11:10: schema: json of [defaults] can't be used: Resource 'https://example.org/s.json' is not present in a registry and retrieving it failed: Retrieval is disabled, cannot fetch https://example.org/s…",
        ),
    ]);
}
