//! `cascadeck sim`: runs the simulated provider as a server.

use std::{
    fs::File,
    io::{self, Read as _},
    net::SocketAddr,
    path::Path,
};

use anyhow::Context as _;
use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Profile, Simulator};
use crate::clock::Clock;

/// Serve the simulated provider: Gemini's, OpenAI's and Anthropic's APIs with limits, errors and outages.
#[derive(Args, Clone, Debug)]
pub struct SimArgs {
    /// Address to listen on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// Allow an address that other machines can reach
    #[arg(long)]
    pub allow_remote: bool,

    /// Profile to simulate: free-tier, open, storm, or a TOML file
    #[arg(long, value_name = "NAME|FILE", default_value = "free-tier")]
    pub profile: String,

    /// Speed of the simulated clock, as a multiple of real time
    #[arg(long, value_name = "N", default_value_t = 1.0, value_parser = parse_speed)]
    pub speed: f64,

    /// Seed for random latencies and faults, instead of the profile's
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Print the keys.toml for this profile and address, and exit
    #[arg(long)]
    pub print_keys: bool,
}

/// An error in the arguments, which the user can correct.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SimUsageError(String);

/// Serves until interrupted. Returns the text for standard output: the statistics as JSON, or the requested keys.toml.
///
/// # Errors
/// A [`SimUsageError`], or an error of the network or the system.
pub async fn run(args: SimArgs) -> anyhow::Result<String> {
    let profile = load_profile(&args.profile, args.seed)?;
    if args.print_keys {
        if args.listen.port() == 0 {
            let message = "--print-keys needs a port: give --listen an address with a port other than 0";
            return Err(SimUsageError(message.to_owned()).into());
        }
        return Ok(profile.keys_toml(args.listen));
    }
    if !args.listen.ip().is_loopback() && !args.allow_remote {
        return Err(SimUsageError(format!(
            "{} can be reached from other machines, and the simulator accepts every client; listen on 127.0.0.1, or \
             add --allow-remote",
            args.listen
        ))
        .into());
    }
    // Registered before the address is printed, because a reader of the address may send a signal at once.
    let interrupts = Interrupts::register()?;
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("can't listen on {}; is another program listening there?", args.listen))?;
    let name = profile.name.clone();
    let simulator = Simulator::start_on(listener, profile, Clock::with_speed(args.speed))?;
    let addr = simulator.addr();
    eprintln!("simulating \"{name}\" on http://{addr} at {} times real time", args.speed);
    eprintln!(
        "statistics: http://{addr}/sim/books   keys: cascadeck sim --profile {} --listen {addr} --print-keys",
        args.profile
    );

    interrupts.recv().await;
    let stats = simulator.stop().await.context("the simulator did not stop cleanly")?;
    eprintln!("{}", stats.summary());
    Ok(serde_json::to_string_pretty(&stats)? + "\n")
}

fn load_profile(name: &str, seed: Option<u64>) -> anyhow::Result<Profile> {
    let mut profile = if let Some(profile) = Profile::named(name) {
        profile
    } else {
        let names = Profile::built_in_names().collect::<Vec<_>>().join(", ");
        let text = read_profile(Path::new(name)).map_err(|error| {
            SimUsageError(format!("{name} is neither a built-in profile ({names}) nor a readable file: {error}"))
        })?;
        Profile::from_toml(&text).map_err(|error| SimUsageError(format!("can't simulate {name}: {error:#}")))?
    };
    profile.seed = seed.unwrap_or(profile.seed);
    Ok(profile)
}

fn read_profile(path: &Path) -> io::Result<String> {
    const MAX_PROFILE_BYTES: u64 = 1 << 20;
    let mut text = String::new();
    File::open(path)?.take(MAX_PROFILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_PROFILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than the limit of 1 MiB"));
    }
    Ok(text)
}

/// The signals that end the simulator.
struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    fn register() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn recv(mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

fn parse_speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|_| "the speed must be a number".to_owned())?;
    if speed.is_finite() && speed > 0.0 { Ok(speed) } else { Err("the speed must be a positive number".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(listen: &str) -> SimArgs {
        SimArgs {
            listen: listen.parse().unwrap(),
            allow_remote: false,
            profile: "open".to_owned(),
            speed: 1.0,
            seed: None,
            print_keys: false,
        }
    }

    #[tokio::test]
    async fn a_remote_address_needs_allow_remote() {
        let error = run(args("0.0.0.0:0")).await.unwrap_err().to_string();
        assert!(error.contains("--allow-remote"), "{error}");
    }

    #[test]
    fn the_error_for_an_unknown_profile_lists_the_known_ones() {
        let error = load_profile("no-such", None).unwrap_err().to_string();
        assert!(error.contains("free-tier, open, storm"), "{error}");
        assert_eq!(load_profile("open", Some(99)).unwrap().seed, 99);
    }

    #[test]
    fn speeds_are_positive_numbers() {
        assert_eq!(parse_speed("25"), Ok(25.0));
        for wrong in ["0", "-1", "inf", "NaN", "fast"] {
            assert!(parse_speed(wrong).is_err(), "{wrong}");
        }
    }
}
