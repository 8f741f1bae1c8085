//! Options that several commands share, and how they change the configuration.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    str::FromStr as _,
    time::Duration,
};

use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};

use super::{CliError, metrics_flag::MetricsFlag, print::print_stderr, provider_choice};
use crate::{
    clock::Clock,
    config::{self, Config, Origin},
    domain::{MAX_IN_FLIGHT, Money, Named, OnExhausted, Strategy},
    store::QuotaLedger,
};

/// Options that override the policy of the configuration.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct PolicyArgs {
    /// Maximum number of requests in flight
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_IN_FLIGHT)))]
    pub in_flight: Option<u32>,

    /// How to choose between the routes that are ready
    #[arg(long, value_name = "NAME", value_parser = parse_strategy)]
    pub strategy: Option<Strategy>,

    /// Stop (exit 4, resumable) or wait for the reset when no route has daily quota left
    #[arg(long, value_name = "WHAT", value_parser = named_value::<OnExhausted>())]
    pub on_exhausted: Option<OnExhausted>,

    /// Hard limit on the run's cost in dollars, including the worst case of requests in flight
    #[arg(long, value_name = "USD", value_parser = parse_dollars)]
    pub max_usd: Option<Money>,

    /// Without the dashboard: stop (exit 4, resumable) if no provider has answered within this time after the first
    /// request. Any HTTP response counts as an answer, even a 500. 0s: never; default: 15m, or idle_timeout if longer
    #[arg(long, value_name = "DURATION", value_parser = config::parse_duration)]
    pub give_up_after: Option<Duration>,
}

/// Options of the front end.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct FrontEndArgs {
    /// Print plain progress instead of the dashboard, even on a terminal
    #[arg(long)]
    pub headless: bool,

    /// Print the summary as one JSON object on stdout; plain progress on stderr
    #[arg(long)]
    pub json: bool,

    /// Draw the dashboard with ASCII characters only
    #[arg(long)]
    pub ascii: bool,

    /// Only watch: the dashboard does not offer or send anything that changes the run
    #[arg(long)]
    pub read_only: bool,

    /// The dashboard's theme: okabe-ito, light, mono, or a theme file
    #[arg(long, value_name = "NAME")]
    pub theme: Option<String>,

    /// Serve metrics for Prometheus at http://ADDR/metrics: a port of this machine (9464), or an address in full
    /// (0.0.0.0:9464), which others can reach. off: none, even if keys.toml has [metrics]
    #[arg(long, value_name = "ADDR", value_parser = MetricsFlag::from_str)]
    pub metrics: Option<MetricsFlag>,
}

impl FrontEndArgs {
    /// False if nobody is expected to watch, even on a terminal.
    pub const fn may_ask(&self) -> bool {
        !self.headless && !self.json
    }
}

/// The options that name the configuration.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct KeysArgs {
    /// File with keys and models; default: ./keys.toml, then the user's configuration, then environment variables such
    /// as GEMINI_API_KEYS
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,

    /// Without a file: use only this provider's keys from the environment, such as gemini. Several, separated by
    /// commas, are used in this order. Required if the environment has keys of several and nobody can be asked
    #[arg(long, value_name = "NAME", value_delimiter = ',', conflicts_with = "keys")]
    pub provider: Vec<String>,
}

/// Parses the name of a value. The help lists the names.
pub(super) fn named_value<T: Named + Send + Sync>() -> impl TypedValueParser<Value = T> {
    let names = PossibleValuesParser::new(T::NAMED.iter().map(|(name, _)| *name));
    names.try_map(|name| {
        T::NAMED.iter().find(|(known, _)| *known == name).map(|(_, value)| *value).ok_or("no such name")
    })
}

fn parse_strategy(name: &str) -> Result<Strategy, String> {
    Strategy::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = Strategy::ALL.iter().map(|strategy| strategy.name()).collect();
        format!("expected one of: {}", names.join(", "))
    })
}

fn parse_dollars(text: &str) -> Result<Money, String> {
    let amount = text.trim_start_matches('$').parse::<f64>().ok().and_then(Money::from_usd);
    amount.filter(|amount| *amount > Money::ZERO).ok_or_else(|| "expected an amount in dollars, like 2.50".to_owned())
}

impl KeysArgs {
    /// Loads the configuration. Prints its warnings to stderr, and which keys and models it takes from the environment.
    /// If the environment has keys of several providers, asks which to use, if `may_ask` and on a terminal.
    ///
    /// # Errors
    /// All errors of the configuration together.
    pub fn load(&self, may_ask: bool) -> Result<Config, CliError> {
        let working_dir = std::env::current_dir()
            .map_err(|error| CliError::internal(format!("can't determine the working directory: {error}")))?;
        let keys_path = self.keys.as_deref();
        let mut providers = self.provider.clone();
        if providers.is_empty() && may_ask && provider_choice::can_ask() {
            let found = config::environment_keys(keys_path, &config::process_env, &working_dir);
            if found.len() > 1 {
                providers = provider_choice::ask(&found)?;
            }
        }
        let config = config::load_for_providers(keys_path, &providers, &config::process_env, &working_dir)?;
        if let Origin::Environment(found) = &config.origin {
            let listed = config::describe_environment_keys(found);
            print_stderr(&format!("no keys.toml: using the environment's keys and default models\n{listed}"));
        }
        for warning in &config.warnings {
            print_stderr(&format!("warning: {warning}"));
        }
        Ok(config)
    }
}

impl PolicyArgs {
    /// Applies the options to the configuration. They take precedence over the file.
    ///
    /// # Errors
    /// If the strategy doesn't go with `when_limited = "wait"`, or if `--max-usd` can't be guaranteed.
    pub fn apply(&self, config: &mut Config) -> Result<(), CliError> {
        let policy = &mut config.policy;
        policy.max_in_flight = self.in_flight.unwrap_or(policy.max_in_flight);
        policy.strategy = self.strategy.unwrap_or(policy.strategy);
        policy.on_exhausted = self.on_exhausted.unwrap_or(policy.on_exhausted);
        policy.max_usd = self.max_usd.or(policy.max_usd);
        policy.give_up_after = self.give_up_after.unwrap_or(policy.give_up_after);
        if let Some(reason) = policy.wait_conflict() {
            return Err(CliError::usage(format!("{reason} ({})", config.origin)));
        }
        let unbounded = if self.max_usd.is_some() { config.models_with_unbounded_cost() } else { Vec::new() };
        if unbounded.is_empty() {
            return Ok(());
        }
        let models: Vec<String> = unbounded.iter().map(|(model, reason)| format!("{model} ({reason})")).collect();
        Err(CliError::usage(format!(
            "--max-usd can't be guaranteed with these models: {}. Complete their settings in {}, or omit --max-usd",
            models.join(", "),
            config.origin,
        )))
    }

    /// The options given on the command line, by name. On a resume, an option whose value has changed overrides the
    /// value that the operator has set in the dashboard.
    pub fn stated_flags(&self) -> BTreeMap<String, String> {
        let mut flags = BTreeMap::new();
        let mut add = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                flags.insert(name.to_owned(), value);
            }
        };
        add("in_flight", self.in_flight.map(|most| most.to_string()));
        add("strategy", self.strategy.map(|strategy| strategy.name().to_owned()));
        add("on_exhausted", self.on_exhausted.map(|when| format!("{when:?}")));
        add("max_usd", self.max_usd.map(|most| most.0.to_string()));
        flags
    }
}

/// Path of the daily ledger that this user's runs share; `None` with a simulated or sped-up clock.
pub(super) fn ledger_path(clock: &Clock) -> Option<PathBuf> {
    let is_real_time = (clock.speed() - 1.0).abs() < f64::EPSILON;
    if is_real_time { QuotaLedger::default_path(&config::process_env) } else { None }
}

/// The default run directory of an input: `runs/<its name>`.
pub(super) fn default_run_dir(input_name: &str) -> PathBuf {
    Path::new("runs").join(input_name)
}
