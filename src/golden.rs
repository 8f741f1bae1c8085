//! Golden traces: one number that stands for all decisions of a seeded run, compared with the recorded one.
//!
//! A trace hashes instants, ids, amounts and stable numbers for kinds, but no names or text. So changed words or a
//! changed structure leave it alone, and changed behaviour doesn't. `CASCADECK_GOLDEN=write` records the traces anew.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::PathBuf, time::Duration};

use crate::domain::{EventKind, EventLevel, Money, MonoTime, Outcome, WallTime};
use xxhash_rust::xxh3::Xxh3;

/// The one seed to replay and to print, if `CASCADECK_SEED` names one.
pub fn single_seed() -> Option<u64> {
    env_number("CASCADECK_SEED")
}

pub fn env_number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// A hash over all values added to it, in order.
pub struct Trace(Xxh3);

impl Trace {
    pub fn new() -> Self {
        Self(Xxh3::new())
    }

    pub fn number(&mut self, number: u64) -> &mut Self {
        self.0.update(&number.to_le_bytes());
        self
    }

    pub fn text(&mut self, text: &str) -> &mut Self {
        self.number(text.len() as u64);
        self.0.update(text.as_bytes());
        self
    }

    /// A value that may be missing, which differs from 0.
    pub fn optional(&mut self, number: Option<u64>) -> &mut Self {
        self.number(u64::from(number.is_some())).number(number.unwrap_or_default())
    }

    pub fn duration(&mut self, duration: Duration) -> &mut Self {
        self.number(duration.as_nanos() as u64)
    }

    pub fn instant(&mut self, at: MonoTime) -> &mut Self {
        self.number(at.0)
    }

    pub fn wall(&mut self, at: WallTime) -> &mut Self {
        self.number(at.0 as u64)
    }

    pub fn money(&mut self, money: Money) -> &mut Self {
        self.number(money.0)
    }

    pub fn outcome(&mut self, outcome: Outcome) -> &mut Self {
        self.number(outcome_number(outcome))
    }

    /// An event without its text.
    pub fn event(&mut self, kind: &EventKind) -> &mut Self {
        let nanos = |wait: &Option<Duration>| wait.map(|wait| wait.as_nanos() as u64);
        match kind {
            EventKind::Fallback { seq, outcome, status, wait, to, .. } => {
                self.number(1).number(*seq).outcome(*outcome).optional(status.map(u64::from)).optional(nanos(wait));
                self.number(u64::from(to.is_some()))
            }
            EventKind::Cooldown { outcome, wait, .. } => self.number(2).outcome(*outcome).optional(nanos(wait)),
            EventKind::Recovered { .. } => self.number(3),
            EventKind::Disabled { outcome, .. } => self.number(4).outcome(*outcome),
            EventKind::ItemFailed { seq, outcome, .. } => self.number(5).number(*seq).outcome(*outcome),
            EventKind::Operator { .. } => self.number(6),
            EventKind::Run { level, .. } => self.number(7).number(match level {
                EventLevel::Info => 1,
                EventLevel::Operator => 2,
                EventLevel::Warn => 3,
                EventLevel::Alert => 4,
            }),
        }
    }

    pub fn finish(&self) -> u64 {
        self.0.digest()
    }
}

/// An outcome's number in traces. A new outcome gets the next number; a number is never reused.
const fn outcome_number(outcome: Outcome) -> u64 {
    match outcome {
        Outcome::Ok => 1,
        Outcome::RateLimitedMinute => 2,
        Outcome::TokensLimitedMinute => 3,
        Outcome::QuotaExhaustedDay => 4,
        Outcome::QuotaExhaustedBilling => 5,
        Outcome::InvalidKey => 6,
        Outcome::KeyForbidden => 7,
        Outcome::ModelNotFound => 8,
        Outcome::ServerError => 9,
        Outcome::Overloaded => 10,
        Outcome::Timeout => 11,
        Outcome::MalformedResponse => 12,
        Outcome::EmptyOutput => 13,
        Outcome::Truncated => 14,
        Outcome::ContentBlocked => 15,
        Outcome::BadRequest => 16,
        Outcome::UnreadableInput => 17,
        Outcome::OverBudget => 18,
        Outcome::NoRoute => 19,
        Outcome::GivenUp => 23,
        Outcome::ClientTrouble => 20,
        Outcome::Lost => 21,
        Outcome::InvalidOutput => 22,
    }
}

/// The recorded traces of one file, by seed.
pub struct Golden {
    path: PathBuf,
    recorded: BTreeMap<u64, u64>,
}

impl Golden {
    /// Reads `tests/golden/NAME`: one line per seed, with the seed and its trace in hexadecimal.
    ///
    /// # Panics
    /// If the file can't be read or a line has another form.
    pub fn read(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
        let text = if Self::is_recording() {
            String::new()
        } else {
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let recorded = text.lines().map(|line| {
            let (seed, trace) = line.split_once(' ').expect("a seed and its trace");
            (seed.parse().expect("a seed"), u64::from_str_radix(trace, 16).expect("a trace"))
        });
        Self { path, recorded: recorded.collect() }
    }

    pub fn is_recording() -> bool {
        std::env::var("CASCADECK_GOLDEN").is_ok_and(|value| value == "write")
    }

    /// Compares a trace with the recorded one of that seed. A seed without a recorded trace is not compared.
    ///
    /// # Panics
    /// If they differ.
    pub fn check(&self, seed: u64, trace: u64) {
        if let Some(recorded) = self.recorded.get(&seed) {
            assert_eq!(*recorded, trace, "the trace of seed {seed} has changed: another decision than before");
        }
    }

    /// Overwrites the recorded traces with these.
    ///
    /// # Panics
    /// If the file can't be written.
    pub fn record(&self, traces: &BTreeMap<u64, u64>) {
        let mut text = String::new();
        for (seed, trace) in traces {
            writeln!(text, "{seed} {trace:016x}").expect("a string takes everything");
        }
        fs::write(&self.path, text).unwrap_or_else(|error| panic!("{}: {error}", self.path.display()));
    }
}
