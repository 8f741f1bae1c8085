//! The simulated provider: an HTTP server that speaks the three wire APIs as the providers do, with their limits, error
//! bodies and failures. It is for the demo, for tests and for manual experiments.
//!
//! It keeps its own counts and never reads the program's, so that tests can compare its [`ServerStats`] with the
//! program's record. It knows only `domain`'s types and the clock.
//!
//! - [`Profile`]: what is simulated (providers, models, limits, keys, faults), from TOML; `profiles/` has the built-in
//!   ones
//! - `profile_index`: a profile indexed for look-up; `pool`, `sliding_window`, `calendar`: the limits
//! - `wire/`: one file per API, from body to `request` and from outcome to body
//! - `faults`, `answer`: injected faults, and the answers
//! - `state`, `stats`: everything that changes, behind one lock, and its public statistics
//! - `handler`, `responses`, `server`: one request from arrival to last byte; HTTP responses; routes, listening,
//!   stopping
//! - `command`: `cascadeck sim`

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
mod wire;

pub use faults::{FaultRates, InjectedFault, Quirk};
pub use pool::SimLimit;
pub use profile::{
    KeyProfile, LatencyProfile, ModelProfile, Outage, PriceProfile, PriorUsage, Profile, ProfileError, ProviderProfile,
    SimKeyState,
};
pub use request::prompt_hash;
pub use server::{Simulator, serve};
pub use stats::{DayUsage, KeyStats, PeakUsage, PoolStats, PromptStats, PromptTotals, RequestCounts, ServerStats};
