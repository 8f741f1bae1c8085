//! A small HTTP server that shares no code with the program. It logs every request as it arrived, and sends the
//! responses that the test chooses.
//!
//! It speaks HTTP/1.1 over plain sockets with one thread per connection, so it cannot share an error with the program
//! and its simulator.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};

/// One request, as it arrived.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// Names in lower case, in the order of arrival.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether it is a completion. `GET` requests the list of models.
    pub fn is_completion(&self) -> bool {
        self.method == "POST"
    }
}

/// A response: status, headers besides the length, and body.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn json(status: u16, body: &Value) -> Self {
        Self::bytes(status, "application/json", body.to_string().into_bytes())
    }

    pub fn bytes(status: u16, content_type: &str, body: Vec<u8>) -> Self {
        Self { status, headers: vec![("content-type".to_owned(), content_type.to_owned())], body }
    }

    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A chat completion in the form of OpenAI's API.
    pub fn openai(text: &str) -> Self {
        Self::json(
            200,
            &json!({
                "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
                "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
            }),
        )
    }
}

impl Response {
    /// A message in the form of Anthropic's API.
    pub fn anthropic(text: &str) -> Self {
        Self::json(
            200,
            &json!({
                "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
                "content": [{"type": "text", "text": text}], "usage": {"input_tokens": 10, "output_tokens": 5},
            }),
        )
    }

    /// An answer in the form of Gemini's API.
    pub fn gemini(text: &str) -> Self {
        Self::json(
            200,
            &json!({
                "candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP", "index": 0}],
                "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15},
                "modelVersion": "m",
            }),
        )
    }

    /// A vector in the form of OpenAI's API.
    pub fn embedding(vector: &Value) -> Self {
        Self::json(
            200,
            &json!({
                "object": "list", "model": "m", "data": [{"object": "embedding", "index": 0, "embedding": vector}],
                "usage": {"prompt_tokens": 3, "total_tokens": 3},
            }),
        )
    }
}

/// The server. Its threads end with the test process.
pub struct LoggingServer {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl LoggingServer {
    /// Starts a server that responds with `answer`, which may block to delay the response.
    pub fn start(answer: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (Arc::clone(&requests), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                // A client that closes its connection early ends only that connection.
                thread::spawn(move || serve(&stream, &log, &*answer).ok());
            }
        });
        Self { address, requests }
    }

    /// Starts a server that responds like OpenAI's API: a list with the one model `m`, and `text` to every completion.
    pub fn openai(text: &'static str) -> Self {
        Self::start(move |request| {
            if request.is_completion() {
                Response::openai(text)
            } else {
                Response::json(200, &json!({"object": "list", "data": [{"id": "m", "object": "model"}]}))
            }
        })
    }

    /// Starts a server of one API that answers `text` to every completion, and a vector to a request for embeddings.
    pub fn of_api(api: &'static str, text: &'static str) -> Self {
        Self::of_api_with(api, move || text.to_owned())
    }

    /// Like [`Self::of_api`], with a text that may differ from request to request.
    pub fn of_api_with(api: &'static str, text: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self::start(move |request| {
            if !request.is_completion() {
                return Response::json(200, &json!({"data": [{"id": "m"}], "models": []}));
            }
            let text = text();
            match api {
                _ if request.path.ends_with("/embeddings") => Response::embedding(&json!([0.25, -1.5])),
                "gemini" => Response::gemini(&text),
                "anthropic" => Response::anthropic(&text),
                _ => Response::openai(&text),
            }
        })
    }

    /// A keys.toml with one provider `p` of an API, its key `alice` and the model `m` with vision. `model` adds
    /// settings to the model's table.
    pub fn keys_toml_of_api(&self, api: &str, model: &str) -> String {
        let version = if api == "openai" { "/v1" } else { "" };
        format!(
            "[[provider]]\nname = \"p\"\napi = \"{api}\"\nbase_url = \"http://{}{version}\"\n\
             [[model]]\nname = \"m\"\nprovider = \"p\"\nvision = true\n{model}\n\
             [[key]]\nname = \"alice\"\nprovider = \"p\"\nsecret = \"sk-alice-0123456789\"\n",
            self.address,
        )
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The requests for completions so far.
    pub fn completions(&self) -> Vec<Request> {
        self.requests().into_iter().filter(Request::is_completion).collect()
    }

    /// A keys.toml with one OpenAI-compatible provider `p`, its key `alice` and the model `m` with vision. `model` adds
    /// settings to the model's table, one a line.
    pub fn keys_toml(&self, model: &str) -> String {
        format!(
            "[[provider]]\nname = \"p\"\napi = \"openai\"\nbase_url = \"http://{}/v1\"\n\
             [[model]]\nname = \"m\"\nprovider = \"p\"\nvision = true\n{model}\n\
             [[key]]\nname = \"alice\"\nprovider = \"p\"\nsecret = \"sk-alice-0123456789\"\n",
            self.address,
        )
    }
}

fn serve(stream: &TcpStream, log: &Mutex<Vec<Request>>, answer: &dyn Fn(&Request) -> Response) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(request) = read_request(&mut reader)? {
        log.lock().unwrap().push(request.clone());
        let response = answer(&request);
        let mut head = format!("HTTP/1.1 {} Status\r\ncontent-length: {}\r\n", response.status, response.body.len());
        for (name, value) in &response.headers {
            head = head + name + ": " + value + "\r\n";
        }
        head.push_str("\r\n");
        let mut writer = stream;
        writer.write_all(&[head.as_bytes(), &response.body].concat())?;
    }
    Ok(())
}

/// Reads the next request of a connection; `None` once the client has closed it.
fn read_request(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    Ok(Some(Request { method, path, headers, body }))
}
