//! The value of `--metrics`.

use std::str::FromStr;

use crate::config::MetricsAddress;

/// The value of `--metrics`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum MetricsFlag {
    /// No metrics, whatever keys.toml says.
    Off,
    On(MetricsAddress),
}

impl FromStr for MetricsFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" { Ok(Self::Off) } else { text.parse().map(Self::On) }
    }
}
