//! Asks a provider whether it responds, without a paid request.

use std::time::Duration;

use crate::domain::HealthCheckTarget;

use super::{Client, endpoint::Endpoint, model_list::first_page_url};

impl Client {
    /// Asks for the target of the provider's health check. Any response proves that the provider is up, except a server
    /// error (5xx): a rejected key does, too. Nothing is sent for [`HealthCheckTarget::Off`].
    ///
    /// # Errors
    ///
    /// The reason why the provider counts as down, for people.
    pub async fn check_health(&self, endpoint: &Endpoint, timeout: Duration) -> Result<(), String> {
        let url = match &endpoint.provider().health_check.target {
            HealthCheckTarget::Models => first_page_url(endpoint),
            HealthCheckTarget::Path(path) => endpoint.host_url(path),
            HealthCheckTarget::Off => return Ok(()),
        };
        let received = self.get(endpoint, &url, timeout).await;
        match received.map_err(|failure| failure.to_string())?.status {
            status @ 500.. => Err(format!("HTTP {status}")),
            _ => Ok(()),
        }
    }
}
