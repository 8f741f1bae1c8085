//! Why a command ended early, and with which exit status.

use std::fmt;

use crate::{
    config::ConfigErrors,
    input::{InputError, RowErrors},
    store::StoreError,
};

#[derive(Debug)]
pub enum Failure {
    /// Wrong usage, configuration or input: exit 2.
    Usage(String),
    /// Another process has the run, and goes on with it: exit 2.
    Busy(String),
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
            Self::Usage(_) | Self::Busy(_) => 2,
            Self::Broken(_) => 1,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(words) | Self::Busy(words) => f.write_str(words),
            Self::Broken(error) => f.write_str(&told_once(error)),
        }
    }
}

/// An error and its causes, without those that it has put into its own words.
pub(super) fn told_once(error: &anyhow::Error) -> String {
    let mut words = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !words.contains(&cause) {
            words = format!("{words}: {cause}");
        }
    }
    words
}

impl From<ConfigErrors> for Failure {
    fn from(faults: ConfigErrors) -> Self {
        Self::Usage(faults.to_string())
    }
}

impl From<InputError> for Failure {
    fn from(error: InputError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<RowErrors> for Failure {
    fn from(faults: RowErrors) -> Self {
        Self::Usage(faults.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::InUse { .. } => Self::Busy(error.to_string()),
            StoreError::NotARun { .. }
            | StoreError::ForeignDatabase { .. }
            | StoreError::NewerSchema { .. }
            | StoreError::OrphanedResults { .. }
            | StoreError::SettingsChanged { .. } => Self::Usage(error.to_string()),
            _ => Self::broken(error.to_string()),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Broken(error)
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn a_cause_that_has_been_told_is_not_told_again() {
        let error =
            StoreError::File { doing: "lock", path: "runs/a".into(), source: std::io::Error::other("no locks here") };
        assert_eq!(Failure::from(anyhow::Error::from(error)).to_string(), "can't lock runs/a: no locks here");
        let outer = Err::<(), _>(std::io::Error::other("refused")).context("can't listen").unwrap_err();
        assert_eq!(Failure::Broken(outer).to_string(), "can't listen: refused");
    }
}
