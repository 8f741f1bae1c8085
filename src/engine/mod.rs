//! The one owner of everything that changes while a run is under way.

pub mod handle;

pub use handle::{Ask, Handle, Order};
