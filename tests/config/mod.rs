//! keys.toml: accepted settings, error messages, and starting without a file.

mod dashboard;
mod errors;
mod example;
mod from_env;
mod keys_file;
mod secrets;
mod webhooks;

/// A directory with files, and environment variables.
struct ConfigFixture {
    directory: tempfile::TempDir,
    env_vars: Vec<(String, String)>,
}

impl ConfigFixture {
    fn empty() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), env_vars: Vec::new() }
    }

    /// A fixture with this keys.toml, readable by its owner alone.
    fn with_keys_toml(text: &str) -> Self {
        Self::empty().with_file("keys.toml", text)
    }

    fn with_file(self, name: &str, text: impl AsRef<[u8]>) -> Self {
        let path = self.directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        self.with_mode(name, 0o600)
    }

    fn with_mode(self, name: &str, mode: u32) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(self.directory.path().join(name), permissions).unwrap();
        self
    }

    fn with_env(mut self, name: &str, value: &str) -> Self {
        self.env_vars.push((name.to_owned(), value.to_owned()));
        self
    }

    fn path(&self) -> &std::path::Path {
        self.directory.path()
    }

    fn env_var(&self, name: &str) -> Option<String> {
        self.env_vars.iter().find(|(variable, _)| variable == name).map(|(_, value)| value.clone())
    }

    fn try_load_file(&self, file: Option<&str>) -> Result<cascadeck::config::Config, cascadeck::config::ConfigErrors> {
        cascadeck::config::load(file.map(std::path::Path::new), &|name| self.env_var(name), self.path())
    }

    /// Loads with only these providers' keys from the environment.
    fn try_load_for(&self, providers: &[String]) -> Result<cascadeck::config::Config, cascadeck::config::ConfigErrors> {
        cascadeck::config::load_for_providers(None, providers, &|name| self.env_var(name), self.path())
    }

    fn try_load(&self) -> Result<cascadeck::config::Config, cascadeck::config::ConfigErrors> {
        self.try_load_file(None)
    }

    #[track_caller]
    fn load(&self) -> cascadeck::config::Config {
        self.try_load().unwrap_or_else(|faults| panic!("{faults}"))
    }

    #[track_caller]
    fn load_errors(&self) -> cascadeck::config::ConfigErrors {
        self.try_load().expect_err("this configuration is faulty")
    }
}

/// The secret of an API key, by alias.
fn secret_of<'c>(config: &'c cascadeck::config::Config, alias: &str) -> Option<&'c str> {
    let index = config.keys.iter().position(|key| key.name == alias).unwrap();
    config.secrets[index].as_ref().map(secrecy::ExposeSecret::expose_secret)
}
