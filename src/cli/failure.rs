//! Why a command ended early, and with which exit status.

use std::fmt;

use crate::{
    config::Faults,
    input::{InputError, InputFaults},
    store::StoreError,
};

#[derive(Debug)]
pub enum Failure {
    /// Wrong usage, configuration or input: exit 2.
    Usage(String),
    /// Something broke here: exit 1.
    Broken(anyhow::Error),
}

impl Failure {
    pub fn usage(words: impl Into<String>) -> Self {
        Self::Usage(words.into())
    }

    pub fn broken(words: impl Into<String>) -> Self {
        Self::Broken(anyhow::Error::msg(words.into()))
    }

    pub const fn status(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Broken(_) => 1,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(words) => f.write_str(words),
            Self::Broken(error) => write!(f, "{error:#}"),
        }
    }
}

impl From<Faults> for Failure {
    fn from(faults: Faults) -> Self {
        Self::Usage(faults.to_string())
    }
}

impl From<InputError> for Failure {
    fn from(error: InputError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<InputFaults> for Failure {
    fn from(faults: InputFaults) -> Self {
        Self::Usage(faults.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::InUse { .. }
            | StoreError::NotARun { .. }
            | StoreError::Foreign { .. }
            | StoreError::NewerSchema { .. }
            | StoreError::Orphaned { .. }
            | StoreError::Pinned { .. } => Self::Usage(error.to_string()),
            _ => Self::Broken(error.into()),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Broken(error)
    }
}
