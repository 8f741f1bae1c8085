//! Checks the header `Host`, so that no page in a browser can read the metrics under a name of its own (DNS rebinding).

use std::net::{IpAddr, SocketAddr};

use hyper::http::uri::Authority;

/// The hosts under which the server may be addressed.
#[derive(Debug)]
pub(super) struct AllowedHosts {
    is_loopback: bool,
    /// In lower case.
    names: Vec<String>,
}

impl AllowedHosts {
    /// The server listens on `address`. `names` are the names that it has besides `localhost`.
    pub fn new(address: SocketAddr, names: impl Iterator<Item = String>) -> Self {
        let names = ["localhost".to_owned()].into_iter().chain(names.map(|name| name.to_ascii_lowercase()));
        Self { is_loopback: address.ip().is_loopback(), names: names.collect() }
    }

    /// Whether a request with this `Host` (a name or an address, with or without a port) is for this server. A server
    /// on the loopback interface is addressed by a loopback address or a name, other servers by any address or a name.
    pub fn allows(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else { return false };
        let name = authority.host().trim_start_matches('[').trim_end_matches(']');
        if authority.as_str().contains('@') {
            return false;
        }
        match name.parse::<IpAddr>() {
            Ok(address) => !self.is_loopback || address.is_loopback(),
            Err(_) => self.names.contains(&name.trim_end_matches('.').to_ascii_lowercase()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(listen: &str, names: &[&str], host: &str) -> bool {
        let names = names.iter().map(|name| (*name).to_owned());
        AllowedHosts::new(listen.parse().unwrap(), names).allows(host)
    }

    #[test]
    fn a_loopback_server_has_loopback_addresses_and_its_names() {
        for host in ["localhost", "LOCALHOST:9464", "localhost.", "127.0.0.1:9464", "127.9.9.9", "[::1]:9464"] {
            assert!(allowed("127.0.0.1:9464", &[], host), "{host}");
        }
        for host in ["", "example.com", "localhost.example.com:9464", "10.0.0.1", "x@localhost", "local host", "[::2]"]
        {
            assert!(!allowed("127.0.0.1:9464", &[], host), "{host}");
        }
        assert!(allowed("127.0.0.1:9464", &["Batch-Box"], "batch-box:80"));
    }

    #[test]
    fn a_server_on_the_network_has_any_address_but_only_its_names() {
        assert!(allowed("0.0.0.0:9464", &["box"], "10.0.0.1:9464"));
        assert!(allowed("0.0.0.0:9464", &["box"], "box"));
        assert!(!allowed("0.0.0.0:9464", &["box"], "rebound.example.com"));
    }
}
