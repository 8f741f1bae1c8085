//! The parts of an answer besides its text: calls of tools, the whole message, further choices, an embedding.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::named::names;

/// The parts of an answer besides its text, as the provider sent it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AnswerParts {
    /// The calls of tools that the model asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Value>,
    /// The whole message of the answer, if the configuration asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Value>,
    /// All choices, if there are several, or if one has more than its message (log probabilities, sources).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choices: Option<Value>,
    /// The vector of an embedding; a list of vectors if the request has a list of inputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding: Option<Value>,
}

impl AnswerParts {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How much of an answer is kept in the results.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum KeptParts {
    /// The text, and what a request asks for besides: calls of tools, further answers, embeddings.
    #[default]
    Text,
    /// The whole message too.
    Message,
}

names!(KeptParts { Text = "text", Message = "message" });
