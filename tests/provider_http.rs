//! The client over real sockets: the requests it sends, and how failing connections are classified.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use cascadeck::{
    domain::{Api, AttemptResult, Image, ItemSpec, Outcome, OutcomeAction, Part, Provider, Request},
    provider::{Client, Endpoint, ModelListAccess, RequestModel},
};
use secrecy::SecretString;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A deadline that no test reaches.
const LONG_TIMEOUT: Duration = Duration::from_mins(1);

const SECRET: &str = "sesame-0123456789";

const GEMINI_OK: &str = r#"{"candidates":[{"content":{"parts":[{"text":"hi"}]},"finishReason":"STOP"}]}"#;

/// A server's action on one connection, after it has read the request.
enum ServerAction {
    Respond(String),
    /// Sends the text, then closes the connection.
    CloseAfter(String),
    /// Sends the text, then keeps the connection open and sends nothing more.
    StallAfter(String),
    /// Sends the text, then a blank every 10 ms for ever.
    DripAfter(String),
    /// Sends the text, then the bytes for ever.
    FloodAfter(String, Vec<u8>),
}

fn http_response(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
}

/// Reads one HTTP request, body included, as text.
async fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4_096];
    loop {
        let read = stream.read(&mut buffer).await.unwrap();
        bytes.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok());
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
        assert!(read > 0, "the client closed in the middle of its request");
    }
}

/// A server that handles one connection per action. The task returns the requests that it read.
async fn start_server(actions: Vec<ServerAction>) -> (SocketAddr, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut requests = Vec::new();
        for turn in actions {
            let (mut stream, _) = listener.accept().await.unwrap();
            requests.push(read_request(&mut stream).await);
            match turn {
                ServerAction::Respond(text) => {
                    stream.write_all(text.as_bytes()).await.unwrap();
                    stream.shutdown().await.unwrap();
                }
                ServerAction::CloseAfter(text) => {
                    stream.write_all(text.as_bytes()).await.unwrap();
                }
                ServerAction::StallAfter(text) => {
                    stream.write_all(text.as_bytes()).await.unwrap();
                    // Waits until the client gives up.
                    let _ = stream.read(&mut [0; 16]).await;
                }
                ServerAction::DripAfter(text) => {
                    stream.write_all(text.as_bytes()).await.unwrap();
                    while stream.write_all(b" ").await.is_ok() {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                }
                ServerAction::FloodAfter(text, chunk) => {
                    stream.write_all(text.as_bytes()).await.unwrap();
                    while stream.write_all(&chunk).await.is_ok() {}
                }
            }
        }
        requests
    });
    (address, task)
}

fn client() -> Client {
    Client::new(Duration::from_secs(5), LONG_TIMEOUT).unwrap()
}

fn endpoint(api: Api, address: SocketAddr) -> Endpoint {
    let provider = Provider::new("p", api, format!("http://{address}"));
    Endpoint::new(provider, Some(SecretString::from(SECRET))).unwrap()
}

fn item(request: &Request) -> Arc<ItemSpec> {
    Arc::new(ItemSpec { id: "a".to_owned(), request: request.clone(), line: 1, ..ItemSpec::default() })
}

async fn attempt_with(
    client: &Client,
    api: Api,
    address: SocketAddr,
    request: &Request,
    total: Duration,
) -> AttemptResult {
    client.send_attempt(&endpoint(api, address), &item(request), &RequestModel::new("m-1", Some(64)), total).await
}

async fn attempt(api: Api, address: SocketAddr) -> AttemptResult {
    // Runs in a task of its own, as in the engine.
    let attempt =
        async move { attempt_with(&client(), api, address, &Request::from_prompt("hello"), LONG_TIMEOUT).await };
    tokio::spawn(attempt).await.unwrap()
}

#[tokio::test]
async fn each_api_gets_the_key_in_a_header_and_never_in_the_url() {
    let openai_ok = r#"{"model":"m-1b","choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}"#;
    let anthropic_ok = r#"{"content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn"}"#;
    let cases = [
        (
            Api::Gemini,
            GEMINI_OK,
            "POST /v1beta/models/m-1:generateContent HTTP/1.1",
            "x-goog-api-key: sesame-0123456789",
        ),
        (Api::OpenAi, openai_ok, "POST /v1/chat/completions HTTP/1.1", "authorization: Bearer sesame-0123456789"),
        (Api::Anthropic, anthropic_ok, "POST /v1/messages HTTP/1.1", "x-api-key: sesame-0123456789"),
    ];
    for (api, body, line, header) in cases {
        let (address, server) = start_server(vec![ServerAction::Respond(http_response("200 OK", "", body))]).await;
        let verdict = attempt(api, address).await;
        assert_eq!(verdict.outcome, Outcome::Ok, "{verdict:?}");
        assert_eq!(verdict.answer.unwrap().text, "hi");
        let request = server.await.unwrap().remove(0);
        let (head, sent) = request.split_once("\r\n\r\n").unwrap();
        assert_eq!(head.lines().next(), Some(line));
        assert!(head.lines().any(|found| found == header), "{head}");
        assert!(head.contains("content-type: application/json"));
        assert_eq!(head.contains("anthropic-version: 2023-06-01"), api == Api::Anthropic);
        assert_eq!(request.matches(SECRET).count(), 1);
        assert!(serde_json::from_str::<serde_json::Value>(sent).is_ok());
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let location = format!("location: http://{}/v1?key={SECRET}\r\n", elsewhere.local_addr().unwrap());
    for status in ["301 Moved Permanently", "307 Temporary Redirect"] {
        let (address, _server) = start_server(vec![ServerAction::Respond(http_response(status, &location, ""))]).await;
        let verdict = attempt(Api::OpenAi, address).await;
        assert_eq!((verdict.outcome, verdict.action), (Outcome::MalformedResponse, OutcomeAction::Retry));
        assert!(verdict.rule.contains("redirect") && !verdict.message.contains(SECRET), "{verdict:?}");
    }
    assert!(elsewhere.accept().is_err(), "somebody followed the redirect");
}

#[tokio::test]
async fn an_error_body_is_read_and_its_echo_of_the_key_is_redacted() {
    let body = format!(r#"{{"error":{{"code":403,"message":"Consumer '{SECRET}' has been suspended."}}}}"#);
    let (address, _server) = start_server(vec![ServerAction::Respond(http_response("403 Forbidden", "", &body))]).await;
    let verdict = attempt(Api::Gemini, address).await;
    assert_eq!((verdict.outcome, verdict.status), (Outcome::KeyForbidden, Some(403)));
    assert_eq!(verdict.message, "Consumer '[redacted]' has been suspended.");
}

#[tokio::test]
async fn silence_is_a_timeout_before_and_within_an_answer() {
    for begun in ["", "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"cand"] {
        let (address, _server) = start_server(vec![ServerAction::StallAfter(begun.to_owned())]).await;
        let impatient = Client::new(Duration::from_secs(5), Duration::from_millis(100)).unwrap();
        let verdict =
            attempt_with(&impatient, Api::Gemini, address, &Request::from_prompt("hello"), LONG_TIMEOUT).await;
        assert_eq!((verdict.outcome, verdict.action), (Outcome::Timeout, OutcomeAction::Retry), "{verdict:?}");
    }
}

#[tokio::test]
async fn the_whole_attempt_has_a_deadline() {
    let (address, _server) = start_server(vec![ServerAction::StallAfter(String::new())]).await;
    let verdict =
        attempt_with(&client(), Api::Gemini, address, &Request::from_prompt("hello"), Duration::from_millis(100)).await;
    assert_eq!(verdict.outcome, Outcome::Timeout, "{verdict:?}");
}

#[tokio::test]
async fn a_server_that_dribbles_for_ever_is_given_up_at_the_deadline() {
    for begun in ["HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n", "HTTP/1.1 200 OK\r\nx-slow: "] {
        let (address, _server) = start_server(vec![ServerAction::DripAfter(begun.to_owned())]).await;
        // It is never silent for long, so only the deadline of the whole attempt can end it.
        let total = Duration::from_millis(300);
        let verdict = attempt_with(&client(), Api::Gemini, address, &Request::from_prompt("hello"), total).await;
        assert_eq!((verdict.outcome, verdict.action), (Outcome::Timeout, OutcomeAction::Retry), "{verdict:?}");
    }
}

#[tokio::test]
async fn dns_and_tls_failures_are_client_trouble_and_say_which() {
    let at = |base_url: String| {
        let provider = Provider::new("p", Api::OpenAi, base_url);
        Endpoint::new(provider, Some(SecretString::from(SECRET))).unwrap()
    };
    // Plain HTTP where TLS is expected.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    for (base_url, words) in
        [("https://nowhere.invalid/v1".to_owned(), "nowhere.invalid"), (format!("https://{address}/v1"), "TLS")]
    {
        let item = item(&Request::from_prompt("hello"));
        let verdict =
            client().send_attempt(&at(base_url), &item, &RequestModel::new("m-1", Some(64)), LONG_TIMEOUT).await;
        assert_eq!((verdict.outcome, verdict.status), (Outcome::ClientTrouble, None), "{verdict:?}");
        assert!(verdict.message.contains(words), "{words} is not in {}", verdict.message);
        assert!(!verdict.message.contains(SECRET));
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_the_servers_failure() {
    for begun in ["", "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"candidates\":["] {
        let (address, _server) = start_server(vec![ServerAction::CloseAfter(begun.to_owned())]).await;
        let verdict = attempt(Api::Gemini, address).await;
        assert_eq!((verdict.outcome, verdict.status), (Outcome::ServerError, None), "{verdict:?}");
        assert!(!verdict.message.is_empty());
    }
}

#[tokio::test]
async fn an_error_status_is_classified_even_where_its_body_breaks_off() {
    let begun = "HTTP/1.1 429 Too Many Requests\r\nretry-after: 9\r\ncontent-length: 500\r\n\r\n{\"err";
    let (address, _server) = start_server(vec![ServerAction::CloseAfter(begun.to_owned())]).await;
    let verdict = attempt(Api::Gemini, address).await;
    assert_eq!(verdict.outcome, Outcome::RateLimitedMinute);
    assert_eq!(verdict.retry_after.unwrap().delay, Duration::from_secs(9));
}

#[tokio::test]
async fn an_endless_body_is_not_read_to_the_end() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n[".to_owned();
    let (address, _server) = start_server(vec![ServerAction::FloodAfter(head, vec![b' '; 1 << 20])]).await;
    let verdict = attempt(Api::Gemini, address).await;
    assert_eq!(verdict.outcome, Outcome::MalformedResponse, "{verdict:?}");
    assert!(verdict.rule.contains("32 MiB"), "{}", verdict.rule);
}

#[tokio::test]
async fn a_refused_connection_is_client_trouble() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let verdict = attempt(Api::OpenAi, address).await;
    assert_eq!((verdict.outcome, verdict.action, verdict.status), (Outcome::ClientTrouble, OutcomeAction::Retry, None));
    assert!(verdict.message.contains(&address.to_string()), "{}", verdict.message);
    assert!(verdict.message.contains("refused"), "{}", verdict.message);
}

#[tokio::test]
async fn a_health_report_in_place_of_an_answer_is_malformed() {
    let (address, _server) =
        start_server(vec![ServerAction::Respond(http_response("200 OK", "", r#"{"status":"ok"}"#))]).await;
    assert_eq!(attempt(Api::OpenAi, address).await.outcome, Outcome::MalformedResponse);
}

#[tokio::test]
async fn pictures_are_read_when_they_are_sent() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dot.jpg");
    // A PNG, although the name says JPEG.
    let png = [
        b"\x89PNG\r\n\x1a\n".as_slice(),
        b"\0\0\0\x0dIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0\x90wS\xde",
        b"\0\0\0\x0cIDATx\x9cc```\0\0\0\x04\0\x01\xf6\x178U",
        b"\0\0\0\0IEND\xaeB`\x82",
    ]
    .concat();
    std::fs::write(&path, png).unwrap();
    let mut request = Request::from_prompt("caption");
    request.messages[0].parts.push(Part::Image(Image::File(path.clone())));
    let (address, server) = start_server(vec![ServerAction::Respond(http_response("200 OK", "", GEMINI_OK))]).await;
    let verdict = attempt_with(&client(), Api::Gemini, address, &request, LONG_TIMEOUT).await;
    assert_eq!(verdict.outcome, Outcome::Ok);
    assert!(server.await.unwrap()[0].contains(r#"{"inlineData":{"mimeType":"image/png","data":"iVBORw0KGgo"#));

    std::fs::remove_file(&path).unwrap();
    let verdict = attempt_with(&client(), Api::Gemini, address, &request, LONG_TIMEOUT).await;
    assert_eq!(
        (verdict.outcome, verdict.action, verdict.status),
        (Outcome::UnreadableInput, OutcomeAction::FailItem, None)
    );
    assert!(verdict.message.contains("dot.jpg"), "{}", verdict.message);
}

#[tokio::test]
async fn a_parameter_that_an_api_does_not_support_is_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut request = Request::from_prompt("hello");
    request.params.seed = Some(1);
    let address = listener.local_addr().unwrap();
    let verdict = attempt_with(&client(), Api::Anthropic, address, &request, LONG_TIMEOUT).await;
    assert_eq!((verdict.outcome, verdict.action), (Outcome::NoRoute, OutcomeAction::NextModel));
    assert!(verdict.message.contains("seed"));
}

#[tokio::test]
async fn models_are_listed_page_by_page() {
    let first = r#"{"models":[{"name":"models/a"},{"name":"models/b"}],"nextPageToken":"t&2"}"#;
    let second = r#"{"models":[{"name":"models/c"}]}"#;
    let close = "connection: close\r\n";
    let (address, server) = start_server(vec![
        ServerAction::Respond(http_response("200 OK", close, first)),
        ServerAction::Respond(http_response("200 OK", close, second)),
    ])
    .await;
    let models = client().list_models(&endpoint(Api::Gemini, address), LONG_TIMEOUT).await;
    assert_eq!(models.unwrap(), ["a", "b", "c"]);
    let requests = server.await.unwrap();
    assert!(requests[0].starts_with("GET /v1beta/models?pageSize=1000 HTTP/1.1"));
    assert!(requests[1].starts_with("GET /v1beta/models?pageSize=1000&pageToken=t%262 HTTP/1.1"));

    let list = r#"{"object":"list","data":[{"id":"x"},{"id":"y"}]}"#;
    let (address, _server) = start_server(vec![ServerAction::Respond(http_response("200 OK", "", list))]).await;
    let models = client().list_models(&endpoint(Api::OpenAi, address), LONG_TIMEOUT).await;
    assert_eq!(models.unwrap(), ["x", "y"]);

    for (status, body, outcome) in [
        ("401 Unauthorized", r#"{"error":{"message":"no"}}"#, Outcome::InvalidKey),
        ("200 OK", r#"{"status":"ok"}"#, Outcome::MalformedResponse),
        ("200 OK", "<html></html>", Outcome::MalformedResponse),
    ] {
        let (address, _server) = start_server(vec![ServerAction::Respond(http_response(status, "", body))]).await;
        let verdict = client().list_models(&endpoint(Api::OpenAi, address), LONG_TIMEOUT).await;
        assert_eq!(verdict.unwrap_err().outcome, outcome);
    }
}

#[tokio::test]
async fn only_a_missing_key_error_shows_that_a_model_list_needs_a_key() {
    let list = r#"{"object":"list","data":[{"id":"x"}]}"#;
    let page = "<html><body><h1>Denied</h1></body></html>";
    let cases = [
        ("200 OK", list, ModelListAccess::Public),
        ("401 Unauthorized", r#"{"error":{"message":"no key"}}"#, ModelListAccess::KeyRequired),
        (
            "403 Forbidden",
            r#"{"error":{"status":"PERMISSION_DENIED","message":"unregistered"}}"#,
            ModelListAccess::KeyRequired,
        ),
        ("401 Unauthorized", page, ModelListAccess::KeyRequired),
        ("403 Forbidden", page, ModelListAccess::Unknown),
        ("429 Too Many Requests", r#"{"error":{"message":"slow down"}}"#, ModelListAccess::Unknown),
        ("500 Internal Server Error", "{}", ModelListAccess::Unknown),
        ("404 Not Found", "{}", ModelListAccess::Unknown),
    ];
    for (status, body, want) in cases {
        let (address, server) = start_server(vec![ServerAction::Respond(http_response(status, "", body))]).await;
        assert_eq!(
            client().check_model_list_access(&endpoint(Api::OpenAi, address), LONG_TIMEOUT).await,
            want,
            "{status} {body}"
        );
        assert!(!server.await.unwrap().remove(0).contains(SECRET), "nobody asks");
    }
    let (address, _server) = start_server(vec![ServerAction::StallAfter(String::new())]).await;
    let hasty = client().check_model_list_access(&endpoint(Api::OpenAi, address), Duration::from_millis(50)).await;
    assert_eq!(hasty, ModelListAccess::Unknown);
}
