//! The model of a request: what of its configuration the request depends on.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::domain::{MaxTokensField, Model};

/// The model of a request. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RequestModel {
    /// Model id as the provider spells it.
    pub name: Arc<str>,
    /// Output token limit of the model. It is sent where the request sets no limit, and caps the request's own.
    pub max_output: Option<u32>,
    /// The name of the output limit, if it is configured.
    pub max_tokens_field: Option<MaxTokensField>,
    /// Fields added to the body.
    pub extra_body: Arc<Map<String, Value>>,
}

impl RequestModel {
    /// A model without further settings.
    pub fn new(name: &str, max_output: Option<u32>) -> Self {
        Self { name: name.into(), max_output, max_tokens_field: None, extra_body: Arc::default() }
    }
}

impl From<&Model> for RequestModel {
    fn from(model: &Model) -> Self {
        Self {
            max_tokens_field: model.max_tokens_field,
            extra_body: Arc::new(model.extra_body.clone()),
            ..Self::new(&model.name, model.max_output)
        }
    }
}
