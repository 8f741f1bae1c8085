//! The names of the output limit that providers asked for in their refusals.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::domain::MaxTokensField;

use super::{endpoint::Endpoint, request_model::RequestModel};

/// Provider and model.
type ModelKey = (String, Arc<str>);

/// The learned names, by provider and model. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct LearnedFields(Arc<Mutex<HashMap<ModelKey, MaxTokensField>>>);

impl LearnedFields {
    pub fn find(&self, endpoint: &Endpoint, model: &RequestModel) -> Option<MaxTokensField> {
        let fields = self.lock();
        if fields.is_empty() { None } else { fields.get(&model_key(endpoint, model)).copied() }
    }

    /// Learns that a model expects `field` instead of the one that was sent. False if that was sent because it had been
    /// learned: then the provider accepts neither, and sending again doesn't help.
    pub fn learn(
        &self,
        endpoint: &Endpoint,
        model: &RequestModel,
        sent: MaxTokensField,
        field: MaxTokensField,
    ) -> bool {
        *self.lock().entry(model_key(endpoint, model)).or_insert(field) != sent
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ModelKey, MaxTokensField>> {
        // No code panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn model_key(endpoint: &Endpoint, model: &RequestModel) -> ModelKey {
    (endpoint.provider().name.clone(), Arc::clone(&model.name))
}
