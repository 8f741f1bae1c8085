//! `[results]`: what is kept of an answer besides its text.

use super::{schema, toml_reader::TomlTable};
use crate::domain::KeptParts;

pub(super) fn read(root: &TomlTable<'_>) -> KeptParts {
    let table = root.table("results", &schema::RESULTS);
    table.and_then(|table| table.choice("keep")).unwrap_or_default()
}
