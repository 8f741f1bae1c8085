//! Sampling and output parameters of a request, independent of any provider.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::json_numbers::deserialize_value;

/// Sampling and output parameters. `None` leaves the provider's default.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Params {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking: Option<Thinking>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<JsonMode>,
    /// The name of the JSON schema, for APIs that require one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema_name: Option<String>,
    /// OpenAI's `strict`: whether the answer must follow the schema exactly. It always must at the other APIs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict_schema: Option<bool>,
    /// Whether the provider may keep the request and its answer, if the row says so. Anthropic's API keeps none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<bool>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Thinking {
    /// `minimal`, `low`, `medium`, `high`: Gemini's thinkingLevel, OpenAI's reasoning_effort.
    Level(String),
    /// Tokens: Anthropic's budget_tokens, Gemini's thinkingBudget.
    Budget(u32),
    /// The model decides how much: Anthropic's `adaptive`, the default of the other APIs.
    Adaptive,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JsonMode {
    /// Any JSON object.
    Object,
    /// JSON that satisfies this schema.
    Schema(#[serde(deserialize_with = "deserialize_value")] Value),
}

impl Params {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Removes what earlier versions did not read, so that the rows of their runs stay the same.
    pub fn remove_newer_parts(&mut self) {
        self.schema_name = None;
        self.strict_schema = None;
        self.store = None;
        if self.thinking == Some(Thinking::Adaptive) {
            self.thinking = None;
        }
    }
}
