//! Models without configured limits: raising the requests in flight makes nobody pay more, and is quick.

use std::{
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use crate::harness::{
    TestMachine,
    logging_server::{LoggingServer, Request, Response},
};

use super::two_models::{two_models_list, two_models_toml};

fn rows(count: u64) -> String {
    (1..=count).map(|n| format!("{{\"id\":\"r{n}\",\"prompt\":\"p {n}\"}}\n")).collect::<Vec<_>>().concat()
}

/// The settings of `[[model]]` for a price per million tokens.
fn priced(toml: &str, model: &str, dollars: u32) -> String {
    let name = format!("name = \"{model}\"\n");
    toml.replace(&name, &format!("{name}usd_per_mtok = {{ input = {dollars}.0, output = {dollars}.0 }}\n"))
}

#[test]
fn no_item_goes_to_the_dearer_model_while_nothing_refuses() {
    for policy in ["", "strategy = \"cheapest\"", "strategy = \"balanced\"", "in_flight = 64"] {
        let server = LoggingServer::start(|request: &Request| {
            if !request.is_completion() {
                return two_models_list();
            }
            std::thread::sleep(Duration::from_millis(20));
            Response::openai("Done.")
        });
        let machine = TestMachine::new();
        let toml = two_models_toml(&server, policy);
        machine.write_keys_toml(&priced(&priced(&toml, "best", 1), "second", 10));
        machine.write("batch.jsonl", rows(200));
        machine.cascadeck(&["run", "batch.jsonl", "--headless"]).expect_status(0);
        let completions = server.completions();
        let dear = completions.iter().filter(|request| request.json()["model"] == "second").count();
        assert_eq!((completions.len(), dear), (200, 0), "{policy}");
    }
}

/// Holds requests back until 64 of them are there at once.
#[derive(Default)]
struct Gate {
    arrived: Mutex<usize>,
    changed: Condvar,
}

impl Gate {
    /// False if that took longer than a minute.
    fn pass(&self) -> bool {
        let mut arrived = self.arrived.lock().unwrap();
        *arrived += 1;
        self.changed.notify_all();
        let is_closed = |arrived: &mut usize| *arrived < 64;
        let (_arrived, waited) = self.changed.wait_timeout_while(arrived, Duration::from_secs(60), is_closed).unwrap();
        !waited.timed_out()
    }
}

#[test]
fn a_provider_that_answers_soon_gets_64_requests_at_once() {
    let (gate, answered) = (Arc::new(Gate::default()), Arc::new(Mutex::new(0)));
    let server_gate = Arc::clone(&gate);
    let server = LoggingServer::start(move |request: &Request| {
        if !request.is_completion() {
            return two_models_list();
        }
        // Enough answers for three doublings.
        let number = {
            let mut answered = answered.lock().unwrap();
            *answered += 1;
            *answered
        };
        if number <= 200 {
            std::thread::sleep(Duration::from_millis(20));
            Response::openai("Done.")
        } else if server_gate.pass() {
            Response::openai("Done.")
        } else {
            Response::bytes(400, "text/plain", b"64 requests never came together".to_vec())
        }
    });
    let machine = TestMachine::new();
    machine.write_keys_toml(&two_models_toml(&server, "in_flight = 64"));
    machine.write("batch.jsonl", rows(400));
    machine.cascadeck(&["run", "batch.jsonl", "--headless"]).expect_status(0);
    let completions = server.completions();
    assert!(completions.iter().all(|request| request.json()["model"] == "best"));
    assert!(*gate.arrived.lock().unwrap() >= 64);
}
