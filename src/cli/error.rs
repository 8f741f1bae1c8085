//! The error that ends a command, and its exit status.

use std::fmt;

use crate::{
    config::ConfigErrors,
    input::{InputError, RowErrors},
    store::StoreError,
};

#[derive(Debug)]
pub enum CliError {
    /// Wrong usage, configuration or input: exit 2.
    Usage(String),
    /// Another process has locked this run: exit 2.
    Busy(String),
    /// An error in the program or the system: exit 1.
    Internal(anyhow::Error),
}

impl CliError {
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::Internal(anyhow::Error::msg(message.into()))
    }

    pub const fn exit_status(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Busy(_) => 2,
            Self::Internal(_) => 1,
        }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) | Self::Busy(message) => f.write_str(message),
            Self::Internal(error) => f.write_str(&format_chain(error)),
        }
    }
}

/// Joins an error and its causes, without those whose text it already contains.
pub(super) fn format_chain(error: &anyhow::Error) -> String {
    let mut message = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !message.contains(&cause) {
            message = format!("{message}: {cause}");
        }
    }
    message
}

impl From<ConfigErrors> for CliError {
    fn from(errors: ConfigErrors) -> Self {
        Self::Usage(errors.to_string())
    }
}

impl From<InputError> for CliError {
    fn from(error: InputError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<RowErrors> for CliError {
    fn from(errors: RowErrors) -> Self {
        Self::Usage(errors.to_string())
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::InUse { .. } => Self::Busy(error.to_string()),
            StoreError::NotARun { .. }
            | StoreError::ForeignDatabase { .. }
            | StoreError::NewerSchema { .. }
            | StoreError::OrphanedResults { .. }
            | StoreError::SettingsChanged { .. } => Self::Usage(error.to_string()),
            _ => Self::internal(error.to_string()),
        }
    }
}

impl From<anyhow::Error> for CliError {
    fn from(error: anyhow::Error) -> Self {
        Self::Internal(error)
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn a_cause_already_in_the_message_is_not_repeated() {
        let error =
            StoreError::File { doing: "lock", path: "runs/a".into(), source: std::io::Error::other("no locks here") };
        assert_eq!(CliError::from(anyhow::Error::from(error)).to_string(), "can't lock runs/a: no locks here");
        let outer = Err::<(), _>(std::io::Error::other("refused")).context("can't listen").unwrap_err();
        assert_eq!(CliError::Internal(outer).to_string(), "can't listen: refused");
    }
}
