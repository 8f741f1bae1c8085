//! Checks of answers: `[[check]]` of keys.toml.
//!
//! [`CheckSet`] decides which checks apply to an item and applies them to the result of an attempt. An answer that fails
//! one becomes [`Outcome::InvalidOutput`](crate::domain::Outcome::InvalidOutput); the scheduler decides what follows.
//!
//! `condition` has what an answer must satisfy, `schema` compiles JSON schemas and never fetches anything, `command` runs
//! commands of the user, a few at a time. `start_fault` tells the engine of a command that can't be started.

mod check_set;
mod command;
mod condition;
mod schema;
mod start_fault;

pub use check_set::{AppliesTo, Check, CheckSet};
pub use command::CheckCommand;
pub use condition::AnswerCondition;
pub use schema::JsonSchema;
pub use start_fault::CheckFault;
