//! One key at one provider: the parts of a request that are the same for every attempt, prepared once.

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock},
};

use hyper::{Uri, http::uri::InvalidUri};
use reqwest::{
    Url,
    header::{self, ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue},
};
use secrecy::{ExposeSecret, SecretString};

use crate::domain::{Api, Provider};

use super::super::{
    classify::{Vendor, redact},
    hidden_secret::HiddenSecret,
    pictures,
    wire::Dialect,
};

/// Base URL, headers and credentials for requests. Cheap to clone; `Debug` shows no secret.
#[derive(Clone)]
pub struct Endpoint {
    inner: Arc<EndpointInner>,
}

struct EndpointInner {
    provider: Provider,
    dialect: Dialect,
    vendor: Vendor,
    base_url: Url,
    headers: HeaderMap,
    /// The addresses of attempts by their API paths. There are only a few, and parsing one costs more than classifying
    /// an answer.
    attempt_uris: RwLock<HashMap<Box<str>, Uri>>,
    /// Secrets to remove from the provider's messages: the key, and credentials in configured headers.
    secrets: Vec<HiddenSecret>,
    has_key: bool,
    is_loopback: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    #[error(
        "provider {provider}: base_url {url:?} is not a valid base URL ({reason}); use a form like https://host or https://host/v1"
    )]
    BaseUrl { provider: String, url: String, reason: String },
    #[error("provider {provider}: the header {name:?} can't be sent; check its name and value under headers")]
    Header { provider: String, name: String },
    #[error(
        "provider {provider}: the key's secret contains characters that are not allowed in an HTTP header; copy it again, without line breaks"
    )]
    Secret { provider: String },
}

/// The program's name and version, as providers and proxies see it.
pub(super) const USER_AGENT: &str = concat!("cascadeck/", env!("CARGO_PKG_VERSION"));

/// Headers that carry credentials. If the configuration sets one of them, the key is not added a second time: Gemini
/// rejects two credentials with 400.
const CREDENTIAL_HEADERS: [&str; 5] =
    ["authorization", "x-api-key", "x-goog-api-key", "api-key", "proxy-authorization"];

impl Endpoint {
    /// Validates the provider's settings and prepares the headers.
    ///
    /// `{key}` in a configured header's value stands for the secret. Anthropic's newer form is `authorization = "Bearer
    /// {key}"` with `anthropic-version = "2026-10-21"`. A header with `{key}` is left out if there is no secret.
    ///
    /// # Errors
    ///
    /// If the base URL is invalid, or a configured header or the secret cannot be sent as a header.
    pub fn new(provider: Provider, secret: Option<SecretString>) -> Result<Self, EndpointError> {
        let base_url = parse_base_url(&provider)?;
        let host = base_url.host_str().unwrap_or_default();
        let dialect = match provider.api {
            Api::OpenAi if host == "api.openai.com" || host.ends_with(".openai.azure.com") => Dialect::OpenAi,
            Api::OpenAi => Dialect::OpenAiCompatible,
            api => api.into(),
        };
        let is_local = is_loopback(host);
        let secret = secret.filter(|secret| !secret.expose_secret().trim().is_empty());
        let has_key = secret.is_some();
        let (mut headers, mut secrets) = build_headers(&provider, secret.as_ref())?;
        if let Some(host) = http_host(&base_url)
            && !headers.contains_key(HOST)
        {
            headers.insert(HOST, host);
        }
        secrets.extend(secret.as_ref().map(HiddenSecret::from));
        let vendor = Vendor::detect(&provider);
        let inner = EndpointInner {
            provider,
            dialect,
            vendor,
            base_url,
            headers,
            attempt_uris: RwLock::default(),
            secrets,
            has_key,
            is_loopback: is_local,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub fn provider(&self) -> &Provider {
        &self.inner.provider
    }

    pub fn api(&self) -> Api {
        self.inner.provider.api
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.inner.dialect
    }

    /// The vendor whose conventions for headers apply.
    pub(super) fn vendor(&self) -> Vendor {
        self.inner.vendor
    }

    /// Whether there is a key. A local server may need none.
    pub fn has_key(&self) -> bool {
        self.inner.has_key
    }

    pub(super) fn headers(&self) -> HeaderMap {
        self.inner.headers.clone()
    }

    /// A message without this endpoint's credentials or texts that look like one, on one line and of limited length.
    pub fn redact(&self, message: &str) -> String {
        redact(message, &self.inner.secrets)
    }

    pub(super) fn secrets(&self) -> &[HiddenSecret] {
        &self.inner.secrets
    }

    /// Whether the host is this machine, which is reached without a proxy.
    pub(super) fn is_loopback(&self) -> bool {
        self.inner.is_loopback
    }

    /// Maximum size of a picture file at this endpoint, in bytes.
    pub(super) fn max_picture_bytes(&self) -> u64 {
        pictures::max_file_bytes(self.api(), self.inner.base_url.host_str().unwrap_or_default())
    }

    /// `host:port`, for messages.
    pub(super) fn host(&self) -> String {
        host_and_port(&self.inner.base_url)
    }

    /// URL of an API path such as `/v1/messages` or `/chat/completions`.
    ///
    /// The version appears once, whether the base URL ends with one or not. At an OpenAI-compatible server, a base URL
    /// with any path is taken as complete (`https://host/api/paas/v4`); without a path, `/v1` is added.
    pub(super) fn url(&self, path: &str, query: Option<&str>) -> Url {
        let base_path = self.inner.base_url.path().trim_end_matches('/');
        let last_segment = base_path.rsplit('/').next().unwrap_or_default();
        let has_version = last_segment.starts_with('v') && last_segment[1..].starts_with(|c: char| c.is_ascii_digit());
        let full_path = match self.api() {
            Api::OpenAi if base_path.is_empty() => format!("/v1{path}"),
            Api::Gemini | Api::Anthropic if has_version => {
                let rest = path[1..].find('/').map_or(path, |slash| &path[slash + 1..]);
                format!("{base_path}{rest}")
            }
            _ => format!("{base_path}{path}"),
        };
        let mut url = self.inner.base_url.clone();
        url.set_path(&full_path);
        url.set_query(query);
        url
    }

    /// URL of an API path without a query, made once.
    pub(super) fn attempt_uri(&self, path: &str) -> Result<Uri, InvalidUri> {
        // No code panics while it holds the lock.
        let known = self.inner.attempt_uris.read().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
        if let Some(uri) = known {
            return Ok(uri);
        }
        let uri: Uri = self.url(path, None).as_str().parse()?;
        let mut uris = self.inner.attempt_uris.write().unwrap_or_else(PoisonError::into_inner);
        Ok(uris.entry(path.into()).or_insert(uri).clone())
    }

    /// URL of a path on the provider's host, whatever the path of the base URL.
    pub(super) fn host_url(&self, path: &str) -> Url {
        let mut url = self.inner.base_url.clone();
        url.set_path(path);
        url
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("provider", &self.inner.provider.name)
            .field("api", &self.inner.provider.api)
            .field("base", &self.inner.base_url.as_str())
            .field("has_secret", &!self.inner.secrets.is_empty())
            .finish()
    }
}

fn parse_base_url(provider: &Provider) -> Result<Url, EndpointError> {
    let text = provider.base_url.trim();
    // A URL that may contain a credential is not quoted in errors.
    let shown_url = if text.contains(['@', '?', '#']) { "…" } else { text };
    let invalid_url = |reason: &str| EndpointError::BaseUrl {
        provider: provider.name.clone(),
        url: shown_url.to_owned(),
        reason: reason.to_owned(),
    };
    let url = Url::parse(text).map_err(|error| invalid_url(&error.to_string()))?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(invalid_url("only scheme, host and path are allowed; a key belongs under [[key]]"));
    }
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(invalid_url("only http and https are supported"));
    }
    Ok(url)
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.ends_with(".localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The `Host` header of requests over plain HTTP, which the HTTP client would otherwise make for each of them. `None`
/// for HTTPS: HTTP/2, which may be spoken there, has no such header.
fn http_host(base_url: &Url) -> Option<HeaderValue> {
    if base_url.scheme() != "http" {
        return None;
    }
    HeaderValue::try_from(host_and_port(base_url)).ok()
}

/// `host:port`, or only the host if the port is the scheme's usual one.
fn host_and_port(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn build_headers(
    provider: &Provider,
    secret: Option<&SecretString>,
) -> Result<(HeaderMap, Vec<HiddenSecret>), EndpointError> {
    let mut headers = HeaderMap::new();
    let mut secrets = Vec::new();
    // The HTTP client would add these two to each request.
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if provider.api == Api::Anthropic {
        headers.insert("anthropic-version", HeaderValue::from_static("2023-06-01"));
    }
    let key = secret.map(|secret| secret.expose_secret().trim());
    let is_configured = |name: &str| provider.headers.iter().any(|(given, _)| given.trim().eq_ignore_ascii_case(name));
    if let Some(key) = key
        && !CREDENTIAL_HEADERS.into_iter().any(is_configured)
    {
        let (name, value) = match provider.api {
            Api::Gemini => (HeaderName::from_static("x-goog-api-key"), key.to_owned()),
            Api::OpenAi => (AUTHORIZATION, format!("Bearer {key}")),
            Api::Anthropic => (HeaderName::from_static("x-api-key"), key.to_owned()),
        };
        let mut value =
            HeaderValue::try_from(value).map_err(|_| EndpointError::Secret { provider: provider.name.clone() })?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    for (name, value) in &provider.headers {
        let invalid_header = || EndpointError::Header { provider: provider.name.clone(), name: name.clone() };
        let header_name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| invalid_header())?;
        if key.is_none() && value.contains("{key}") {
            continue;
        }
        let value_with_key = value.replace("{key}", key.unwrap_or_default());
        let is_secret = CREDENTIAL_HEADERS.contains(&header_name.as_str())
            || value_with_key != *value
            || header_name.as_str() == "cookie";
        let mut given = HeaderValue::try_from(value_with_key.trim()).map_err(|_| invalid_header())?;
        given.set_sensitive(is_secret);
        if is_secret {
            let credential = value_with_key.split_whitespace().next_back().unwrap_or_default();
            secrets.push(HiddenSecret::new(credential));
        }
        headers.insert(header_name, given);
    }
    Ok((headers, secrets))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(api: Api, base_url: &str, headers: &[(&str, &str)]) -> Provider {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Provider { headers, ..Provider::new("p", api, base_url) }
    }

    fn endpoint(api: Api, base_url: &str) -> Endpoint {
        Endpoint::new(provider(api, base_url, &[]), Some(SecretString::from("sesame-123"))).unwrap()
    }

    #[test]
    fn the_version_appears_in_a_url_once() {
        let cases = [
            (
                Api::Gemini,
                "https://g.dev",
                "/v1beta/models/m:generateContent",
                "https://g.dev/v1beta/models/m:generateContent",
            ),
            (Api::Gemini, "https://g.dev/v1beta/", "/v1beta/models/m:x", "https://g.dev/v1beta/models/m:x"),
            (Api::Gemini, "https://g.dev/proxy/v1", "/v1beta/models", "https://g.dev/proxy/v1/models"),
            (Api::OpenAi, "https://o.dev/v1", "/chat/completions", "https://o.dev/v1/chat/completions"),
            (Api::OpenAi, "http://localhost:11434", "/chat/completions", "http://localhost:11434/v1/chat/completions"),
            (Api::OpenAi, "https://o.dev/api/paas/v4/", "/models", "https://o.dev/api/paas/v4/models"),
            (Api::Anthropic, "https://a.dev", "/v1/messages", "https://a.dev/v1/messages"),
            (Api::Anthropic, "https://a.dev/v1", "/v1/messages", "https://a.dev/v1/messages"),
            (Api::Anthropic, "https://a.dev/anthropic", "/v1/messages", "https://a.dev/anthropic/v1/messages"),
        ];
        for (api, base, path, want) in cases {
            let endpoint = endpoint(api, base);
            assert_eq!(endpoint.url(path, None).as_str(), want);
            // The second one is that which was made first.
            for uri in [endpoint.attempt_uri(path), endpoint.attempt_uri(path)] {
                assert_eq!(uri.unwrap().to_string(), want);
            }
        }
    }

    #[test]
    fn each_api_carries_the_key_in_its_own_header() {
        let cases = [
            (Api::Gemini, "x-goog-api-key", "sesame-123"),
            (Api::OpenAi, "authorization", "Bearer sesame-123"),
            (Api::Anthropic, "x-api-key", "sesame-123"),
        ];
        for (api, name, value) in cases {
            let headers = endpoint(api, "https://h.dev").headers();
            assert_eq!(headers[name], value);
            assert!(headers[name].is_sensitive());
            let credentials = CREDENTIAL_HEADERS.iter().filter(|name| headers.contains_key(**name)).count();
            assert_eq!(credentials, 1);
        }
    }

    #[test]
    fn only_plain_http_has_a_host_header() {
        let cases = [
            ("http://localhost:11434/v1", Some("localhost:11434")),
            ("http://[::1]:8080", Some("[::1]:8080")),
            ("http://h.dev:80", Some("h.dev")),
            ("https://h.dev:8443", None),
        ];
        for (base, want) in cases {
            let headers = endpoint(Api::OpenAi, base).headers();
            assert_eq!(headers.get("host").map(|host| host.to_str().unwrap()), want, "{base}");
        }
        let given = Endpoint::new(provider(Api::OpenAi, "http://h.dev", &[("Host", "other.dev")]), None).unwrap();
        assert_eq!(given.headers()["host"], "other.dev");
    }

    #[test]
    fn configured_headers_replace_the_default_ones_and_may_contain_the_key() {
        let given = [("Authorization", "Bearer {key}"), ("anthropic-version", "2026-10-21"), ("x-extra", "1")];
        let endpoint =
            Endpoint::new(provider(Api::Anthropic, "https://a.dev", &given), Some(SecretString::from("sesame-123")))
                .unwrap();
        let headers = endpoint.headers();
        assert_eq!(headers["authorization"], "Bearer sesame-123");
        assert!(headers["authorization"].is_sensitive());
        assert_eq!(headers["anthropic-version"], "2026-10-21");
        assert_eq!(headers["x-extra"], "1");
        assert!(!headers.contains_key("x-api-key"));
        let keyless_endpoint = Endpoint::new(provider(Api::Anthropic, "https://a.dev", &given), None).unwrap();
        assert!(
            !keyless_endpoint.headers().contains_key("authorization")
                && keyless_endpoint.headers().contains_key("x-extra")
        );
    }

    #[test]
    fn debug_output_and_errors_contain_no_secret() {
        let shown = format!(
            "{:?} {:?}",
            endpoint(Api::Gemini, "https://g.dev"),
            endpoint(Api::OpenAi, "https://o.dev").headers()
        );
        assert!(!shown.contains("sesame"), "{shown}");
        let broken =
            Endpoint::new(provider(Api::OpenAi, "https://o.dev", &[]), Some(SecretString::from("sesame\n123")));
        assert!(!broken.unwrap_err().to_string().contains("sesame"));
        for url in
            ["https://user:sesame@o.dev", "https://o.dev/?key=sesame", "user:sesame@o.dev", "ftp:sesame@o.dev?sesame"]
        {
            let error = Endpoint::new(provider(Api::OpenAi, url, &[]), None).unwrap_err().to_string();
            assert!(!error.contains("sesame"), "{error}");
        }
    }

    #[test]
    fn only_loopback_hosts_are_local() {
        let cases = [
            ("http://localhost:1", true),
            ("http://127.0.0.9", true),
            ("http://[::1]:8080/v1", true),
            ("http://10.0.0.1", false),
            ("https://localhost.example.com", false),
        ];
        for (base, want) in cases {
            assert_eq!(endpoint(Api::OpenAi, base).is_loopback(), want, "{base}");
        }
    }

    #[test]
    fn only_openai_itself_has_the_openai_dialect() {
        assert_eq!(endpoint(Api::OpenAi, "https://api.openai.com/v1").dialect(), Dialect::OpenAi);
        assert_eq!(endpoint(Api::OpenAi, "https://openrouter.ai/api/v1").dialect(), Dialect::OpenAiCompatible);
    }
}
