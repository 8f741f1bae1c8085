//! `[metrics]`: where the metrics are served.

use std::{fmt, str::FromStr, time::Duration};

use super::{address::is_this_machine, error::quote_unless_secret, schema, toml_reader::TomlTable};

/// Where the metrics are served, and to whom.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MetricsSettings {
    /// `None`: no metrics are served.
    pub listen: Option<MetricsAddress>,
    /// Further names under which clients address the server.
    pub hosts: Vec<String>,
    /// How long the process waits at its end for one more scrape.
    pub linger: Duration,
}

/// A host and a port to listen on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MetricsAddress {
    /// A name or an address, without brackets.
    host: String,
    port: u16,
}

impl MetricsAddress {
    pub fn host(&self) -> &str {
        &self.host
    }

    /// 0: the system chooses a free port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Whether only this machine can connect.
    pub fn is_loopback(&self) -> bool {
        is_this_machine(&self.host)
    }
}

impl fmt::Display for MetricsAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Reads `9464`, `:9464`, `host:9464` or `[::1]:9464`. Without a host it is 127.0.0.1.
impl FromStr for MetricsAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || {
            format!(
                "expected a port of this machine, like 9464, or an address in full, like 0.0.0.0:9464 or [::]:9464, not {}",
                quote_unless_secret(text)
            )
        };
        let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').filter(|host| host.parse::<std::net::Ipv6Addr>().is_ok()),
            None => Some(host),
        };
        let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|_| is_port).ok_or_else(expected)?;
        let is_in_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        match host.ok_or_else(expected)? {
            "" if text.starts_with('[') => Err(expected()),
            "" => Ok(Self { host: "127.0.0.1".to_owned(), port }),
            host if text.starts_with('[') || host.bytes().all(is_in_host) => Ok(Self { host: host.to_owned(), port }),
            _ => Err(expected()),
        }
    }
}

pub(super) fn read(root: &TomlTable<'_>) -> MetricsSettings {
    let Some(table) = root.table("metrics", &schema::METRICS) else { return MetricsSettings::default() };
    let listen = table.text("listen").and_then(|listen| {
        let address = listen.text.parse();
        address.map_err(|reason: String| table.doc.add_error(listen.offset, format!("listen: {reason}"))).ok()
    });
    let hosts = table.field("hosts").and_then(|field| field.list("host names"));
    let hosts = hosts.into_iter().flatten().filter_map(|host| Some(host.text()?.text.to_owned())).collect();
    MetricsSettings { listen, hosts, linger: table.duration("linger").unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_on_loopback_and_other_addresses_are_written_in_full() {
        let cases = [
            ("9464", "127.0.0.1:9464", true),
            (":9464", "127.0.0.1:9464", true),
            ("0", "127.0.0.1:0", true),
            ("localhost:1", "localhost:1", true),
            ("[::1]:9464", "[::1]:9464", true),
            ("0.0.0.0:9464", "0.0.0.0:9464", false),
            ("[::]:9464", "[::]:9464", false),
            ("batch-box.lan:9464", "batch-box.lan:9464", false),
        ];
        for (text, want, is_loopback) in cases {
            let address: MetricsAddress = text.parse().unwrap();
            assert_eq!((address.to_string().as_str(), address.is_loopback()), (want, is_loopback), "{text}");
        }
        let wrong =
            ["", "x", "0.0.0.0", "::1:9464", "::", "[::1]", "[]:1", "a b:1", "http://h:1", "h:65536", "h:+1", "[h]:1"];
        for text in wrong {
            let error = text.parse::<MetricsAddress>().unwrap_err();
            assert!(error.contains("like 9464"), "{text}: {error}");
        }
    }
}
