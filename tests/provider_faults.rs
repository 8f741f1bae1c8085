//! All faults of the simulated provider at once, at 10 to 60 % of all requests, with false retry-after values: every
//! item ends once with its own answer, and the statistics agree.
//!
//! The numbers are printed: `cargo test --test main provider_faults -- --nocapture`.

use std::{collections::BTreeSet, time::Instant};

use cascadeck::{
    domain::FinalState,
    sim::{InjectedFault, Quirk},
    store::audit,
};

use crate::harness::{SimulatedProvider, TestMachine, addition_rows, expected_answer, is_full_test_run};

/// Seven faults at a seventh of `rate` each, three APIs, four keys, and a limit that is reached.
fn profile_with_faults(rate: f64) -> String {
    let each = rate / 7.0;
    format!(
        r#"
name = "stormy"
seed = 11
latency = {{ median_ms = 15, spread = 0.5 }}
faults = {{ server_error = {each}, overloaded = {each}, stall = {each}, reset = {each}, truncated = {each}, html = {each}, empty = {each}, slow_body = 0.1, lying_retry = 0.5 }}
provider = [{{ name = "g", api = "gemini" }}, {{ name = "o", api = "openai" }}, {{ name = "a", api = "anthropic" }}]
model = [
    {{ name = "gm", provider = "g", rpm = 40 }}, {{ name = "gn", provider = "g" }},
    {{ name = "om", provider = "o" }}, {{ name = "am", provider = "a" }},
]
key = [
    {{ name = "alice", provider = "g", project = "one", secret = "AIza-alice" }},
    {{ name = "bruno", provider = "g", project = "two", secret = "AIza-bruno" }},
    {{ name = "olga", provider = "o", project = "three", secret = "sk-olga" }},
    {{ name = "anton", provider = "a", project = "four", secret = "sk-ant-anton" }},
]
"#
    )
}

/// Short waits, and so many retries that no item fails because of the faults.
const POLICY: &str = "
[policy]
in_flight = 24
retry_delays = ['10ms']
retries_per_model = 60
empty_retries = 60
idle_timeout = '400ms'
breaker_after = 12
breaker_open = '30ms'
breaker_max = '100ms'
";

#[test]
fn every_item_ends_once_with_its_own_answer_at_any_rate_of_faults() {
    const ITEMS: u64 = 240;
    let rates: &[f64] = if is_full_test_run() { &[0.1, 0.3, 0.6] } else { &[0.6] };
    for &rate in rates {
        let began = Instant::now();
        let provider = SimulatedProvider::from_toml(&profile_with_faults(rate));
        let machine = TestMachine::new();
        // The limit of the first model is not configured here: the provider refuses, with false retry-after values.
        machine.write_keys_toml(&(provider.keys_toml().replace("rpm = 40\n", "") + POLICY));
        machine.write("batch.jsonl", addition_rows(ITEMS));
        let args = ["run", "batch.jsonl", "--prompt", "{{ question }}", "--no-check", "--json"];
        let summary = machine.cascadeck(&args).expect_status(0).stdout_json();
        assert_eq!((&summary["done"], &summary["failed"]), (&ITEMS.into(), &0.into()), "{summary}");

        let mut ids = BTreeSet::new();
        for line in machine.results("runs/batch") {
            assert_eq!((line.status, line.output), (FinalState::Done, Some(expected_answer(&line.id))), "{}", line.id);
            assert!(ids.insert(line.id.clone()), "{} appears twice", line.id);
        }
        assert_eq!(ids.len() as u64, ITEMS);
        let audit = audit::audit(&machine.path("runs/batch"), None).unwrap();
        assert!(audit.is_ok(), "{audit:#?}");
        let stats = provider.checked_stats();
        assert_eq!(stats.prompts.distinct, ITEMS);
        assert!(audit.attempts >= stats.total.requests, "every request sent is recorded");
        for fault in [
            InjectedFault::ServerError,
            InjectedFault::Overloaded,
            InjectedFault::Stall,
            InjectedFault::Reset,
            InjectedFault::Truncated,
            InjectedFault::Html,
            InjectedFault::Empty,
        ] {
            assert!(stats.total.faults.contains_key(&fault), "{fault:?} was never injected: {}", stats.summary());
        }
        assert!(stats.total.quirks.contains_key(&Quirk::SlowBody), "{}", stats.summary());
        // An interrupted or abandoned answer may be requested again; a complete one never is.
        let answered_again: u64 = stats.prompts.by_hash.values().map(|prompt| prompt.ok.saturating_sub(1)).sum();
        println!(
            "faults at {:.0} %: {ITEMS} items done, {} requests, {} answered, {} refused, {answered_again} answered again; {:.1} s",
            rate * 100.0,
            stats.total.requests,
            stats.total.ok,
            stats.total.refused.values().sum::<u64>(),
            began.elapsed().as_secs_f64(),
        );
        assert!(answered_again <= stats.total.abandoned + audit.unanswered.len() as u64, "{}", stats.summary());
    }
}
