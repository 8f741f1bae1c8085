//! `--metrics` and `[metrics]`: opens the port before a run starts.

use std::{io::ErrorKind, time::Duration};

use super::{CliError, metrics_flag::MetricsFlag, options::FrontEndArgs, print::print_stderr};
use crate::{clock::Clock, config::MetricsSettings, metrics::MetricsListener};

/// An open port, and how long it is served at the end.
pub(super) struct OpenMetrics {
    pub listener: MetricsListener,
    pub linger: Duration,
}

/// Opens the port for the metrics, if any are wanted, and says where they are.
///
/// # Errors
/// If the port can't be opened. Nothing has been sent or written then.
pub(super) async fn open_metrics(
    front_end: &FrontEndArgs,
    settings: &MetricsSettings,
    clock: Clock,
) -> Result<Option<OpenMetrics>, CliError> {
    let address = match &front_end.metrics {
        Some(MetricsFlag::Off) => None,
        Some(MetricsFlag::On(address)) => Some(address),
        None => settings.listen.as_ref(),
    };
    let Some(address) = address else { return Ok(None) };
    let listener = MetricsListener::bind(address, settings, clock).await.map_err(|error| {
        let reason = match error.kind() {
            ErrorKind::AddrInUse => "another program, or another run, uses this port".to_owned(),
            _ => error.to_string(),
        };
        CliError::usage(format!(
            "the metrics can't be served on {address}: {reason}. Choose another port with --metrics PORT, or none with \
             --metrics off"
        ))
    })?;
    print_stderr(&format!("metrics: http://{}/metrics", listener.address()));
    if !listener.address().ip().is_loopback() {
        print_stderr(&format!(
            "warning: everybody who can reach {address} can read the metrics: the names of keys and models, quotas and \
             costs"
        ));
    }
    Ok(Some(OpenMetrics { listener, linger: settings.linger }))
}
