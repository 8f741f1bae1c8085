//! Reads a key's secret from a variable, a file, or the configuration itself, and checks its form. No message ever
//! contains a secret.

use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};

use super::{
    bounded_read::read_small_text,
    env_vars::{EnvVarSource, EnvVars},
    error::{looks_like_secret, quote_unless_secret},
    placeholder::Placeholder,
};

pub(super) struct ResolvedSecret {
    pub secret: SecretString,
    /// The file that contains the secret; `None` for the environment. Its permissions are not checked here.
    pub file: Option<PathBuf>,
}

/// The bases of `file:` paths: a relative path starts from the folder of `config_file`, a path with `~/` from
/// `home_dir`.
pub(super) struct SecretBases<'p> {
    /// The configuration file. Literal secrets are in this file.
    pub config_file: &'p Path,
    pub home_dir: Option<&'p Path>,
}

/// Resolves `env:NAME`, `file:PATH` or a literal.
pub(super) fn resolve(
    reference: &str,
    bases: &SecretBases<'_>,
    env_vars: &EnvVars<'_>,
) -> Result<ResolvedSecret, String> {
    if let Some(name) = reference.strip_prefix("env:") {
        read_variable(name.trim(), env_vars)
    } else if let Some(path) = reference.strip_prefix("file:") {
        read_secret_file(path.trim(), bases)
    } else {
        if let Some(placeholder) =
            Placeholder::detect(reference).or_else(|| Placeholder::detect_bare_variable(reference))
        {
            return Err(format!("the secret {placeholder}: {}", placeholder.advice()));
        }
        let secret = parse_secret(reference).map_err(|reason| format!("the secret {reason}"))?;
        Ok(ResolvedSecret { secret, file: Some(bases.config_file.to_owned()) })
    }
}

fn read_variable(name: &str, env_vars: &EnvVars<'_>) -> Result<ResolvedSecret, String> {
    let is_name = |name: &str| {
        !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let quoted_name = quote_unless_secret(name);
    if !is_name(name) {
        return Err(format!(
            "env: must be followed by the name of a variable, as in \"env:GEMINI_KEY\", not {quoted_name}"
        ));
    }
    let (value, source) = env_vars.get(name).ok_or_else(|| {
        // The variable may be in a line of the .env that could not be read.
        let problems = match env_vars.dotenv_problems() {
            [] => String::new(),
            problems => format!(" ({})", problems.join("; ")),
        };
        let advice = if looks_like_secret(name) {
            "write the secret itself without env:".to_owned()
        } else {
            format!("export {name}=… first")
        };
        format!(
            "the variable {quoted_name} is not set, neither in the environment nor in a .env file; {advice}{problems}"
        )
    })?;
    let secret = parse_secret(&value).map_err(|reason| format!("the variable {quoted_name} {reason}"))?;
    Ok(ResolvedSecret { secret, file: (source == EnvVarSource::Dotenv).then(|| env_vars.dotenv_path().to_owned()) })
}

fn read_secret_file(path: &str, bases: &SecretBases<'_>) -> Result<ResolvedSecret, String> {
    if path.is_empty() {
        return Err("file: must be followed by a path, as in \"file:keys/alice\"".to_owned());
    }
    let secret_path = match (path.strip_prefix("~/"), bases.home_dir) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => bases.config_file.parent().unwrap_or(Path::new("")).join(path),
    };
    let quoted_path = quote_unless_secret(path);
    let text = read_small_text(&secret_path).map_err(|reason| {
        let base_note = if Path::new(path).is_relative() { " (relative to this file)" } else { "" };
        format!("the secret file {quoted_path}{base_note} {reason}")
    })?;
    let secret = parse_secret(text.trim()).map_err(|reason| format!("the secret file {quoted_path} {reason}"))?;
    Ok(ResolvedSecret { secret, file: Some(secret_path) })
}

/// Makes a secret of `text` after checking its form; the error says what is wrong with it. A secret is sent in an HTTP
/// header, so it must be one word of visible ASCII.
pub(super) fn parse_secret(text: &str) -> Result<SecretString, String> {
    if let Some(placeholder) = Placeholder::detect(text) {
        return Err(format!("{placeholder}; put the key itself there"));
    }
    let reason = if text.is_empty() {
        "is empty"
    } else if text.contains(['\n', '\r']) {
        "has a line break in it; a key is a single word"
    } else if text.contains(char::is_whitespace) {
        "has white space in it; a key is a single word"
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        "contains characters that can't occur in a key; copy it again"
    } else if text.starts_with(['"', '\'']) {
        "has quotes around it; a key is a single word without them"
    } else {
        return Ok(SecretString::from(text));
    };
    Err(reason.to_owned())
}

pub(super) fn is_same_secret(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_one_visible_word() {
        assert!(parse_secret("AQ.Ab8-_~=+/").is_ok());
        for (text, reason) in [
            ("", "is empty"),
            ("a b", "has white space in it; a key is a single word"),
            ("ab\n", "has a line break in it; a key is a single word"),
            ("ab\u{200b}", "contains characters that can't occur in a key; copy it again"),
            ("\"sk-abc\"", "has quotes around it; a key is a single word without them"),
            ("schlüssel", "contains characters that can't occur in a key; copy it again"),
        ] {
            assert_eq!(parse_secret(text).err().as_deref(), Some(reason), "{text:?}");
        }
    }
}
