//! The kinds of inputs.

use std::fmt;

use crate::domain::{names, plural};

/// The kind of an input: its format.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum InputKind {
    Jsonl,
    OpenAiBatch,
    AnthropicBatch,
    GeminiBatch,
    Csv,
    Text,
    Pictures,
}

// The plurals for messages, as in "1,319 JSONL rows".
names!(InputKind {
    Jsonl = "JSONL rows",
    OpenAiBatch = "OpenAI batch lines",
    AnthropicBatch = "Anthropic batch lines",
    GeminiBatch = "Gemini batch lines",
    Csv = "CSV rows",
    Text = "lines of text",
    Pictures = "pictures",
});

impl InputKind {
    /// The noun for this number of rows: `JSONL row` for 1, `JSONL rows` for 1,319.
    pub fn noun(self, rows: u64) -> String {
        match self {
            Self::Text => format!("{} of text", plural(rows, "line")),
            kind => plural(rows, kind.name().trim_end_matches('s')),
        }
    }

    /// The number and its noun: `1 JSONL row`, `1319 JSONL rows`.
    pub fn format_count(self, rows: u64) -> String {
        format!("{rows} {}", self.noun(rows))
    }

    pub const fn is_pictures(self) -> bool {
        matches!(self, Self::Pictures)
    }

    /// True if each line is a complete request, so that a prompt template can't be used.
    pub(super) const fn is_batch(self) -> bool {
        matches!(self, Self::OpenAiBatch | Self::AnthropicBatch | Self::GeminiBatch)
    }

    /// True if each line must name a model.
    pub(super) const fn needs_model(self) -> bool {
        matches!(self, Self::OpenAiBatch | Self::AnthropicBatch)
    }

    /// The field in which a row names its model.
    pub(super) const fn model_field(self) -> &'static str {
        match self {
            Self::OpenAiBatch => "body.model",
            Self::AnthropicBatch => "params.model",
            Self::GeminiBatch => "request.model",
            Self::Jsonl | Self::Csv | Self::Text | Self::Pictures => "model",
        }
    }
}

impl fmt::Display for InputKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
