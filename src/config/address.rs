//! Checks the addresses that keys and webhook messages are sent to.
//!
//! They must use https. Plain http is allowed to this machine and, with `insecure = true`, to private networks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;

use super::error::{looks_like_secret, quote_unless_secret};
use crate::domain::Api;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Address {
    /// Without a trailing slash.
    pub url: String,
    /// On this machine or in a private network: the user's own server, which may need no key.
    pub is_private: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum HostScope {
    Loopback,
    Private,
    Public,
}

pub(super) fn check_base_url(text: &str, api: Option<Api>, insecure: bool) -> Result<Address, String> {
    let example = "https://api.example.com/v1";
    let url = Url::parse(text)
        .map_err(|_| format!("base_url must be an address like {example}, not {}", quote_unless_secret(text)))?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        // Not echoed: it is probably a credential.
        return Err("base_url must not contain credentials, ?… or #…; keys belong under [[key]]".to_owned());
    }
    let host = url.host_str().unwrap_or_default();
    let scope = host_scope(host);
    // The parser writes a host in lower case, and a secret may be recognized by its capitals.
    let written_host = text.split_once("://").and_then(|(_, rest)| rest.split(['/', ':']).next()).unwrap_or_default();
    let shown_host =
        if looks_like_secret(written_host) { "a host that is not shown, since it looks like a secret" } else { host };
    match url.scheme() {
        "https" => {}
        "http" if is_unspecified(host) => {
            return Err(format!(
                "base_url: {shown_host} is an address to listen on, not to connect to; use http://127.0.0.1"
            ));
        }
        "http" if scope == HostScope::Loopback || (insecure && scope == HostScope::Private) => {}
        "http" if scope == HostScope::Private => {
            return Err(format!(
                "base_url: plain http would send keys unencrypted to {shown_host}; use https, or set insecure = true \
                 if that network is your own"
            ));
        }
        "http" => {
            return Err(format!(
                "base_url: plain http would send keys unencrypted over the internet to {shown_host}; use https"
            ));
        }
        other => {
            return Err(format!(
                "base_url must begin with https://, not {}",
                quote_unless_secret(&format!("{other}:"))
            ));
        }
    }
    let base_url = url.as_str().trim_end_matches('/').to_owned();
    if let Some(suffix) = api.and_then(|api| redundant_suffix(api, &base_url)) {
        return Err(format!("base_url: leave out {suffix}; it is added to every request"));
    }
    Ok(Address { url: base_url, is_private: scope != HostScope::Public })
}

/// Checks a webhook's address. The whole address is a secret, so no part of it is echoed.
pub(super) fn check_webhook_url(text: &str, insecure: bool) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "url is not a valid address; it must begin with https://")?;
    let host = url.host_str().unwrap_or_default();
    match (url.scheme(), host_scope(host)) {
        ("http", _) if is_unspecified(host) => {
            Err("url: this is an address to listen on, not to connect to; use http://127.0.0.1")
        }
        ("https", _) | ("http", HostScope::Loopback) => Ok(url),
        ("http", HostScope::Private) if insecure => Ok(url),
        ("http", HostScope::Private) => Err(
            "url: plain http would send messages, and the address itself, unencrypted over that network; use https, or \
             set insecure = true if the network is your own",
        ),
        ("http", HostScope::Public) => {
            Err("url: plain http would send messages, and the address itself, unencrypted over the internet; use https")
        }
        _ => Err("url must begin with https://"),
    }
}

/// True if a host's name or address means this machine.
pub(super) fn is_this_machine(host: &str) -> bool {
    host_scope(host) == HostScope::Loopback
}

/// The part at the end of an address that the provider adapters append themselves.
fn redundant_suffix(api: Api, url: &str) -> Option<&'static str> {
    let ends: &[&str] = match api {
        Api::Gemini => &["/v1beta", "/v1", "/v1beta/models"],
        Api::OpenAi => &["/chat/completions", "/completions", "/responses"],
        Api::Anthropic => &["/v1", "/v1/messages"],
    };
    ends.iter().copied().find(|end| url.ends_with(end))
}

fn host_scope(host: &str) -> HostScope {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => scope_v4(address),
        Ok(IpAddr::V6(address)) => scope_v6(address),
        Err(_) => scope_of_name(bare),
    }
}

fn scope_v4(address: Ipv4Addr) -> HostScope {
    let [a, b, ..] = address.octets();
    // 100.64.0.0/10 is used by carriers and overlay networks.
    let is_shared = a == 100 && (64..128).contains(&b);
    if address.is_loopback() {
        HostScope::Loopback
    } else if address.is_private() || address.is_link_local() || is_shared {
        HostScope::Private
    } else {
        HostScope::Public
    }
}

fn scope_v6(address: Ipv6Addr) -> HostScope {
    if let Some(inner) = address.to_ipv4_mapped() {
        return scope_v4(inner);
    }
    if address.is_loopback() {
        HostScope::Loopback
    } else if address.is_unique_local() || address.is_unicast_link_local() {
        HostScope::Private
    } else {
        HostScope::Public
    }
}

/// Decides by name only, without a lookup: some names can't exist on the public internet.
fn scope_of_name(name: &str) -> HostScope {
    const PRIVATE: [&str; 5] = [".local", ".lan", ".internal", ".home.arpa", ".test"];
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    if name == "localhost" || name.ends_with(".localhost") {
        HostScope::Loopback
    } else if !name.contains('.') || PRIVATE.iter().any(|end| name.ends_with(end)) {
        HostScope::Private
    } else {
        HostScope::Public
    }
}

fn is_unspecified(host: &str) -> bool {
    host == "0.0.0.0" || host == "[::]"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_allowed_only_to_local_and_private_hosts() {
        // (address, allowed, allowed with insecure = true)
        let cases = [
            ("https://api.openai.com/v1", true, true),
            ("http://api.openai.com/v1", false, false),
            ("http://127.0.0.1:11434/v1", true, true),
            ("http://localhost:8000", true, true),
            ("http://[::1]:8000", true, true),
            ("http://127.1:8000", true, true),
            ("http://192.168.1.20:8000/v1", false, true),
            ("http://10.0.0.4", false, true),
            ("http://172.16.9.1", false, true),
            ("http://172.32.9.1", false, false),
            ("http://100.100.1.1", false, true),
            ("http://[fd00::1]", false, true),
            ("http://[::ffff:8.8.8.8]", false, false),
            ("http://8.8.8.8", false, false),
            ("http://gpu-box:8000/v1", false, true),
            ("http://gpu.lan", false, true),
            ("http://localhost.example.com", false, false),
            ("http://0.0.0.0:8000", false, false),
            ("ftp://127.0.0.1", false, false),
            ("api.openai.com/v1", false, false),
            ("https://user:pass@api.openai.com", false, false),
            ("https://api.openai.com/v1?key=abc", false, false),
        ];
        for (text, plain, insecure) in cases {
            assert_eq!(check_base_url(text, None, false).is_ok(), plain, "{text}");
            assert_eq!(check_base_url(text, None, true).is_ok(), insecure, "{text} with insecure");
        }
    }

    #[test]
    fn a_path_that_adapters_append_is_refused() {
        for (api, text) in [
            (Api::OpenAi, "https://api.openai.com/v1/chat/completions"),
            (Api::Gemini, "https://generativelanguage.googleapis.com/v1beta/"),
            (Api::Anthropic, "https://api.anthropic.com/v1"),
        ] {
            assert!(check_base_url(text, Some(api), false).unwrap_err().contains("leave out"), "{text}");
        }
        assert_eq!(
            check_base_url("https://x.example/v1/", Some(Api::OpenAi), false).unwrap().url,
            "https://x.example/v1"
        );
    }

    #[test]
    fn credentials_in_an_address_are_not_echoed() {
        let message = check_base_url("https://u:hunter2@x.example/?key=hunter3", None, false).unwrap_err();
        assert!(!message.contains("hunter"), "{message}");
    }
}
