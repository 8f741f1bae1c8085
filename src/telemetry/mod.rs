//! The program's log: a log file, and the buffer of the dashboard's log view.
//!
//! Sets up the process-wide tracing subscriber and the panic hook. While a dashboard uses the terminal, panics are not
//! printed ([`panics::defer_panic_output`]).

pub mod panics;
mod writer;

use std::path::Path;

use anyhow::Context as _;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

pub use writer::LogGuard;

/// Environment variable that replaces the whole default filter, in tracing's directive syntax:
/// `CASCADECK_LOG=cascadeck=debug,reqwest=info`.
pub const LOG_ENV_VAR: &str = "CASCADECK_LOG";

/// Maximum number of log records that are kept in memory for the dashboard's log view.
const MAX_SCREEN_RECORDS: usize = 5_000;

/// Starts logging to `log_file`, which is appended to, and to the dashboard's log view if `to_screen`. Installs the
/// panic hook. To be called once per process. Dropping the guard flushes and closes the file; lines that were dropped
/// because the disk was too slow are missing.
///
/// # Errors
/// If the file can't be opened, [`LOG_ENV_VAR`] can't be parsed, or logging was started before.
pub fn init(log_file: &Path, level: LevelFilter, to_screen: bool) -> anyhow::Result<LogGuard> {
    let filter = build_filter(std::env::var(LOG_ENV_VAR).ok().as_deref(), level)?;
    let (writer, guard) =
        writer::open(log_file).with_context(|| format!("can't open the log file {}", log_file.display()))?;

    let file = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(writer).with_filter(filter.clone());
    let screen = if to_screen { Some(screen_layer()?) } else { None };
    let screen = screen.map(|layer| layer.with_filter(filter));
    tracing_subscriber::registry().with(file).with(screen).try_init().context("logging was already started")?;
    panics::install_hook();
    Ok(guard)
}

/// Builds the filter. `env_directives` is the value of [`LOG_ENV_VAR`]. If it is unset or empty, the filter is `level`
/// for this program, and `level` but at most warnings for its libraries.
fn build_filter(env_directives: Option<&str>, level: LevelFilter) -> anyhow::Result<EnvFilter> {
    match env_directives.map(str::trim) {
        Some(directives) if !directives.is_empty() => EnvFilter::try_new(directives)
            .with_context(|| format!("{LOG_ENV_VAR}={directives} is not a valid log filter; try {LOG_ENV_VAR}=debug")),
        _ => Ok(EnvFilter::new(format!("{},cascadeck={level}", level.min(LevelFilter::WARN)))),
    }
}

/// Creates the layer that writes to tui-logger's in-memory buffer. tui-logger itself lets every level through, because
/// [`init`] puts the filter on the layer.
fn screen_layer() -> anyhow::Result<tui_logger::TuiTracingSubscriberLayer> {
    tui_logger::init_logger(tui_logger::LevelFilter::Trace).context("can't start the dashboard's log view")?;
    tui_logger::set_buffer_depth(MAX_SCREEN_RECORDS);
    Ok(tui_logger::TuiTracingSubscriberLayer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_default_libraries_log_at_most_warnings() {
        assert_eq!(build_filter(None, LevelFilter::DEBUG).unwrap().to_string(), "cascadeck=debug,warn");
        assert_eq!(build_filter(Some(" "), LevelFilter::ERROR).unwrap().to_string(), "cascadeck=error,error");
    }

    #[test]
    fn the_environment_variable_replaces_the_filter_and_errors_name_it() {
        assert_eq!(build_filter(Some("trace"), LevelFilter::INFO).unwrap().to_string(), "trace");
        let error = build_filter(Some("cascadeck=loud"), LevelFilter::INFO).unwrap_err();
        assert!(error.to_string().contains("CASCADECK_LOG=cascadeck=loud"), "{error}");
    }
}
