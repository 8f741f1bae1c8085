pub mod handle;
pub use handle::{Ask, Handle, Order};
