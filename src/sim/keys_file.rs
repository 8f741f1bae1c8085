//! Prints a profile as the `keys.toml` of a program that runs against it.

use std::{fmt::Write, net::SocketAddr};

use toml::Value;

use super::profile::{ModelProfile, PriceProfile, Profile};
use crate::domain::{Api, Limits, QuotaDay, TokenCounting};

impl Profile {
    /// The providers at `addr`, the models with their enforced limits, and the keys, including invalid ones.
    pub fn keys_toml(&self, addr: SocketAddr) -> String {
        let mut text = format!("# For the simulated provider, profile \"{}\".\n", self.name);
        for provider in &self.providers {
            let base_url = match provider.api {
                Api::OpenAi => format!("http://{addr}/v1"),
                Api::Gemini | Api::Anthropic => format!("http://{addr}"),
            };
            let api = Value::from(provider.api.name());
            write_table(
                &mut text,
                "provider",
                &[("name", text_value(&provider.name)), ("api", api), ("base_url", text_value(&base_url))],
            );
        }
        for model in &self.models {
            write_table(&mut text, "model", &self.model_settings(model));
        }
        for key in &self.keys {
            let settings = [
                ("name", text_value(&key.name)),
                ("provider", text_value(&key.provider)),
                ("secret", text_value(&key.secret)),
                ("project", text_value(&key.project)),
            ];
            write_table(&mut text, "key", &settings);
        }
        text
    }

    fn model_settings(&self, model: &ModelProfile) -> Vec<(&'static str, Value)> {
        let Limits { rpm, tpm, token_counting, itpm, otpm, rpd, tpd, quota_day, burst, concurrency } =
            self.limits(model);
        // A limit of 0 means that the provider does not offer the model; a client would not configure it.
        // TOML has no larger numbers.
        let toml_number = |limit: u64| Value::from(i64::try_from(limit).unwrap_or(i64::MAX));
        let number = |limit: Option<u64>| limit.filter(|limit| *limit > 0).map(toml_number);
        let small = |limit: Option<u32>| number(limit.map(u64::from));
        let counted = match token_counting {
            TokenCounting::Input => "input",
            TokenCounting::Total => "total",
        };
        let day = match quota_day {
            QuotaDay::Pacific => "pacific",
            QuotaDay::Utc => "utc",
            QuotaDay::Rolling => "rolling",
        };
        let counts_tokens = tpm.is_some() || tpd.is_some();
        let has_day = rpd.is_some() || tpd.is_some();
        let price = |PriceProfile { input, output }: PriceProfile| {
            Value::Table(
                [("input".to_owned(), input.into()), ("output".to_owned(), output.into())].into_iter().collect(),
            )
        };
        let settings = [
            ("name", Some(text_value(&model.name))),
            ("provider", Some(text_value(&model.provider))),
            ("rpm", small(rpm)),
            ("tpm", number(tpm)),
            ("counted", counts_tokens.then(|| counted.into())),
            ("itpm", number(itpm)),
            ("otpm", number(otpm)),
            ("rpd", small(rpd)),
            ("tpd", number(tpd)),
            ("day", has_day.then(|| day.into())),
            ("burst", small(burst)),
            ("concurrency", small(concurrency)),
            ("vision", Some(model.vision.into())),
            ("context", number(Some(model.context))),
            ("max_output", small(Some(model.max_output))),
            ("usd_per_mtok", model.usd_per_mtok.map(price)),
        ];
        settings.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

fn text_value(text: &str) -> Value {
    Value::from(text)
}

fn write_table(text: &mut String, name: &str, settings: &[(&str, Value)]) {
    let _ = write!(text, "\n[[{name}]]\n");
    for (setting, value) in settings {
        let _ = writeln!(text, "{setting} = {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_file_can_be_loaded_and_states_the_enforced_limits() {
        let addr = "127.0.0.1:8080".parse().unwrap();
        for name in Profile::built_in_names() {
            let profile = Profile::named(name).unwrap();
            let file: toml::Table = profile.keys_toml(addr).parse().unwrap();
            let count = |kind: &str| file[kind].as_array().unwrap().len();
            assert_eq!(count("provider"), profile.providers.len());
            assert_eq!(count("model"), profile.models.len());
            assert_eq!(count("key"), profile.keys.len());
            let home = tempfile::tempdir().unwrap();
            let path = home.path().join("keys.toml");
            std::fs::write(&path, profile.keys_toml(addr)).unwrap();
            let config = crate::config::load(Some(&path), &|_| None, home.path());
            assert_eq!(
                config.map(|config| config.keys.len()).map_err(|faults| faults.to_string()),
                Ok(profile.keys.len())
            );
        }
        let file: toml::Table = Profile::named("free-tier").unwrap().keys_toml(addr).parse().unwrap();
        let flash = &file["model"][0];
        assert_eq!(file["provider"][0]["base_url"].as_str(), Some("http://127.0.0.1:8080"));
        assert_eq!(flash["name"].as_str(), Some("gemini-3.8-flash"));
        assert_eq!((flash["rpm"].as_integer(), flash["rpd"].as_integer()), (Some(5), Some(20)));
        assert_eq!((flash["counted"].as_str(), flash["day"].as_str()), (Some("input"), Some("pacific")));
        assert_eq!(flash["usd_per_mtok"]["output"].as_float(), Some(3.75));
    }
}
