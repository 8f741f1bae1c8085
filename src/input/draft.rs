//! What a reader makes of a row, and what every reader is given to make it with.

use std::path::PathBuf;

use crate::domain::{Money, Params, Request};

use super::{sidecar::Captioning, template::Templates};

/// A row understood, but without its final id and hash; paths still as written.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// The row's own.
    pub id: Option<String>,
    pub request: Request,
    pub model: Option<String>,
    pub tier: Option<String>,
    pub max_usd: Option<Money>,
    pub caption: Option<Sidecar>,
    /// The captioned picture's size.
    pub bytes: Option<u64>,
}

/// Where a picture's caption goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Sidecar {
    pub target: PathBuf,
    /// The target as seen from the input or the captions' folder: what is hashed.
    pub name: String,
}

/// The settings of an input, compiled: shared by all passes over it.
pub(super) struct Recipe {
    pub templates: Templates,
    /// A row's own values win over these.
    pub defaults: Params,
    /// Absolute; what relative paths in rows are relative to.
    pub base: PathBuf,
    /// `None`: captions are not written to sidecars.
    pub captioning: Option<Captioning>,
    pub limit: Option<u64>,
}
