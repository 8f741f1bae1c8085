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
mod ask;
mod books;
pub mod command;
mod days;
mod exchange;
mod faults;
mod keys_file;
mod layout;
mod ledger;
mod profile;
mod quota;
mod sending;
mod server;
mod window;
mod wire;

pub use ask::prompt_hash;
pub use books::{Books, DayUse, KeyBooks, Peaks, PoolBooks, PromptBooks, Prompts, Tally};
pub use faults::{Fault, Faults, Quirk};
pub use profile::{
    Dollars, KeyProfile, KeyState, Latency, ModelProfile, Outage, Profile, ProfileError, ProviderProfile, Used,
};
pub use quota::Limit;
pub use server::{Simulator, serve};
