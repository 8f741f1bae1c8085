//! The simulated provider: an HTTP server that speaks the three wire APIs as the providers do, with their limits, error
//! bodies and failures. It is for the demo, for tests and for manual experiments.
//!
//! It keeps its own counts and never reads the program's, so that tests can compare its [`ServerStats`] with the
//! program's record. Of the rest of the program it uses only the clock and types of `domain`.
//!
//! - [`Profile`]: what is simulated (providers, models, limits, keys, faults), from TOML; `profiles/` has the built-in
//!   ones
//! - `profile_index`: a profile indexed for look-up; `pool`, `sliding_window`, `calendar`: the limits; `usage`: their kinds,
//!   and what was used of them
//! - `wire/`: what the APIs have in common, and one file per API: from body to `request` and from outcome to body
//! - `faults`, `answer`: injected faults, and the answers
//! - `state`, `stats`: everything that changes, behind one lock, and the statistics of it
//! - `handler`, `responses`, `server`: one request from its arrival to the last byte of its response; HTTP responses;
//!   routes, listening and stopping
//! - `command`, `keys_file`: `cascadeck sim`, and the keys.toml that it prints

mod answer;
mod calendar;
pub mod command;
mod faults;
mod handler;
mod keys_file;
mod pool;
mod profile;
mod profile_index;
mod request;
mod responses;
mod server;
mod sliding_window;
mod state;
mod stats;
mod usage;
mod wire;

pub use faults::{FaultRates, FaultRatesError, InjectedFault, Quirk};
pub use profile::{
    KeyProfile, LatencyProfile, ModelProfile, Outage, PriceProfile, PriorUsage, Profile, ProfileContradiction,
    ProfileError, ProviderProfile, SimKeyState,
};
pub use request::prompt_hash;
pub use server::Simulator;
pub use stats::{KeyStats, PoolStats, PromptStats, PromptTotals, RequestCounts, ServerStats};
pub use usage::{DayUsage, PeakUsage, SimLimit};
