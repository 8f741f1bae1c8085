//! The names of the output limit that providers asked for in their refusals.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::domain::MaxTokensField;

use super::{endpoint::Endpoint, request_model::RequestModel};

/// The name that a model expects.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LearnedMaxTokensField {
    pub provider: String,
    pub model: String,
    pub field: MaxTokensField,
}

/// Provider and model.
type ModelKey = (String, Arc<str>);

#[derive(Clone, Copy, Debug)]
struct Learned {
    field: MaxTokensField,
    /// An earlier process learned it.
    is_restored: bool,
}

/// The learned names, by provider and model. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct LearnedMaxTokensFields(Arc<Mutex<BTreeMap<ModelKey, Learned>>>);

impl LearnedMaxTokensFields {
    /// The learned name. A setting takes precedence over what an earlier process learned, since it may be newer.
    pub fn find(&self, endpoint: &Endpoint, model: &RequestModel) -> Option<MaxTokensField> {
        let fields = self.lock();
        let learned = if fields.is_empty() { None } else { fields.get(&model_key(endpoint, model)) };
        learned.filter(|learned| !learned.is_restored || model.max_tokens_field.is_none()).map(|learned| learned.field)
    }

    /// Learns that a model expects `requested` instead of the name that was sent. False if that was sent because this
    /// process had learned it: then the provider accepts neither, and sending again doesn't help.
    pub fn learn(
        &self,
        endpoint: &Endpoint,
        model: &RequestModel,
        sent: MaxTokensField,
        requested: MaxTokensField,
    ) -> bool {
        let new = Learned { field: requested, is_restored: false };
        let mut fields = self.lock();
        let learned = fields.entry(model_key(endpoint, model)).or_insert(new);
        if learned.is_restored {
            *learned = new;
        }
        learned.field != sent
    }

    /// All of them, in the order of their providers and models.
    pub fn all(&self) -> Vec<LearnedMaxTokensField> {
        let to_record = |((provider, model), learned): (&ModelKey, &Learned)| LearnedMaxTokensField {
            provider: provider.clone(),
            model: model.to_string(),
            field: learned.field,
        };
        self.lock().iter().map(to_record).collect()
    }

    /// Restores what earlier processes learned.
    pub fn restore(&self, fields: Vec<LearnedMaxTokensField>) {
        let from_record = |LearnedMaxTokensField { provider, model, field }| {
            ((provider, model.into()), Learned { field, is_restored: true })
        };
        self.lock().extend(fields.into_iter().map(from_record));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ModelKey, Learned>> {
        // No code panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn model_key(endpoint: &Endpoint, model: &RequestModel) -> ModelKey {
    (endpoint.provider().name.clone(), Arc::clone(&model.name))
}
