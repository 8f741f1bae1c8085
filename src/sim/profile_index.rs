//! A profile, indexed for look-up. It does not change while the simulator runs, so it is read without a lock.

use std::{collections::HashMap, time::Duration};

use super::{
    faults::{FaultRates, InjectedFault},
    profile::{KeyProfile, LatencyProfile, ModelProfile, Profile, SimKeyState},
};
use crate::domain::Api;

#[derive(Debug)]
pub(super) struct ProfileIndex {
    pub profile: Profile,
    /// The key with each secret.
    keys_by_secret: HashMap<String, KeyRef>,
    /// For each provider, in the order of the profile: the index of each of its models in [`Profile::models`], by name.
    models_by_name: Vec<HashMap<String, usize>>,
    /// Provider index and project name of every project, in the order in which the keys mention them.
    pub projects: Vec<(usize, String)>,
}

/// A known key: indices into the profile and into [`ProfileIndex::projects`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct KeyRef {
    pub key: usize,
    pub provider: usize,
    pub project: usize,
}

impl ProfileIndex {
    pub fn new(profile: Profile) -> Self {
        let provider_index =
            |name: &str| profile.providers.iter().position(|provider| provider.name == name).unwrap_or_default();
        let mut projects: Vec<(usize, String)> = Vec::new();
        let mut keys_by_secret = HashMap::new();
        for (key, KeyProfile { secret, provider, project, .. }) in profile.keys.iter().enumerate() {
            let provider_and_project = (provider_index(provider), project.clone());
            let known = projects.iter().position(|project| *project == provider_and_project);
            let project = known.unwrap_or_else(|| {
                projects.push(provider_and_project.clone());
                projects.len() - 1
            });
            keys_by_secret.insert(secret.clone(), KeyRef { key, provider: provider_and_project.0, project });
        }
        let mut models_by_name = vec![HashMap::new(); profile.providers.len()];
        for (index, model) in profile.models.iter().enumerate() {
            models_by_name[provider_index(&model.provider)].insert(model.name.clone(), index);
        }
        Self { profile, keys_by_secret, models_by_name, projects }
    }

    /// The key with this secret at a provider that uses `api`.
    pub fn find_key(&self, api: Api, secret: &str) -> Option<KeyRef> {
        self.keys_by_secret.get(secret).copied().filter(|key| self.profile.providers[key.provider].api == api)
    }

    pub fn find_model(&self, key: KeyRef, name: &str) -> Option<usize> {
        self.models_by_name[key.provider].get(name).copied()
    }

    pub fn models_of(&self, key: KeyRef) -> impl Iterator<Item = &ModelProfile> {
        let provider = self.profile.providers[key.provider].name.as_str();
        self.profile.models.iter().filter(move |model| model.provider == provider)
    }

    /// The state of the key when the simulator has run for `uptime`.
    pub fn key_state(&self, key: KeyRef, uptime: Duration) -> SimKeyState {
        let KeyProfile { state, from_s, until_s, .. } = self.profile.keys[key.key];
        let now = uptime.as_secs_f64();
        if now >= from_s && until_s.is_none_or(|until| now < until) { state } else { SimKeyState::Valid }
    }

    pub fn is_closed_to(&self, key: KeyRef, model: usize) -> bool {
        let (_, project) = &self.projects[key.project];
        self.profile.models[model].closed_to.contains(project)
    }

    /// The fault of an outage that affects this model when the simulator has run for `uptime`.
    pub fn active_outage(&self, key: KeyRef, model: usize, uptime: Duration) -> Option<InjectedFault> {
        let provider = &self.profile.providers[key.provider].name;
        let name = &self.profile.models[model].name;
        let now = uptime.as_secs_f64();
        let outage = self.profile.outages.iter().find(|outage| {
            (outage.from_s..outage.to_s).contains(&now)
                && outage.provider.as_ref().is_none_or(|affected| affected == provider)
                && outage.model.as_ref().is_none_or(|affected| affected == name)
        })?;
        Some(outage.kind)
    }

    pub fn latency(&self, model: usize) -> LatencyProfile {
        self.profile.models[model].latency.unwrap_or(self.profile.latency)
    }

    pub fn faults(&self, model: usize) -> &FaultRates {
        self.profile.models[model].faults.as_ref().unwrap_or(&self.profile.faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = r#"
        name = "t"
        provider = [{ name = "g", api = "gemini" }, { name = "o", api = "openai" }]
        model = [{ name = "m", provider = "g" }, { name = "n", provider = "g" }, { name = "m", provider = "o" }]
        outage = [
            { provider = "g", model = "m", from_s = 60, to_s = 120 },
            { provider = "o", from_s = 100, to_s = 200, kind = "html" },
        ]
        [[key]]
        name = "k"
        provider = "g"
        project = "p"
        secret = "g-secret"
        state = "billing"
        from_s = 60
        until_s = 120
        [[key]]
        name = "l"
        provider = "o"
        project = "p"
        secret = "o-secret"
        state = "suspended"
    "#;

    fn profile_index() -> ProfileIndex {
        ProfileIndex::new(Profile::from_toml(PROFILE).unwrap())
    }

    #[test]
    fn a_key_is_known_to_its_own_provider_only() {
        let profile_index = profile_index();
        assert!(profile_index.find_key(Api::Gemini, "g-secret").is_some());
        assert_eq!(profile_index.find_key(Api::OpenAi, "g-secret"), None);
        // The same project name at two providers means two projects.
        assert_eq!(profile_index.projects.len(), 2);
    }

    #[test]
    fn a_keys_state_applies_only_between_its_times() {
        let profile_index = profile_index();
        let state = |api, secret, second| {
            profile_index.key_state(profile_index.find_key(api, secret).unwrap(), Duration::from_secs(second))
        };
        for (second, expected) in [
            (59, SimKeyState::Valid),
            (60, SimKeyState::Billing),
            (119, SimKeyState::Billing),
            (120, SimKeyState::Valid),
        ] {
            assert_eq!(state(Api::Gemini, "g-secret", second), expected, "{second}");
        }
        for second in [0, 1_000_000] {
            assert_eq!(state(Api::OpenAi, "o-secret", second), SimKeyState::Suspended);
        }
    }

    #[test]
    fn an_outage_applies_only_to_its_models_and_times() {
        let profile_index = profile_index();
        let (google, openai) = (
            profile_index.find_key(Api::Gemini, "g-secret").unwrap(),
            profile_index.find_key(Api::OpenAi, "o-secret").unwrap(),
        );
        let cases = [
            (google, "m", 59, None),
            (google, "m", 60, Some(InjectedFault::Overloaded)),
            (google, "m", 120, None),
            (google, "n", 60, None),
            (openai, "m", 60, None),
            (openai, "m", 199, Some(InjectedFault::Html)),
        ];
        for (key, model, second, fault) in cases {
            let found = profile_index.active_outage(
                key,
                profile_index.find_model(key, model).unwrap(),
                Duration::from_secs(second),
            );
            assert_eq!(found, fault, "{model} at {second} s");
        }
    }
}
