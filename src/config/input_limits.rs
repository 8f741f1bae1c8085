//! `[input]`: size limits for inputs that may be endless, and what the models mean that rows name.

use super::{schema, toml_reader::TomlTable};
use crate::domain::{RowModelPolicy, UnknownModelPolicy};

const MIB: u64 = 1 << 20;

/// Size limits for inputs that may be endless.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InputLimits {
    /// Maximum number of bytes read from a pipe.
    pub max_pipe_bytes: u64,
    /// Maximum size in bytes of the file that `--prompt-file` names.
    pub max_prompt_file_bytes: u64,
}

impl Default for InputLimits {
    fn default() -> Self {
        Self { max_pipe_bytes: 4_096 * MIB, max_prompt_file_bytes: 4 * MIB }
    }
}

pub(super) fn read(root: &TomlTable<'_>) -> (InputLimits, Option<UnknownModelPolicy>, RowModelPolicy) {
    let defaults = InputLimits::default();
    let Some(table) = root.table("input", &schema::INPUT) else {
        return (defaults, None, RowModelPolicy::default());
    };
    let read_mib = |name, max| table.count::<u64>(name, 1..=max).map(|mib| mib * MIB);
    let limits = InputLimits {
        max_pipe_bytes: read_mib("max_pipe_mib", 1 << 30).unwrap_or(defaults.max_pipe_bytes),
        max_prompt_file_bytes: read_mib("max_prompt_file_mib", 1_024).unwrap_or(defaults.max_prompt_file_bytes),
    };
    let row_model = table.choice("row_model").unwrap_or_default();
    (limits, table.choice("unknown_model"), row_model)
}
