//! The simulated provider: a real HTTP server that speaks the three wire APIs as the providers do, with their
//! limits, their error bodies and their bad days, for the demo, for tests and for trying things by hand.
//!
//! It owns its own counting and never looks at the program's: its [`Books`] are the second opinion that tests hold
//! against ours. It knows `domain`'s plain words and the clock, and nothing else of the program.
//!
//! - [`Profile`]: what is simulated (providers, models, limits, keys, faults), from TOML; `profiles/` has the built-in ones
//! - `layout`: a profile indexed for look-up; `quota`, `window`, `days`: the limits
//! - `wire/`: one file per API, from body to `ask` and from outcome to body
//! - `faults`, `answer`: what goes wrong, and what is said when nothing does
//! - `ledger`, `books`: everything that changes, behind one lock, and its public account
//! - `exchange`, `sending`, `server`: one request from arrival to last byte; HTTP; routes, listening, stopping
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
