//! Lists the models that a key can see, and checks whether the list requires a key.

use std::time::Duration;

use reqwest::Url;
use serde_json::Value;

use crate::domain::{Api, AttemptResult, Outcome, OutcomeAction};

use super::{
    super::{
        classify::{Vendor, classify},
        transport::TransportResult,
    },
    Client,
    endpoint::Endpoint,
};

/// Maximum number of pages that are requested of a model list.
const MAX_MODEL_LIST_PAGES: usize = 20;

/// Whether a provider's model list requires a valid key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ModelListAccess {
    /// The list is served without a key (llama-server does this), so it says nothing about a key.
    Public,
    /// A request without a key is rejected, so a list proves that the key is valid.
    KeyRequired,
    /// The check proved neither: it failed, was rate limited, or did not finish in time.
    Unknown,
}

impl Client {
    /// Ids of the models that this key can see.
    ///
    /// A listed model may still not work: Gemini lists models that it answers with 404. A list proves that the key is
    /// valid only where [the provider requires one](Self::check_model_list_access).
    pub async fn list_models(&self, endpoint: &Endpoint, timeout: Duration) -> Result<Vec<String>, AttemptResult> {
        let to_result = |failure| classify(endpoint.api(), &TransportResult::Failed(failure));
        // OpenRouter lists its models without a key, but has an endpoint that checks one.
        if endpoint.vendor() == Vendor::OpenRouter {
            let received = self.get(endpoint, &endpoint.url("/key", None), timeout).await.map_err(to_result)?;
            let result = received.classify(endpoint);
            // If the check fails, no list is returned, because callers take a list as proof that the key is valid. A
            // relay may lack the endpoint (404).
            if result.outcome.is_key_error() || !matches!(received.status, 200..=299 | 404) {
                return Err(result);
            }
        }
        let mut models = Vec::new();
        let mut next_url = Some(first_page_url(endpoint));
        for _ in 0..MAX_MODEL_LIST_PAGES {
            let Some(page) = next_url.take() else { break };
            let received = self.get(endpoint, &page, timeout).await.map_err(to_result)?;
            let list: Option<Value> =
                if (200..300).contains(&received.status) { serde_json::from_slice(&received.body).ok() } else { None };
            let Some((names, next)) = list.as_ref().and_then(|list| parse_model_page(endpoint.api(), list)) else {
                let result = received.classify(endpoint);
                if result.action != OutcomeAction::Complete {
                    return Err(result);
                }
                let rule = "the answer is not a list of models";
                return Err(AttemptResult {
                    outcome: Outcome::MalformedResponse,
                    action: OutcomeAction::Retry,
                    rule: rule.to_owned(),
                    message: rule.to_owned(),
                    answer: None,
                    ..result
                });
            };
            models.extend(names);
            next_url = next.map(|next| next_page_url(endpoint, &next));
        }
        Ok(models)
    }

    /// Checks whether the provider lists its models without a key, by asking for the list without one.
    ///
    /// Only an error about the missing key, or a 401 of any kind, proves that the list requires a key. No answer in
    /// time, a rate limit or another failure gives [`ModelListAccess::Unknown`].
    pub async fn check_model_list_access(&self, endpoint: &Endpoint, timeout: Duration) -> ModelListAccess {
        let Ok(keyless_endpoint) = Endpoint::new(endpoint.provider().clone(), None) else {
            return ModelListAccess::Unknown;
        };
        match self.list_models(&keyless_endpoint, timeout).await {
            Ok(_) => ModelListAccess::Public,
            Err(result) => match result.outcome {
                Outcome::InvalidKey | Outcome::KeyForbidden => ModelListAccess::KeyRequired,
                // Includes an HTML page with status 401, which is classified as a server error.
                _ if result.status == Some(401) => ModelListAccess::KeyRequired,
                _ => ModelListAccess::Unknown,
            },
        }
    }
}

pub(super) fn first_page_url(endpoint: &Endpoint) -> Url {
    match endpoint.api() {
        Api::Gemini => endpoint.url("/v1beta/models", Some("pageSize=1000")),
        Api::OpenAi => endpoint.url("/models", None),
        Api::Anthropic => endpoint.url("/v1/models", Some("limit=1000")),
    }
}

fn next_page_url(endpoint: &Endpoint, token: &str) -> Url {
    let mut url = first_page_url(endpoint);
    let name = if endpoint.api() == Api::Gemini { "pageToken" } else { "after_id" };
    url.query_pairs_mut().append_pair(name, token);
    url
}

/// Model ids on a page and the next page's token. `None` if the body is not a list of models.
fn parse_model_page(api: Api, page: &Value) -> Option<(Vec<String>, Option<String>)> {
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    if api == Api::Gemini {
        let models = page.get("models")?.as_array()?;
        let name = |model: &Value| text(model, "name").map(|name| name.trim_start_matches("models/").to_owned());
        let next_token = text(page, "nextPageToken").filter(|token| !token.is_empty());
        return Some((models.iter().filter_map(name).collect(), next_token));
    }
    // Most providers wrap the list in `data`; some (together.ai) don't.
    let models = page.get("data").unwrap_or(page).as_array()?;
    let has_more = api == Api::Anthropic && page.get("has_more").and_then(Value::as_bool) == Some(true);
    let next_token = if has_more { text(page, "last_id") } else { None };
    Some((models.iter().filter_map(|model| text(model, "id")).collect(), next_token))
}
