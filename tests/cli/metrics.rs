//! `--metrics` of the real program, over sockets.

#![allow(clippy::float_cmp, reason = "the values are whole numbers")]

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
};

use crate::{
    cli::RUN_ARGS,
    harness::{
        RunningProcess, SimulatedProvider, TestMachine, UNLIMITED_PROFILE, addition_rows,
        logging_server::{LoggingServer, Response},
        open_metrics::OpenMetrics,
        wait_until,
    },
};

/// Sends one request as it is written, and returns the response's head and body.
fn exchange(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    match stream.read_to_string(&mut response) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
    let (head, body) = response.split_once("\r\n\r\n").unwrap_or((&response, ""));
    (head.to_owned(), body.to_owned())
}

fn get(address: SocketAddr) -> OpenMetrics {
    let (head, body) = exchange(address, &format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n"));
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    OpenMetrics::parse(&body)
}

/// The address that the program says it serves metrics on.
fn metrics_address(running: &mut RunningProcess) -> SocketAddr {
    let line = running.wait_for_line("metrics: http://");
    line.trim_start_matches("metrics: http://").trim_end_matches("/metrics").parse().unwrap()
}

/// A gate that answers wait behind.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        drop(self.0.1.wait_while(self.0.0.lock().unwrap(), |is_open| !*is_open).unwrap());
    }
}

/// A server whose answers wait behind a gate, and a machine that uses it.
fn gated() -> (LoggingServer, Gate, TestMachine) {
    let gate = Gate::default();
    let waiting = gate.clone();
    let server = LoggingServer::start(move |request| {
        if request.is_completion() {
            waiting.pass();
        }
        Response::openai("yes")
    });
    let machine = TestMachine::with_server(&server);
    (server, gate, machine)
}

fn start_gated(machine: &TestMachine, server: &LoggingServer, rows: u64) -> (RunningProcess, SocketAddr) {
    machine.write("batch.jsonl", addition_rows(rows));
    let args = [&RUN_ARGS[..], &["--no-check", "--in-flight", "2", "--metrics", "0"]].concat();
    let mut running = machine.start(&args);
    let address = metrics_address(&mut running);
    wait_until("two requests", || server.completions().len() == 2);
    (running, address)
}

#[test]
fn a_run_is_scraped_while_it_runs() {
    let (server, gate, machine) = gated();
    let (running, address) = start_gated(&machine, &server, 5);
    assert!(address.ip().is_loopback());
    wait_until("the snapshot of the requests", || get(address).sum("cascadeck_requests_in_flight", &[]) == 2.0);
    let parsed = get(address);
    assert_eq!(parsed.sum("cascadeck_items", &[("state", "in_flight")]), 2.0);
    assert_eq!(parsed.sum("cascadeck_items", &[]), 5.0);
    assert_eq!(parsed.sum("cascadeck_items_waiting", &[("reason", "max_in_flight")]), 3.0);
    assert_eq!(parsed.sum("cascadeck_available_keys", &[("provider", "p")]), 1.0);
    gate.open();
    running.wait().expect_status(0);
}

#[test]
fn only_get_metrics_under_a_known_host_is_answered() {
    let (server, gate, machine) = gated();
    let (running, address) = start_gated(&machine, &server, 2);
    let port = address.port();
    let host = format!("Host: 127.0.0.1:{port}\r\n");
    let cases = [
        (format!("GET /metrics HTTP/1.1\r\n{host}\r\n"), "200"),
        (format!("GET /metrics?x=1 HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n"), "200"),
        ("GET /metrics HTTP/1.0\r\n\r\n".to_owned(), "200"),
        (format!("GET / HTTP/1.1\r\n{host}\r\n"), "404"),
        (format!("GET /metrics/ HTTP/1.1\r\n{host}\r\n"), "404"),
        (format!("POST /metrics HTTP/1.1\r\n{host}Content-Length: 0\r\n\r\n"), "405"),
        (format!("HEAD /metrics HTTP/1.1\r\n{host}\r\n"), "405"),
        ("GET /metrics HTTP/1.1\r\nHost: rebound.example.com\r\n\r\n".to_owned(), "421"),
        ("GET /metrics HTTP/1.1\r\n\r\n".to_owned(), "421"),
        (format!("GET /metrics HTTP/1.1\r\n{host}Host: localhost\r\n\r\n"), "421"),
        (format!("GET http://rebound.example.com/metrics HTTP/1.1\r\n{host}\r\n"), "421"),
    ];
    for (request, status) in cases {
        let (head, body) = exchange(address, &request);
        assert_eq!(head.split(' ').nth(1), Some(status), "{request:?}: {head}");
        assert_eq!(body.contains("cascadeck_build_info"), status == "200", "{request:?}");
        if status == "405" {
            assert!(head.to_lowercase().contains("allow: get"), "{head}");
        }
    }
    let accept = |accept: &str| format!("GET /metrics HTTP/1.1\r\n{host}Accept: {accept}\r\n\r\n");
    let (head, _) = exchange(address, &accept("application/openmetrics-text;version=1.0.0,*/*;q=0.1"));
    assert!(head.contains("application/openmetrics-text; version=1.0.0; charset=utf-8"), "{head}");
    let (head, body) = exchange(address, &accept("text/plain"));
    assert!(head.contains("text/plain; version=0.0.4; charset=utf-8") && !body.contains("# EOF"), "{head}");
    gate.open();
    running.wait().expect_status(0);
}

#[test]
fn a_taken_port_is_2_before_anything_is_sent_or_written() {
    let server = LoggingServer::openai("yes");
    let machine = TestMachine::with_server(&server);
    machine.write("batch.jsonl", addition_rows(2));
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let args = [&RUN_ARGS[..], &["--metrics", &address]].concat();
    machine.cascadeck(&args).expect_status(2).assert_stderr_contains(&[
        &format!("the metrics can't be served on {address}"),
        "another program, or another run, uses this port",
        "--metrics off",
    ]);
    assert!(server.requests().is_empty());
    assert!(!machine.path("runs").exists());

    let settings = format!("[metrics]\nlisten = \"{address}\"\n");
    machine.write_keys_toml(&(server.keys_toml("") + &settings));
    machine.cascadeck(&RUN_ARGS).expect_status(2);
    let off = machine.cascadeck(&[&RUN_ARGS[..], &["--metrics", "off"]].concat()).expect_status(0);
    assert!(!off.stderr.contains("metrics"), "{}", off.stderr);
}

#[test]
fn wrong_addresses_are_2_and_open_ones_are_warned_about() {
    let server = LoggingServer::openai("yes");
    let machine = TestMachine::with_server(&server);
    machine.write("batch.jsonl", addition_rows(1));
    for address in ["", "x", "0.0.0.0", "::1:9464", "http://127.0.0.1:9464"] {
        machine.cascadeck(&[&RUN_ARGS[..], &["--metrics", address]].concat()).expect_status(2);
    }
    assert!(server.requests().is_empty());
    let open = machine.cascadeck(&[&RUN_ARGS[..], &["--metrics", "0.0.0.0:0"]].concat()).expect_status(0);
    open.assert_stderr_contains(&["warning: everybody who can reach 0.0.0.0:0 can read the metrics"]);
}

#[test]
fn a_flood_of_connections_is_bounded_and_the_run_ends() {
    let (server, gate, machine) = gated();
    let (running, address) = start_gated(&machine, &server, 4);
    let idle: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
    let half = idle.iter().map(|mut stream| stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: loc"));
    half.for_each(Result::unwrap);
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", running.process_id()));
    if let Ok(descriptors) = descriptors {
        assert!(descriptors.count() < 80, "a hundred connections are not all accepted");
    }
    gate.open();
    running.wait().expect_status(0);
    drop(idle);
}

#[test]
fn metrics_are_served_again_when_a_flood_is_over() {
    let (server, gate, machine) = gated();
    let (running, address) = start_gated(&machine, &server, 2);
    let idle: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
    drop(idle);
    wait_until("the items", || get(address).sum("cascadeck_items", &[]) == 2.0);
    gate.open();
    running.wait().expect_status(0);
}

#[test]
fn the_final_scrape_has_the_sums_of_the_record() {
    let provider = SimulatedProvider::from_toml(UNLIMITED_PROFILE);
    let machine = TestMachine::new();
    machine.write_keys_toml(&(provider.keys_toml() + "\n[metrics]\nlisten = \"0\"\nlinger = \"80s\"\n"));
    let failing = "{\"id\":\"x\",\"question\":\"[sim:400]\"}\n{\"id\":\"y\",\"question\":\"[sim:blocked]\"}\n";
    machine.write("batch.jsonl", failing.to_owned() + &addition_rows(6));

    // The first start sends a part only, so the second one has to know what it did.
    let first = [&RUN_ARGS[..], &["--limit", "4", "--metrics", "off"]].concat();
    machine.cascadeck(&first).expect_status(3);
    let mut running = machine.start(&RUN_ARGS);
    let address = metrics_address(&mut running);
    running.wait_for_line("finished");
    wait_until("the end", || machine.status("runs/batch")["state"] == "finished");
    let status = machine.status("runs/batch");
    // A scrape before the end may still come first.
    let mut last = get(address);
    while last.sum("cascadeck_run_state", &[("state", "finished")]) < 1.0 {
        last = get(address);
    }
    running.wait().expect_status(3);

    let number = |field: &str| status[field].as_f64().unwrap();
    assert_eq!(last.sum("cascadeck_requests_total", &[]), number("attempts"));
    assert_eq!(last.sum("cascadeck_attempts_total", &[]), number("attempts"));
    assert_eq!(last.sum("cascadeck_items", &[("state", "done")]), number("done"));
    assert_eq!(last.sum("cascadeck_items", &[("state", "failed")]), number("failed"));
    assert_eq!(last.sum("cascadeck_items_ended_total", &[("state", "done"), ("outcome", "ok")]), 6.0);
    assert_eq!(last.sum("cascadeck_items_ended_total", &[("state", "failed"), ("outcome", "content_blocked")]), 1.0);
    assert_eq!(last.sum("cascadeck_items_ended_total", &[]), 8.0);
    let tokens =
        |kinds: &[&str]| kinds.iter().map(|kind| last.sum("cascadeck_tokens_total", &[("kind", kind)])).sum::<f64>();
    assert_eq!(tokens(&["input", "cached_input", "cache_write", "cache_write_1h"]), number("input_tokens"));
    assert_eq!(tokens(&["output", "thinking"]), number("output_tokens"));
    assert!((last.sum("cascadeck_cost_usd_total", &[]) - number("cost_usd")).abs() < 1e-9);
    assert_eq!(last.sum("cascadeck_request_duration_seconds_count", &[]), 6.0);
    assert!(last.sum("cascadeck_commit_duration_seconds_count", &[]) > 0.0);
}

#[test]
fn a_truncated_answer_is_counted_as_such() {
    let server = LoggingServer::start(|_| {
        let mut response = Response::openai("cut");
        let body = String::from_utf8(response.body).unwrap().replace("\"stop\"", "\"length\"");
        response.body = body.into_bytes();
        response
    });
    let machine = TestMachine::new();
    machine.write_keys_toml(&(server.keys_toml("") + "[metrics]\nlisten = \"0\"\nlinger = \"80s\"\n"));
    machine.write("batch.jsonl", addition_rows(3));
    let mut running = machine.start(&[&RUN_ARGS[..], &["--no-check"]].concat());
    let address = metrics_address(&mut running);
    let mut last = get(address);
    while last.sum("cascadeck_run_state", &[("state", "finished")]) < 1.0 {
        last = get(address);
    }
    running.wait().expect_status(0);
    assert_eq!(last.sum("cascadeck_items_truncated", &[]), 3.0);
    assert_eq!(last.sum("cascadeck_items_ended_total", &[("state", "done"), ("outcome", "truncated")]), 3.0);
    assert_eq!(
        last.sum("cascadeck_requests_total", &[("status", "200"), ("outcome", "truncated"), ("key", "alice")]),
        3.0
    );
}

#[test]
fn the_demo_has_metrics_too() {
    let machine = TestMachine::new();
    let mut running = machine.start(&["demo", "--headless", "--speed", "60", "--metrics", "0"]);
    let address = metrics_address(&mut running);
    wait_until("an answer", || get(address).sum("cascadeck_requests_total", &[("outcome", "ok")]) > 0.0);
    drop(running);
}
