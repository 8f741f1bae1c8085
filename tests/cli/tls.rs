//! Servers with untrusted certificates: the error says so, with the host and a way to fix it, and counts against no key
//! or item.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::Arc,
    thread,
};

use nix::sys::signal::Signal;
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use crate::harness::{TestMachine, addition_rows};

/// Self-signed, for `localhost` and 127.0.0.1, valid until 2126. Made for this test and used nowhere else.
const CERTIFICATE: &str = include_str!("../tls/certificate.pem");
const KEY: &str = include_str!("../tls/key.pem");

/// Starts a server of one model with that certificate, and returns its address. It listens until the test ends.
fn start_tls_server(ip: &str) -> String {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind((ip, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            thread::spawn(move || {
                // A client that doesn't trust the certificate closes the connection, which is what the test is about.
                let _ = respond(StreamOwned::new(tls, stream));
            });
        }
    });
    address
}

fn respond(mut stream: StreamOwned<ServerConnection, std::net::TcpStream>) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut buffer = [0; 4_096];
    loop {
        let read = stream.read(&mut buffer)?;
        request.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        if body.len() < length.unwrap_or(0) {
            continue;
        }
        let body = if head.starts_with("get") {
            r#"{"object":"list","data":[{"id":"m"}]}"#
        } else {
            r#"{"model":"m","choices":[{"message":{"content":"yes"},"finish_reason":"stop"}]}"#
        };
        write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )?;
        stream.conn.send_close_notify();
        return stream.flush();
    }
}

fn keys_toml(address: &str) -> String {
    format!(
        "[[provider]]\nname = \"own\"\napi = \"openai\"\nbase_url = \"https://{address}/v1\"\n\n\
         [[model]]\nname = \"m\"\nprovider = \"own\"\n\n\
         [[key]]\nname = \"alice\"\nprovider = \"own\"\nsecret = \"sk-alice-of-the-tls-test\"\n"
    )
}

#[test]
fn an_untrusted_certificate_is_called_that_and_no_item_is_blamed() {
    let address = start_tls_server("127.0.0.1");
    let machine = TestMachine::new();
    machine.write_keys_toml(&keys_toml(&address));
    machine.write("batch.jsonl", addition_rows(3));
    let words = [&format!("can't connect to {address}"), "the server's certificate is not trusted", "SSL_CERT_FILE"];

    let ended = machine.cascadeck(&["check"]).expect_status(2);
    for words in words {
        assert!(ended.stdout.contains(words), "{words}: {}", ended.stdout);
    }

    let run = ["run", "batch.jsonl", "--prompt", "{{ question }}", "--headless", "--json"];
    let mut live = machine.start(&run);
    let line = live.wait_for_line("certificate");
    for words in words {
        assert!(line.contains(words), "{words}: {line}");
    }
    live.send_signal(Signal::SIGTERM);
    let summary = live.wait().stdout_json();
    assert_eq!((&summary["waiting"], &summary["failed"], &summary["cost_usd"]), (&3.into(), &0.into(), &0.0.into()));
    assert_eq!(summary["keys"][0]["health"], 100, "nor the key");

    // The suggested fix works.
    let machine = machine.with_env("SSL_CERT_FILE", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/certificate.pem"));
    let ended = machine.cascadeck(&["check", "--allow-unchecked"]).expect_status(0);
    assert!(ended.stdout.contains("1 model listed"), "{}", ended.stdout);
    assert_eq!(machine.cascadeck(&run).expect_status(0).stdout_json()["done"], 3);
}

#[test]
fn a_certificate_for_another_name_is_told_from_one_that_nobody_trusts() {
    let address = start_tls_server("127.0.0.2");
    let machine =
        TestMachine::new().with_env("SSL_CERT_FILE", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/certificate.pem"));
    machine.write_keys_toml(&keys_toml(&address));
    let ended = machine.cascadeck(&["check"]).expect_status(2);
    for words in [address.as_str(), "another server", "base_url"] {
        assert!(ended.stdout.contains(words), "{words}: {}", ended.stdout);
    }
}
