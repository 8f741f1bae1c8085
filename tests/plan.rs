//! `cascadeck plan`: its numbers follow the configuration, and it sends nothing.

use std::{
    io::ErrorKind,
    net::TcpListener,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

struct PlanFixture {
    dir: tempfile::TempDir,
    listener: TcpListener,
}

impl PlanFixture {
    /// Two keys of one project and one of another, at a provider that listens.
    fn new(policy: &str, prices: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("test");
        listener.set_nonblocking(true).expect("test");
        let dir = tempfile::tempdir().expect("test");
        let base = format!("http://{}/v1", listener.local_addr().expect("test"));
        let keys = format!(
            "[[provider]]\nname = \"box\"\napi = \"openai\"\nbase_url = \"{base}\"\nday = \"utc\"\n\
             [[model]]\nname = \"big\"\nprovider = \"box\"\nrpm = 10\nrpd = 100\nmax_output = 1000\n{prices}\n\
             [[model]]\nname = \"small\"\nprovider = \"box\"\nrpm = 20\nmax_output = 1000\n{prices}\n\
             [[key]]\nname = \"alice\"\nprovider = \"box\"\nsecret = \"sk-alice-0123456789\"\nproject = \"lab\"\n\
             [[key]]\nname = \"bob\"\nprovider = \"box\"\nsecret = \"sk-bob-0123456789\"\nproject = \"lab\"\n\
             [[key]]\nname = \"carol\"\nprovider = \"box\"\nsecret = \"sk-carol-0123456789\"\n{policy}\n"
        );
        std::fs::write(dir.path().join("keys.toml"), keys).expect("test");
        let rows: Vec<_> = (0..600).map(|row| format!("{{\"prompt\": \"What is {row} times {row}?\"}}\n")).collect();
        std::fs::write(dir.path().join("sums.jsonl"), rows.concat()).expect("test");
        Self { dir, listener }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn plan(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_cascadeck"))
            .args(["plan", "sums.jsonl"])
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .env("HOME", self.path())
            .env("XDG_STATE_HOME", self.path().join("state"))
            .env("TZ", "UTC")
            .output()
            .expect("test")
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.plan(&[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("test")
    }
}

#[test]
fn nothing_is_sent_and_nothing_is_left_behind() {
    let place = PlanFixture::new("", "");
    assert!(place.plan(&[]).status.success());
    assert_eq!(place.listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "a connection was made");
    assert!(!place.path().join("runs").exists(), "a run directory was made");
}

#[test]
fn capacity_is_listed_by_key_and_model_and_shared_by_project() {
    let plan = PlanFixture::new("", "").json(&[]);
    let rows = plan["capacity"].as_array().unwrap();
    let row = |index: usize| {
        let row = &rows[index];
        (row["key"].as_str().unwrap(), row["model"].as_str().unwrap(), row["pool"].as_str().unwrap())
    };
    assert_eq!(rows.len(), 6);
    assert_eq!([row(0), row(2)], [("alice", "big", "big@lab"), ("bob", "big", "big@lab")]);
    assert_eq!((rows[0]["per_minute"].as_f64(), rows[0]["left_today"].as_f64()), (Some(10.0), Some(100.0)));
    let items: u64 = rows.iter().map(|row| row["items"].as_u64().unwrap()).sum::<u64>();
    assert_eq!(items, 600);
    // Two projects with 30 requests a minute each; a third of them ends when `big` reaches its day limit.
    assert_eq!(plan["forecast"]["binds"][0]["what"], "requests_per_minute");
    assert_eq!(plan["forecast"]["items"], 600);
    assert!(plan["forecast"]["savings"][0]["saves"]["secs"].as_u64().unwrap() > 60);
}

#[test]
fn capacity_is_totalled_by_key_and_by_model_and_a_shared_quota_counts_once() {
    let plan = PlanFixture::new("", "").json(&[]);
    let totals = &plan["totals"];
    let row = |part: &str, index: usize| {
        let row = &totals[part][index];
        (row["name"].as_str().unwrap(), row["per_minute"].as_f64(), row["per_day"].as_f64())
    };
    // Per minute: big 10 and small 20, for each of the two projects. Only big has a limit a day.
    assert_eq!(row("keys", 0), ("alice", Some(30.0), None));
    assert_eq!(row("keys", 2), ("carol", Some(30.0), None));
    assert_eq!(row("models", 0), ("big", Some(20.0), Some(200.0)));
    assert_eq!(row("models", 1), ("small", Some(40.0), None));
    let items =
        |part: &str| totals[part].as_array().unwrap().iter().map(|row| row["items"].as_u64().unwrap()).sum::<u64>();
    let (by_key, by_model) = (items("keys"), items("models"));
    assert!(by_key.abs_diff(600) <= 2 && by_model.abs_diff(600) <= 2, "each is rounded: {by_key}, {by_model}");
    assert_eq!(totals["all"]["per_minute"].as_f64(), Some(60.0));
    assert_eq!(totals["all"]["items"], 600);
}

#[test]
fn what_a_day_allows_is_said_for_one_key_and_for_all() {
    let capacity_line = |edit: fn(String) -> String| {
        let place = PlanFixture::new("", "");
        let path = place.path().join("keys.toml");
        std::fs::write(&path, edit(std::fs::read_to_string(&path).unwrap())).unwrap();
        let text = String::from_utf8(place.plan(&[]).stdout).unwrap();
        let line = text.lines().find(|line| line.starts_with("capacity")).unwrap_or_else(|| panic!("{text}"));
        (line.trim_start_matches("capacity").trim().to_owned(), text)
    };
    let limited: fn(String) -> String = |text| text.replace("rpm = 20\n", "rpm = 20\nrpd = 1550\n");
    let (line, text) =
        capacity_line(|text| text.replace("rpm = 20\n", "rpm = 20\nrpd = 1550\n").replace("project = \"lab\"\n", ""));
    assert_eq!(line, "one key 1,650 requests a day, 3 keys 4,950");
    let columns = |name: &str, text: &str| {
        let mut rows = text.lines().rev().filter(|line| line.split_whitespace().next() == Some(name));
        let last = rows.next().unwrap_or_else(|| panic!("{name} in {text}"));
        last.split_whitespace().skip(1).take(3).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(columns("bob", &text), "30 1,650 1,650");
    assert_eq!(columns("small", &text), "60 4,650 4,650");
    assert_eq!(capacity_line(limited).0, "one key 1,650 requests a day, 3 keys 3,300, since some share their quota");
    assert_eq!(capacity_line(|text| text).0, "no daily limit with some keys or models");
    assert_eq!(capacity_line(|text| text.replace("rpd = 100\n", "")).0, "no daily limit");
    let fewer = |text: String| {
        let text = text.replace("rpm = 20\n", "rpm = 20\nrpd = 1550\n");
        text.replace("secret = \"sk-carol-0123456789\"\n", "secret = \"sk-carol-0123456789\"\nmodels = [\"big\"]\n")
    };
    assert_eq!(
        capacity_line(fewer).0,
        "one key 100 to 1,650 requests a day, 3 keys 1,750, since some share their quota"
    );
}

#[test]
fn money_and_tokens_are_estimated_and_assumptions_are_named() {
    let place = PlanFixture::new("", "usd_per_mtok = { input = 1.0, output = 2.0 }");
    let plan = place.json(&["--expect-output", "100"]);
    assert_eq!(plan["forecast"]["output_tokens"], 60_000);
    let (input, cost) = (plan["forecast"]["input_tokens"].as_f64().unwrap(), plan["cost_usd"].as_f64().unwrap());
    assert!((cost * 1e6 - input - 120_000.0).abs() < 1.0, "$1 and $2 a million: {cost}");
    let text = String::from_utf8(place.plan(&["--expect-output", "100"]).stdout).unwrap();
    assert!(text.contains("100 an answer, assumed"), "{text}");
}

#[test]
fn a_budget_that_is_too_small_is_reported_before_anything_is_sent() {
    let place = PlanFixture::new("", "usd_per_mtok = { input = 1.0, output = 2.0 }");
    let plan = place.json(&["--max-usd", "0.01"]);
    assert_eq!(plan["forecast"]["stops"]["why"], "budget");
    assert!(plan["forecast"]["finish"].is_null());
    let text = String::from_utf8(place.plan(&["--max-usd", "0.01"]).stdout).unwrap();
    assert!(text.contains("the budget of the run or of every key is used up"), "{text}");
}

#[test]
fn a_cap_on_a_key_or_a_day_is_named_where_it_binds() {
    const PRICES: &str = "usd_per_mtok = { input = 1.0, output = 2.0 }";
    let a_day = PlanFixture::new("[policy]\nmax_usd_per_day = 0.03", PRICES);
    let text = String::from_utf8(a_day.plan(&["--expect-output", "100"]).stdout).unwrap();
    assert!(text.contains("the day's budget is used up until"), "{text}");
    let patient = String::from_utf8(a_day.plan(&["--expect-output", "100", "--on-exhausted", "wait"]).stdout).unwrap();
    assert!(patient.contains("limited by  budget 100%"), "{patient}");
    // The setting goes to the last key, carol's.
    let key = PlanFixture::new("max_usd = 0.01", PRICES).json(&["--expect-output", "100"]);
    let binds = key["forecast"]["binds"].as_array().unwrap();
    let budget = binds.iter().find(|bind| bind["what"] == "money").unwrap_or_else(|| panic!("{binds:?}"));
    assert!(budget["pool"].as_str().unwrap().ends_with("@carol"), "{budget}");
    assert!(key["forecast"]["finish"].is_u64() || key["forecast"]["finish"].is_i64(), "the others end it");
}

#[test]
fn the_table_names_its_units() {
    let output = PlanFixture::new("", "").plan(&[]);
    let text = String::from_utf8(output.stdout).unwrap();
    for words in ["requests/min", "requests/day", "left today", "ends", "limited by", "day quota", "tokens", "cost"] {
        assert!(text.contains(words), "{words} in\n{text}");
    }
    assert!(text.contains("cost        price unknown\n"), "{text}");
}

#[test]
fn bad_rows_are_reported_as_a_run_would() {
    let place = PlanFixture::new("", "");
    std::fs::write(place.path().join("sums.jsonl"), "{\"prompt\": \"fine\"}\n{\"prompt\": \n").unwrap();
    let output = place.plan(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains('2'), "the line is named");
}
